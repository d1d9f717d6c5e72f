"""Readers of finished studies, which need neither model nor data."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._atomic_io import content_digest, read_parquet, read_record
from ..checks import bad_value
from ..evaluation.results import Results
from ..evaluation.stop_report import StopReport
from ..perturbation import Counters
from ..protocols import MethodInfo, MetricInfo
from ._fingerprint import RUN
from ._parquet_schema import results_of
from ._store import RESULTS, SUMMARY, StudyStore, UnsoundShardError

_FINISH = "finish it with Study.resume()"


def read_table(folder: str | Path) -> Any:
    """The rows of a finished study as a pyarrow table, one per sample, method and metric; `rows.schema` has the columns.

    Raises:
        ValueError: the folder holds no finished study, or a file of it was changed since (it is named).
    """
    path = Path(folder) / RESULTS
    if not path.exists():
        bad_value("read_table", "folder", "of a finished study", repr(str(folder)), _FINISH)
    if content_digest(path) != read_summary(folder)["parquet"]:
        remedy = f"it may be damaged, or {SUMMARY} is of another run; Study.resume() makes it again"
        bad_value("read_table", "folder", f"with {RESULTS} as {SUMMARY} knows it", f"{path} with other content", remedy)
    return read_parquet(path)


def read_results(folder: str | Path) -> Results:
    """The results of a finished study, as `evaluate` returns them; a map has the name of its method.

    A sample that could not be read has the value NaN and the status "unreadable_sample".

    Raises:
        ValueError: the folder holds no finished study, or a file of it was changed since (it is named).
    """
    record, summary, table = read_run(folder), read_summary(folder), read_table(folder)
    if summary["run"] != record["run"]:
        got = f"{RUN} of {record['run']} and {SUMMARY} of {summary['run']} in {str(folder)!r}"
        bad_value("read_results", "folder", "with one run", got, _FINISH)
    infos = {name: MetricInfo(**info) for name, info in record["about"]["metrics"].items()}
    methods = {name: MethodInfo(**info) for name, info in record["about"]["methods"].items()}
    counters, stopped = Counters(**summary["counters"]), StopReport.read(summary.get("stopped"))
    return results_of(table, infos, counters, stopped, methods)


def read_run(folder: str | Path) -> dict[str, Any]:
    """The record of a study: "run" (its name), "fingerprint", "layout", "about" (methods, metrics, names of classes).

    Raises:
        ValueError: the folder holds no study.
    """
    return _required("read_run", Path(folder) / RUN, "of a study", "start one with Study.run()")


def read_summary(folder: str | Path) -> dict[str, Any]:
    """The cost and statuses of a finished study, see `summary_of`.

    Raises:
        ValueError: the folder holds no finished study.
    """
    return _required("read_summary", Path(folder) / SUMMARY, "of a finished study", _FINISH)


def summary_of(store: StudyStore, run: str, chunks: int, stopped: StopReport | None = None) -> dict[str, Any]:
    """The cost and statuses of the first chunks of a study, over all processes and interruptions; lost chunks are not counted.

    samples, chunks; masked_inputs requested, run and saved (requested by several methods or metrics, forwarded once); counters
    of the engine; seconds of compute time, summed over processes; ranks, and number of processes, that took part; statuses with
    their numbers of rows; with a stop rule "stopped", the plain values of `StopReport`.

    Raises:
        UnsoundShardError: a chunk has no sound note or shard of this run.
    """
    took = []
    for chunk in range(chunks):
        note = store.note(chunk, run)
        if note is None or not store.is_sound(chunk, run):
            raise UnsoundShardError(chunk)
        took.append(note)
    counted = [note["counters"] for note in took]
    names = [field.name for field in dataclasses.fields(Counters) if field.name != "seconds"]
    counters: dict[str, Any] = {name: sum(chunk_counters[name] for chunk_counters in counted) for name in names}
    counters["seconds"] = {
        name: sum(chunk_counters["seconds"][name] for chunk_counters in counted) for name in Counters().seconds
    }
    kinds = (sum(note["samples"] * note["counters"][name] for note in took) for name in ("requested", "unique"))
    requested, forwarded = (counters["refined"] + kind for kind in kinds)
    statuses: Counter[str] = Counter()
    for chunk in range(chunks):
        statuses.update(read_parquet(store.shard(chunk), ["status"])["status"].to_pylist())
    result = {
        "chunks": chunks,
        "samples": sum(note["samples"] for note in took),
        "masked_inputs": {"requested": requested, "run": forwarded, "saved": requested - forwarded},
        "counters": counters,
        "seconds": sum(note["seconds"] for note in took),
        "ranks": sorted({note["rank"] for note in took}),
        "processes": len({note["process"] for note in took}),
        "statuses": dict(sorted(statuses.items())),
    }
    if stopped is not None:
        result["stopped"] = dataclasses.asdict(stopped)
    return result


def chunk_values(store: StudyStore, chunk: int, run: str, metric: str | None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(n,) values of each method under a metric on the samples of a finished chunk, none without a metric; and its note.

    Raises:
        UnsoundShardError: the chunk has no sound note or shard of this run.
    """
    took = store.note(chunk, run)
    if took is None or not store.is_sound(chunk, run):
        raise UnsoundShardError(chunk)
    values: dict[str, list[float]] = {}
    if metric is not None:
        table = read_parquet(store.shard(chunk), ["method", "metric", "value"])
        for method, name, value in zip(*(table[column].to_pylist() for column in table.column_names), strict=True):
            if name == metric:
                values.setdefault(method, []).append(value)
    return {method: torch.tensor(own, dtype=torch.float64) for method, own in values.items()}, took


def _required(function: str, path: Path, expected: str, remedy: str) -> dict[str, Any]:
    result = read_record(path, function)
    if result is None:
        bad_value(function, "folder", expected, repr(str(path.parent)), remedy)
    return result
