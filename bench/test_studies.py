"""The arithmetic of the studies, on numbers that can be checked by hand."""

import json
from pathlib import Path

import pytest

from .studies import choices, choices_table
from .studies.rise_masks import ANCHOR, masks_needed, summary
from .studies.soundness_tv import interval


def test_masks_needed_is_between_its_neighbours_on_a_logarithmic_scale() -> None:
    """Half way from 0.4 to 0.6 is half way from 16 to 64 in the logarithm: 32."""
    curve = {16: 0.4, 64: 0.6, 256: 0.9}
    assert masks_needed(curve, 0.5) == pytest.approx(32.0)
    assert masks_needed(curve, 0.9) == pytest.approx(256.0)
    assert masks_needed(curve, 0.1) == 16.0  # no smaller run was made: at least this many times fewer
    assert masks_needed(curve, 0.95) == 256.0  # not reached


def test_summary_counts_how_many_times_fewer() -> None:
    """A variant that reaches the anchor's correlation with an eighth of the masks, in every scene and run."""
    published = {ANCHOR // 8: [[0.1, 0.1]] * 3, ANCHOR: [[0.5, 0.5]] * 3}
    variant = {ANCHOR // 8: [[0.5, 0.5]] * 3, ANCHOR: [[0.9, 0.9]] * 3}
    result = summary({"plain, random": published, "variant": variant}, resamples=20)
    row = result["variant"]
    assert (row["times_fewer"], row["times_fewer_low"], row["times_fewer_high"]) == pytest.approx((8.0, 8.0, 8.0))
    assert result["plain, random"]["times_fewer"] == pytest.approx(1.0)


def test_choices_keeps_the_study_that_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both studies are asked for, then one of them; numbers are rounded, and no partial file is left."""
    requested: list[list[str]] = []

    def study(words: list[str]) -> int:
        requested.append(words)
        place = Path(words[words.index("--out") + 1])
        (place / "findings.json").write_text(json.dumps({"title": f"{words[1]} {len(requested)}", "number": 0.123456789}))
        return 0

    monkeypatch.setattr(choices, "command", study)
    out = tmp_path / "new" / "choices.json"
    assert choices.main(["--out", str(out), "--images", "12"]) == 0
    assert choices.main(["--out", str(out), "--images", "12", "--only", "hyperparameters"]) == 0
    result = json.loads(out.read_text())["studies"]
    assert {name: each["title"] for name, each in result.items()} == {
        "infill": "infill 1",
        "hyperparameters": "hyperparameters 3",
    }
    assert result["infill"]["number"] == 0.12346 and all(each["date"] and each["commit"] for each in result.values())
    assert [words[3] for words in requested] == ["12", "4", "4"]
    assert [each.name for each in out.parent.iterdir()] == ["choices.json"]


def test_an_interval_is_of_the_values() -> None:
    """Equal values have no width; others have their mean between two of them; the numbers are counted."""
    assert interval([0.5] * 7) == pytest.approx({"mean": 0.5, "low": 0.5, "high": 0.5, "count": 7})
    result = interval([0.0, 1.0] * 10)
    assert 0.2 < result["low"] < result["mean"] == 0.5 < result["high"] < 0.8 and result["count"] == 20


def test_tables_of_choices_show_each_number_where_it_belongs() -> None:
    """One finding of each kind, every number different."""

    def spread(mean: float | None) -> dict[str, float | None]:
        return {"mean": mean, "low": None if mean is None else mean - 0.1, "high": None if mean is None else mean + 0.1}

    neutral = {f"N{k} {name}": spread(k + less) for k in range(1, 9) for name, less in (("grey", 0.5), ("blur", 0.25))}
    kinds = {"spearman, between infills": spread(0.6), "spearman, noise floor": spread(None), "spearman, chance": spread(0.2)}
    flips, stable = {}, {"fidelity - mif, rho": spread(0.01), "fidelity - mif, tau": spread(0.02)}
    for place, area in enumerate(("mif", "lif", "fidelity")):
        flips |= {f"{area}, flips": spread(0.3 + place), f"{area}, decided flips": 0.4 + place}
        flips |= {f"{area}, flips with other images": 0.5 + place}
        stable |= {f"{area}, rho": spread(0.6 + place), f"{area}, tau": spread(0.7 + place)}
    variants = {"masks = 1000": spread(0.9), "masks = 50": spread(0.5), "another seed": spread(0.7)}
    variants |= {"an unrelated image": spread(0.1)}
    steps = {f"{area}, {kind}": 0.8 for area in ("mif", "lif", "fidelity") for kind in ("tau", "flips", "decided flips")}

    def study(**numbers: dict[str, object]) -> dict[str, object]:
        findings = [{"question": question, "verdict": "So.", "numbers": given} for question, given in numbers.items()]
        return {"command": "c", "facts": {"images": "4, of", "model": "m", "RISE": "r", "seed": "0"}, "findings": findings}

    infill = {"Which is most neutral?": neutral, "Do maps of rise depend on the infill?": kinds}
    infill |= {"Does the order survive another infill?": flips, "Is it ranked more stably?": stable}
    choice = {"Does the choice of masks matter for rise?": variants, "Does the step size matter?": steps}
    text = choices_table.tables({"studies": {"infill": study(**infill), "hyperparameters": study(**choice)}})
    rows = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    blur = "| blur | 1.25 | 2.25 | 3.25 | 4.25 | 5.25 | 6.25 [6.15, 6.35] | 7.25 [7.15, 7.35] | 8.25 |"
    assert rows[1] == blur and rows[2].startswith("| grey | 1.50")  # the smaller N6 first
    assert "| rise | 0.60 [0.50, 0.70] | not measured | 0.20 [0.10, 0.30] |" in rows
    assert "| lif | 1.60 [1.50, 1.70] | 1.70 [1.60, 1.80] | 1.30 [1.20, 1.40] | 1.40 | 1.50 |" in rows
    assert "| fidelity less mif | 0.01 [-0.09, 0.11] | 0.02 [-0.08, 0.12] |  |  |  |" in rows
    masks = [row for row in rows if row.startswith("| rise | masks")]
    assert masks[0] == "| rise | masks = 50 | 0.50 [0.40, 0.60] | 0.70 [0.60, 0.80] | 0.10 [0.00, 0.20] |"
    assert "masks = 1000" in masks[1] and rows[-1] == "| fidelity | 0.80 | 0.80 | 0.80 |"
    assert "- **Does the step size matter?** So." in text
