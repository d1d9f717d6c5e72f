"""Metric classes inside torchmetrics: class = functional; split = whole; several processes; copies and states."""

import copy
import functools
import gc
import pickle

import pytest
import torch

from saliency_ext.evaluation import evaluate
from saliency_ext.metrics.registry import METRICS
from tests.integrations.torchmetrics_cases import CASES, GREY, IMAGES, STEPS, Net, batch, make, method, states_of_rank
from tests.study.studies import children
from tests.study.test_distributed import ended, start

torchmetrics = pytest.importorskip(
    "torchmetrics", reason="torchmetrics is not installed: pip install 'saliency_ext[torchmetrics]'"
)

from saliency_ext.integrations import torchmetrics as classes  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*before the ``update`` method.*:UserWarning")


@pytest.fixture
def data():
    return batch()


def requested(name, model, data):
    images, target, maps, truth = data
    return images, target, method(model) if CASES[name][2] else maps, truth


def functional(metrics, model, images, target, maps, truth):
    return evaluate(model, images, target, maps, metrics, truth=truth)


def test_every_registered_metric_has_a_class():
    names = {kind.__name__ for kind in METRICS.values()} | {"TargetMinusDistractor"}
    assert set(CASES) == set(classes.__all__) - {"Evaluator", "SaliencyMetric"} == names <= set(dir(classes))
    assert classes.Deletion is pickle.loads(pickle.dumps(classes.Deletion))
    with pytest.raises(AttributeError, match="no attribute 'Delition'"):
        classes.Delition  # noqa: B018


@pytest.mark.parametrize("name", CASES)
def test_class_is_functional_split_is_whole(name, data):
    model = Net()
    images, target, maps, truth = requested(name, model, data)
    metric = make(classes, name, classes.Evaluator(model))
    assert isinstance(metric, torchmetrics.Metric) and metric.full_state_update is False
    assert metric.higher_is_better == {"higher": True, "lower": False, "none": None}[metric.judge.info.direction]
    result = functional([metric.judge], model, images, target, maps, truth)["map", metric.judge.info.name]
    assert result.valid.any()
    expected = result.values[result.valid].mean()

    metric.update(images, target, maps, truth=truth)
    assert metric.compute().item() == pytest.approx(expected.item(), rel=1e-12, abs=1e-15)
    assert metric.sums[1:].tolist() == [int(result.valid.sum()), IMAGES]
    metric.reset()
    assert metric.sums.tolist() == [0, 0, 0]
    for part in (slice(0, 3), slice(3, 3), slice(3, 7)):  # ids run on over updates, also an empty one
        given = maps if callable(maps) else maps[part]
        metric.update(images[part], target[part], given, truth=truth[part])
    assert metric.compute().item() == pytest.approx(expected.item(), rel=1e-6, abs=1e-7)  # other batches, other last bits


def test_forward_returns_the_batch_and_adds_it(data):
    images, target, maps, truth = data
    model = Net()
    whole, parts = (make(classes, "Fidelity", classes.Evaluator(model)) for _ in range(2))
    whole.update(images, target, maps)
    values = [parts(images[part], target[part], maps[part]) for part in (slice(0, 4), slice(4, 7))]
    assert parts.compute().item() == pytest.approx(whole.compute().item(), rel=1e-6)
    assert (4 * values[0] + 3 * values[1]).item() / 7 == pytest.approx(parts.compute().item(), rel=1e-12)
    own = functional([whole.judge], model, images, target, maps, truth)["map", "fidelity"].values
    assert values[1].item() == pytest.approx(own[4:].mean().item(), rel=1e-6)  # ids 4, 5, 6 although a step begins with a reset


def test_a_collection_shares_one_pass(data):
    images, target, maps, truth = data
    names = ("Deletion", "Insertion", "MoRF", "Fidelity", "PointingGame")
    model = Net()
    evaluator = classes.Evaluator(model)
    collection = torchmetrics.MetricCollection([make(classes, name, evaluator) for name in names])
    alone = functional([metric.judge for metric in collection.values()], model, images, target, maps, truth)
    collection.update(images, target, maps, truth=truth)
    assert evaluator.passes == 1
    assert evaluator.engine.counters.unique == alone.counters.unique < evaluator.engine.counters.requested
    forwarded = evaluator.engine.counters.images_forwarded
    with torch.inference_mode():
        fresh = [tensor.clone() for tensor in (images, target, maps)]
        collection.update(*fresh, truth=truth)
    assert evaluator.passes == 2 and evaluator.engine.counters.images_forwarded - forwarded == alone.counters.images_forwarded
    result = collection.compute()
    assert set(result) == set(names)
    assert len(collection.compute_groups) == len(names)  # deletion and MoRF have equal values: never taken for one


def test_equal_values_are_not_taken_for_equal_metrics(data):
    """torchmetrics merges metrics whose states agree after the first batch."""
    images, target, maps, truth = data
    maps = truth.float()  # hits everywhere, at any tolerance
    evaluator = classes.Evaluator(Net())
    near = {f"within_{tolerance}": classes.PointingGame(evaluator, tolerance) for tolerance in (0, 2)}
    collection = torchmetrics.MetricCollection(near)
    collection.update(images, target, maps, truth=truth)
    missed = torch.zeros(IMAGES, 6, 6)
    missed[:, 0, 0] = 1
    away = torch.zeros(IMAGES, 6, 6, dtype=torch.bool)
    away[:, 0, 2] = True
    collection.update(images, target, missed, truth=away)
    assert {name: value.item() for name, value in collection.compute().items()} == {"within_0": 0.5, "within_2": 1.0}


def test_a_changed_batch_is_scored_again(data):
    images, target, maps, _ = data
    evaluator = classes.Evaluator(Net())
    first, second = make(classes, "Deletion", evaluator), make(classes, "Insertion", evaluator)
    first.update(images, target, maps)
    images.mul_(0)
    second.update(images, target, maps)
    assert evaluator.passes == 2
    del second
    first.update(images, target, maps)  # nobody holds the other any more
    assert evaluator.passes == 3 and len(evaluator._metrics) == 1


def test_a_dropped_metric_is_not_scored_and_fails_nobody(data):
    """At once, not when the garbage collector comes by."""
    images, target, maps, truth = data
    evaluator = classes.Evaluator(Net())
    kept = make(classes, "Deletion", evaluator)
    gc.disable()
    try:
        for _ in range(2):
            dropped = make(classes, "PointingGame", evaluator)
            dropped.update(images, target, maps, truth=truth)
            dropped.compute()
            del dropped
        assert len(evaluator._metrics) == 1
        kept.update(images, target, maps)  # without a truth
    finally:
        gc.enable()
    assert kept.compute().isfinite()


def test_a_metric_that_is_held_but_not_updated_fails_nobody_and_is_left_out(data):
    images, target, maps, _ = data
    evaluator = classes.Evaluator(Net())
    requesting = make(classes, "Deletion", evaluator)
    others = [make(classes, name, evaluator) for name in ("PointingGame", "MaxSensitivity", "Infidelity")]
    for place in (0, 3):  # the batch has no truth and no method for two of them; the third lets its result lie
        requesting.update(images[place : place + 3], target[place : place + 3], maps[place : place + 3])
    once = evaluator.engine.counters.unique
    requesting.update(images[:3], target[:3], maps[:3], sample_ids=torch.arange(3))
    alone = make(classes, "Deletion", classes.Evaluator(Net()))
    alone.update(images[:3], target[:3], maps[:3])
    assert evaluator.engine.counters.unique - once == alone.evaluator.engine.counters.unique
    others[2].update(images[:3], target[:3], maps[:3], sample_ids=torch.arange(3))
    with pytest.raises(ValueError, match="expected truth"):
        others[0].update(images, target, maps)


class Holder(torch.nn.Module):
    """A net and a metric on it, the one or the other first; the metric reaches the net in a way of its own."""

    def __init__(self, reach, metric_first):
        super().__init__()
        self.metric = None
        net = Net()
        if not metric_first:
            self.net = net
        self.metric = torchmetrics.MetricCollection([make(classes, "Deletion", classes.Evaluator(reach(net)))])
        self.net = net

    def value(self, images, target, maps):
        self.metric.reset()
        self.metric.update(images, target, maps)
        return self.metric.compute()["Deletion"].item()


@pytest.mark.parametrize("metric_first", [True, False])
@pytest.mark.parametrize("reach", [lambda net: net, lambda net: net.forward, lambda net: functools.partial(net)])
def test_the_metric_of_a_copied_module_judges_the_copied_net(data, reach, metric_first):
    images, target, maps, _ = data
    module = Holder(reach, metric_first)
    before = module.value(images, target, maps)
    for average in (copy.deepcopy(module), copy.deepcopy(copy.deepcopy(module))):
        with torch.no_grad():
            for weights in average.net.parameters():
                weights.zero_()
        assert average.value(images, target, maps) == pytest.approx(0.2)  # every probability is 1/5
    assert module.value(images, target, maps) == before


def test_a_copy_that_must_judge_the_original_net_says_so(data):
    images, target, maps, _ = data
    module = Holder(lambda net: lambda inputs: net(inputs), False)
    average = copy.deepcopy(module)
    with pytest.warns(RuntimeWarning, match="the copy of a metric evaluates the original"):
        assert average.value(images, target, maps) == module.value(images, target, maps)


def test_plot(data, monkeypatch):
    import torchmetrics.utilities.plot as drawing

    metric, drawn = make(classes, "Deletion", classes.Evaluator(Net())), []
    metric.update(*data[:3])
    monkeypatch.setattr(drawing, "plot_single_or_multi_val", lambda value, **options: drawn.append((value, options)))
    metric.plot()
    metric.plot([0.5, 0.25], ax="axes")
    assert drawn[0] == (metric.compute(), {"ax": None, "higher_is_better": False, "name": "Deletion"})
    assert drawn[1] == ([0.5, 0.25], {"ax": "axes", "higher_is_better": False, "name": "Deletion"})


def test_faults_are_counted_not_averaged(data):
    images, target, maps, _ = data
    maps[2, 0, 0] = torch.nan
    metric = make(classes, "Deletion", classes.Evaluator(Net()))
    metric.update(images, target, maps)
    assert metric.sums[1:].tolist() == [IMAGES - 1, IMAGES] and metric.compute().isfinite()
    metric.reset()
    metric.update(images, target, torch.full_like(maps, torch.nan))
    assert metric.compute().isnan()


def test_copies_and_pickles_are_metrics_of_their_own(data):
    images, target, maps, _ = data
    model = Net()
    evaluator = classes.Evaluator(model)
    collection = torchmetrics.MetricCollection([make(classes, name, evaluator) for name in ("Deletion", "Fidelity")])
    collection.update(images[:4], target[:4], maps[:4])
    for other in (copy.deepcopy(collection), collection.clone(prefix="val_"), pickle.loads(pickle.dumps(collection))):
        before = [value.item() for value in collection.compute().values()]
        assert [value.item() for value in other.compute().values()] == before
        other.update(images[4:], target[4:], maps[4:])
        evaluators = {id(metric.evaluator) for metric in other.values()}
        assert len(evaluators) == 1  # still one pass
        assert [value.item() for value in collection.compute().values()] == before
        assert [value.item() for value in other.compute().values()] != before
    assert copy.deepcopy(collection)["Deletion"].evaluator.model is model
    unpickled = pickle.loads(pickle.dumps(collection))
    restored = unpickled["Deletion"].evaluator
    assert restored is not evaluator and len(restored._metrics) == 2 and restored.model is not model


def test_a_model_in_a_metric_is_no_part_of_it(data):
    metric = make(classes, "Deletion", classes.Evaluator(Net()))
    assert list(metric.parameters()) == [] and metric.state_dict() == {}
    metric.persistent(True)
    metric.update(*data[:3])
    (name,) = metric.state_dict()
    same = make(classes, "Deletion", classes.Evaluator(Net()))
    same.persistent(True)
    same.load_state_dict(metric.state_dict())
    assert torch.equal(same.sums, metric.sums)
    other = classes.Deletion(classes.Evaluator(Net()), GREY, **STEPS, seed=1)
    other.persistent(True)
    with pytest.raises(RuntimeError, match=name):
        other.load_state_dict(metric.state_dict())


def test_several_processes_are_one(tmp_path, data):
    """Uneven, and one of them without an image."""
    names, shares = ("Deletion", "Fidelity", "PointingGame"), ([0, 1, 2, 3, 4], [5, 6], [])
    context = children()
    given = (3, str(tmp_path / "meet"), shares, names, str(tmp_path / "out"))
    assert ended([start(context, states_of_rank, rank, *given) for rank in range(3)]) == [0] * 3
    result = [torch.load(f"{tmp_path}/out.{rank}", weights_only=True) for rank in range(3)]
    assert result[0] == result[1] == result[2]
    images, target, maps, truth = data
    for name in names:
        metric = make(classes, name, classes.Evaluator(Net()))
        metric.update(images, target, maps, truth=truth)
        assert result[0][name].item() == pytest.approx(metric.compute().item(), rel=1e-6, abs=1e-8), name


def test_bad_input(data):
    images, target, maps, _ = data
    metric = make(classes, "Deletion", classes.Evaluator(Net()))
    with pytest.raises(ValueError, match="Deletion: expected images at least one, got none; call update before compute"):
        metric.compute()
    with pytest.raises(TypeError, match="Deletion: expected evaluator to be an Evaluator, got Net; pass Evaluator"):
        classes.Deletion(Net(), GREY)
    with pytest.raises(TypeError, match="SaliencyMetric: expected the class to be one of the metrics"):
        classes.SaliencyMetric(classes.Evaluator(Net()))
    with pytest.raises(ValueError, match=r"expected truth \(N, H, W\) bool for metric 'pointing_game', got None"):
        classes.PointingGame(classes.Evaluator(Net())).update(images, target, maps)
    with pytest.raises(TypeError, match="to be a method"):
        make(classes, "MaxSensitivity", classes.Evaluator(Net())).update(images, target, maps)
