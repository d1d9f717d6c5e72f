"""Verdicts of the studies of choices: each word belongs to one sign, and too few images decide nothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from saliency_ext.comparison import NEUTRALITY, Neutrality, Similarities
from saliency_ext.comparison._study_inputs import AREAS, StudyInputs, score_rows
from saliency_ext.comparison.findings import TOO_FEW, format_value, verdict_text
from saliency_ext.comparison.infill_study import advantage_finding, maps_finding, neutral_finding, order_findings
from saliency_ext.infill import Constant
from saliency_ext.metrics import Fidelity
from saliency_ext.perturbation import EqualFractions
from saliency_ext.stats.intervals import Summary

NAN = math.nan


def around(mean: float, images: int, spread: float = 0.01) -> list[float]:
    """Values of so many images that are known to lie about a mean."""
    return [mean + spread * (-1) ** image for image in range(images)]


def test_judged_and_said() -> None:
    words = {"above": "up", "below": "down", "neither": "unclear"}
    for low, high, expected in ((0.1, 0.2, "up"), (-0.2, -0.1, "down"), (-0.1, 0.1, "unclear"), (NAN, NAN, TOO_FEW)):
        assert verdict_text(Summary(0.0, low, high, 5, 0), **words) == expected
    assert (format_value(0.125, 3), format_value(NAN), format_value(Summary(NAN, NAN, NAN, 0, 4))) == (
        "0.125",
        "not measured",
        "not measured",
    )


# ---- neutrality


def neutral(images: int, n6: tuple[float, float], spread: float = 0.01) -> str:
    values = {name: torch.full((2, images), 0.5, dtype=torch.float64) for name in NEUTRALITY}
    values["N6"] = torch.tensor([around(n6[0], images, 0.0), around(n6[1], images, spread)], dtype=torch.float64)
    values["N3"] = torch.tensor([[0.2], [0.9]], dtype=torch.float64).expand(2, images)
    curves, fractions = torch.zeros(2, images, 2, dtype=torch.float64), torch.tensor([0.0, 1.0])
    return neutral_finding(Neutrality(("grey", "blur"), values, curves, fractions, [["ok"] * images] * 2, {})).verdict


def test_the_most_neutral_infill_changes_least() -> None:
    assert neutral(6, (0.1, 0.3)).startswith(
        "In context grey: a square of it away from the object moves the probability by 0.100"
    )
    assert "next is blur, by 0.200 [0.189, 0.211] more, a significant difference." in neutral(8, (0.1, 0.3))
    assert neutral(6, (0.3, 0.1)).startswith("In context blur:")
    assert "which is not significant" in neutral(6, (0.1, 0.1))
    assert f"more, {TOO_FEW}." in neutral(1, (0.1, 0.3)) and "significant" not in neutral(1, (0.1, 0.3))
    assert "; no other infill has values on the same images." in neutral(6, (0.1, NAN))
    assert neutral(6, (NAN, NAN)) == "Not measured: no infill has values."
    assert neutral(6, (0.1, 0.3)).endswith("least certain for blur.")  # the higher entropy


# ---- maps


def alike(images: int, between: float, floor: float = NAN) -> str:
    def table(value: float, *shape: int) -> dict[str, Tensor]:
        row = torch.tensor(around(value, images, 0.0005), dtype=torch.float64)
        return {"spearman": row.expand(*shape, images)}

    result = Similarities(("grey", "blur"), table(between, 2, 2), table(floor, 2), table(0.1, 2), [["ok"] * images] * 2)
    return maps_finding("rise", result).verdict


@pytest.mark.parametrize(
    ("images", "between", "floor", "ending"),
    [
        (8, 0.5, 0.9, "seed 0.90 [0.90, 0.90]. The infill changes the maps more than the seed does."),
        (8, 0.9, 0.9, "That is not clearly below the noise floor of the seed."),
        (8, 0.9, 0.5, "That is not clearly below the noise floor of the seed."),
        (8, 0.5, NAN, "; no noise floor was measured. The infill changes the maps."),
        (8, 0.9995, NAN, "; no noise floor was measured. The infill hardly matters."),
        (1, 0.5, NAN, "; no noise floor was measured. Too few images for a conclusion."),
        (1, 0.5, 0.9, "seed 0.90 (no interval: too few images). Too few images for a conclusion."),
        (8, NAN, NAN, "Too few images for a conclusion."),
    ],
)
def test_maps_are_judged_against_the_noise_floor(images: int, between: float, floor: float, ending: str) -> None:
    assert alike(images, between, floor).endswith(ending)


# ---- orders


def tables(images: int) -> tuple[Tensor, Tensor]:
    """(3, 4, N): a ranking that every setting repeats, and one that every setting turns."""
    noise = 0.01 * torch.randn(2, 3, 4, images, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    steady = torch.arange(4, dtype=torch.float64)[None, :, None] + noise[0]
    return steady, torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)[:, None, None] * steady + noise[1]


SETTINGS, MAPS = ["grey", "blur", "white"], ["a", "b", "c", "d"]


def orders(fidelity: Tensor, mif: Tensor, lif: Tensor) -> list[str]:
    result = order_findings({"fidelity": fidelity, "mif": mif, "lif": lif}, SETTINGS, MAPS)
    return [each.verdict for each in result]


def test_fidelity_is_called_more_stable_where_its_rankings_agree_more() -> None:
    steady, turned = tables(12)
    assert orders(steady, turned, steady)[1].endswith(": more stable.")
    assert orders(turned, steady, steady)[1].endswith(": less stable.")
    assert orders(steady, steady, steady)[1].endswith(": no significant difference in stability.")
    few = [table[..., :1] for table in (steady, turned, steady)]
    assert orders(*few)[1].endswith(f": {TOO_FEW}.")
    assert "nan" not in " ".join(orders(*few)) and "would flip not measured" in orders(*few)[0]


def test_flips_are_those_of_fidelity_and_of_mif() -> None:
    """Turned in one of three settings: two of three pairs of settings flip every pair of maps."""
    steady, turned = tables(12)
    assert (
        orders(steady, turned, steady)[0].startswith("Under Fidelity 0.00")
        and "MIF alone it is 0.67" in orders(steady, turned, steady)[0]
    )
    assert orders(turned, steady, steady)[0].startswith("Under Fidelity 0.67")


def test_disagreement_names_the_least_and_the_most() -> None:
    steady, turned = tables(12)
    told = orders(steady, turned, steady)[2]
    assert told.startswith("They disagree about 0.00 [0.00, 0.24] of the pairs with grey, 1.00 [0.76, 1.00] with blur.")
    lost = turned.clone()
    lost[0] = NAN  # nothing is known of grey: it is neither the least nor the most
    assert orders(steady, lost, steady)[2].startswith("They disagree about 0.00 [0.00, 0.24] of the pairs with white, 1.00")


def test_mean_scores_are_shown_as_measured() -> None:
    steady, turned = tables(4)
    result = order_findings({"fidelity": steady, "mif": turned, "lif": steady}, SETTINGS, MAPS)[1]
    shown = {matrix.title.rpartition(": ")[2]: torch.tensor(matrix.values, dtype=torch.float64) for matrix in result.matrices}
    assert torch.allclose(shown["mif"], -turned.mean(2).T) and torch.allclose(shown["lif"], steady.mean(2).T)


@pytest.mark.parametrize(
    ("gain", "images", "words"),
    [(0.2, 6, "it is favoured"), (-0.2, 6, "it is put at a disadvantage"), (0.0, 6, "no clear advantage"), (0.2, 1, TOO_FEW)],
)
def test_a_map_gains_from_its_own_infill(gain: float, images: int, words: str) -> None:
    """Rows are metric infills, columns maps; another map stands between the two of the generator."""
    noise = 0.001 * torch.randn(2, 3, images, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    own = noise + torch.tensor([[gain, 5.0, 0.0], [0.0, 7.0, gain]], dtype=torch.float64)[:, :, None]
    result = advantage_finding("rise", {area: own for area in AREAS}, ["grey", "blur"], ["rise@grey", "gradient", "rise@blur"])
    assert f": {words}. MIF" in result.verdict
    assert result.numbers["fidelity"].mean == pytest.approx(gain, abs=0.01)


def test_scores_are_higher_for_the_better_map_under_every_order() -> None:
    """A model that adds pixels up: the map of its weights is right, its negation wrong; tables keep the measured sign."""
    weight = torch.linspace(0.1, 1.0, 16).view(1, 4, 4)
    model = lambda x: torch.stack([(x * weight).sum((1, 2, 3)) - 4, torch.zeros(len(x))], 1)  # noqa: E731
    inputs = torch.ones(3, 1, 4, 4)
    maps = {"right": weight.expand(3, 4, 4), "wrong": -weight.expand(3, 4, 4)}
    study_inputs = StudyInputs.of(model, inputs, 0, None, 64)
    scores = study_inputs.scores(maps, {"black": Fidelity(Constant(0.0), EqualFractions(4))}, None)
    for area, table in scores.items():
        assert (table[0, 0] > table[0, 1] + 0.1).all(), area
    rows = {(row["metric"], row["map"]): row["value"] for row in score_rows(scores, ["black"], list(maps)) if row["image"] == 0}
    assert 0 < rows["mif", "right"] < rows["mif", "wrong"] < 1 and 1 > rows["lif", "right"] > rows["lif", "wrong"] > 0
    assert rows["fidelity", "right"] == pytest.approx(rows["lif", "right"] - rows["mif", "right"])
    assert AREAS == {"fidelity": 1, "mif": -1, "lif": 1}
