"""The arithmetic of the studies, on numbers that can be checked by hand."""

import json
from pathlib import Path

import pytest

from .studies import choices
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
    found = summary({"plain, random": published, "variant": variant}, resamples=20)
    row = found["variant"]
    assert (row["times_fewer"], row["times_fewer_low"], row["times_fewer_high"]) == pytest.approx((8.0, 8.0, 8.0))
    assert found["plain, random"]["times_fewer"] == pytest.approx(1.0)


def test_choices_keeps_the_study_that_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both studies are asked for, then one of them; numbers are rounded, and no partial file is left."""
    asked: list[list[str]] = []

    def study(words: list[str]) -> int:
        asked.append(words)
        place = Path(words[words.index("--out") + 1])
        (place / "findings.json").write_text(json.dumps({"title": f"{words[1]} {len(asked)}", "number": 0.123456789}))
        return 0

    monkeypatch.setattr(choices, "command", study)
    out = tmp_path / "new" / "choices.json"
    assert choices.main(["--out", str(out), "--images", "12"]) == 0
    assert choices.main(["--out", str(out), "--images", "12", "--only", "hyperparameters"]) == 0
    found = json.loads(out.read_text())["studies"]
    assert {name: each["title"] for name, each in found.items()} == {"infill": "infill 1", "hyperparameters": "hyperparameters 3"}
    assert found["infill"]["number"] == 0.12346 and all(each["date"] and each["commit"] for each in found.values())
    assert [words[3] for words in asked] == ["12", "4", "4"]
    assert [each.name for each in out.parent.iterdir()] == ["choices.json"]


def test_an_interval_is_of_the_values() -> None:
    """Equal values have no width; others have their mean between two of them; the numbers are counted."""
    assert interval([0.5] * 7) == pytest.approx({"mean": 0.5, "low": 0.5, "high": 0.5, "count": 7})
    found = interval([0.0, 1.0] * 10)
    assert 0.2 < found["low"] < found["mean"] == 0.5 < found["high"] < 0.8 and found["count"] == 20
