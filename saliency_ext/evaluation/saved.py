"""Finished studies, read from their folders: no model and no data are needed."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checks import bad_value
from ..probing import Counters
from ..protocols import MethodInfo, MetricInfo
from .files import read_json, read_parquet, write_json
from .results import Results
from .rows import results_of
from .stopping import Stopped
from .store import RESULTS, RUN, SUMMARY, Store

_FINISH = "finish it with Study.resume()"


def read_table(folder: str | Path) -> Any:
    """The rows of a finished study as a pyarrow table, one per sample, method and metric; `rows.schema` has the columns.

    Raises:
        ValueError: the folder holds no finished study.
    """
    path = Path(folder) / RESULTS
    if not path.exists():
        bad_value("read_table", "folder", "of a finished study", repr(str(folder)), _FINISH)
    return read_parquet(path)


def read_results(folder: str | Path) -> Results:
    """The results of a finished study, as `evaluate` returns them; a map has the name of its method.

    A sample that could not be read has the value NaN and the status "unreadable_sample".

    Raises:
        ValueError: the folder holds no finished study.
    """
    about, summary = read_run(folder)["about"], read_summary(folder)
    infos = {name: MetricInfo(**info) for name, info in about["metrics"].items()}
    methods = {name: MethodInfo(**info) for name, info in about["methods"].items()}
    counters, stopped = Counters(**summary["counters"]), Stopped.read(summary.get("stopped"))
    return results_of(read_table(folder), infos, counters, stopped, methods)


def read_run(folder: str | Path) -> dict[str, Any]:
    """What a study is: "run" (its name), "fingerprint", "layout", "about" (methods, metrics, names of classes).

    Raises:
        ValueError: the folder holds no study.
    """
    return _required("read_run", Path(folder) / RUN, "of a study", "start one with Study.run()")


def read_summary(folder: str | Path) -> dict[str, Any]:
    """What a finished study took: see `write_summary`.

    Raises:
        ValueError: the folder holds no finished study.
    """
    return _required("read_summary", Path(folder) / SUMMARY, "of a finished study", _FINISH)


def write_summary(store: Store, run: str, chunks: int, stopped: Stopped | None = None) -> None:
    """Writes what a study took, over all processes and interruptions; chunks that were begun and lost are not counted.

    samples, chunks; masked_inputs asked, run and saved (asked by several methods or metrics, run once); counters of the engine;
    seconds of work (of two processes at once, both); ranks, and number of processes, that took part; statuses and how many rows
    have them; with a stop rule "stopped", the plain values of `Stopped`. Of the first so many chunks.
    """
    notes = [read_json(store.shard(chunk).with_suffix(".json")) for chunk in range(chunks)]
    took = [note for note in notes if note is not None]
    counted = [note["counters"] for note in took]
    names = [field.name for field in dataclasses.fields(Counters) if field.name != "seconds"]
    counters: dict[str, Any] = {name: sum(each[name] for each in counted) for name in names}
    counters["seconds"] = {name: sum(each["seconds"][name] for each in counted) for name in Counters().seconds}
    kinds = (sum(note["samples"] * note["counters"][name] for note in took) for name in ("asked", "unique"))
    asked, answered = (counters["refined"] + kind for kind in kinds)
    statuses: Counter[str] = Counter()
    for chunk in range(chunks):
        statuses.update(read_parquet(store.shard(chunk), ["status"])["status"].to_pylist())
    found = {
        "run": run,
        "chunks": chunks,
        "samples": sum(note["samples"] for note in took),
        "masked_inputs": {"asked": asked, "run": answered, "saved": asked - answered},
        "counters": counters,
        "seconds": sum(note["seconds"] for note in took),
        "ranks": sorted({note["rank"] for note in took}),
        "processes": len({note["process"] for note in took}),
        "statuses": dict(sorted(statuses.items())),
    }
    if stopped is not None:
        found["stopped"] = dataclasses.asdict(stopped)
    write_json(store.folder / SUMMARY, found)


def chunk_values(store: Store, chunk: int, metric: str | None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(n,) values of each method under a metric on the samples of a finished chunk, none without a metric; and its note."""
    took = _required(
        "Study", store.shard(chunk).with_suffix(".json"), "with the note of each chunk", f"remove {store.shard(chunk)}"
    )
    values: dict[str, list[float]] = {}
    if metric is not None:
        table = read_parquet(store.shard(chunk), ["method", "metric", "value"])
        for method, name, value in zip(*(table[column].to_pylist() for column in table.column_names), strict=True):
            if name == metric:
                values.setdefault(method, []).append(value)
    return {method: torch.tensor(own, dtype=torch.float64) for method, own in values.items()}, took


def _required(function: str, path: Path, expected: str, remedy: str) -> dict[str, Any]:
    found = read_json(path)
    if found is None:
        bad_value(function, "folder", expected, repr(str(path.parent)), remedy)
    return found
