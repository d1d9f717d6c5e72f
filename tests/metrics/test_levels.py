"""Plateaus of maps: what is mathematically flat is not decided by the last bit, in any metric that reads a map."""

import pytest
import torch

from saliency_ext import evaluate
from saliency_ext.attribution._upsampling import upsampled
from saliency_ext.infill import Constant
from saliency_ext.metrics import PercentileGap, PointingGame
from saliency_ext.metrics._levels import constant_rows, levelled, score_dtype
from saliency_ext.metrics.base import MetricOptions
from saliency_ext.metrics.registry import METRICS, make_metrics

OF_THE_MAP = [name for name in METRICS if callable(getattr(make_metrics([name], MetricOptions())[0], "score", None))]
OF_THE_ORDER = [name for name, entry in METRICS.items() if entry.info.role in ("order", "pair") and entry.info.needs == ""]
SHAPE = (6, 8)


def plateaus(dtype=torch.float32):
    """Maps of few values, most of them on plateaus: the maximum, the middle and the lowest are shared by many pixels."""
    drawn = torch.randint(0, 4, (5, *SHAPE), generator=torch.Generator().manual_seed(0))
    return torch.tensor([0.1, 1 / 3, 0.7, 0.9], dtype=dtype)[drawn]


def nudged(maps, seed):
    """Each value moved by one unit in the last place, up, down, or not at all."""
    way = torch.randint(-1, 2, maps.shape, generator=torch.Generator().manual_seed(seed))
    return torch.where(way == 0, maps, torch.nextafter(maps, maps + way))


def truth():
    mask = torch.zeros(5, *SHAPE, dtype=torch.bool)
    mask[:, 1:4, 2:6] = True
    return mask


def judged(name, maps):
    metric = make_metrics([name], MetricOptions(Constant(0.2), 5))[0]
    images = torch.rand(5, 3, *SHAPE, generator=torch.Generator().manual_seed(1))
    weights = torch.rand(3, *SHAPE, 4, generator=torch.Generator().manual_seed(2))

    def model(inputs):
        return torch.einsum("nchw,chwk->nk", inputs, weights)

    given = truth() if METRICS[name].info.needs == "truth" else None
    result = evaluate(model, images, 1, maps, [metric], truth=given, check_model=False)["map", name]
    return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [*OF_THE_MAP, *OF_THE_ORDER])
def test_one_unit_of_noise_on_plateaus_decides_nothing(name, dtype):
    right = judged(name, plateaus(dtype))
    for seed in range(3):
        result = judged(name, nudged(plateaus(dtype), seed))
        assert result.status == right.status
        torch.testing.assert_close(result.values, right.values, rtol=1e-6, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("name", [*OF_THE_MAP, *OF_THE_ORDER])
def test_a_flat_map_with_noise_is_a_flat_map(name):
    flat = torch.full((5, *SHAPE), 0.3)
    right, result = judged(name, flat), judged(name, nudged(flat, 0))
    assert result.status == right.status
    torch.testing.assert_close(result.values, right.values, rtol=1e-6, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", OF_THE_MAP)
def test_no_metric_of_a_map_is_rounded_to_half_precision(name, dtype):
    metric = make_metrics([name], MetricOptions(Constant(0.2), 5))[0]
    maps = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(3)).to(dtype)
    arguments = [truth()] if METRICS[name].info.needs == "truth" else []
    result, right = metric.score(maps, *arguments), metric.score(maps.double(), *arguments)
    assert result.dtype == score_dtype(maps) == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(result, right.to(result.dtype), rtol=1e-6, atol=1e-7, equal_nan=True)
    through = judged(name, maps)
    torch.testing.assert_close(through.values, judged(name, maps.double()).values, rtol=1e-6, atol=1e-7, equal_nan=True)


def test_what_lies_apart_stays_apart():
    scale = torch.tensor([1.0, 1e-6, 1e6, -1.0]).view(-1, 1, 1)
    unit = torch.finfo(torch.float32).eps
    close = torch.tensor([[[1.0, 1 + 20 * unit, 0.5]]]) * scale  # 20 units apart
    assert torch.equal(levelled(close), close)
    small = torch.tensor([[[1e-7, 2e-7, 1.0]]])  # far below a unit of the largest value, but no rounding of each other
    assert torch.equal(levelled(small), small)


def test_a_dense_map_is_no_plateau():
    """Values that follow each other at one unit, as in a map with millions of pixels, must not collapse into one."""
    steps = torch.arange(64, dtype=torch.float32)
    ramp = (1 + steps * torch.finfo(torch.float32).eps).view(1, 8, 8)
    assert torch.equal(levelled(ramp), ramp) and not constant_rows(ramp).any()
    assert len(levelled(ramp[:, :1, :7]).unique()) == 1, "seven of them are within eight units"


def test_a_plateau_beside_a_slope_is_one():
    unit = torch.finfo(torch.float32).eps
    plateau = torch.tensor([1.0, 1 + unit, 1 - unit / 2, 1.0])
    slope = 1 + unit * torch.tensor([4.0, 7.0, 10.0, 13.0])
    result = levelled(torch.cat([plateau, slope]).view(1, 2, 4)).flatten()
    assert len(result[:4].unique()) == 1 and torch.equal(result[4:], slope)


def test_levels_keep_order_strides_and_what_is_not_finite():
    maps = nudged(plateaus(), 5).transpose(1, 2)
    maps[1, 2, 3], maps[2, 0, 0] = torch.nan, torch.inf
    before = maps.clone()
    result = levelled(maps)
    assert torch.equal(maps.nan_to_num(9), before.nan_to_num(9)), "the caller's map is not written to"
    assert result[1, 2, 3].isnan() and result[2, 0, 0] == torch.inf
    for row in (0, 3, 4):
        assert len(result[row].unique()) == 4
        order = before[row].flatten().argsort()
        assert (result[row].flatten()[order].diff() >= 0).all()
    for shape in ((0, 3, 3), (2, 0, 3), (2, 1, 1), (1, 1, 5)):
        assert levelled(torch.rand(shape)).shape == shape and constant_rows(torch.rand(shape)).shape == shape[:1]


def test_two_equal_maxima_of_which_one_was_rounded_share_the_hit():
    up = float(torch.nextafter(torch.tensor(0.7), torch.tensor(1.0)))
    maps, where = torch.tensor([[[0.7, up, 0.1]], [[up, 0.7, 0.1]]]), torch.tensor([[[True, False, False]]]).repeat(2, 1, 1)
    assert PointingGame().score(maps, where).tolist() == [0.5, 0.5]


def test_upsampling_is_exact_on_flats_and_bilinear_elsewhere():
    coarse = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    for size in ((9, 13), (4, 5), (3, 2), (1, 1), (224, 224)):
        right = torch.nn.functional.interpolate(coarse, size, mode="bilinear", align_corners=False)
        torch.testing.assert_close(upsampled(coarse, size), right, rtol=1e-5, atol=1e-6)
    flat = torch.full((1, 1, 7, 7), 0.1)
    flat[..., 0, 0] = 0.3
    large = upsampled(flat, (224, 224))
    assert (large[..., :16, :16] == torch.tensor(0.3)).all() and (large[..., 64:, 64:] == torch.tensor(0.1)).all()


def test_percentiles_of_a_map_beyond_the_limit_of_torch():
    """torch.quantile takes 2^24 values of a row at the most."""
    from saliency_ext.metrics.percentile_gap import _below

    values = torch.arange(2**24 + 3).float().double()[None]
    shares = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64)
    assert _below(values, shares)[0].tolist() == [0, 2**22 + 1, 2**23 + 1, 2**24 + 2]
    few = torch.rand(4, 50, generator=torch.Generator().manual_seed(0)).double()
    cuts = torch.quantile(few, shares, dim=1).T
    assert torch.equal(_below(few, shares), (few[:, None] < cuts[:, :, None]).sum(2))
    assert PercentileGap(Constant(0.0)).percentiles[0] == 10 and _below(few[:0], shares).shape == (0, 4)
