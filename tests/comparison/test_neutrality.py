"""Neutrality of infills: closed forms, draws away from the object, and infills that fail."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from torch import Tensor

from saliency_ext.comparison import FaultTolerantInfill, fault_tolerant, learn_neutral_image, neutrality
from saliency_ext.comparison._random_squares import away_from
from saliency_ext.infill import Blur, Constant, GaussianNoise, OtherImage
from saliency_ext.protocols import MaskedInfill


def two_classes(inputs: Tensor) -> Tensor:
    """Logits (mean of the pixels, 0)."""
    mean = inputs.double().mean((1, 2, 3))
    return torch.stack([mean, torch.zeros_like(mean)], 1)


def images(count: int = 3, seed: int = 0) -> Tensor:
    return torch.rand(count, 2, 12, 12, generator=torch.Generator().manual_seed(seed))


def box_truth(count: int = 3) -> Tensor:
    truth = torch.zeros(count, 12, 12, dtype=torch.bool)
    truth[:, 2:6, 3:8] = True
    return truth


class FailsFor(Constant):
    """Raises for the images of one id."""

    def _fill(self, inputs: Tensor, sample_ids: Tensor, draw: int) -> Tensor:
        if (sample_ids == 1).any():
            raise RuntimeError("no infill for sample 1")
        return super()._fill(inputs, sample_ids, draw)


class Imputing(Constant):
    """Reads the mask; raises for the images of one id."""

    def fill_removed(self, inputs: Tensor, remove: Tensor, sample_ids: Tensor, draw: int = 0) -> Tensor:
        if (sample_ids == 1).any():
            raise RuntimeError("no imputation for sample 1")
        return torch.where(remove[:, :, None], 0.5, inputs)


def test_closed_forms_on_a_linear_model() -> None:
    """Logits (m, 0) with m the mean: on grey .4 p = sigmoid(.4); a square of share a moves the mean by a (.4 - its own mean)."""
    inputs, truth = images(), box_truth()
    prior = torch.tensor([0.25, 0.75], dtype=torch.float64)
    result = neutrality(two_classes, inputs, 0, {"grey": Constant(0.4)}, truth=truth, prior=prior, area=0.1, squares=5, steps=4)
    p = 1 / (1 + math.exp(-0.4))
    entropy = -(p * math.log(p) + (1 - p) * math.log(1 - p))
    expected = {
        "N1": p,
        "N2": p,
        "N3": entropy / math.log(2),
        "N4": p * math.log(p / 0.25) + (1 - p) * math.log((1 - p) / 0.75),
        "N5": 0.2,  # of 0.4 and 0
    }
    for measure, value in expected.items():
        assert result.values[measure][0].tolist() == pytest.approx([value] * 3, abs=1e-6), measure
    keep, _ = away_from(truth, torch.arange(3), (12, 12), 0.1, 5, 0)
    filled = inputs[:, None] * keep[:, :, None] + 0.4 * (1 - keep[:, :, None])
    p_filled, p_clean = (two_classes(x)[:, 0].sigmoid() for x in (filled.flatten(0, 1), inputs))
    change = (p_filled.view(3, 5) - p_clean[:, None]).abs().mean(1)
    assert result.values["N6"][0].tolist() == pytest.approx(change.tolist(), abs=1e-6)
    inside = ((inputs - 0.4).abs().mean(1) * truth).sum((1, 2)) / truth.sum((1, 2))
    assert result.values["N8"][0].tolist() == pytest.approx(inside.tolist(), abs=1e-6)
    top = result.curves[0]
    assert top[:, 0].tolist() == pytest.approx(p_clean.tolist(), abs=1e-6)
    assert top[:, -1].tolist() == pytest.approx([p] * 3, abs=1e-6)
    assert result.fractions.tolist() == [0, 0.25, 0.5, 0.75, 1]
    area = (top[:, 1:-1].sum(1) + (top[:, 0] + top[:, -1]) / 2) / 4
    assert result.values["N7"][0].tolist() == pytest.approx(area.tolist())
    assert result.status == [["ok"] * 3]


@pytest.mark.parametrize("logits", [(1.0, 1.0, 1.0), (1.0, 1.0, 1.5)])
def test_a_constant_model_sees_nothing_in_context(logits: tuple[float, ...]) -> None:
    """N6 = 0 always; N5 = 0 and N3 = 1 exactly where the logits are equal."""
    result = neutrality(
        lambda x: torch.tensor(logits).expand(len(x), 3), images(), 0, {"noise": GaussianNoise(0.0, 1.0, 3, draws=2)}
    )
    equal = len(set(logits)) == 1
    assert result.values["N6"].abs().max() == 0
    assert (result.values["N5"] == 0).all() == equal
    assert torch.allclose(result.values["N3"], torch.ones(1, 3).double()) == equal
    assert result.values["N4"].abs().max() < 1e-6  # the prior is the mean of the answers
    assert result.values["N8"].isnan().all()  # no truth


def test_the_infill_of_an_image_with_itself_is_blind() -> None:
    inputs = images(1)
    result = neutrality(two_classes, inputs, "predicted", {"own": OtherImage(inputs, 0)}, truth=box_truth(1))
    assert result.values["N8"].item() == 0 and result.values["N6"].item() < 1e-12
    assert result.curves.amax() - result.curves.amin() < 1e-6


def test_squares_miss_the_object_everywhere_as_likely() -> None:
    truth = torch.zeros(1, 6, 6, dtype=torch.bool)
    truth[0, 2, 2] = True
    keep, fits = away_from(truth, torch.tensor([4]), (6, 6), 4 / 36, 4000, seed=1)
    assert fits.all() and (keep[0][:, truth[0]] == 1).all()  # never on the object
    assert ((1 - keep).sum((2, 3)) == 4).all()  # 2 x 2
    corners = (1 - keep[0]).flatten(1).argmax(1)
    counts = torch.bincount(corners, minlength=36)
    free = [top * 6 + left for top in range(5) for left in range(5) if not (top in (1, 2) and left in (1, 2))]
    assert sorted(counts.nonzero().flatten().tolist()) == free  # 25 places less 4
    assert counts[free].min() > 4000 / 21 * 0.6
    none, fits = away_from(torch.ones_like(truth), torch.tensor([4]), (6, 6), 0.1, 2, seed=1)
    assert not fits.any() and none.shape == (1, 2, 6, 6)


def test_an_object_that_fills_the_image_leaves_no_room() -> None:
    result = neutrality(two_classes, images(), 0, {"grey": Constant(0.4)}, truth=torch.ones(3, 12, 12, dtype=torch.bool))
    assert result.values["N6"].isnan().all() and result.values["N1"].isfinite().all()
    assert result.summary("N6", "grey").left_out == 3


def test_an_infill_that_fails_for_a_sample_has_a_status() -> None:
    inputs, truth = images(), box_truth()
    infills = {"fails": FailsFor(0.4), "imputes": Imputing(0.5), "grey": Constant(0.4)}
    result = neutrality(two_classes, inputs, 0, infills, truth=truth)
    assert result.status == [["ok", "infill_failed", "ok"], ["ok", "infill_failed", "ok"], ["ok"] * 3]
    assert result.reasons["fails"] == {1: "RuntimeError: no infill for sample 1"} and set(result.reasons) == {"fails", "imputes"}
    for measure, numbers in result.values.items():
        assert numbers[:2, 1].isnan().all(), measure
        assert torch.equal(numbers[0, [0, 2]], numbers[2, [0, 2]]), measure
    assert result.curves[0, 1].isnan().all()


def test_a_broken_image_has_a_status() -> None:
    inputs = images()
    inputs[2, 0, 0, 0] = torch.nan
    result = neutrality(two_classes, inputs, 0, {"grey": Constant(0.4)})
    assert result.status == [["ok", "ok", "nonfinite_input"]]
    assert result.values["N1"].isfinite().tolist() == [[True, True, False]]


def test_an_image_does_not_feel_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, truth, prior = images(5), box_truth(5), torch.tensor([0.5, 0.5])
    infills = {"noise": GaussianNoise(0.0, 1.0, 3, draws=2), "blur": Blur(2.0)}
    before, state = inputs.clone(), torch.get_rng_state()
    whole = neutrality(two_classes, inputs, 0, infills, truth=truth, prior=prior)
    ids = torch.tensor([3, 1])
    some = neutrality(two_classes, inputs[ids], 0, infills, truth=truth[ids], prior=prior, sample_ids=ids)
    monkeypatch.setattr(sys.modules["saliency_ext.comparison.neutrality"], "_CHUNK", 2)
    parts = neutrality(two_classes, inputs.to(memory_format=torch.channels_last), 0, infills, truth=truth, prior=prior)
    for measure, numbers in whole.values.items():
        assert torch.equal(numbers[:, ids], some.values[measure]), measure
        assert torch.equal(numbers, parts.values[measure]), measure
    assert torch.equal(inputs, before) and torch.equal(state, torch.get_rng_state())


def test_no_image_at_all() -> None:
    result = neutrality(two_classes, images()[:0], 0, {"grey": Constant(0.4)})
    assert result.values["N7"].shape == (1, 0) and result.status == [[]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"infills": {}}, "expected infills a mapping with at least one infill"),
        ({"infills": {"a": 0.5}}, "expected infill to be an Infill, got float"),
        ({"area": 1.5}, r"expected area in \(0, 1\], got 1.5"),
        ({"area": 0.0}, "expected area > 0 and finite, got 0"),
        ({"prior": torch.tensor([0.5, 0.6])}, "expected prior to be probabilities that sum to 1"),
        ({"prior": torch.ones(3) / 3}, r"expected prior of shape \(K,\) = \(2,\)"),
        ({"truth": torch.zeros(2, 12, 12, dtype=torch.bool)}, r"expected truth of shape \(N, H, W\)"),
        ({"inputs": images()[0]}, r"expected inputs of shape \(N, C, H, W\)"),
        ({"squares": 0}, "expected squares in"),
        ({"steps": 0}, "expected steps in"),
    ],
)
def test_refusals(options: dict[str, object], message: str) -> None:
    given = {"inputs": images(), "infills": {"grey": Constant(0.4)}} | options
    with pytest.raises((TypeError, ValueError), match=f"neutrality: {message}"):
        neutrality(two_classes, given.pop("inputs"), 0, given.pop("infills"), **given)


def test_a_guard_changes_no_pixel() -> None:
    inputs, ids = images(), torch.arange(3)
    infill = GaussianNoise(0.0, 1.0, 3)
    guard = fault_tolerant(infill)
    assert torch.equal(guard.fill(inputs, ids, 1), infill.fill(inputs, ids, 1))
    assert (guard.name, guard.key, guard.parameters, guard.draws) == (infill.name, infill.key, infill.parameters, infill.draws)
    assert not isinstance(guard, MaskedInfill) and isinstance(fault_tolerant(Imputing(0.5)), MaskedInfill)
    assert isinstance(guard, FaultTolerantInfill) and not guard.failed


def test_a_guard_knows_the_failures_of_its_own_use_alone() -> None:
    """The same ids are other images the next time: a guard that is given again starts anew."""
    used = fault_tolerant(FailsFor(0.4))
    used.fill(images(), torch.arange(3))
    assert list(used.failed) == [1]
    again = fault_tolerant(used)
    assert again.infill is used.infill and not again.failed
    used.failed[0] = "of another use"
    assert neutrality(two_classes, images(), 0, {"fails": used}).status == [["ok", "infill_failed", "ok"]]


def breaks_on(bright: float):
    """A model whose logits are NaN for images that are brighter."""
    return lambda x: two_classes(x) + torch.where(x.mean((1, 2, 3)) > bright, torch.nan, 0.0)[:, None]


def test_an_image_that_the_model_cannot_answer_costs_itself_alone() -> None:
    inputs = images()
    inputs[1] += 2
    result = neutrality(breaks_on(1.5), inputs, 0, {"grey": Constant(0.4)})
    alone = neutrality(breaks_on(1.5), inputs[[0, 2]], 0, {"grey": Constant(0.4)}, sample_ids=torch.tensor([0, 2]))
    assert result.status == [["ok", "nonfinite_score", "ok"]]
    for measure in ("N1", "N4", "N6", "N7"):
        assert result.values[measure][0, 1].isnan(), measure
        assert result.values[measure][0, [0, 2]].tolist() == pytest.approx(alone.values[measure][0].tolist()), measure
    assert result.values["N4"][0, 0].isfinite()  # the prior is made of the answers there are


def test_a_filled_square_without_an_answer_is_no_ok() -> None:
    """Clean, the pure infill and the steps of the curve have answers; a dark square of a fifth of the image has none."""
    odd = lambda x: two_classes(x) + torch.where((x < 0).float().mean((1, 2, 3)).sub(0.2).abs() < 0.1, torch.nan, 0.0)[:, None]  # noqa: E731
    result = neutrality(odd, images(), 0, {"dark": Constant(-1.0)}, area=0.2, steps=2)
    assert result.status == [["nonfinite_score"] * 3] and result.values["N1"].isnan().all()
    assert neutrality(odd, images(), 0, {"dark": Constant(-1.0)}, area=0.5, steps=2).status == [["ok"] * 3]


def test_an_infill_that_reads_the_mask_hides_what_it_imputes() -> None:
    """N8 is |x - 0.5| in the object, what `fill_removed` puts there, and not |x - 0.9|, the fill without a mask."""
    inputs, truth, ids = images(), box_truth(), torch.tensor([4, 5, 6])
    result = neutrality(two_classes, inputs, 0, {"imputes": Imputing(0.9)}, truth=truth, sample_ids=ids)
    inside = ((inputs - 0.5).abs().mean(1) * truth).sum((1, 2)) / truth.sum((1, 2))
    assert result.values["N8"][0].tolist() == pytest.approx(inside.tolist(), abs=1e-6)
    empty = neutrality(two_classes, inputs, 0, {"imputes": Imputing(0.9)}, truth=torch.zeros_like(truth), sample_ids=ids)
    assert empty.values["N8"].isnan().all() and empty.status == [["ok"] * 3]


# ---- the learned image


def test_a_learned_image_is_undecided_and_smooth() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(108, 4))
    start = torch.full((3, 6, 6), 0.5)
    with torch.inference_mode():
        result = learn_neutral_image(model, start, steps=200, low=0.0, high=1.0)
    assert result.divergence[1] < 0.1 * result.divergence[0]
    assert min(result.losses) < 0.2 * result.losses[0] and len(result.losses) == 201
    assert result.image.min() >= 0 and result.image.max() <= 1 and torch.equal(start, torch.full((3, 6, 6), 0.5))
    assert all(parameter.grad is None for parameter in model.parameters()) and model.training
    again = learn_neutral_image(model, start, steps=200, low=0.0, high=1.0)
    assert torch.equal(result.image, again.image)
    rough = learn_neutral_image(model, start, steps=200, smoothness=0.0)
    assert rough.image.diff(dim=1).abs().mean() > result.image.diff(dim=1).abs().mean()


def test_a_learned_image_stays_in_its_range_from_the_start_on() -> None:
    """Zeros are the smallest loss without a range: they must not be returned where a pixel is at least 0.25."""
    result = learn_neutral_image(two_classes, torch.zeros(2, 3, 3), steps=5, low=0.25, high=0.5)
    assert result.image.min() >= 0.25 and result.image.max() <= 0.5
    assert learn_neutral_image(two_classes, torch.zeros(2, 3, 3), steps=5).image.abs().max() == 0
    above = learn_neutral_image(two_classes, torch.ones(2, 3, 3), steps=1, rate=1e-9, high=0.5)
    assert above.image.max() <= 0.5


def test_a_loss_that_is_not_finite_ends_the_search() -> None:
    with pytest.raises(RuntimeError, match="learn_neutral_image: expected finite logits at the start, got a loss of nan; give"):
        learn_neutral_image(breaks_on(0.5), torch.ones(2, 3, 3))
    down = lambda x: two_classes(x) + torch.where(x.mean((1, 2, 3)) < 0.7, torch.nan, 0.0)[:, None]  # noqa: E731
    result = learn_neutral_image(down, torch.ones(2, 3, 3), steps=50)
    assert 1 < len(result.losses) < 51 and all(math.isfinite(loss) for loss in result.losses)
    assert result.image.isfinite().all() and result.divergence[1] < result.divergence[0]


def test_learning_refuses_what_it_cannot_use() -> None:
    with pytest.raises(ValueError, match="learn_neutral_image: expected low <= high = 0, got 1"):
        learn_neutral_image(two_classes, torch.zeros(2, 3, 3), low=1.0, high=0.0)
    with pytest.raises(ValueError, match="learn_neutral_image: expected high >= -inf and finite, got nan"):
        learn_neutral_image(two_classes, torch.zeros(2, 3, 3), high=math.nan)
    with pytest.raises(ValueError, match=r"learn_neutral_image: expected start of shape \(C, H, W\), floating"):
        learn_neutral_image(two_classes, torch.zeros(1, 2, 3, 3))
    with pytest.raises(RuntimeError, match="do not depend differentiably"):
        learn_neutral_image(lambda x: x.detach().flatten(1), torch.zeros(2, 3, 3))
    with pytest.raises(ValueError, match="expected steps in"):
        learn_neutral_image(two_classes, torch.zeros(2, 3, 3), steps=0)
