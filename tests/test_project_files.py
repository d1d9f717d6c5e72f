"""README, CONTRIBUTING and their kin: short, run as they stand, and the files that they name exist."""

import re
from pathlib import Path

import pytest
from PIL import Image

from bench.readme import MARKS, between, committed, headline, table
from saliency_ext.attribution import METHODS
from saliency_ext.metrics import METRICS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")


def test_the_readme_fits_two_screens():
    lines = README.splitlines()
    assert len(lines) <= 130 and max(map(len, lines)) <= 120


def test_the_example_runs_and_prints_a_table(capsys):
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(block.splitlines()) <= 16
    exec(block, {})
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("grad_cam", "gradient", "random", "deletion", "fidelity"))
    assert re.search(r"over 8 images: (grad_cam is better|random is better|not distinguishable)", printed), printed


def test_the_numbers_are_those_of_the_committed_json():
    assert between(README, headline(), MARKS) == README
    assert 4 <= headline().count("](bench/results/") <= 8
    assert table(committed()).count("\n") > 10


def test_the_registries_hold_as_many_as_the_readme_says():
    """A new metric or method need not be counted here; one that goes must."""
    methods = [name for name, kind in METHODS.items() if kind.info.family != "control"]
    stated = {kind: int(count) for count, kind in re.findall(r"\*\*(\d+) (metrics|attribution methods)\*\*", README)}
    assert 20 <= stated["metrics"] <= len(METRICS) and 15 <= stated["attribution methods"] <= len(methods)


@pytest.mark.parametrize("page", PAGES)
def test_what_is_named_exists(page):
    text = (ROOT / page).read_text()
    for path in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
        assert path.startswith("http") or (ROOT / path).exists(), path
    for path in re.findall(r"`((?:csrc|saliency_ext|tests|bench|docs)/[\w./-]+\.\w+)`", text):
        assert (ROOT / path).exists(), path
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", text)) - {"it"} <= targets


def test_a_native_op_is_at_most_nine_files_and_its_test():
    steps = (ROOT / "CONTRIBUTING.md").read_text().split("### A native op")[1].split("##")[0]
    named = set(re.findall(r"`((?:csrc|saliency_ext)/[\w./-]+\.\w+)`", steps))
    assert len(named) <= 9 and all((ROOT / path).exists() for path in named)


def test_the_picture_is_there_and_small():
    picture = ROOT / "docs/report.png"
    assert "](docs/report.png)" in README.split("\n## ")[0], "on the first screen"
    with Image.open(picture) as image:
        assert image.format == "PNG" and image.width >= 1000
    assert picture.stat().st_size < 300_000
