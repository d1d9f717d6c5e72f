"""Two buffers on two streams: the answers are those of one, and nobody reads or writes a buffer too early."""

from contextlib import contextmanager, nullcontext

import pytest
import torch

from saliency_ext.infill import Blur, Constant
from saliency_ext.ops import rank
from saliency_ext.probing import Engine, Plan, Ranked, RankMasks
from saliency_ext.probing.overlap import OneByOne, Overlapped, turns_on


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


class Watched(Overlapped):
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


def is_over(operation, before):
    stream, count = operation
    return before.get(stream, 0) >= count


def answers(turns):
    generator = torch.Generator().manual_seed(0)
    images, saliency = torch.randn(5, 2, 6, 6, generator=generator), torch.rand(5, 6, 6, generator=generator)
    engine = Engine(lambda x: torch.stack([x.mean((1, 2, 3)), x.amax((1, 2, 3))], 1), max_batch=4)
    engine._runner.turns = lambda device: turns
    with engine.session(images, torch.zeros(5, 1, dtype=torch.int64)) as session:
        for infill in (Constant(0.0), Blur(2.0)):
            plan = Plan()
            plan.ask(RankMasks(Ranked(rank(saliency)), range(0, 37, 6), keep="tail"), infill)
            session.ask(plan)
    return session.answers, engine.counters.forwards


def test_two_buffers_give_the_answers_of_one():
    one, two = answers(OneByOne()), answers(Watched())
    assert one[0].digest() == two[0].digest()
    assert one[1] == two[1] > 10


def test_no_buffer_is_forwarded_before_it_is_rendered_or_rendered_before_it_is_forwarded():
    turns = Watched()
    answers(turns)
    last = {}
    for what, buffer, operation, before in turns.notes:
        other = last.get(("forward" if what == "render" else "render", buffer))
        assert other is None or is_over(other, before)
        last[what, buffer] = operation
    assert {buffer for _, buffer, _, _ in turns.notes} == {0, 1}


def test_a_render_need_not_wait_for_the_forward_before_it():
    turns = Watched()
    answers(turns)
    beside, last = 0, None
    for what, _, operation, before in turns.notes:
        if what == "render" and last is not None:
            beside += not is_over(last, before)
        if what == "forward":
            last = operation
    assert beside >= 10


def test_what_the_caller_made_is_waited_for():
    turns = Watched()
    made, _ = turns.current.operate()
    turns.begin()
    with turns.rendering(0):
        pass
    assert is_over(made, turns.notes[0][3])


@pytest.mark.parametrize("overlap", [True, False])
def test_there_is_one_stream_on_the_cpu(overlap):
    assert isinstance(turns_on(torch.device("cpu"), overlap), OneByOne)
    assert Engine(lambda x: x[:, :, 0, 0], overlap=overlap).logits(torch.ones(1, 2, 3, 3)).tolist() == [[1.0, 1.0]]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("cuda_graph", [True, False])
def test_the_device_gives_the_same_answers_with_and_without(cuda_graph):
    images, saliency = torch.randn(9, 3, 32, 32, device="cuda"), torch.rand(9, 32, 32, device="cuda")
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(8 * 900, 4)).cuda()
    found = []
    for overlap in (True, False):
        plan = Plan()
        plan.ask(RankMasks(Ranked(rank(saliency)), range(0, 1025, 32)), Blur(2.0))
        engine = Engine(net, max_batch=16, overlap=overlap, cuda_graph=cuda_graph)
        found.append(engine.run(plan, images, torch.zeros(9, 1, dtype=torch.int64, device="cuda")).digest())
    assert found[0] == found[1]
