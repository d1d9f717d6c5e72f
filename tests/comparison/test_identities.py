"""What must hold exactly between infills and maps: closed forms, blind spots, coverage."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from saliency_ext import evaluate
from saliency_ext.attribution import RISE, Occlusion
from saliency_ext.comparison import pairwise_similarity
from saliency_ext.infill import Constant, OtherImage
from saliency_ext.metrics import Fidelity
from saliency_ext.testbed.closed_form_models import LinearModel

SIDE, WINDOW = 8, 4


def linear(weight: Tensor) -> LinearModel:
    return LinearModel(weight[None].double())


def windowed(values: Tensor) -> Tensor:
    """Per pixel the mean over the windows that cover it of the sum of values (N, H, W) over the window; stride = window."""
    sums = torch.nn.functional.avg_pool2d(values[:, None], WINDOW) * WINDOW**2
    return sums.repeat_interleave(WINDOW, 2).repeat_interleave(WINDOW, 3)[:, 0]


def test_occlusion_of_a_linear_model_is_known_and_shifts_with_the_infill() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(2, SIDE, SIDE, generator=generator, dtype=torch.float64)
    inputs = torch.rand(3, 2, SIDE, SIDE, generator=generator, dtype=torch.float64)
    model, change = linear(weight), torch.tensor([0.25, -0.5], dtype=torch.float64)

    def maps(colour: Tensor) -> Tensor:
        method = Occlusion(model, Constant(colour), window=WINDOW, stride=WINDOW, score="logit")
        return method(inputs, 0)

    grey = torch.tensor([0.5, 0.5], dtype=torch.float64)
    own = maps(grey)
    assert torch.allclose(own, windowed(((inputs - 0.5) * weight).sum(1)), atol=1e-10)
    shift = maps(grey + change) - own
    expected = -windowed((weight * change[:, None, None]).sum(0)[None])
    assert torch.allclose(shift, expected.expand_as(shift), atol=1e-10)  # the same for every image


def test_a_constant_shift_is_not_seen_where_weights_sum_to_zero() -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(1, SIDE, SIDE, generator=generator, dtype=torch.float64)
    weight -= windowed(weight) / WINDOW**2  # over every window
    inputs = torch.rand(2, 1, SIDE, SIDE, generator=generator, dtype=torch.float64)
    own, other = (
        Occlusion(linear(weight), Constant(value), window=WINDOW, stride=WINDOW, score="logit")(inputs, 0) for value in (0.0, 0.7)
    )
    assert torch.allclose(own, other, atol=1e-10) and own.abs().max() > 0.1


def test_the_image_as_its_own_infill_gives_constant_maps_and_flat_curves() -> None:
    inputs = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 3)).eval().requires_grad_(False)
    own = OtherImage(inputs, 0)
    assert Occlusion(model, own)(inputs, 0).abs().max() == 0
    rise = RISE(model, own, masks=64, grid=4, weighting="coverage")(inputs, 0)
    assert rise.amax() - rise.amin() < 1e-6
    result = evaluate(model, inputs, 0, {"any": inputs[:, 0]}, [Fidelity(own)])["any", "fidelity"]
    assert result.curves["mif"].amax() - result.curves["mif"].amin() < 1e-7 and abs(result.values.item()) < 1e-7
    flat = pairwise_similarity({"a": torch.zeros(1, 16, 16), "b": inputs[:, 0]}, measures=["spearman", "pearson"])
    assert flat.status[0] == ["degenerate_map"] and flat.values["spearman"][0, 1].isnan().all()


def test_rise_of_a_constant_model_shows_its_coverage() -> None:
    """Divided by coverage exactly constant; without, relative sd about sqrt((1 - p) / (p N)) before smoothing."""
    inputs = torch.zeros(1, 1, 32, 32)
    constant = lambda x: torch.ones(len(x), 2)  # noqa: E731
    masks, keep = 400, 0.3
    plain = RISE(constant, Constant(0.0), masks=masks, grid=32, keep=keep, score="logit")(inputs, 0)
    even = RISE(constant, Constant(0.0), masks=masks, grid=32, keep=keep, score="logit", weighting="coverage")(inputs, 0)
    assert even.amax() - even.amin() < 1e-6
    relative = float(plain.std() / plain.mean())
    formula = ((1 - keep) / (keep * masks)) ** 0.5
    assert formula / 2 < relative < formula * 2


def test_maps_scale_with_the_score_and_a_constant_shifts_rise_by_its_coverage() -> None:
    """Twice the score: twice the map. Plus 3: no change of occlusion, 3 times the coverage for RISE."""
    generator = torch.Generator().manual_seed(4)
    weight = torch.randn(1, SIDE, SIDE, generator=generator, dtype=torch.float64)
    inputs = torch.rand(2, 1, SIDE, SIDE, generator=generator, dtype=torch.float64)
    one = linear(weight)
    twice, shifted, constant = (lambda x: 2 * one(x)), (lambda x: one(x) + 3), (lambda x: torch.ones_like(one(x)))

    def occlusion(model) -> Tensor:
        return Occlusion(model, Constant(0.5), window=WINDOW, stride=WINDOW, score="logit")(inputs, 0)

    def rise(model) -> Tensor:
        return RISE(model, Constant(0.5), masks=50, grid=4, keep=0.3, score="logit")(inputs, 0)

    assert torch.allclose(occlusion(twice), 2 * occlusion(one), atol=1e-10)
    assert torch.allclose(occlusion(shifted), occlusion(one), atol=1e-10)
    assert torch.allclose(rise(twice), 2 * rise(one), atol=1e-5)  # its masks are float32
    coverage = rise(constant)
    assert torch.allclose(rise(shifted), rise(one) + 3 * coverage, atol=1e-5) and coverage.std() > 0.01


def test_two_seeds_agree_more_with_more_masks() -> None:
    weight = torch.zeros(1, 16, 16, dtype=torch.float64)
    weight[0, 4:9, 5:11] = 1.0
    inputs = torch.ones(2, 1, 16, 16)
    model = lambda x: linear(weight)(x.double())  # noqa: E731

    def floor(masks: int) -> float:
        one, other = (RISE(model, Constant(0.0), masks=masks, grid=4, seed=seed, score="logit")(inputs, 0) for seed in (0, 1))
        return pairwise_similarity({"a": one, "b": other}, measures=["spearman"]).summary("spearman").mean

    assert floor(2000) > floor(60) + 0.1


@pytest.mark.parametrize("transform", [lambda x: x.exp(), lambda x: 3 * x - 2], ids=["exp", "affine"])
def test_curves_read_ranks_alone(transform) -> None:
    generator = torch.Generator().manual_seed(3)
    inputs, saliency = torch.rand(2, 1, 8, 8, generator=generator), torch.randn(2, 8, 8, generator=generator).double()
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval().requires_grad_(False)
    metrics = [Fidelity(Constant(0.5))]
    one, other = (evaluate(model, inputs, 0, maps, metrics)["map", "fidelity"] for maps in (saliency, transform(saliency)))
    negated = evaluate(model, inputs, 0, -saliency, metrics)["map", "fidelity"]
    assert torch.equal(one.values, other.values) and torch.equal(one.extras["auc_mif"], other.extras["auc_mif"])
    assert torch.allclose(negated.values, -one.values) and torch.allclose(negated.extras["auc_mif"], one.extras["auc_lif"])


# ---- a black object on white ground: what an infill equals, it cannot remove


def squares(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """White images with a black 6 x 6 square; class: is it left or right? And where it is."""
    generator = torch.Generator().manual_seed(seed)
    top = torch.randint(0, 11, (count,), generator=generator)
    label = torch.randint(0, 2, (count,), generator=generator)
    left = label * 9 + torch.randint(0, 2, (count,), generator=generator)
    at = torch.arange(16)
    rows, columns = ((at >= edge[:, None]) & (at < edge[:, None] + 6) for edge in (top, left))
    truth = rows[:, :, None] & columns[:, None]
    return (~truth)[:, None].float(), label, truth


def trained_net() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 2))
    inputs, labels, _ = squares(256, seed=5)
    optimiser = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(80):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(inputs), labels).backward()
        optimiser.step()
    return net.eval().requires_grad_(False)


def test_a_black_object_is_invisible_to_a_black_infill_and_found_by_a_white_one() -> None:
    net = trained_net()
    inputs, labels, truth = squares(40, seed=6)
    assert (net(inputs).argmax(1) == labels).float().mean() > 0.95

    def on_object(value: float, method: type) -> Tensor:
        """Share of the images whose highest pixel is on the object."""
        options = {"window": 4, "stride": 1} if method is Occlusion else {"masks": 300, "grid": 4, "weighting": "centred"}
        saliency = method(net, Constant(value), score="logit", **options)(inputs, labels)
        return truth.flatten(1).gather(1, saliency.flatten(1).argmax(1, keepdim=True)).float().mean()

    for method in (Occlusion, RISE):
        assert on_object(1.0, method) > 0.9, method
        assert on_object(0.0, method) < 0.5, method
