"""ROAD and its kin: the curves, their axis and polarity; how well masks are betrayed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from saliency_ext.infill import Constant, GaussianNoise, Harmonic, ImageMean, NoisyLinear
from saliency_ext.metrics import ROAD, MaskDetectability, PercentileGap, ROADCombined, preset
from saliency_ext.metrics.base import MetricOptions
from saliency_ext.metrics.mask_detectability import energy_order
from saliency_ext.metrics.registry import make_metrics
from saliency_ext.ops import linear_infill, rank
from saliency_ext.perturbation import GivenFractions, StratifiedSteps
from tests.helpers import tensors
from tests.metrics.perturbation_cases import check_company_changes_no_bit, linear, make_model, run

SMOOTH = NoisyLinear(0.0)


def one_pixel(height: int = 6, width: int = 5) -> tuple[Tensor, Tensor]:
    """Images (1, 1, H, W) of zeros but for one pixel, and a map that knows it."""
    image = torch.zeros(1, 1, height, width)
    image[0, 0, 2, 2] = 1.0
    return image, torch.arange(float(height * width)).view(1, height, width).neg() + 100 * image[:, 0]


def test_by_hand() -> None:
    # Class 0 has the logit x(2, 2) - 1/4, class 1 has 0. The pixel goes first: it is filled from zeros, so MoRF loses at once.
    # It is the last of LeRF, which never removes it: it keeps class 0 at every fraction.
    image, saliency = one_pixel()
    weights = torch.zeros(1, 6, 5)
    weights[0, 2, 2] = 1.0
    model = lambda x: linear(weights)(x) - torch.tensor([0.25, 0.0])  # noqa: E731
    results, _ = run(model, image, {"map": saliency, "negated": -saliency}, [ROAD(SMOOTH)])
    result = results["map", "road"]
    assert float(result.values[0]) == 1.0 and result.parameters["infill"] == "noisy_linear"
    assert result.fractions is not None and result.fractions.tolist() == [0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9]
    assert result.curves["morf_accuracy"].tolist() == [[0.0] * 7] and result.curves["lerf_accuracy"].tolist() == [[1.0] * 7]
    gone, there = (torch.sigmoid(torch.tensor(x, dtype=torch.float64)) for x in (-0.25, 0.75))
    torch.testing.assert_close(result.curves["morf_probability"], gone.expand(1, 7))
    torch.testing.assert_close(result.curves["lerf_probability"], there.expand(1, 7))
    assert (float(result.extras["auc_morf"]), float(result.extras["auc_lerf"])) == (0.0, 1.0)
    assert float(results["negated", "road"].values[0]) == -1.0  # polarity
    by_probability, _ = run(model, image, saliency, [ROAD(SMOOTH, score="probability")])
    torch.testing.assert_close(by_probability["map", "road"].values, (there - gone)[None])


def test_probes_are_imputed_images() -> None:
    """Against a loop: remove, impute, ask, on the fractions removed."""
    model, images, maps = make_model(48), tensors(3, 3, 6, 8), tensors(3, 6, 8, seed=1)
    results, engine = run(model, images, maps, [ROAD(NoisyLinear(0.05, 3), score="probability")], target=2)
    ranks = rank(maps)
    for name, order in (("morf", ranks), ("lerf", 47 - ranks)):
        remove = torch.stack([order < int(48 * t) for t in (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)])
        filled = linear_infill(images, remove, noise_std=0.05, seed=3)
        scores = torch.stack([model(step).softmax(1)[:, 2] for step in filled], 1)
        torch.testing.assert_close(results["map", "road"].curves[f"{name}_probability"], scores.double(), rtol=1e-5, atol=1e-6)
    assert engine.counters.unique == 1 + 2 * 7


def test_company_changes_no_bit() -> None:
    model, images = make_model(48), tensors(4, 3, 6, 8)
    maps = {"a": tensors(4, 6, 8, seed=1), "b": tensors(4, 6, 8, seed=2)}
    metrics = [ROAD(NoisyLinear(0.05, 3, draws=2)), ROADCombined(), MaskDetectability(NoisyLinear())]
    check_company_changes_no_bit(model, images, maps, metrics)


def test_an_image_with_a_nan_has_a_status_and_harms_nobody() -> None:
    model, images, maps = make_model(48), tensors(3, 3, 6, 8), tensors(3, 6, 8, seed=1)
    metrics = [ROAD(score="probability"), ROADCombined(), MaskDetectability(NoisyLinear())]
    whole, _ = run(model, images, maps, metrics)
    broken = images.clone()
    broken[1, 0, 2, 2] = torch.nan
    results, _ = run(model, broken, maps, metrics)
    for pair in results:
        assert results[pair].status == ["ok", "nonfinite_input", "ok"] and results[pair].values[1].isnan()
        assert torch.equal(results[pair].values[[0, 2]], whole[pair].values[[0, 2]])


def test_combined_is_the_percentile_gap() -> None:
    model, images, maps = make_model(48), tensors(2, 3, 6, 8), tensors(2, 6, 8, seed=1)
    results, _ = run(model, images, maps, [ROADCombined(SMOOTH, "logit"), PercentileGap(SMOOTH, "logit")])
    assert torch.equal(results["map", "road_combined"].values, results["map", "percentile_gap"].values)
    assert ROADCombined().infill == NoisyLinear(0.01, 0) and ROADCombined().score == "probability"


def test_presets_bring_their_imputation() -> None:
    morf, lerf = preset("road", std=[0.5, 0.25, 0.125], seed=4)
    assert morf.infill == lerf.infill == NoisyLinear([0.02, 0.04, 0.08], 4) and morf.score == "accuracy"
    assert preset("road")[0].infill == NoisyLinear(0.01) and preset("road", infill=SMOOTH)[0].infill == SMOOTH
    (combined,) = preset("gradcam_road", seed=4)
    assert combined == ROADCombined(NoisyLinear(0.01, 4))
    with pytest.raises(ValueError, match="road: expected infill and std one of them, got both; the infill has its own noise"):
        preset("road", infill=SMOOTH, std=[1.0])
    with pytest.raises(ValueError, match=r"road: expected std > 0, got 0.0"):
        preset("road", std=[0.5, 0.0])


def test_catalogue_takes_an_imputing_infill_or_its_own() -> None:
    names = ["road", "road_combined"]
    assert all(m.infill == NoisyLinear(seed=9) for m in make_metrics(names, MetricOptions(Constant(0.5), seed=9)))
    assert all(m.infill == Harmonic() for m in make_metrics(names, MetricOptions(Harmonic(), seed=9)))


def test_channel_values_cannot_be_imputed() -> None:
    with pytest.raises(ValueError, match="ROAD: expected unit 'pixel' with an infill made from the pixels around, got 'channel_"):
        ROAD(unit="channel_value")


# ---- how well masks are betrayed


def test_energy_order_by_hand() -> None:
    # A line of 6 with a point of 1 in the middle of the kept part: energies (4 x - sum of the neighbours)^2 are, with the line
    # repeated above and below, (2 x - left - right)^2 = 0 0 0 1 4 1, and averaged over three: 0 0 1/3 5/3 2 5/2.
    # Removed are the first 3: each of their 9 pairs with a kept pixel has less energy.
    line = torch.tensor([[[[0.0, 0, 0, 0, 1.0, 0]]]])
    removed = torch.tensor([[[True, True, True, False, False, False]]])
    assert float(energy_order(line, removed)) == 0.0 and float(energy_order(line, ~removed)) == 1.0
    ends = torch.tensor([[[True, False, False, False, False, True]]])
    # 0 against 0 1/3 5/3 2: one tie, three losses; 5/2 against them: four wins. (1/2 + 4) / 8.
    assert float(energy_order(line, ends)) == 4.5 / 8
    assert energy_order(line, removed | True).isnan().all() and energy_order(line, removed & False).isnan().all()


def texture(count: int = 3) -> Tensor:
    """Noise in every pixel, and waves."""
    waves = torch.sin(torch.arange(32.0) / 3).view(32, 1) + torch.cos(torch.arange(32.0) / 4)
    return waves + 0.5 * (tensors(count, 3, 32, 32) - 0.5)


def detectability(infill: object, saliency: Tensor) -> Tensor:
    metric = MaskDetectability(infill)  # type: ignore[arg-type]
    results, engine = run(make_model(1024), texture(), saliency, [metric])
    assert engine.counters.unique == 1  # the clean image, which evaluate asks for all
    result = results["map", "mask_detectability"]
    assert result.curves["detectability"].shape == (3, 5) and result.status == ["ok"] * 3
    return result.values


def test_infills_betray_masks_as_they_should() -> None:
    centre = -((torch.arange(32.0).view(32, 1) - 15) ** 2 + (torch.arange(32.0) - 17) ** 2).expand(3, 32, 32)
    unlike = {name: detectability(infill, centre) for name, infill in {
        "colour": Constant(0.5), "noise": GaussianNoise(0.0, 2.0, 0), "harmonic": Harmonic(), "road": NoisyLinear(0.01),
        "matched": NoisyLinear(0.15),
    }.items()}  # fmt: skip
    assert all(((values >= 0) & (values <= 1)).all() for values in unlike.values())
    assert (unlike["colour"] > 0.5).all() and (unlike["noise"] > 0.5).all() and (unlike["road"] > 0.5).all()
    assert (unlike["matched"] < unlike["road"] - 0.3).all()  # noise as strong as the texture hides a solid mask
    assert (unlike["road"] < unlike["harmonic"] + 1e-9).all()


def test_undefined_where_nothing_can_be_told() -> None:
    metric = MaskDetectability(ImageMean(), GivenFractions((0.0, 1.0)))
    results, _ = run(make_model(1024), texture(), tensors(3, 32, 32), [metric])
    assert results["map", "mask_detectability"].status == ["undefined"] * 3
    with pytest.raises(TypeError, match="MaskDetectability: expected infill to be an Infill, got float"):
        MaskDetectability(0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="MaskDetectability: expected ties to be one of 'random', 'index', 'last_index', got"):
        MaskDetectability(ImageMean(), ties="first")
    with pytest.raises(TypeError, match="MaskDetectability: expected schedule to give the same counts to all images, got Strat"):
        MaskDetectability(ImageMean(), StratifiedSteps())
