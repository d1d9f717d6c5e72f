"""From the arguments of a study to the job that its processes share, and the record of the run."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import Module

from .._digests import digest
from ..checks import bad_value, require_mask, require_sample_ids, require_shape, require_tensor
from ..evaluation._engine import engine_for
from ..evaluation._input_chunks import random_order
from ..evaluation._scoring import Scoring
from ..evaluation.evaluate import check_metrics, named_metrics
from ..evaluation.maps import MapOptions, MapSource, TargetMaps, named_maps, sources
from ..fingerprinting import tensor_digest
from ..models.targets import Target, plain_target
from ..perturbation import Engine
from ..protocols import Forward, MethodInfo
from ._chunk import ChunkJob
from ._fingerprint import fingerprint, run_name
from ._model_observation import ModelObservation, observe
from ._study_methods import with_controls
from .samples import SampleReader

if TYPE_CHECKING:
    from .study import Study

_STUDY = "Study"
_CHECKED_EVERY = 16  # images between two checks of a stop rule, at most


def prepare(study: "Study", determining: Mapping[str, Any]) -> tuple[ChunkJob, dict[str, Any]]:
    """The job, and what run.json holds; reads the data once for its digests, and makes the methods.

    Args:
        study: its arguments.
        determining: those of its options that the values depend on, by name.
    """
    target = plain_target(study.target)
    reader = SampleReader(_STUDY, study.inputs, study.max_unreadable)
    ids = _checked_ids(study, len(reader))
    _check_lengths(study, target, reader)
    metrics = named_metrics(study.metrics, _STUDY)
    engine = engine_for(_STUDY, study.model, _on_device_of(study.model, study.engine))
    batch = 1 if reader.example is None else engine.batch_for(reader.example)
    observed = _observed(engine, reader)  # before methods may copy the model
    methods = with_controls(study.model, named_maps(_STUDY, study.maps), study.controls, study.random_weights, study.seed)
    map_sources = sources(methods, MapOptions(study.channels, study.resample), study.model)
    check_metrics(metrics, map_sources, torch.empty(0) if reader.has_truth else study.truth)
    _check_given_maps(map_sources, reader)
    infos = {source.name: _info(source) for source in map_sources}
    families = {name: info.family for name, info in infos.items()}
    size, monitor = study.chunk or batch, None
    if study.stop is not None:
        size = study.chunk or min(batch, _CHECKED_EVERY)
        monitor = study.stop.monitor(metrics, families, len(reader), size)
    made = fingerprint(
        model=study.model,
        observed=observed,
        inputs=_data(study, reader, ids),
        target=target,
        truth=study.truth,
        maps=methods,
        metrics=metrics,
        options={
            **determining,
            "engine": engine.options,
            "batch": batch,
            "device": None if reader.example is None else engine.placed(reader.example).device.type,
        },
    )
    job = ChunkJob(
        run=run_name(made, observed.outputs),
        reader=reader,
        engine=engine,
        scoring=Scoring(engine, map_sources, metrics, "mark", check_model=True),
        target=target,
        truth=study.truth,
        sample_ids=ids,
        names=study.names,
        size=size,
        families=families,
        order=None if monitor is None else random_order(ids, study.seed).tolist(),
        monitor=monitor,
    )
    about = {
        "methods": {name: asdict(info) for name, info in infos.items()},
        "metrics": {name: asdict(metric.info) for name, metric in metrics.items()},
        "class_names": None if study.class_names is None else list(map(str, study.class_names)),
    }
    record = {"run": job.run, "fingerprint": made, "outputs": observed.outputs, "layout": {"chunk": size}, "about": about}
    return job, record


def _on_device_of(model: Forward, engine: Engine | Mapping[str, Any] | None) -> Engine | Mapping[str, Any]:
    """The engine as given; options of one get the device of the model where they name none."""
    if isinstance(engine, Engine):
        return engine
    parameter = next(model.parameters(), None) if isinstance(model, Module) else None
    return ({} if parameter is None else {"device": parameter.device}) | dict(engine or {})


def _data(study: "Study", reader: SampleReader, ids: Tensor) -> dict[str, Any]:
    """What the samples are."""
    example = reader.example
    return {
        "samples": len(reader),
        "shape": None if example is None else list(example.shape[1:]),
        "dtype": None if example is None else str(example.dtype),
        "sample_ids": tensor_digest(ids),
        "names": None if study.names is None else digest(*map(str, study.names)),
        "content": reader.digests() if study.identity is None else study.identity,
    }


def _checked_ids(study: "Study", count: int) -> Tensor:
    if study.sample_ids is None:
        return torch.arange(count)
    require_sample_ids(_STUDY, study.sample_ids)
    require_shape(_STUDY, "sample_ids", study.sample_ids, "(N,)", (count,))
    if len(set(study.sample_ids.tolist())) != count:
        bad_value(_STUDY, "sample_ids", "to be distinct", "some twice", "they identify the samples in the results")
    return study.sample_ids.cpu()


def _check_lengths(study: "Study", target: Target, reader: SampleReader) -> None:
    """One target, truth and name for each sample."""
    if isinstance(target, Tensor):
        require_shape(_STUDY, "target", target, "(N,)", (len(reader),))
    if study.names is not None and len(study.names) != len(reader):
        bad_value(_STUDY, "names", f"of length N = {len(reader)}", len(study.names))
    if study.truth is not None:
        require_tensor(_STUDY, "truth", study.truth)
    if study.truth is not None and reader.example is not None:
        like = torch.empty(len(reader), *reader.example.shape[2:], device="meta")
        require_mask(_STUDY, "truth", study.truth.to("meta"), like, "inputs")


def _observed(engine: Engine, reader: SampleReader) -> ModelObservation:
    """The model, observed on the first image that can be read."""
    try:
        return observe(engine, torch.empty(0, 1, 1, 1) if reader.example is None else reader.example)
    except Exception as error:
        error.add_note("Study: the model failed on the first image, before any chunk was begun")
        raise


def _check_given_maps(map_sources: list[MapSource], reader: SampleReader) -> None:
    for source in map_sources:
        if not source.is_method and reader.example is not None:
            maps = source.given.maps[:, 0] if isinstance(source.given, TargetMaps) else source.given
            source.check(maps, len(reader), (reader.example.shape[2], reader.example.shape[3]))


def _info(source: MapSource) -> MethodInfo:
    """What is known of a method; of maps that were given, little."""
    return source.given.info if source.is_method else MethodInfo(source.name, "given", True, "0", "")
