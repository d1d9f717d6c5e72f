"""One pass over a chunk of images: plans come one by one, and share buffers that are always full."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from .answers import Answers
from .forwarding import Forwarding, Part
from .plan import Batch, Key, Plan
from .points import Points
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
        self._inputs, self._classes, self._ids = inputs, classes, sample_ids
        self._images, self._columns = len(inputs), classes.shape[1] + 2
        self._rows: dict[Key, Tensor] = {}
        self._found: list[tuple[Points, Tensor, Tensor, Tensor]] = []
        self._done, self._asked = 0, 0
        highest = int(answers.classes.max()) if answers.classes.numel() else 0  # read once, before any forward
        self._forwarding = Forwarding(runner, answers.failed, highest, self._report, runner.turns(inputs.device))

    def ask(self, plan: Plan) -> None:
        """Runs every probe of the plan that is not known yet."""
        known = self.answers.known() | self._rows.keys()
        batches = list(plan.batches(known))
        sizes = [len(batch.keys) for batch in batches]
        self._runner.counters.asked += plan.asked
        self._runner.counters.unique += sum(sizes)
        self._asked += sum(sizes) * self._images
        rows = torch.full((sum(sizes), self._images, self._columns), torch.nan, dtype=torch.float64)
        self._rows.update(zip((key for batch in batches for key in batch.keys), rows.unbind(0), strict=True))
        with self._forwarding.request(self._inputs):
            for part in self._parts(-(-sum(sizes) // max(len(sizes), 1))):
                for batch, own in zip(batches, torch.split(rows, sizes), strict=True):
                    self._forwarding.add(batch, part, own)

    def ask_points(self, points: Points, wanted: Tensor) -> None:
        """Runs points of a curve that are not known yet, other ones for each image; ask a curve once in a session.

        Args:
            points: of which curve.
            wanted: (N, P) bool.
        """
        images, places = (wanted & ~self.answers.known_points(points)).nonzero(as_tuple=True)
        rows = torch.full((points.infill.draws, len(images), self._columns), torch.nan, dtype=torch.float64)
        self._found.append((points, images, places, rows))
        self._runner.counters.refined += len(rows) * len(images)
        self._asked += len(rows) * len(images)
        for draw, found in enumerate(rows):
            at = 0
            while at < len(images):  # cut so that every buffer is full
                own = slice(at, min(at + self._forwarding.room(self._inputs), len(images)))
                among, there = images[own], images[own].to(self._inputs.device)
                part = Part(slice(0, len(among)), among, self._inputs[there], self._classes[there], self._ids[there])
                masks = points.masks(among, places[own], self._images)
                with self._forwarding.request(self._inputs):
                    self._forwarding.add(Batch(masks, points.infill, draw, (0,), ()), part, found[None, own])
                at = own.stop

    def finish(self) -> None:
        """Runs what is left in the buffer; the answers are complete."""
        self._forwarding.finish()
        self.answers.outputs = self._forwarding.outputs or self.answers.outputs
        for key, row in self._rows.items():
            self.answers.add(key, row)
        for points, images, places, rows in self._found:
            self.answers.add_points(points, images, places, rows)

    def _parts(self, steps: int) -> Iterator[Part]:
        """The images in slices of which so many steps fill a forward: few images, which stay in cache from step to step."""
        batch = self._runner.batch(self._inputs)
        most = max(1, min(batch // max(steps, 1), self._images))
        size = next(size for size in range(most, 0, -1) if batch % size == 0)
        for start in range(0, self._images, size):
            images = slice(start, min(start + size, self._images))
            among = torch.arange(images.start, images.stop)
            yield Part(images, among, self._inputs[images], self._classes[images], self._ids[images])

    def _report(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._asked)
