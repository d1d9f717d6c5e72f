"""The engine: right answers, one shape, any batching, restored models, memory that runs out."""

import threading
import weakref
from functools import partial

import pytest
import torch

from saliency_ext.infill import Blur, Constant
from saliency_ext.ops import blend_rank, rank
from saliency_ext.perturbation import Engine, Plan, Ranked, RankMasks
from tests.helpers import conv_net


def images(n=5, seed=0):
    return torch.rand(n, 3, 6, 7, generator=torch.Generator().manual_seed(seed))


make_model = partial(conv_net, 80)


COUNTS = [0, 1, 10, 20, 41, 42]


def run(engine, inputs, **options):
    plan = Plan()
    ranked = Ranked(rank(inputs.mean(1)))
    (keys,) = plan.request(RankMasks(ranked, COUNTS, keep="tail"), Constant(0.5))
    classes = torch.arange(inputs.shape[0])[:, None] % 6
    return engine.run(plan, inputs, classes, **options), keys, ranked, classes


@pytest.mark.parametrize("max_batch", [1, 2, 4, 7, 64])
def test_answers_are_those_of_the_bare_model(max_batch):
    model, inputs = make_model(), images()
    engine = Engine(model, max_batch=max_batch)
    outputs, keys, ranked, classes = run(engine, inputs)
    with torch.no_grad():
        probes = blend_rank(inputs, 0.5, ranked.ranks, COUNTS, keep="tail")
        logits = model(probes.flatten(0, 1)).double().view(6, 5, 6).transpose(0, 1)
    requested = logits.gather(2, classes[:, None].expand(5, 6, 1))[..., 0]
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(outputs.score(keys, "logit"), requested, **close)
    torch.testing.assert_close(outputs.score(keys, "log_probability"), requested - logits.logsumexp(2), **close)
    torch.testing.assert_close(outputs.score(keys, "probability"), (requested - logits.logsumexp(2)).exp(), **close)
    assert torch.equal(outputs.score(keys, "accuracy"), (logits.argmax(2) == classes).double())
    assert engine.counters.images_forwarded - engine.counters.images_padded == 30


def test_every_forward_has_one_shape():
    model, shapes = make_model(), set()
    engine = Engine(lambda x: shapes.add(tuple(x.shape)) or model(x), max_batch=8)
    run(engine, images(5))
    run(engine, images(3))
    engine.logits(images(2))
    assert shapes == {(8, 3, 6, 7)}


def test_an_image_scores_the_same_alone_and_in_any_batch():
    model, inputs = make_model(), images()
    together, keys, *_ = run(Engine(model, max_batch=16), inputs)
    whole = together.score(keys, "logit")
    for order in ([3], [4, 0], [2, 1, 0, 4, 3]):
        plan = Plan()
        (own,) = plan.request(RankMasks(Ranked(rank(inputs[order].mean(1))), COUNTS, keep="tail"), Constant(0.5))
        classes = torch.arange(5)[order][:, None]
        part = Engine(model, max_batch=16).run(plan, inputs[order], classes).score(own, "logit")
        assert torch.equal(part, whole[order])


def test_known_answers_cost_nothing():
    engine = Engine(make_model(), max_batch=8)
    outputs, *_ = run(engine, images())
    before, digest = engine.counters.forwards, outputs.digest()
    run(engine, images(), outputs=outputs)
    assert engine.counters.forwards == before and outputs.digest() == digest


def test_out_of_memory_halves_the_batch_and_changes_no_number():
    model = make_model()

    def tight(x):
        if x.shape[0] > 5:
            raise torch.OutOfMemoryError("no room")
        return model(x)

    engine = Engine(tight, max_batch=16)
    outputs, keys, *_ = run(engine, images())
    expected, expected_keys, *_ = run(Engine(model, max_batch=16), images())
    assert engine.max_batch == 4 and engine.counters.out_of_memory == 2
    torch.testing.assert_close(outputs.score(keys, "logit"), expected.score(expected_keys, "logit"))
    with pytest.raises(torch.OutOfMemoryError):
        run(Engine(lambda x: (_ for _ in ()).throw(torch.OutOfMemoryError("none at all")), max_batch=2), images())


def test_the_model_and_the_inputs_are_left_as_they_were():
    model, inputs = make_model().train(), images()
    kept, state = inputs.clone(), torch.get_rng_state()
    with pytest.warns(RuntimeWarning, match="training mode"):
        run(Engine(model), inputs)
    assert model.training and torch.equal(inputs, kept) and torch.equal(torch.get_rng_state(), state)

    def broken(x):
        raise RuntimeError("the model broke")

    with pytest.raises(RuntimeError, match="the model broke"):
        run(Engine(broken), inputs)
    assert torch.is_grad_enabled()


def test_progress_counts_up_to_the_unique_masked_inputs():
    seen = []
    run(Engine(make_model(), max_batch=4, progress=lambda done, total: seen.append((done, total))), images())
    assert seen[-1] == (30, 30) and [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_half_precision_and_channels_last_inputs_reach_the_model():
    seen = []

    def forward(x):
        seen.append((x.dtype, x.is_contiguous(memory_format=torch.channels_last)))
        return x.flatten(1)[:, :6]

    run(Engine(forward, dtype=torch.bfloat16, channels_last=True, max_batch=8), images())
    assert set(seen) == {(torch.bfloat16, True)}


def test_bad_arguments_are_refused_by_name():
    engine = Engine(make_model())
    with pytest.raises(TypeError, match="Engine: expected forward to be callable, got int"):
        Engine(3)
    with pytest.raises(ValueError, match=r"Engine: expected max_batch in \[1, "):
        Engine(make_model(), max_batch=0)
    with pytest.raises(TypeError, match="Engine.run: expected inputs of dtype float32 or float64, got uint8"):
        engine.run(Plan(), torch.zeros(1, 3, 6, 7, dtype=torch.uint8), torch.zeros(1, 1, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"Engine.run: expected classes of shape \(N, T\) = \(2, 1\), got \(1, 1\)"):
        engine.run(Plan(), images(2), torch.zeros(1, 1, dtype=torch.int64))


def test_a_class_the_model_does_not_have_is_refused():
    plan = Plan()
    plan.request(RankMasks(Ranked(rank(images(1).mean(1))), [3]), Constant(0.0))
    with pytest.raises(ValueError, match=r"Engine.run: expected classes in \[0, 6\), got 6"):
        Engine(make_model()).run(plan, images(1), torch.tensor([[6]]))
    with pytest.raises(ValueError, match=r"Engine.run: expected classes >= 0, got -1"):
        Engine(make_model()).run(plan, images(1), torch.tensor([[-1]]))


def test_orders_and_directions_share_an_infill():
    """Each image is filled once, however many curves are asked; another draw or object is another fill."""
    filled = []

    class Counted(Blur):
        def fill(self, inputs, sample_ids, draw):
            filled.extend(sample_ids.tolist())
            return super().fill(inputs, sample_ids, draw)

    images, infill, plan = torch.rand(5, 1, 6, 6), Counted(1.0), Plan()
    for seed in range(3):
        order = Ranked(rank(torch.rand(5, 6, 6, generator=torch.Generator().manual_seed(seed))))
        for keep in ("head", "tail"):
            plan.request(RankMasks(order, [9, 18, 27], keep=keep), infill)
    alone, together = Engine(lambda x: x.flatten(1)[:, :2], max_batch=6), Engine(lambda x: x.flatten(1)[:, :2], max_batch=6)
    result = together.run(plan, images, torch.zeros(5, 1, dtype=torch.int64))
    assert sorted(filled) == [0, 1, 2, 3, 4]
    plain = Plan()
    for batch in plan.batches(set()):
        plain.request(batch.masks, Counted(1.0))  # an object of its own each time: filled anew
    assert alone.run(plain, images, torch.zeros(5, 1, dtype=torch.int64)).digest() == result.digest()


def test_one_infill_is_in_memory_at_a_time():
    """When the next one is made, none of those before is alive."""
    made, alive = [], []

    class Watched(Blur):
        def fill(self, inputs, sample_ids, draw):
            alive.append(sum(each() is not None for each in made))
            values = super().fill(inputs, sample_ids, draw)
            made.append(weakref.ref(values))
            return values

    plan, inputs = Plan(), images(4)
    for sigma in (1.0, 2.0):
        plan.request(RankMasks(Ranked(rank(inputs.mean(1))), COUNTS, keep="tail"), Watched(sigma))
    Engine(make_model(), max_batch=6).run(plan, inputs, torch.zeros(4, 1, dtype=torch.int64))
    assert len(alive) == 8 and alive == [0] * 8


def test_two_threads_do_not_share_an_engine():
    inside, leave, errors = threading.Event(), threading.Event(), []

    def model(inputs):
        inside.set()
        leave.wait()
        return inputs.flatten(1)[:, :2]

    engine, images = Engine(model, max_batch=2), torch.rand(2, 1, 2, 2)
    thread = threading.Thread(target=lambda: errors.append(engine.logits(images)))
    thread.start()
    inside.wait()
    with pytest.raises(RuntimeError, match="Engine: expected to be used by one thread at a time, got a second; give each"):
        engine.logits(images)
    leave.set()
    thread.join()
    assert torch.equal(engine.logits(images), errors[0]), "free again"
