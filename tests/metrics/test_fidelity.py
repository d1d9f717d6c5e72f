"""Fidelity and the geometry gap: what cancels, what costs how much, on models small enough to know the answer."""

import itertools
from functools import partial

import pytest
import torch

from saliency_ext.evaluation import evaluate
from saliency_ext.infill import Constant
from saliency_ext.metrics import Fidelity, GeometryGap
from saliency_ext.metrics.result import INVALID
from saliency_ext.ops import rank
from saliency_ext.perturbation import Engine, EqualFractions, GivenCounts, Ranked, RankMasks
from tests.helpers import conv_net
from tests.helpers import tensors as random_tensor

GREY = Constant(0.5)
SIZE = (4, 5)


tensors = partial(random_tensor, dtype=torch.float64)


def make_model(size=SIZE):
    return conv_net(4 * (size[0] - 2) * (size[1] - 2), dtype=torch.float64)


def two_classes(score):
    """Logits (score, 0)."""
    return torch.stack([score, torch.zeros_like(score)], 1)


def linear(weights):
    return lambda x: two_classes((x * weights).flatten(1).sum(1))


def fidelity(forward, images, saliency, *, target=0, infill=GREY, schedule=None, **options):
    metric = Fidelity(infill, EqualFractions(20) if schedule is None else schedule, **options)
    options = {"engine": Engine(forward, max_batch=64), "chunk": 256, "check_model": False}
    return evaluate(forward, images, target, saliency, [metric], **options)["map", "fidelity"]


# ---- Invariances and ends


def test_reads_the_order_alone_and_turns_its_sign():
    model, images, saliency = make_model(), tensors(5, 3, *SIZE), tensors(5, *SIZE, seed=1) - 0.5
    own = fidelity(model, images, saliency, target="predicted")
    for same in (saliency**3, (4 * saliency).exp(), saliency * 2.0**-20 + 8):
        assert torch.equal(fidelity(model, images, same, target="predicted").values, own.values)
    turned = fidelity(model, images, -saliency, target="predicted")
    assert torch.equal(turned.values, -own.values)
    assert torch.equal(turned.curves["mif"], own.curves["lif"])


def test_ends_are_the_clean_image_and_the_pure_infill():
    model, images = make_model(), tensors(3, 3, *SIZE)
    result = fidelity(model, images, tensors(3, *SIZE, seed=1), target=2, score="logit", references=2)
    with torch.no_grad():
        clean, pure = model(images)[:, 2], model(torch.full_like(images, 0.5))[:, 2]
    for name in ("mif", "lif", "random"):
        torch.testing.assert_close(result.curves[name][:, 0], clean, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(result.curves[name][:, -1], pure, rtol=1e-12, atol=1e-12)


def test_constant_model_is_flat():
    result = fidelity(lambda x: torch.ones(len(x), 4, dtype=x.dtype), tensors(2, 3, *SIZE), tensors(2, *SIZE, seed=1))
    assert result.values.tolist() == [0.0, 0.0] and result.status == ["flat_curve"] * 2
    assert result.extras["auc_mif"].tolist() == pytest.approx([0.25, 0.25])


# ---- Chance


def within_three_errors(values):
    """Is the mean of values (N,) 0 within three standard errors, and are they not all 0?"""
    error = values.std() / len(values) ** 0.5
    return error > 0 and abs(float(values.mean())) < 3 * float(error)


@pytest.mark.parametrize("kind", ["random", "constant"])
def test_a_map_that_knows_nothing_has_none(kind):
    model, images = make_model(), tensors(240, 3, *SIZE)
    saliency = tensors(240, *SIZE, seed=1) if kind == "random" else torch.ones(240, *SIZE)
    result = fidelity(model, images, saliency, target="predicted", schedule=EqualFractions(4), references=1)
    for values in (result.values, result.extras["mrg"], result.extras["lrg"]):
        assert within_three_errors(values)
    assert result.status == (["ok"] if kind == "random" else ["degenerate_map"]) * 240
    # The test has power: the true terms are told from chance by far.
    good = tensors(3, *SIZE, seed=5)
    terms = (good * (images - 0.5)).sum(1)
    assert not within_three_errors(fidelity(linear(good), images, terms, schedule=EqualFractions(4)).values)


# ---- What cancels


@pytest.mark.parametrize("damage", [lambda k: 2 * k.sqrt(), lambda k: k, lambda k: 4 * (k > 3).double(), lambda k: -0.25 * k])
def test_an_artifact_of_the_count_cancels(damage):
    weights = tensors(3, *SIZE, seed=5)

    def harmed(x):
        count = (x == 0.5).all(1).flatten(1).sum(1).to(x.dtype)
        return linear(weights)(x) - torch.stack([damage(count), torch.zeros_like(count)], 1)

    images, saliency = tensors(4, 3, *SIZE), tensors(4, *SIZE, seed=1)
    plain, other = (fidelity(model, images, saliency, score="logit") for model in (linear(weights), harmed))
    torch.testing.assert_close(other.values, plain.values, rtol=0, atol=1e-12)
    moved = torch.trapezoid(damage(torch.arange(21, dtype=torch.float64)), dx=1 / 20)
    for name in ("auc_mif", "auc_lif"):
        torch.testing.assert_close(plain.extras[name] - other.extras[name], moved.expand(4), rtol=0, atol=1e-12)
    if moved > 0:
        assert (other.curves["artifact"] >= plain.curves["artifact"]).all()


def geometry_model(terms):
    """Keeps the terms of kept pixels; under the infill 9, not under 7, every border between kept and removed costs."""

    def forward(x):
        kept = (x[:, 0] != 7) & (x[:, 0] != 9)
        borders = (kept[:, 1:] != kept[:, :-1]).flatten(1).sum(1) + (kept[:, :, 1:] != kept[:, :, :-1]).flatten(1).sum(1)
        costs = (x == 9).flatten(1).any(1) * borders.to(x.dtype) * 0.3
        return two_classes((terms * kept).flatten(1).sum(1) - costs)

    return forward


def spearman(first, second):
    a, b = (values.argsort().argsort().double() for values in (first, second))
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


def test_two_infills_rank_methods_alike_by_fidelity_but_not_by_one_curve():
    """A mask and its complement have one border: its cost is the same in both orders, whatever the map."""
    terms, images = torch.arange(36, dtype=torch.float64).view(6, 6) / 36, tensors(1, 1, 6, 6)
    noise = tensors(6, 6, seed=3)
    # From the smooth terms themselves to noise: worse and worse, with ever longer borders.
    maps = {f"mix{step}": (terms * (7 - step) / 7 + noise * step / 7)[None] for step in range(8)}
    found = {}
    for infill in (Constant(7), Constant(9)):
        metric = Fidelity(infill, GivenCounts(range(37)), score="logit")
        results = evaluate(geometry_model(terms), images, 0, maps, [metric], check_model=False)
        found[infill.value] = [results[name, "fidelity"] for name in maps]
    gaps = [torch.cat([result.values for result in found[value]]) for value in (7, 9)]
    single = [torch.cat([result.extras["auc_mif"] for result in found[value]]) for value in (7, 9)]
    torch.testing.assert_close(gaps[0], gaps[1], rtol=0, atol=1e-12)
    assert spearman(*gaps) == pytest.approx(1) and spearman(*single) < 0, single


# ---- A linear model is known


def test_no_order_beats_the_true_terms():
    weights, images = tensors(1, 2, 3, seed=5) - 0.4, tensors(1, 1, 2, 3)
    terms = (weights * (images - 0.5))[:, 0]
    orders = torch.tensor(list(itertools.permutations(range(6)))).view(-1, 2, 3).double()
    exact = {"score": "logit", "schedule": GivenCounts(range(7))}
    best = fidelity(linear(weights), images, terms, **exact)
    every = fidelity(linear(weights), images.expand(len(orders), -1, -1, -1), orders, **exact)
    assert (every.curves["mif"] >= best.curves["mif"] - 1e-12).all() and (every.curves["lif"] <= best.curves["lif"] + 1e-12).all()
    assert float(every.values.max()) == pytest.approx(float(best.values[0]), abs=1e-12)
    ordered = terms.flatten().sort(descending=True).values
    closed = sum(ordered[:k].sum() - ordered[6 - k :].sum() for k in range(1, 7)) / 6
    assert float(best.values[0]) == pytest.approx(float(closed), abs=1e-12)


def test_exactly_k_pixels_of_all_channels_differ_and_masks_are_nested():
    images, saliency = tensors(2, 3, *SIZE), tensors(2, *SIZE, seed=1)
    counts = EqualFractions(6).counts(20)
    order = Ranked(rank(saliency))
    for keep, at in (("tail", counts), ("head", [20 - k for k in counts])):
        out = torch.empty(len(counts), *images.shape, dtype=torch.float64)
        RankMasks(order, at, keep=keep).render(images, torch.tensor(0.5, dtype=torch.float64), range(len(at)), slice(None), out)
        gone = out != images
        assert torch.equal(gone.all(2), gone.any(2)) and (out[gone] == 0.5).all()
        assert gone.flatten(2).sum(2).tolist() == [[3 * k] * 2 for k in counts]
        assert (gone[1:] | ~gone[:-1]).all()
        first = saliency.flatten(1).argmax(1) if keep == "tail" else saliency.flatten(1).argmin(1)
        assert gone[1, :, 0].flatten(1).gather(1, first[:, None]).all()


# ---- Random references


def test_random_gains_add_up_whatever_the_references():
    model, images, saliency = make_model(), tensors(4, 3, *SIZE), tensors(4, *SIZE, seed=1)
    plain = fidelity(model, images, saliency, target="predicted")
    assert "mrg" not in plain.extras and "random" not in plain.curves
    found = [fidelity(model, images, saliency, target="predicted", references=n, seed=s) for n, s in ((1, 0), (3, 0), (3, 7))]
    for result in found:
        torch.testing.assert_close(result.extras["mrg"] + result.extras["lrg"], result.values, rtol=0, atol=1e-12)
        assert torch.equal(result.values, plain.values)
        area = torch.trapezoid(result.curves["random"], result.fractions)
        torch.testing.assert_close(result.extras["auc_random"], area, rtol=0, atol=1e-15)
    assert len({float(result.extras["mrg"][0]) for result in found}) == 3


def test_references_cost_once_for_all_maps():
    model, images = make_model(), tensors(3, 3, *SIZE)
    maps = {f"map{i}": tensors(3, *SIZE, seed=i + 1) for i in range(3)}
    engine = Engine(model, max_batch=4)
    metrics = [Fidelity(GREY, EqualFractions(5), references=4), GeometryGap(GREY, EqualFractions(5), draws=2)]
    results = evaluate(model, images, 0, maps, metrics, engine=engine, check_model=False)
    inner = 5 - 1
    blocks = 2 * inner  # the gap's scattered masks are the references' first two
    requested = 2 + len(maps) * 2 * inner + 4 * 2 * inner + blocks
    assert engine.counters.images_forwarded - engine.counters.images_padded == 3 * requested
    assert len({tuple(results[name, "geometry_gap"].values.tolist()) for name in maps}) == 1
    assert len({tuple(results[name, "fidelity"].curves["random"].flatten().tolist()) for name in maps}) == 1


# ---- Relative to the clean score


def test_relative_is_the_published_ratio():
    model, images, saliency = make_model(), tensors(4, 3, *SIZE), tensors(4, *SIZE, seed=1)
    raw, ratio = (fidelity(model, images, saliency, target="predicted", score="logit", relative=r) for r in (False, True))
    clean = raw.curves["mif"][:, :1]
    assert (clean > 0).all()
    for name in ("mif", "lif"):
        torch.testing.assert_close(ratio.curves[name], raw.curves[name] / clean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ratio.values, raw.values / clean[:, 0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(raw.extras["normalised"], ratio.values, rtol=1e-12, atol=1e-12)


def test_a_ratio_to_a_clean_score_that_is_not_positive_has_no_value():
    images = torch.tensor([1.0, 0.0, -1.0]).view(3, 1, 1, 1).expand(3, 1, 2, 2)  # clean totals 4, 0, -4
    saliency = tensors(3, 2, 2, seed=1)
    result = fidelity(linear(torch.ones(1, 2, 2)), images, saliency, score="logit", relative=True, infill=Constant(0.25))
    assert result.values.isnan().tolist() == [False, True, True]
    assert result.status[0] not in INVALID and all(status in INVALID for status in result.status[1:])
    assert result.curves["lif"].isnan().all(1).tolist() == [False, True, True]


def test_such_an_image_is_called_undefined():
    images = torch.full((1, 1, 2, 2), -1.0)
    result = fidelity(linear(torch.ones(1, 2, 2)), images, tensors(1, 2, 2), score="logit", relative=True)
    assert result.status == ["undefined"]


@pytest.mark.parametrize("what", ["relative", "artifact", "normalised"])
def test_the_clean_score_is_that_of_the_clean_image_in_any_schedule(what):
    images, saliency = torch.ones(1, 1, 1, 4), torch.arange(4.0).view(1, 1, 4)
    schedule = GivenCounts((1, 2))  # 3 and 2 of the total 4 are left
    options = {"score": "logit", "schedule": schedule, "infill": Constant(0.0), "relative": what == "relative"}
    result = fidelity(linear(torch.ones(1, 1, 4)), images, saliency, **options)
    if what == "relative":
        assert result.curves["mif"][0].tolist() == [0.75, 0.5]
    elif what == "artifact":
        assert result.curves["artifact"][0].tolist() == [1, 2]
    else:  # areas are equal here; a map that is right has lif 4, 4 and mif 0, 0 where one pixel has it all
        sharp = fidelity(linear(torch.tensor([0.0, 0, 0, 4])), images, saliency, **options)
        assert sharp.extras["normalised"].tolist() == [0.25]


def test_refusals():
    for options, error, text in [
        ({"references": -1}, ValueError, r"Fidelity: expected references in \[0, 65536\], got -1"),
        (
            {"references": 1, "unit": "channel_value"},
            ValueError,
            "expected references 0 where the unit is a channel value, got 1",
        ),
        ({"score": "logits"}, ValueError, "Fidelity: expected score to be one of 'probability', .*, got 'logits'"),
        ({"area": "simpson"}, ValueError, "Fidelity: expected area to be one of 'trapezoid', .*, got 'simpson'"),
        ({"infill": 0.5}, TypeError, "Fidelity: expected infill to be an Infill, got float, which has no 'name'"),
    ]:
        with pytest.raises(error, match=text):
            Fidelity(**{"infill": GREY, **options})


# ---- The geometry gap


def gap(forward, images, **options):
    metric = GeometryGap(GREY, EqualFractions(8), score="logit", **options)
    saliency = tensors(len(images), *images.shape[2:], seed=1)
    return evaluate(forward, images, 0, saliency, [metric], check_model=False)["map", "geometry_gap"]


def test_no_gap_where_only_the_count_matters():
    images = tensors(3, 1, 6, 6)
    assert gap(lambda x: torch.ones(len(x), 2, dtype=x.dtype), images).values.tolist() == [0.0] * 3
    counting = gap(lambda x: two_classes((x == 0.5).flatten(1).sum(1).to(x.dtype).sqrt()), images)
    torch.testing.assert_close(counting.values, torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(counting.curves["block"][0], torch.tensor(EqualFractions(8).counts(36)).double().sqrt())


def test_a_model_of_edges_has_one():
    def edges(x):
        gone = (x[:, 0] == 0.5).to(x.dtype)
        return two_classes(gone.diff(dim=1).abs().flatten(1).sum(1) + gone.diff(dim=2).abs().flatten(1).sum(1))

    result = gap(edges, tensors(3, 1, 8, 8), draws=3)
    assert (result.values > 5).all()  # a square of 32 has at most 24 of the 112 edges, 32 scattered pixels about 57
    inner = slice(2, -2)
    assert (result.curves["scattered"] > result.curves["block"])[:, inner].all()
    torch.testing.assert_close(result.curves["gap"], (result.curves["scattered"] - result.curves["block"]).abs())
    torch.testing.assert_close(gap(lambda x: -edges(x), tensors(3, 1, 8, 8), draws=3).values, result.values)  # a size, not a sign
    assert torch.equal(gap(edges, tensors(3, 1, 8, 8), draws=3).values, result.values)
    assert not torch.equal(gap(edges, tensors(3, 1, 8, 8), draws=3, seed=1).values, result.values)


def test_the_gap_refuses_a_unit_it_does_not_obey():
    with pytest.raises(ValueError, match="GeometryGap"):
        GeometryGap(GREY, unit="channel_value")
