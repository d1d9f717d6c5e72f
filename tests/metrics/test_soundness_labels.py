"""Completeness and soundness: which labels, which maps, what is reported of maps that prove nothing, what is refused."""

import pytest
import torch

from saliency_ext.evaluation import TargetMaps, evaluate
from saliency_ext.infill import Constant
from saliency_ext.metrics import Completeness, Deletion, Soundness
from saliency_ext.perturbation import Engine, GivenCounts
from tests.metrics.label_maps import CLASSES, GREY, GRID, SIZE, make_model, per_class, scored, tensors

# ---- Label sets


def test_the_softmax_is_restricted_to_the_labels():
    """A third class that always wins must not matter."""

    def forward(x):
        amount = x.flatten(1).sum(1)
        return torch.stack([amount, -amount, torch.full_like(amount, 50.0)], 1)

    images, maps = tensors(2, 1, *SIZE), tensors(2, *SIZE, seed=1)
    some = scored(forward, images, maps, target=0, labels=(0, 1))
    two = scored(lambda x: forward(x)[:, :2], images, maps, target=0)
    for a, b in zip(some, two, strict=True):
        torch.testing.assert_close(a.values, b.values, rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="expected labels at least two classes: the softmax over one is 1 for every input"):
        scored(forward, images, maps, target=0, labels=(1,))


def test_labels_are_those_of_the_maps_unless_asked_for():
    model, images, maps = make_model(), tensors(3, 3, *SIZE), tensors(3, CLASSES, *SIZE, seed=1)
    chosen = torch.tensor([4, 0, 2])
    some = TargetMaps(maps[:, chosen], chosen)
    requested = scored(model, images, per_class(maps), labels=chosen.tolist(), target=2)
    for a, b in zip(scored(model, images, some, target=2), requested, strict=True):
        torch.testing.assert_close(a.values, b.values, rtol=1e-12, atol=1e-12)
    # Each image with labels of its own: the best two.
    best = model(images).argsort(1, descending=True)[:, :2]
    own = TargetMaps(torch.stack([maps[i, best[i]] for i in range(3)]), best)
    for a, b in zip(scored(model, images, own), scored(model, images, per_class(maps), labels="top-2"), strict=True):
        torch.testing.assert_close(a.values, b.values, rtol=1e-12, atol=1e-12)
        assert all(torch.equal(a.extras[name], b.extras[name]) for name in ("labels_collapsed", "tie_share"))


def test_the_order_of_labels_and_the_chunks_do_not_matter():
    model, images, maps = make_model(), tensors(5, 3, *SIZE), per_class(tensors(5, CLASSES, *SIZE, seed=1))
    one, other = scored(model, images, maps, labels=(0, 3, 1)), scored(model, images, maps, labels=(1, 0, 3))
    metrics = [Completeness(GREY, GRID, area="mean", labels=(0, 3, 1)), Soundness(GREY, GRID, area="mean", labels=(0, 3, 1))]
    chunks = evaluate(model, images, "predicted", maps, metrics, engine=Engine(model, max_batch=32), chunk=2, check_model=False)
    for result, same in zip(one, other, strict=True):
        torch.testing.assert_close(result.values, same.values, rtol=1e-12, atol=1e-12)
        assert torch.equal(result.values, chunks["map", result.info.name].values)


def test_mass_levels_do_not_know_the_chunk():
    """Counts are per image there, and keys name those of all images of a chunk."""
    model, images, maps = make_model(), tensors(5, 3, *SIZE), per_class(tensors(5, CLASSES, *SIZE, seed=1) ** 3)
    metrics = [Completeness(GREY, GRID, area="mean", levels="mass")]
    result = [
        evaluate(model, images, 0, maps, metrics, engine=Engine(model, max_batch=7), chunk=chunk, check_model=False)
        for chunk in (1, 2, 5)
    ]
    values = [results["map", "completeness"].values for results in result]
    assert torch.equal(values[0], values[1]) and torch.equal(values[0], values[2])


def test_a_method_is_asked_for_a_map_of_each_label():
    model, images, maps = make_model(), tensors(3, 3, *SIZE), tensors(3, CLASSES, *SIZE, seed=1)
    requested = []

    def method(inputs, target):
        rows = [int((images == image).flatten(1).all(1).int().argmax()) for image in inputs]
        requested.append(target.tolist())
        return torch.stack([maps[row, label] for row, label in zip(rows, target.tolist(), strict=True)])

    for a, b in zip(
        scored(model, images, method, labels=(1, 3)), scored(model, images, per_class(maps), labels=(1, 3)), strict=True
    ):
        assert torch.equal(a.values, b.values) and a.parameters["class_blind"] is False
    assert {tuple(call) for call in requested} >= {(1, 1, 1), (3, 3, 3)}


def test_both_share_their_masked_inputs():
    model, images, maps = make_model(), tensors(3, 3, *SIZE), per_class(tensors(3, CLASSES, *SIZE, seed=1))
    engine = Engine(model, max_batch=4)
    evaluate(model, images, 0, maps, [Completeness(GREY, GRID), Soundness(GREY, GRID)], engine=engine, check_model=False)
    assert engine.counters.images_forwarded - engine.counters.images_padded == 3 * (
        1 + CLASSES * 6
    )  # the full image is the clean one


# ---- What is reported


def test_collapsed_maps_and_ties_are_reported():
    model, images, maps = make_model(), tensors(2, 3, *SIZE), tensors(2, CLASSES, *SIZE, seed=1)
    maps[0, 1:3] = 0  # two maps of one value
    maps[1, 4].view(-1)[:7] = 2  # a quarter of one map
    alpha, beta = scored(model, images, per_class(maps))
    for result in (alpha, beta):
        assert result.extras["labels_collapsed"].tolist() == [2, 0]
        assert result.extras["tie_share"].tolist() == pytest.approx([2 / 5, 0.25 / 5])
    blind = scored(model, images, maps[:, 1])
    assert blind[0].extras["labels_collapsed"].tolist() == [1, 0] and blind[0].status[0] == "degenerate_map"


def test_ties_are_random_unless_told_otherwise():
    images = torch.ones(40, 1, *SIZE, dtype=torch.float64)
    first = torch.zeros(SIZE)
    first[0, 0] = 1

    def forward(x):
        return torch.stack([(x[:, 0] * first).sum((1, 2)) * 9, torch.zeros(len(x), dtype=x.dtype)], 1)

    flat = torch.zeros(40, *SIZE)
    options = {"schedule": GivenCounts((1, 27)), "infill": Constant(0.0), "target": 0}
    shown = {
        ties: scored(forward, images, flat, ties=ties, **options)[0].curves["masked_predicted"] for ties in ("index", "random")
    }
    assert (shown["index"] > 0.99).all()
    late = scored(forward, images, flat, ties="last_index", **options)[0].curves["masked_predicted"]
    assert (late == 0.5).all()
    lucky = (shown["random"] > 0.9).double().mean(0)
    assert lucky[0] < 0.3 and lucky[1] > 0.7  # one in 28, and 27 in 28


def test_a_map_of_zeros_keeps_everything_by_mass():
    model, images = make_model(), tensors(1, 3, *SIZE)
    maps = tensors(1, CLASSES, *SIZE, seed=1)
    maps[0, [0, 2]] = 0
    alpha, beta = scored(model, images, per_class(maps), levels="mass", labels=(2, 0))
    torch.testing.assert_close(torch.cat([alpha.values, beta.values]), torch.ones(2).double())
    assert alpha.extras["labels_collapsed"].tolist() == [2.0]


# ---- Faults


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_map_of_the_target_is_marked(bad):
    model, images, maps = make_model(), tensors(2, 3, *SIZE), tensors(2, CLASSES, *SIZE, seed=1)
    maps[1, 0, 2, 2] = bad
    alpha, beta = scored(model, images, per_class(maps), target=0)
    assert alpha.status == beta.status == ["ok", "nonfinite_map"] and alpha.values.isnan().tolist() == [False, True]


def test_a_bad_map_of_another_label_is_marked_too():
    model, images, maps = make_model(), tensors(2, 3, *SIZE), tensors(2, CLASSES, *SIZE, seed=1)
    maps[1, 3, 2, 2] = torch.nan
    alpha, beta = scored(model, images, per_class(maps), target=0)
    assert alpha.status == beta.status == ["ok", "nonfinite_map"]


def test_a_method_that_fails_for_another_label_is_marked():
    model, images, maps = make_model(), tensors(2, 3, *SIZE), tensors(CLASSES, *SIZE, seed=1)

    def method(inputs, target):
        if 3 in target.tolist():
            raise RuntimeError("no map for class 3")
        return maps[target]

    with pytest.warns(RuntimeWarning, match="no map for class 3"):
        alpha, beta = scored(model, images, method, target=0)
    assert alpha.status == beta.status == ["method_failed"] * 2


def test_an_empty_batch_gives_empty_results():
    model, images, maps = make_model(), tensors(0, 3, *SIZE), per_class(tensors(0, CLASSES, *SIZE))
    for result in scored(model, images, maps, target=0):
        assert result.values.shape == (0,) and result.status == []


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"labels": ()}, ValueError, r"expected labels to be distinct classes, at least one, got \(\)"),
        ({"labels": (1, 1)}, ValueError, r"expected labels to be distinct classes, at least one, got \(1, 1\)"),
        ({"floor_masked": -0.1}, ValueError, r"expected floor_masked in \[0, 1\], got -0.1"),
        ({"floor_clean": "0"}, TypeError, "expected floor_clean to be a number, got str"),
        ({"cap": 2}, ValueError, r"expected cap in \[0, 1\], got 2"),
        ({"levels": "area"}, ValueError, "expected levels to be one of 'count', 'mass', got 'area'"),
        ({"score": "logit"}, ValueError, "expected score and unit 'probability' and 'pixel', got 'logit' and 'pixel'"),
        ({"unit": "channel_value"}, ValueError, "expected score and unit 'probability' and 'pixel', got 'probability' and"),
        ({"infill": None}, TypeError, "expected infill to be an Infill, got NoneType, which has no 'name'"),
    ],
)
@pytest.mark.parametrize("metric", [Completeness, Soundness])
def test_bad_choices_are_refused_by_name(metric, options, error, text):
    with pytest.raises(error, match=f"{metric.__name__}: {text}"):
        metric(**{"infill": GREY, **options})


def test_what_does_not_fit_model_or_maps_is_refused_by_name():
    model, images, maps = make_model(), tensors(2, 3, *SIZE), tensors(2, CLASSES, *SIZE, seed=1)
    some = TargetMaps(maps[:, :2], torch.tensor([0, 4]))
    for given, options, text in [
        (maps[:, 0], {"labels": (0, 9)}, r"expected classes in \[0, 5\), got 9"),
        (per_class(maps), {"labels": "top-9"}, r"expected target 'top-k' with k in \[1, 5\], got 'top-9'"),
        (per_class(maps), {"labels": "best"}, "expected target class indices, an int, 'predicted' or 'top-k'"),
        (some, {"labels": (0, 1)}, r"expected maps\['map'\] to hold a map for class\(es\) \[1\], got labels \[0, 4\]"),
        (some, {"target": 2}, r"expected maps\['map'\] to hold a map for class\(es\) \[2\], got labels \[0, 4\]"),
        (per_class(maps - 0.5), {"levels": "mass"}, "expected maps non-negative where levels='mass', got negative values"),
        (TargetMaps(maps[:, :2], torch.tensor([1, 1])), {}, r"expected maps\['map'\].labels to be distinct, got \[1, 1\]"),
        (TargetMaps(maps[:, :2], torch.tensor([1])), {}, r"expected maps\['map'\].labels of shape \(L,\) = \(2,\), got \(1,\)"),
        (TargetMaps(maps[:, 0], torch.tensor([1])), {}, r"expected maps\['map'\] of shape \(N, L, H, W\), got \(2, 4, 7\)"),
    ]:
        with pytest.raises(ValueError, match=text):
            scored(model, images, given, **{"target": 0, **options})


def test_other_metrics_read_the_map_of_the_target():
    model, images, maps = make_model(), tensors(2, 3, *SIZE), tensors(2, CLASSES, *SIZE, seed=1)
    target = torch.tensor([3, 1])
    both = {"many": per_class(maps), "one": maps[torch.arange(2), target]}
    results = evaluate(model, images, target, both, [Deletion(GREY), Soundness(GREY, GRID)], check_model=False)
    assert torch.equal(results["many", "deletion"].values, results["one", "deletion"].values)
    assert not torch.equal(results["many", "soundness"].values, results["one", "soundness"].values)
