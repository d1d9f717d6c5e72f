"""One chunk of a study: reads the samples, runs every method and metric, returns rows."""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..checks import bad_value
from ..evaluation._input_chunks import GIVEN, Chunk
from ..evaluation._scoring import Scoring
from ..models.targets import Target, requested_classes
from ..nonfinite import finite_rows, with_zeros
from ..perturbation import Counters, Engine
from ._parquet_schema import Identity, table_of
from .samples import SampleBatch, SampleReader
from .stopping import StopMonitor


@dataclass
class ChunkJob:
    """The work of a study, in numbered, independent chunks.

    Attributes:
        run: name of the run.
        target: as the study was given it.
        truth: (N, H, W) bool, or None.
        sample_ids: (N,) int64.
        names: N, or None for those of the samples.
        size: samples per chunk.
        families: of the methods.
        order: of the samples; None: as they come.
        monitor: of the stopping rule, or None.
    """

    run: str
    reader: SampleReader
    engine: Engine
    scoring: Scoring
    target: Target
    truth: Tensor | None
    sample_ids: Tensor
    names: Sequence[str] | None
    size: int
    families: dict[str, str]
    order: list[int] | None = None
    monitor: StopMonitor | None = None

    @property
    def chunks(self) -> int:
        """How many there are."""
        return -(-len(self.reader) // self.size)

    def samples(self, index: int) -> Sequence[int]:
        """The samples of a chunk."""
        place = range(index * self.size, min((index + 1) * self.size, len(self.reader)))
        return place if self.order is None else self.order[place.start : place.stop]

    def do(self, index: int) -> tuple[Any, dict[str, Any]]:
        """The rows of a chunk, and the record of their cost."""
        start, before = time.perf_counter(), dataclasses.asdict(self.engine.counters)
        samples = self.samples(index)
        place = list(samples)
        batch = self.reader.read_places(samples)
        inputs, ids = self.engine.placed_images(batch.inputs), self.sample_ids[place]
        target = self._target(batch, inputs, samples)
        truth = batch.truth if self.truth is None else self.truth[place]
        placed = None if truth is None else truth.to(inputs.device)
        results = self.scoring.chunk(Chunk(index * self.size, inputs, target, ids.to(inputs.device), placed, place))
        about = Identity(
            ids.tolist(),
            list(map(str, batch.names if self.names is None else [self.names[at] for at in place])),
            [None if problem else int(own) for own, problem in zip(target.tolist(), batch.problems, strict=True)],
            batch.problems,
        )
        table = table_of(self.run, about, self.families, results)
        counters = _since(before, self.engine.counters)
        return table, {"samples": len(samples), "seconds": time.perf_counter() - start, "counters": counters}

    def _target(self, batch: SampleBatch, inputs: Tensor, samples: Sequence[int]) -> Tensor:
        """(n,) classes; of a sample that could not be read an arbitrary valid one, as its rows have no values."""
        if isinstance(self.target, Tensor):
            return self.target[list(samples)].to(inputs.device)
        if self.target != GIVEN:
            safe = with_zeros(inputs, finite_rows(inputs))
            return requested_classes(self.target, len(inputs), lambda: self.engine.logits(safe)).to(inputs.device)
        for index, label, problem in zip(samples, batch.labels, batch.problems, strict=True):
            if label is None and not problem:
                bad_value("Study", f"inputs[{index}]", "with a label where target='given'", "none")
        some = next((label for label in batch.labels if label is not None), 0)
        labels = [some if label is None else label for label in batch.labels]
        return torch.tensor(labels, device=inputs.device)


def _since(before: dict[str, Any], now: Counters) -> dict[str, Any]:
    """The difference of the counters since then."""
    after = dataclasses.asdict(now)
    spent = {name: after["seconds"][name] - before["seconds"][name] for name in after["seconds"]}
    return {name: spent if name == "seconds" else after[name] - before[name] for name in after}
