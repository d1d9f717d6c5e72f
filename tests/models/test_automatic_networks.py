"""The committed choices in networks of other libraries: a few are made again, where the library is installed."""

import pytest

from bench.readme import between
from bench.studies import automatic_layers, automatic_layers_table

AGAIN = {
    "torchvision": ("mobilenet_v3_small", "squeezenet1_1"),
    "timm": ("convit_tiny", "pit_xs_224"),
    "transformers": ("poolformer", "swin"),
}
FACTS = ("layer", "grid", "choice", "call", "drawn", "input")


def committed():
    return automatic_layers_table.committed()["libraries"]


def test_the_page_shows_the_committed_rows():
    page = automatic_layers_table.PAGE.read_text()
    made = automatic_layers_table.tables(automatic_layers_table.committed())
    assert between(page, made, automatic_layers_table.MARKS) == page


def test_every_network_has_finite_maps_or_is_refused_in_words():
    for part in committed().values():
        for row in part["rows"]:
            if "refusal" in row:
                assert ": expected " in row["refusal"], row
            else:
                assert row["finite"] and row["choice"].startswith("automatic: "), row


@pytest.mark.parametrize("library, name", [(library, name) for library, names in AGAIN.items() for name in names])
def test_the_choice_is_made_again(library, name):
    pytest.importorskip(library)
    row = next(each for each in committed()[library]["rows"] if each["network"] == name)
    model, size = automatic_layers.build(library, name)
    again = automatic_layers.row(name, model, size)
    assert {fact: again[fact] for fact in FACTS} == {fact: row[fact] for fact in FACTS}
