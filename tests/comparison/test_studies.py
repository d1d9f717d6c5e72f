"""The two studies of choices on small nets: what must hold exactly, faults, and tables."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet
import pytest
import torch
from torch import Tensor, nn

from saliency_ext.attribution import RISE, Gradient, Occlusion
from saliency_ext.comparison import Findings, hyperparameter_study, infill_study, pairwise_similarity
from saliency_ext.comparison.infill_study import _measures as infill_measures
from saliency_ext.infill import Constant, OtherImage, UniformNoise
from saliency_ext.stats.intervals import Summary

STEPS = 3


def net() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 15 * 15, 3)]
    return nn.Sequential(*layers).eval().requires_grad_(False)


def images(count: int = 5) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


class FailsFor(Constant):
    """Raises for the images of one id."""

    def _fill(self, inputs: Tensor, sample_ids: Tensor, draw: int) -> Tensor:
        if (sample_ids == 2).any():
            raise RuntimeError("no infill for sample 2")
        return super()._fill(inputs, sample_ids, draw)


def study(infills: dict[str, object], inputs: Tensor | None = None, **options: object) -> Findings:
    model = net()
    generators = {
        "occlusion": lambda infill, seed: Occlusion(model, infill, window=8, stride=8),
        "rise": lambda infill, seed: RISE(model, infill, masks=48, grid=4, seed=seed, weighting="centred"),
    }
    given = images() if inputs is None else inputs
    others = {"gradient": Gradient(model)}
    return infill_study(model, given, "predicted", infills, generators, others=others, steps=STEPS, **options)


def numbers(findings: Findings, question: str) -> dict[str, float | Summary]:
    return next(dict(each.numbers) for each in findings.findings if question in each.question)


def test_two_names_of_one_infill_change_nothing() -> None:
    """Same pixels under two names: maps and rankings agree exactly, and none is favoured by its own."""
    result = study({"grey": Constant(0.5), "per channel": Constant((0.5, 0.5, 0.5))})
    for method in ("occlusion", "rise"):
        assert numbers(result, f"maps of {method}")["spearman, between infills"].mean == 1.0
        assert numbers(result, f"{method} favoured")["fidelity"].mean == 0.0
    assert numbers(result, "maps of rise")["spearman, noise floor"].mean < 0.999
    assert numbers(result, "survive another")["fidelity, flips"].mean == 0.0
    stable = numbers(result, "more stably")
    assert stable["fidelity, rho"].mean == stable["mif, rho"].mean == pytest.approx(1.0)
    assert stable["fidelity - mif, rho"].mean == 0.0


def test_equal_seeds_give_equal_studies_and_infills_differ(tmp_path: Path) -> None:
    infills = {"grey": Constant(0.5), "noise": UniformNoise(0.0, 1.0, 0)}
    truth = torch.zeros(5, 32, 32, dtype=torch.bool)
    truth[:, 4:12, 4:12] = True
    one, other = study(infills, truth=truth), study(infills, truth=truth, out=tmp_path / "kept")
    assert one.to_dict() == other.to_dict() and repr(one.tables) == repr(other.tables)  # NaN is NaN there
    assert numbers(one, "maps of rise")["spearman, between infills"].mean < 1
    shards = sorted((tmp_path / "kept").rglob("results.parquet"))
    before = [path.stat().st_mtime_ns for path in shards]
    again = study(infills, truth=truth, out=tmp_path / "kept")
    assert shards and before == [path.stat().st_mtime_ns for path in shards]  # not scored again
    assert again.to_dict() == one.to_dict()


def test_tables_hold_what_was_measured(tmp_path: Path) -> None:
    result = study({"grey": Constant(0.5), "black": Constant(0.0)})
    paths = result.write_tables(tmp_path / "tables")
    read = {path.stem: pyarrow.parquet.read_table(path).to_pylist() for path in paths}
    assert {name: len(rows) for name, rows in read.items()} == {
        "neutrality": 2 * 8 * 5,
        "similarity": 2 * 6 * (1 + 2 * 2) * 5,  # groups, measures, pair and two references of two maps, images
        "scores": 3 * 2 * 5 * 5,  # areas, metric infills, maps, images
    }
    scores = {(row["metric"], row["setting"], row["map"], row["image"]): row["value"] for row in read["scores"]}
    for (metric, setting, name, image), value in scores.items():
        if metric == "fidelity":
            mif, lif = (scores[area, setting, name, image] for area in ("mif", "lif"))
            assert 0 <= mif <= 1 and 0 <= lif <= 1 and value == pytest.approx(lif - mif)
    drawn = next(matrix for each in result.findings for matrix in each.matrices if matrix.title.endswith("metric infill: mif"))
    column = [scores["mif", "black", "gradient", image] for image in range(5)]
    assert drawn.values[drawn.rows.index("gradient")][drawn.columns.index("black")] == pytest.approx(sum(column) / 5)
    assert result.facts["N6"].startswith("mean change of the target's probability") and result.facts["N6"].endswith("neutral: 0")
    result.write_json(tmp_path / "findings.json")
    content = json.loads((tmp_path / "findings.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert [each["question"] for each in content["findings"]] == [each.question for each in result.findings]
    assert all(each.verdict.endswith(".") and each.verdict in result.to_text() for each in result.findings)
    kinds = {row["second"] for row in read["similarity"]}
    assert kinds == {"black", "another seed", "another image"}  # both references are always there


def test_an_infill_that_fails_for_a_sample_costs_that_sample_alone() -> None:
    result = study({"grey": Constant(0.5), "fails": FailsFor(0.0)})
    statuses = {(what, status): count for what, status, count in result.statuses}
    assert statuses["infill fails", "infill_failed"] == 1
    assert statuses["rise@grey scored with fails", "nonfinite_score"] == 1
    assert statuses["rise@fails scored with grey", "nonfinite_map"] == 1
    assert ("rise@grey scored with grey", "nonfinite_score") not in statuses
    between = numbers(result, "maps of rise")["spearman, between infills"]
    assert (between.images, between.left_out) == (4, 1)
    assert numbers(result, "survive another")["fidelity, flips"].images == 4


def test_constant_maps_one_image_and_a_broken_image() -> None:
    inputs = images(2)
    own = study({"own": OtherImage(inputs[:1], 0), "grey": Constant(0.5)}, inputs[:1])
    rows = [row for row in own.tables["similarity"] if row["group"] == "occlusion" and row["second"] == "grey"]
    assert {row["status"] for row in rows} == {"degenerate_map"}
    assert "no interval: too few images" in own.to_text() or "not measured" in own.to_text()
    inputs[1, 0, 0, 0] = torch.nan
    broken = study({"grey": Constant(0.5), "black": Constant(0.0)}, inputs)
    assert {(what, status) for what, status, _ in broken.statuses} >= {("infill grey", "nonfinite_input")}
    assert numbers(broken, "survive another")["fidelity, flips"].images == 1


def test_hyperparameters_beside_the_noise_of_the_seed() -> None:
    """The same choice again is no change; another seed is one; fewer masks are further away."""
    model = net()

    def rise(masks: int = 200, seed: int = 0) -> RISE:
        return RISE(model, Constant(0.5), masks=masks, grid=4, seed=seed, weighting="centred")

    families = {"rise": {"usual": rise(), "copy = same": rise(), "masks = 20": rise(masks=20), "masks = 199": rise(masks=199)}}
    result = hyperparameter_study(
        model, images(8), 0, families, infill=Constant(0.5), again={"rise": rise(seed=1)}, steps=(2, 4), score="logit"
    )
    copy, masks, steps = result.findings
    assert (
        copy.question == "Does the choice of copy matter for rise?"
        and "(usual): 1.00 [1.00, 1.00] at copy = same." in copy.verdict
    )
    assert copy.numbers["copy = same"].mean == 1.0 and "None is beyond the noise of the seed" in copy.verdict
    assert masks.numbers["masks = 199"].mean > masks.numbers["another seed"].mean > -1
    assert "Beyond the noise of the seed: masks = 20. Not beyond it: masks = 199." in masks.verdict and len(masks.matrices) == 2
    assert "step size" in steps.question and -1 <= steps.numbers["fidelity, tau"].mean <= 1
    assert {row["setting"] for row in result.tables["scores"]} == {"2 steps", "4 steps"}


def test_hyperparameters_without_a_noise_floor_or_with_one_image_decide_nothing() -> None:
    model = net()
    families = {"occlusion": {name: Occlusion(model, Constant(0.5), window=w) for name, w in (("usual", 8), ("window = 16", 16))}}
    again = {"occlusion": Occlusion(model, Constant(0.5), window=9)}
    without = hyperparameter_study(model, images(), 0, families, infill=Constant(0.5), steps=(2, 4, 2))
    assert without.findings[0].verdict.endswith("; no noise floor was measured.")
    assert [row["setting"] for row in without.tables["scores"] if row["metric"] == "mif" and row["image"] == 0] == [
        *["2 steps"] * 2,
        *["4 steps"] * 2,
    ]  # a number of steps that is given twice counts once
    one = hyperparameter_study(model, images(1), 0, families, infill=Constant(0.5), again=again, steps=(2, 4))
    assert one.findings[0].verdict.endswith(". Too few images for a conclusion: window = 16.") and "nan" not in one.to_text()


def test_no_image_at_all_measures_nothing() -> None:
    model, infills = net(), {"grey": Constant(0.5), "black": Constant(0.0)}
    families = {"occlusion": {name: Occlusion(model, Constant(0.5), window=w) for name, w in (("usual", 8), ("window = 16", 16))}}
    result = [
        study(infills, images(0)),
        hyperparameter_study(model, images(0), 0, families, infill=Constant(0.5), steps=(2, 4)),
    ]
    for each in result:
        assert all("not measured" in one.verdict.lower() for one in each.findings) and "nan" not in each.to_text()
        assert all(not rows for rows in each.tables.values()) and each.statuses == []


def test_both_seeds_of_a_generator_are_counted_apart() -> None:
    """The second seed fails: that is said of it, and the first has its maps."""

    def method(seed: int):
        def maps(inputs: Tensor, target: Tensor) -> Tensor:
            if seed == 1:
                raise RuntimeError("no maps with this seed")
            return inputs.mean(1)

        return maps

    infills = {"grey": Constant(0.5), "black": Constant(0.0)}
    with pytest.warns(RuntimeWarning, match="'rise@grey, another seed' failed"):
        result = infill_study(net(), images(), 0, infills, {"rise": lambda infill, seed: method(seed)}, steps=2)
    assert result.statuses == [(f"rise@{name}, another seed", "method_failed", 5) for name in infills]


@pytest.mark.parametrize("side", [6, 7, 23, 24, 128])
def test_small_images_are_compared_by_what_their_size_allows(side: int) -> None:
    maps = {name: torch.rand(2, side, side, generator=torch.Generator().manual_seed(seed)) for seed, name in enumerate("ab")}
    measures = infill_measures(torch.zeros(2, 3, side, side))
    assert (("ssim" in measures), ("hog" in measures)) == (side >= 7, side >= 24)
    assert all(values.isfinite().all() for values in pairwise_similarity(maps, measures=measures).values.values())


def test_refusals() -> None:
    model, grey = net(), Constant(0.5)
    with pytest.raises(ValueError, match="infill_study: expected infills at least two to compare, got 1"):
        study({"grey": grey})
    with pytest.raises(ValueError, match="infill_study: expected generators at least one method that has an infill, got none"):
        infill_study(model, images(), 0, {"a": grey, "b": Constant(0.0)}, {})
    with pytest.raises(ValueError, match="expected steps in"):
        infill_study(model, images(), 0, {"a": grey, "b": Constant(0.0)}, {"x": lambda b, s: Gradient(model)}, steps=0)
    one = {"gradient": {"usual": Gradient(model)}}
    with pytest.raises(ValueError, match=r"expected families\['gradient'\] at least two variants to compare, got 1"):
        hyperparameter_study(model, images(), 0, one, infill=grey)
    two = {"gradient": {"usual": Gradient(model), "again = 1": Gradient(model)}}
    with pytest.raises(ValueError, match="at least one family, and two numbers of steps"):
        hyperparameter_study(model, images(), 0, two, infill=grey, steps=(4, 4))
