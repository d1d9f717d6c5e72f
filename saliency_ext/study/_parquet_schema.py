"""Results as a table in long format, one row per sample, method and metric, and back."""

import functools
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._atomic_io import READING, content_digest, parquet_bytes, pyarrow
from ..evaluation.results import Results, plain
from ..evaluation.stop_report import StopReport
from ..fingerprinting import without_addresses
from ..metrics.result import UNREADABLE_SAMPLE, MetricResult
from ..perturbation import Counters
from ..protocols import MethodInfo, MetricInfo

Pair = tuple[str, str]  # method, metric


@dataclass(frozen=True)
class Identity:
    """What the rows of consecutive samples say of the samples. All n long.

    Attributes:
        ids, names: of the samples.
        target: the classes; None where a sample could not be read.
        problems: why a sample could not be read, or "".
    """

    ids: list[int]
    names: list[str]
    target: list[int | None]
    problems: list[str]


def schema(run: str) -> Any:
    """The columns of every file of a run, and the run's name.

    sample (id), name, target (class; null for an unreadable sample), method, family, metric, parameters (JSON), value (NaN where
    the status says there is none), status, message (why a sample could not be read), direction ("higher" or "lower" is better,
    or "none"), unit, fractions (of a curve; null without one), curves (name -> scores), extras (name -> value).
    """
    arrow = pyarrow()
    text, whole, number = arrow.string(), arrow.int64(), arrow.float64()
    columns = {
        "run": text,
        "sample": whole,
        "name": text,
        "target": whole,
        "method": text,
        "family": text,
        "metric": text,
        "parameters": text,
        "value": number,
        "status": text,
        "message": text,
        "direction": text,
        "unit": text,
        "fractions": arrow.list_(number),
        "curves": arrow.map_(text, arrow.list_(number)),
        "extras": arrow.map_(text, number),
    }
    return arrow.schema(list(columns.items()), metadata={"saliency_ext.run": run})


def table_of(run: str, about: Identity, families: Mapping[str, str], results: Mapping[Pair, MetricResult]) -> Any:
    """The rows of consecutive samples: sample by sample, within it in the order of the results."""
    parts = [_columns(result, about) for result in results.values()]
    per_pair: dict[str, list[Any]] = {
        "method": [method for method, _ in results],
        "family": [families[method] for method, _ in results],
        "metric": [metric for _, metric in results],
        "parameters": [_json(result.parameters) for result in results.values()],
        "direction": [result.info.direction for result in results.values()],
        "unit": [result.info.unit for result in results.values()],
        "fractions": [None if result.fractions is None else result.fractions.tolist() for result in results.values()],
    }
    per_sample: dict[str, list[Any]] = {
        "run": [run] * len(about.ids),
        "sample": about.ids,
        "name": about.names,
        "target": about.target,
        "message": about.problems,
    }
    columns = {name: values * len(about.ids) for name, values in per_pair.items()}
    columns |= {name: [value for value in values for _ in results] for name, values in per_sample.items()}
    for name in ("value", "status", "curves", "extras"):
        columns[name] = [value for row in zip(*(part[name] for part in parts), strict=True) for value in row]
    layout = schema(run)
    return pyarrow().table({name: columns[name] for name in layout.names}, schema=layout)


def results_of(
    table: Any,
    infos: Mapping[str, MetricInfo],
    counters: Counters,
    stopped: StopReport | None = None,
    methods: Mapping[str, MethodInfo] | None = None,
) -> Results:
    """What `evaluate` would have returned, from rows as `table_of` orders them."""
    pairs: dict[Pair, None] = {}
    for method, metric in zip(table["method"], table["metric"], strict=True):
        pair = (method.as_py(), metric.as_py())
        if pair in pairs:  # the next sample
            break
        pairs[pair] = None
    result = {}
    for place, (method, metric) in enumerate(pairs):
        own = table.take(pyarrow().array(range(place, table.num_rows, len(pairs))))
        fractions = own["fractions"][0].as_py()
        result[method, metric] = MetricResult(
            infos[metric],
            torch.tensor(own["value"].to_numpy()),
            json.loads(own["parameters"][0].as_py()),
            own["status"].to_pylist(),
            None if fractions is None else torch.tensor(fractions, dtype=torch.float64),
            _by_name(own["curves"].combine_chunks()),
            _by_name(own["extras"].combine_chunks()),
        )
    return Results(result, counters, stopped, methods)


def _columns(result: MetricResult, about: Identity) -> dict[str, list[Any]]:
    """The columns of one method and metric that differ from sample to sample."""
    status = [UNREADABLE_SAMPLE if problem else own for own, problem in zip(result.status, about.problems, strict=True)]
    return {
        "value": _lists(result.values),
        "status": status,
        "curves": _per_sample(result.curves, len(status)),
        "extras": _per_sample(result.extras, len(status)),
    }


def _per_sample(named: Mapping[str, Tensor], count: int) -> list[list[tuple[str, Any]]]:
    lists = {name: _lists(values) for name, values in named.items()}
    return [[(name, values[index]) for name, values in lists.items()] for index in range(count)]


def _by_name(maps: Any) -> dict[str, Tensor]:
    """Name -> (n, ...) of an array of n maps that all have the same names."""
    count = len(maps.keys) // max(len(maps), 1)
    result = {}
    for place, name in enumerate(maps.keys[:count].to_pylist()):
        items = maps.items.take(pyarrow().array(range(place, len(maps.items), count)))
        flat = items if items.type == pyarrow().float64() else items.flatten()
        values = torch.tensor(flat.to_numpy())
        result[name] = values if flat is items else values.view(len(maps), -1)
    return result


def _json(parameters: Mapping[str, object]) -> str:
    return without_addresses(json.dumps({name: plain(value) for name, value in parameters.items()}, sort_keys=True))


def _lists(values: Tensor) -> Any:
    """Numbers of which every NaN has the same bits."""
    return torch.where(values.isnan(), torch.nan, values).tolist()


def is_of_run(path: Path, run: str, digest: str) -> bool:
    """Whether a file is, to the byte, the one of this digest, and Parquet with the columns and the name of a run."""
    arrow = pyarrow()
    if content_digest(path) != digest:
        return False
    try:
        with arrow.parquet.ParquetFile(path, **READING) as file:
            result = file.schema_arrow
    except (OSError, arrow.ArrowException):
        return False
    return bool(result.equals(_read_back(run), check_metadata=True))


@functools.cache
def _read_back(run: str) -> Any:
    """The schema as it is read from a file: Parquet keeps no names of the entries of maps."""
    with pyarrow().parquet.ParquetFile(io.BytesIO(parquet_bytes(schema(run).empty_table()))) as written:
        return written.schema_arrow
