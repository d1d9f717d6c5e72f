"""One pass over a chunk of images: plans come one by one, and share buffers that are always full."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ._forward_queue import ForwardQueue, Part
from .curve_points import CurvePoints
from .outputs import Outputs
from .plan import Key, Plan, PlannedBatch
from .runner import ModelRunner

Progress = Callable[[int, int], None]


class Session:
    """Runs plans on the same images. A plan's masks are let go as soon as they are rendered.

    Use `Engine.session`. The outputs are complete when the session has ended without an exception.
    """

    def __init__(
        self,
        runner: ModelRunner,
        inputs: Tensor,
        classes: Tensor,
        sample_ids: Tensor,
        outputs: Outputs,
        progress: Progress | None,
    ) -> None:
        self.outputs = outputs
        self._runner, self._progress = runner, progress
        self._inputs, self._classes, self._ids = inputs, classes, sample_ids
        self._images, self._columns = len(inputs), classes.shape[1] + 2
        self._rows: dict[Key, Tensor] = {}
        self._found: list[tuple[CurvePoints, Tensor, Tensor, Tensor]] = []
        self._done, self._requested = 0, 0
        highest = int(outputs.classes.max()) if outputs.classes.numel() else 0  # read once, before any forward
        self._forward_queue = ForwardQueue(runner, outputs.failed, highest, self._report, runner.scheduling(inputs.device))

    def request(self, plan: Plan) -> None:
        """Runs every masked input of the plan that is not known yet."""
        known = self.outputs.known() | self._rows.keys()
        batches = list(plan.batches(known))
        sizes = [len(batch.keys) for batch in batches]
        self._runner.counters.requested += plan.requested
        self._runner.counters.unique += sum(sizes)
        self._requested += sum(sizes) * self._images
        rows = torch.full((sum(sizes), self._images, self._columns), torch.nan, dtype=torch.float64)
        self._rows.update(zip((key for batch in batches for key in batch.keys), rows.unbind(0), strict=True))
        with self._forward_queue.request(self._inputs):
            for part in self._parts(-(-sum(sizes) // max(len(sizes), 1))):
                for batch, own in zip(batches, torch.split(rows, sizes), strict=True):
                    self._forward_queue.add(batch, part, own)

    def request_points(self, points: CurvePoints, wanted: Tensor) -> None:
        """Runs points of a curve that are not known yet, other ones for each image; ask a curve once in a session.

        Args:
            points: of which curve.
            wanted: (N, P) bool.
        """
        images, places = (wanted & ~self.outputs.known_points(points)).nonzero(as_tuple=True)
        rows = torch.full((points.infill.draws, len(images), self._columns), torch.nan, dtype=torch.float64)
        self._found.append((points, images, places, rows))
        self._runner.counters.refined += len(rows) * len(images)
        self._requested += len(rows) * len(images)
        for draw, result in enumerate(rows):
            at = 0
            while at < len(images):  # cut so that every buffer is full
                own = slice(at, min(at + self._forward_queue.room(self._inputs), len(images)))
                among, there = images[own], images[own].to(self._inputs.device)
                part = Part(slice(0, len(among)), among, self._inputs[there], self._classes[there], self._ids[there])
                masks = points.masks(among, places[own], self._images)
                with self._forward_queue.request(self._inputs):
                    self._forward_queue.add(PlannedBatch(masks, points.infill, draw, (0,), ()), part, result[None, own])
                at = own.stop

    def finish(self) -> None:
        """Runs what is left in the buffer; the outputs are complete."""
        self._forward_queue.finish()
        self.outputs.num_classes = self._forward_queue.num_classes or self.outputs.num_classes
        for key, row in self._rows.items():
            self.outputs.add(key, row)
        for points, images, places, rows in self._found:
            self.outputs.add_points(points, images, places, rows)

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
            self._progress(self._done, self._requested)
