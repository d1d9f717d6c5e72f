"""One pass over a chunk of images: plans come one by one, and share buffers that are always full."""

from collections.abc import Callable

import torch
from torch import Tensor

from .answers import Answers
from .forwarding import Forwarding, Part
from .plan import Key, Plan
from .runner import ModelRunner

Progress = Callable[[int, int], None]


class Session:
    """Answers plans on the same images. A plan's masks are let go as soon as they are rendered.

    Use `Engine.session`. The answers are complete when the session has ended without an exception.
    """

    def __init__(
        self,
        runner: ModelRunner,
        inputs: Tensor,
        classes: Tensor,
        sample_ids: Tensor,
        answers: Answers,
        progress: Progress | None,
    ) -> None:
        self.answers = answers
        self._runner, self._progress = runner, progress
        self._parts = [Part(s, inputs[s], classes[s], sample_ids[s]) for s in _slices(len(inputs), runner.batch(inputs))]
        self._images, self._columns = len(inputs), classes.shape[1] + 2
        self._rows: dict[Key, Tensor] = {}
        self._done = 0
        highest = int(answers.classes.max()) if answers.classes.numel() else 0  # read once, before any forward
        self._forwarding = Forwarding(runner, self._rows.__getitem__, answers.failed, highest, self._report)

    def ask(self, plan: Plan) -> None:
        """Runs every probe of the plan that is not known yet."""
        known = self.answers.known() | self._rows.keys()
        fresh = [key for key in plan.unique() if key not in known]
        self._runner.counters.asked += plan.asked
        self._runner.counters.unique += len(fresh)
        block = torch.full((len(fresh), self._images, self._columns), torch.nan, dtype=torch.float64)
        self._rows.update(zip(fresh, block.unbind(0), strict=True))
        batches = list(plan.batches(known))
        for part in self._parts:
            for batch in batches:
                self._forwarding.add(batch, part)

    def finish(self) -> None:
        """Runs what is left in the buffer; the answers are complete."""
        self._forwarding.finish()
        for key, row in self._rows.items():
            self.answers.add(key, row)

    def _report(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, len(self._rows) * self._images)


def _slices(count: int, batch: int) -> list[slice]:
    """Splits N images so that a whole number of steps of each slice fills a forward."""
    slices, start = [], 0
    while start < count:
        size = batch // -(-batch // min(count - start, batch))
        slices.append(slice(start, start + size))
        start += size
    return slices
