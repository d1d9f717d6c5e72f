"""What a study is asked, checked, and made into a job and a record of it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from .._digests import digest
from ..checks import bad_type, bad_value, require_integer, require_mask, require_shape, require_tensor
from ..evaluation._input_chunks import random_order
from ..evaluation._scoring import Scoring
from ..evaluation.evaluate import check_metrics, named_metrics
from ..evaluation.maps import MapOptions, MapSource, TargetMaps, sources
from ..fingerprinting import tensor_digest
from ..models.targets import Target
from ..ops.rank import checked_sample_ids
from ..perturbation import Engine
from ..protocols import Forward, MethodInfo
from ._chunk import ChunkJob
from ._fingerprint import fingerprint, run_name
from ._model_observation import ModelObservation, observe
from ._study_methods import contestants
from ._worker import Progress
from .samples import SampleReader
from .stopping import StopRule

_STUDY = "Study"
_LOOK = 16  # images between two looks of a stop rule, at most


@dataclass(frozen=True)
class StudyConfig:
    """The arguments of `Study`, which describes them."""

    model: Forward
    data: Any
    methods: Mapping[str, Any] | Sequence[Any]
    metrics: Sequence[Any]
    out: Path
    target: Target
    truth: Tensor | None
    seed: int
    engine: Mapping[str, Any] | None
    chunk: int | None
    sample_ids: Tensor | None
    names: Sequence[str] | None
    class_names: Sequence[str] | None
    identity: str | None
    controls: bool
    random_weights: Sequence[str] | None
    channels: str | None
    resample: str | None
    max_unreadable: float
    stop: StopRule | None
    rank: int | None
    world: int | None
    progress: Progress | None

    def __post_init__(self) -> None:
        require_integer(_STUDY, "seed", self.seed, 0, 2**63 - 1)
        if self.chunk is not None:
            require_integer(_STUDY, "chunk", self.chunk, 1, 2**31 - 1)
        if self.engine is not None and not isinstance(self.engine, Mapping):
            remedy = "the engine is made by the study: engine={'max_batch': 32}"
            bad_type(_STUDY, "engine", "to be a mapping of options of Engine", type(self.engine).__name__, remedy)
        if self.engine is not None and "progress" in self.engine:
            bad_value(_STUDY, "engine", "without 'progress'", "one", "pass progress to the study")
        if self.stop is not None and not isinstance(self.stop, StopRule):
            bad_type(_STUDY, "stop", "to be a StopRule", type(self.stop).__name__)
        if not 0 <= self.max_unreadable <= 1:
            bad_value(_STUDY, "max_unreadable", "in [0, 1]", self.max_unreadable)
        if (self.rank is None) != (self.world is None):
            bad_value(_STUDY, "rank and world", "both, or neither", f"{self.rank} and {self.world}")
        if self.rank is not None and self.world is not None:
            require_integer(_STUDY, "world", self.world, 1, 2**31 - 1)
            require_integer(_STUDY, "rank", self.rank, 0, self.world - 1)

    def prepared(self) -> tuple[ChunkJob, dict[str, Any]]:
        """The job, and what run.json holds; reads the data once for its digests, and makes the methods."""
        reader = SampleReader(self.data, self.max_unreadable)
        ids = self._checked_ids(len(reader))
        self._check_lengths(reader)
        metrics = named_metrics(self.metrics)
        engine = Engine(self.model, **self._engine_options())
        batch = 1 if reader.example is None else engine.batch_for(reader.example)
        seen = _observed(engine, reader)  # before methods may copy the model
        methods = contestants(self.model, self.methods, self.controls, self.random_weights, self.seed)
        result = sources(methods, MapOptions(self.channels, self.resample), self.model)
        check_metrics(metrics, result, torch.empty(0) if reader.has_truth else self.truth)
        _check_given_maps(result, reader)
        infos = {source.name: _info(source) for source in result}
        families = {name: info.family for name, info in infos.items()}
        size, monitor = self.chunk or batch, None
        if self.stop is not None:
            size = self.chunk or min(batch, _LOOK)
            monitor = self.stop.monitor(metrics, families, len(reader), size)
        made = fingerprint(
            model=self.model,
            observed=seen,
            data=self._data(reader, ids),
            target=self.target,
            truth=self.truth,
            methods=methods,
            metrics=metrics,
            options={
                "seed": self.seed,
                "channels": self.channels,
                "resample": self.resample,
                "engine": self.engine or {},
                "batch": batch,
                "device": None if reader.example is None else engine.placed(reader.example).device.type,
                **({} if self.stop is None else {"stop": self.stop}),
            },
        )
        job = ChunkJob(
            run_name(made, seen.outputs),
            reader,
            engine,
            Scoring(engine, result, metrics, "mark", check_forward=True),
            self.target,
            self.truth,
            ids,
            self.names,
            size,
            families,
            None if monitor is None else random_order(ids, self.seed).tolist(),
            monitor,
        )
        about = {
            "methods": {name: asdict(info) for name, info in infos.items()},
            "metrics": {name: asdict(metric.info) for name, metric in metrics.items()},
            "class_names": None if self.class_names is None else list(map(str, self.class_names)),
        }
        return job, {
            "run": job.run,
            "fingerprint": made,
            "outputs": seen.outputs,
            "layout": {"chunk": job.size},
            "about": about,
        }

    def _engine_options(self) -> dict[str, Any]:
        """As given; the device is that of the model where none is."""
        parameter = next(self.model.parameters(), None) if isinstance(self.model, Module) else None
        return ({} if parameter is None else {"device": parameter.device}) | dict(self.engine or {})

    def _data(self, reader: SampleReader, ids: Tensor) -> dict[str, Any]:
        """What the samples are."""
        example = reader.example
        return {
            "samples": len(reader),
            "shape": None if example is None else list(example.shape[1:]),
            "dtype": None if example is None else str(example.dtype),
            "sample_ids": tensor_digest(ids),
            "names": None if self.names is None else digest(*map(str, self.names)),
            "content": reader.digests() if self.identity is None else self.identity,
        }

    def _checked_ids(self, count: int) -> Tensor:
        if self.sample_ids is None:
            return torch.arange(count)
        checked_sample_ids(_STUDY, self.sample_ids)
        require_shape(_STUDY, "sample_ids", self.sample_ids, "(N,)", (count,))
        if len(set(self.sample_ids.tolist())) != count:
            bad_value(_STUDY, "sample_ids", "to be distinct", "some twice", "they tell the samples apart in the results")
        return self.sample_ids.cpu()

    def _check_lengths(self, reader: SampleReader) -> None:
        """One target, truth and name for each sample."""
        if isinstance(self.target, Tensor):
            require_shape(_STUDY, "target", self.target, "(N,)", (len(reader),))
        if self.names is not None and len(self.names) != len(reader):
            bad_value(_STUDY, "names", f"of length N = {len(reader)}", len(self.names))
        if self.truth is not None:
            require_tensor(_STUDY, "truth", self.truth)
        if self.truth is not None and reader.example is not None:
            like = torch.empty(len(reader), *reader.example.shape[2:], device="meta")
            require_mask(_STUDY, "truth", self.truth.to("meta"), like, "data")


def _observed(engine: Engine, reader: SampleReader) -> ModelObservation:
    """The model, seen at work on the first image that can be read."""
    try:
        return observe(engine, torch.empty(0, 1, 1, 1) if reader.example is None else reader.example)
    except Exception as error:
        error.add_note("Study: the model failed on the first image, before any chunk was begun")
        raise


def _check_given_maps(found: list[MapSource], reader: SampleReader) -> None:
    for source in found:
        if not source.is_method and reader.example is not None:
            maps = source.given.maps[:, 0] if isinstance(source.given, TargetMaps) else source.given
            source.check(maps, len(reader), (reader.example.shape[2], reader.example.shape[3]))


def _info(source: MapSource) -> MethodInfo:
    """What is known of a method; of maps that were given, little."""
    return source.given.info if source.is_method else MethodInfo(source.name, "given", True, "0", "")
