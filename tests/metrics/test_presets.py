"""Presets: hand examples of each, and naive versions of the published conventions on random maps without ties."""

from functools import partial

import pytest
import torch

from saliency_ext.evaluation import TargetMaps, evaluate
from saliency_ext.infill import Constant, ImageMean
from saliency_ext.metrics import PRESETS, PercentileGap, preset
from saliency_ext.perturbation import Engine
from tests.helpers import conv_net
from tests.helpers import tensors as random_tensor
from tests.metrics.published import Published

ZERO = Constant(0.0)


tensors = partial(random_tensor, dtype=torch.float64)


def make_model(channels=3):
    return conv_net(16, channels=channels, padding=1, pooled=True, dtype=torch.float64)


def line(*values):
    """An image (1, 1, 1, W)."""
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1)


def score(forward, image, saliency, metrics, target=0):
    """Values and curves of each metric on one image."""
    results = evaluate(forward, image, target, saliency, metrics, check_model=False, engine=Engine(forward, max_batch=12))
    return [results[pair] for pair in results]


def values(*arguments, **options):
    return [float(result.values[0]) for result in score(*arguments, **options)]


# ---- Hand examples


def total(x):
    """Logits (sum of the pixels, 0)."""
    amount = x.flatten(1).sum(1)
    return torch.stack([amount, torch.zeros_like(amount)], 1)


def sevens(x):
    """Probability of class 0 = share of the pixels that are 7."""
    share = (x == 7).flatten(1).double().mean(1)
    return torch.stack([share.log(), (1 - share).log()], 1)


def test_rise():
    # 5 pixels by 2: 0, 2, 4, 5 gone. Deletion 1, .6, .2, 0; insertion 0, .4, .8, 1 (the blur pales a constant image).
    # (sum - first / 2 - last / 2) / 3: (1.8 - .5) / 3 and (2.2 - .5) / 3; both true areas are .5.
    deletion, insertion = values(sevens, line(7, 7, 7, 7, 7), line(5, 4, 3, 2, 1)[0], preset("rise", pixels_per_step=2))
    assert deletion == pytest.approx(1.3 / 3) and insertion == pytest.approx(1.7 / 3)
    assert [metric.schedule.pixels_per_step for metric in preset("rise")] == [224, 224]


def test_rise_breaks_ties_from_the_end():
    # A constant map: the last pixel goes first. Sums 6, 3, 1, 0 by steps of 1; of class probabilities only the order is read.
    first = score(total, line(1, 2, 3), line(0, 0, 0)[0], preset("xplique", steps=3))[0]
    assert first.curves["deletion"][0].tolist() == [6, 3, 1, 0] and first.parameters["ties"] == "last_index"
    stable = score(total, line(1, 2, 3), line(0, 0, 0)[0], preset("torchcam", steps=3))[0]
    assert stable.curves["deletion"][0].tolist() == [6, 5, 3, 0] and stable.parameters["ties"] == "index"
    turned = [*preset("rise"), *preset("fpa"), *preset("gupta2022"), *preset("gupta2022_mass"), *preset("gupta2022_reverse")]
    assert {metric.ties for metric in turned} == {"last_index"}


def test_torchcam():
    # 7 pixels in 3 steps of ceil(7 / 3) = 3: 0, 3, 6, 7 gone. Sums 28, 10, 1, 0; inserted 0, 18, 27, 28.
    # Over true fractions: (3 * 38 / 2 + 3 * 11 / 2 + 1 / 2) / 7 = 74 / 7 and (3 * 18 / 2 + 3 * 45 / 2 + 55 / 2) / 7 = 122 / 7.
    image = line(1, 2, 3, 4, 5, 6, 7)
    assert values(total, image, image[0], preset("torchcam", steps=3)) == pytest.approx([74 / 7, 122 / 7])


def test_xplique():
    # linspace(0, 7, 4) = 0, 2.33, 4.67, 7 cut to 0, 2, 4, 7. Sums 28, 15, 6, 0; inserted 0, 13, 22, 28; equal weights:
    # (28 / 2 + 15 + 6) / 3 = 35 / 3 and (13 + 22 + 28 / 2) / 3 = 49 / 3.
    image = line(1, 2, 3, 4, 5, 6, 7)
    assert values(total, image, image[0], preset("xplique", steps=3)) == pytest.approx([35 / 3, 49 / 3])
    # Half of it: floor(3.5) = 3, linspace(0, 3, 4) = 0, 1, 2, 3. Sums 28, 21, 15, 10: (19 + 36) / 3; inserted 0, 7, 13, 18.
    half = preset("xplique", steps=3, max_percentage=0.5)
    assert values(total, image, image[0], half) == pytest.approx([55 / 3, 29 / 3])


def test_quantus():
    # Two channels of two pixels, (5, 1) and (3, 2); the first pixel goes first: values 5, 3, 1, 2, each replaced by 1.
    # By 2: left 1 + 1 + 1 + 2 = 5 and 4, of probabilities 1 / (1 + e^-sum); one trapezoid of width 1, and no point at 0.
    image, saliency = torch.tensor([[[[5.0, 1.0]], [[3.0, 2.0]]]], dtype=torch.float64), line(2, 1)[0]
    p = torch.tensor([5.0, 4.0], dtype=torch.float64).sigmoid()
    result = score(total, image, saliency, preset("quantus", features_in_step=2))[0]
    torch.testing.assert_close(result.curves["morf"][0], p)
    assert float(result.values[0]) == pytest.approx(float(p.sum() / 2))
    assert result.fractions.tolist() == [0.5, 1.0]
    # By 1 there are four points: 5, 3 (channel after channel), then 1, 2. White is 5 in all.
    white = score(total, image, saliency, preset("quantus", baseline="white"))[0]
    torch.testing.assert_close(white.curves["morf"][0], torch.tensor([11.0, 13.0, 17.0, 20.0], dtype=torch.float64).sigmoid())


def test_quantus_srg():
    # 3 pixels, one a step. LIF 6, 5, 3, 0 and MIF 6, 3, 1, 0 of a total, as probabilities; mean difference after the first.
    p = torch.tensor([[5.0, 3.0], [3.0, 1.0]], dtype=torch.float64).sigmoid()
    (gap,) = values(total, line(1, 2, 3), line(1, 2, 3)[0], preset("quantus_srg", infill=ZERO, steps=3))
    assert gap == pytest.approx(float((p[0] - p[1]).sum() / 3))


def test_fpa():
    # 10 pixels, one a step, at most 9 gone. Only the first pixel counts: MIF 1, 0, ...; LIF always 1, for it is the last to go.
    # Areas over 0..100: MIF 100 * .5 / 9, LIF 100. With the full removal, MIF 100 * .5 / 10, LIF 100 * 9.5 / 10.
    image = line(2, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    saliency = torch.arange(10.0, 0, -1).view(1, 1, 10)
    assert values(total, image, saliency, preset("fpa")) == pytest.approx([100 - 50 / 9])
    assert values(total, image, saliency, preset("fpa", append_full=True)) == pytest.approx([90])


def test_road():
    # Ten ones; class 0 wins while more than 2 are left. MoRF leaves 9 8 7 6 5 3 1: 6 of 7. LeRF keeps 1 2 3 4 5 7 9: 5 of 7.
    def forward(x):
        return total(x) - torch.tensor([2.5, 0.0])

    image, saliency = torch.ones(1, 1, 2, 5, dtype=torch.float64), torch.arange(10.0).view(1, 2, 5)
    morf, lerf = score(forward, image, saliency, preset("road", infill=ZERO))
    assert float(morf.values[0]) == pytest.approx(6 / 7) and float(lerf.values[0]) == pytest.approx(5 / 7)
    assert morf.fractions.tolist() == [0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9]
    assert lerf.fractions.tolist() == [0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9]  # removed: the complement of what is kept
    assert lerf.curves["lerf"][0].tolist() == [1, 1, 1, 1, 1, 0, 0]


def test_gradcam_road():
    # Pixels 0 .. 10: the percentile 10 h is the value h, so h are kept. LeRF - MoRF = h (21 - h) / 2 - h (h - 1) / 2, which is
    # h (11 - h); summed over h = 1 .. 9: 210. Half the mean of nine: 210 / 18.
    image = line(*range(11))
    (result,) = score(total, image, image[0], preset("gradcam_road", infill=ZERO, score="logit"))
    assert float(result.values[0]) == pytest.approx(210 / 18) and float(result.extras["kept_nothing"][0]) == 0
    # Six of ten are 0. MoRF keeps none up to 60 %: the 60th percentile is (0 + 4 * .4), so 6 are below it; then 7, 8, 9 ...
    relu = line(0, 0, 0, 0, 0, 0, 1, 2, 3, 4)
    (flat,) = score(total, relu + 1, relu[0], [PercentileGap(ZERO, "logit", (50, 60))])
    assert flat.curves["morf"][0].tolist() == [0, 6] and flat.extras["kept_nothing"][0] == 0.25
    assert flat.curves["lerf"][0].tolist() == [14, 14]  # the six that tie with the threshold are all removed, at 50 % and at 60 %


def test_agf():
    # Black is (0 - .5) / .25 = -2. Class 0 wins while at most 3 of 10 are black: positive, and negative, 3 of 9.
    def forward(x):
        black = (x == -2).flatten(1).double().sum(1)
        return torch.stack([3.5 - black, torch.zeros_like(black)], 1)

    image, saliency = torch.zeros(1, 1, 2, 5, dtype=torch.float64), torch.arange(10.0).view(1, 2, 5)
    result = values(forward, image, saliency, preset("agf", mean=[0.5], std=[0.25]))
    assert result == pytest.approx([0.35, 0.35])  # from the clean image on: .1 (1 + 1 + 1 + .5)
    result = values(forward, image[..., :1, :], saliency[:, :1] + 0.0, preset("agf", mean=[0.5], std=[0.25]))
    assert result == pytest.approx(
        [0.75, 0.75]
    )  # int(t n) of 5 pixels: 0 0 1 1 2 2 3 3 4 4; 8 points are right, on the axis 0, .1, .2 ...


def test_srg():
    # Two halves, of total 0 and 2, are two superpixels; counts 0, 1, 2. The right half first: left are 2, 0, 0, or 2, 2, 0 of the
    # total in reverse. The curves differ in the middle alone, which weighs a half.
    image = torch.zeros(1, 1, 2, 8, dtype=torch.float64)
    image[..., 4:] = 0.25
    (gap,) = values(total, image, image[:, 0], preset("srg", infill=ZERO, segments=2))
    assert gap == pytest.approx((float(torch.tensor(2.0, dtype=torch.float64).sigmoid()) - 0.5) / 2)


def test_gupta2022():
    # 28 pixels, of which one is 1, one -1, and 26 are 0; label 0 scores the total, label 1 its negative. Each label's map puts
    # its own pixel first, the other's last: kept with 1 .. 27 pixels the odds are e^2, with all of them 1.
    image = torch.zeros(1, 1, 4, 7, dtype=torch.float64)
    image[..., 0, 0], image[..., 3, 6] = 1, -1

    def forward(x):
        return total(x)[:, :1] * torch.tensor([1.0, -1.0])

    maps = TargetMaps(torch.stack([image[:, 0], -image[:, 0]], 1), torch.tensor([0, 1]))
    shown = float(torch.tensor(2.0).sigmoid())
    g = (27 * shown + 0.5) / 28
    for name in ("gupta2022", "gupta2022_signature"):
        assert values(forward, image, maps, preset(name)) == pytest.approx([1, 0.5 / g]), name
    # Reversed, 0 .. 27 least relevant are kept: nothing is even, 1 .. 27 show the other label's pixel.
    reverse = (27 * (1 - shown) + 0.5) / 28
    assert values(forward, image, maps, preset("gupta2022_reverse")) == pytest.approx([reverse / 0.5, 1])
    # Mass 3, 1, 0, ...: level i / 28 keeps 1 pixel while i < 21, then 2, and all 28 at level 1: the first pixel, then both.
    heavy = torch.zeros(1, 2, 4, 7, dtype=torch.float64)
    heavy[:, 0, 0, 0], heavy[:, 0, 3, 6], heavy[:, 1, 3, 6], heavy[:, 1, 0, 0] = 3, 1, 3, 1
    mass = preset("gupta2022_mass")
    g = (20 * shown + 8 * 0.5) / 28
    assert values(forward, image, TargetMaps(heavy, torch.tensor([0, 1])), mass) == pytest.approx([1, 0.5 / g])
    assert [(m.floor_masked, m.floor_clean) for m in preset("gupta2022_signature")] == [(0.01, 0.0)] * 2
    assert [(m.floor_masked, m.floor_clean) for m in preset("gupta2022")] == [(0.1, 0.1)] * 2
    assert preset("gupta2022")[0].fractions(224 * 224)[[0, 16, 27]].tolist() == [1 / 28, 17 / 28, 1]


# ---- Naive versions of the published conventions

OPTIONS = {
    "rise": {"pixels_per_step": 9},
    "xplique": {"max_percentage": 0.7},
    "quantus": {"features_in_step": 48},
    "quantus_srg": {"infill": ZERO},
    "srg": {"infill": ZERO},
    "road": {"infill": ZERO},
    "gradcam_road": {"infill": ImageMean()},
    "agf": {"mean": [0.5, 0.25, 0.125], "std": [0.5, 0.5, 0.5]},
}
GUPTA = ("gupta2022", "gupta2022_signature", "gupta2022_reverse", "gupta2022_mass")  # against a naive loop in test_soundness.py


@pytest.mark.parametrize("size", [(8, 8), (13, 17), (32, 32)])
@pytest.mark.parametrize("name", [name for name in PRESETS if name not in (*GUPTA, "default")])
def test_equals_the_published_convention(name, size):
    model, saliency = make_model(), tensors(1, *size, seed=1)
    image = torch.nn.functional.interpolate(tensors(1, 3, 5, 5), size, mode="bilinear")  # smooth: superpixels need something
    assert saliency.unique().numel() == size[0] * size[1]
    target = int(model(image).argmax())
    result = values(model, image, saliency, preset(name, **OPTIONS.get(name, {})), target=target)
    assert result == pytest.approx(getattr(Published(model, image, saliency, target), name)(), rel=1e-6, abs=1e-6)


def test_percentiles_with_ties_are_the_published_ones():
    model, image = make_model(), tensors(1, 3, 8, 8)
    saliency = (tensors(1, 8, 8, seed=1) - 0.5).clamp(min=0).mul(8).round().div(8)  # exact in binary: 1 - map makes no new ties
    expected = Published(model, image, saliency, 2).gradcam_road()
    result = values(model, image, saliency, preset("gradcam_road", infill=ImageMean()), target=2)
    assert result == pytest.approx(expected, abs=1e-9)


def test_default_shares_one_infill():
    metrics = preset("default", infill=ImageMean(), steps=4)
    assert [metric.info.name for metric in metrics] == ["deletion", "insertion", "fidelity"]
    assert {metric.infill for metric in metrics} == {ImageMean()} and {metric.ties for metric in metrics} == {"random"}


@pytest.mark.parametrize(
    ("name", "options", "error", "text"),
    [
        ("rize", {}, ValueError, "preset: expected name to be one of 'default', 'rise', .*, got 'rize'"),
        ("road", {"noise": 1}, TypeError, r"preset: expected options of 'road' to be infill, std, score, seed, got noise"),
        ("rise", {"step": 4}, TypeError, "preset: expected options of 'rise' to be pixels_per_step, got step"),
        ("quantus", {"baseline": "mean"}, ValueError, "quantus: expected baseline to be one of 'black', 'white', got 'mean'"),
        ("agf", {"mean": [0.5], "std": []}, ValueError, "agf: expected std to hold 1 numbers, as mean does, got 0"),
        ("agf", {"mean": [0.5], "std": [0.0]}, ValueError, "agf: expected std > 0, got 0.0"),
        ("gradcam_road", {"infill": 0.5}, TypeError, "ROADCombined: expected infill to be an Infill, got float"),
    ],
)
def test_refusals(name, options, error, text):
    with pytest.raises(error, match=text):
        preset(name, **options)


def test_percentile_gap_refuses_bad_percentiles():
    for percentiles, error, text in [
        ((), ValueError, "PercentileGap: expected percentiles to hold at least one, got none"),
        ((10, 101), ValueError, r"PercentileGap: expected percentiles in \[0, 100\], got 101"),
        (("10",), TypeError, "PercentileGap: expected percentiles to be numbers, got str"),
    ]:
        with pytest.raises(error, match=text):
            PercentileGap(ZERO, percentiles=percentiles)
