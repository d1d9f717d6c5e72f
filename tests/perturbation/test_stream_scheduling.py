"""Two buffers on two streams: the answers are those of one, and nobody reads or writes a buffer too early."""

import weakref
from contextlib import contextmanager, nullcontext

import pytest
import torch

from saliency_ext.infill import Blur, Constant
from saliency_ext.ops import rank
from saliency_ext.perturbation import CurvePoints, Engine, Plan, Ranked, RankMasks, _forward_queue
from saliency_ext.perturbation._stream_scheduling import DoubleBuffered, Serial, stream_scheduling


class Stream:
    """A stream that knows which operations of all streams are certainly over when its next one begins."""

    def __init__(self, name):
        self.name, self.seen, self.count = name, {}, 0

    def operate(self):
        self.count += 1
        before, self.seen = dict(self.seen), self.seen | {self.name: self.count}
        return (self.name, self.count), before

    def wait_stream(self, other):
        self._learn(other.seen)

    def wait_event(self, event):
        self._learn(event.seen)

    def _learn(self, seen):
        self.seen = {name: max(seen.get(name, 0), self.seen.get(name, 0)) for name in seen.keys() | self.seen.keys()}


class Event:
    def record(self, stream):
        self.seen = dict(stream.seen)


class Watched(DoubleBuffered):
    """Notes every render and forward: (what, buffer, operation, what is over before)."""

    def __init__(self):
        self.current, self.side, self.notes = Stream("current"), Stream("side"), []
        super().__init__(self.current, self.side, Event, lambda stream: nullcontext())

    @contextmanager
    def rendering(self, buffer):
        with super().rendering(buffer):
            self.notes.append(("render", buffer, *self.side.operate()))
            yield

    def forwarded(self, buffer):
        self.notes.append(("forward", buffer, *self.current.operate()))
        super().forwarded(buffer)


class Allocator:
    """What is freed is handed out again to the stream it was made on, the current one, at once: too early if another still reads.

    Attributes:
        faults: what was freed before the reads of it were over for the current stream.
        freed: how many tensors were freed after a read.
    """

    def __init__(self, scheduling):
        self.scheduling, self.reads, self.faults, self.freed = scheduling, {}, [], 0

    def read(self, what, tensor, operation):
        if id(tensor) not in self.reads:
            weakref.finalize(tensor, self.free, id(tensor), what)
        self.reads.setdefault(id(tensor), []).append(operation)

    def free(self, number, what):
        self.freed += 1
        if not all(is_over(operation, self.scheduling.current.seen) for operation in self.reads.pop(number)):
            self.faults.append(what)


def is_over(operation, before):
    stream, count = operation
    return before.get(stream, 0) >= count


def outputs(scheduling):
    generator = torch.Generator().manual_seed(0)
    images, saliency = torch.randn(5, 2, 6, 6, generator=generator), torch.rand(5, 6, 6, generator=generator)
    engine = Engine(lambda x: torch.stack([x.mean((1, 2, 3)), x.amax((1, 2, 3))], 1), max_batch=4)
    engine._runner.scheduling = lambda device: scheduling
    with engine.session(images, torch.zeros(5, 1, dtype=torch.int64)) as session:
        for infill in (Constant(0.0), Blur(2.0)):
            plan = Plan()
            plan.request(RankMasks(Ranked(rank(saliency)), range(0, 37, 6), keep="tail"), infill)
            session.request(plan)
    return session.outputs, engine.counters.forwards


def test_two_buffers_give_the_answers_of_one():
    one, two = outputs(Serial()), outputs(Watched())
    assert one[0].digest() == two[0].digest()
    assert one[1] == two[1] > 10


def test_no_buffer_is_forwarded_before_it_is_rendered_or_rendered_before_it_is_forwarded():
    scheduling = Watched()
    outputs(scheduling)
    last = {}
    for what, buffer, operation, before in scheduling.notes:
        other = last.get(("forward" if what == "render" else "render", buffer))
        assert other is None or is_over(other, before)
        last[what, buffer] = operation
    assert {buffer for _, buffer, _, _ in scheduling.notes} == {0, 1}


def test_a_render_need_not_wait_for_the_forward_before_it():
    scheduling = Watched()
    outputs(scheduling)
    beside, last = 0, None
    for what, _, operation, before in scheduling.notes:
        if what == "render" and last is not None:
            beside += not is_over(last, before)
        if what == "forward":
            last = operation
    assert beside >= 10


def test_what_the_caller_made_is_waited_for():
    scheduling = Watched()
    made, _ = scheduling.current.operate()
    scheduling.begin()
    with scheduling.rendering(0):
        pass
    assert is_over(made, scheduling.notes[0][3])


@pytest.fixture
def watched(monkeypatch):
    """An engine on two streams, its scheduling, and the allocator that is told of what is rendered."""
    scheduling = Watched()
    allocator = Allocator(scheduling)
    engine = Engine(lambda x: torch.stack([x.mean((1, 2, 3)), x.amax((1, 2, 3))], 1), max_batch=4)
    engine._runner.scheduling = lambda device: scheduling
    render, zeros = _forward_queue._render, engine._runner._zeros

    def rendered(batch, part, steps, infill, out):
        operation, _ = scheduling.side.operate()
        for what, tensor in (("images", part.inputs), ("ids", part.sample_ids), ("ranks", batch.masks.order.ranks)):
            allocator.read(what, tensor, operation)
        render(batch, part, steps, infill, out)

    def cleared(*options):
        scheduling.notes.append(("clear", None, *scheduling.current.operate()))
        return zeros(*options)

    monkeypatch.setattr(_forward_queue, "_render", rendered)
    monkeypatch.setattr(engine._runner, "_zeros", cleared)
    return engine, scheduling, allocator


def saliency():
    return torch.rand(5, 6, 6, generator=torch.Generator().manual_seed(0))


def ask_masks(session):
    """A map's ranks live as long as its plan: few steps, so that the buffer is not full when they are let go."""
    for _ in range(4):
        plan = Plan()
        plan.request(RankMasks(Ranked(rank(torch.rand(5, 6, 6))), [3], keep="tail"), Blur(1.0))
        session.request(plan)
        del plan


def request_points(session):
    points = CurvePoints(Ranked(rank(saliency())), (0, 9, 18, 36), "tail", Blur(1.0))
    session.request_points(points, torch.ones(5, 4, dtype=torch.bool))


def ask_and_fail(session):
    plan = Plan()
    plan.request(RankMasks(Ranked(rank(saliency())), [3], keep="tail"), Failing(1.0))
    with pytest.raises(ArithmeticError):
        session.request(plan)


class Failing(Blur):
    """An infill that has no pixels for the second part of the images."""

    def _fill(self, inputs, sample_ids, draw):
        if 4 in sample_ids:
            raise ArithmeticError("no pixels")
        return super()._fill(inputs, sample_ids, draw)


@pytest.mark.parametrize("requested", [ask_masks, request_points, ask_and_fail])
def test_nothing_is_freed_while_the_side_stream_reads_it(watched, requested):
    engine, _, allocator = watched
    with engine.session(torch.rand(5, 2, 6, 6), torch.zeros(5, 1, dtype=torch.int64)) as session:
        requested(session)
    assert allocator.freed >= 1
    assert allocator.faults == []


def test_buffers_are_cleared_before_they_are_rendered_into(watched):
    engine, scheduling, _ = watched
    with engine.session(torch.rand(5, 2, 6, 6), torch.zeros(5, 1, dtype=torch.int64)) as session:
        ask_masks(session)
    clears = [operation for what, _, operation, _ in scheduling.notes if what == "clear"]
    first = next(before for what, _, _, before in scheduling.notes if what == "render")
    assert len(clears) == 2
    assert all(is_over(operation, first) for operation in clears)


@pytest.mark.parametrize("overlap", [True, False])
def test_there_is_one_stream_on_the_cpu(overlap):
    assert isinstance(stream_scheduling(torch.device("cpu"), overlap), Serial)
    assert Engine(lambda x: x[:, :, 0, 0], overlap=overlap).logits(torch.ones(1, 2, 3, 3)).tolist() == [[1.0, 1.0]]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("cuda_graph", [True, False])
def test_the_device_gives_the_same_answers_with_and_without(cuda_graph):
    images, saliency = torch.randn(9, 3, 32, 32, device="cuda"), torch.rand(9, 32, 32, device="cuda")
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(8 * 900, 4)).cuda()
    result = []
    for overlap in (True, False):
        plan = Plan()
        plan.request(RankMasks(Ranked(rank(saliency)), range(0, 1025, 32)), Blur(2.0))
        engine = Engine(net, max_batch=16, overlap=overlap, cuda_graph=cuda_graph)
        result.append(engine.run(plan, images, torch.zeros(9, 1, dtype=torch.int64, device="cuda")).digest())
    assert result[0] == result[1]
