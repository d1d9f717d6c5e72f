"""Inputs of the studies of choices: images and classes, maps with statuses, tables of scores."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..attribution.base import Method
from ..evaluation import evaluate
from ..evaluation.maps import maps_of
from ..evaluation.results import Results
from ..metrics.fidelity import Fidelity
from ..metrics.result import METHOD_FAILED, OK
from ..models.targets import Target, resolve_target
from ..nonfinite import finite_rows, with_zeros
from ..perturbation import Engine
from ..protocols import Forward
from ..study import Study
from .similarity import Similarities

AREAS = {"fidelity": 1, "mif": -1, "lif": 1}  # of a Fidelity -> sign that makes higher better
_CHUNK = 32


@dataclass
class StudyInputs:
    """Images with their classes, and how the model is run.

    inputs: (N, C, H, W), NaN where an image could not be read. target: (N,). truth: (N, H, W) bool, or None.
    """

    model: Forward
    inputs: Tensor
    target: Tensor
    truth: Tensor | None
    max_batch: int
    statuses: "Counter[tuple[str, str]]"

    @staticmethod
    def of(model: Forward, inputs: Tensor, target: Target, truth: Tensor | None, max_batch: int) -> "StudyInputs":
        """With the classes resolved on the clean images."""
        safe = with_zeros(inputs, finite_rows(inputs))
        classes = resolve_target(target, Engine(model, max_batch=max_batch).logits(safe))
        return StudyInputs(model, inputs, classes, truth, max_batch, Counter())

    def maps(self, name: str, method: Method) -> Tensor:
        """Maps (N, H, W) on the host; NaN where the method or its infill fails, which is counted."""
        maps, failed = maps_of(name, method, self.inputs, self.target, chunk=_CHUNK)
        self.statuses[name, METHOD_FAILED] += int(failed.sum())
        return maps

    def scores(self, maps: Mapping[str, Tensor], metrics: Mapping[str, Fidelity], out: str | Path | None) -> dict[str, Tensor]:
        """fidelity, mif, lif -> (S, M, N), higher = better, of M maps under S metrics; kept in a folder if one is given."""
        named: dict[str, Any] = dict(maps)
        requested = list(metrics.values())
        if out is None:
            engine = Engine(self.model, max_batch=self.max_batch)
            results: Results = evaluate(self.model, self.inputs, self.target, named, requested, engine=engine)
        else:
            options = {"max_batch": self.max_batch}
            study = Study(
                self.model,
                self.inputs,
                self.target,
                named,
                requested,
                out=out,
                engine=options,
                controls=False,
                chunk=_CHUNK,
            )
            results = study.run()
        names = list(dict.fromkeys(metric for _, metric in results))
        tables = {area: torch.full((len(names), len(maps), len(self.inputs)), torch.nan, dtype=torch.float64) for area in AREAS}
        for row, (label, metric) in enumerate(zip(metrics, names, strict=True)):
            for column, name in enumerate(maps):
                result = results[name, metric]
                for area, sign in AREAS.items():
                    values = result.values if area == "fidelity" else result.extras[f"auc_{area}"]
                    tables[area][row, column] = sign * values
                for status, count in Counter(result.status).items():
                    self.statuses[f"{name} scored with {label}", status] += count
        return tables

    def missing(self) -> list[tuple[str, str, int]]:
        """What has no value, or a doubtful one: what, status, how many images."""
        return [(what, status, count) for (what, status), count in self.statuses.items() if status != OK and count]


def score_rows(scores: Mapping[str, Tensor], settings: Sequence[str], maps: Sequence[str]) -> list[dict[str, Any]]:
    """Long format: one row per metric, setting, map and image; signs as measured."""
    return [
        {"metric": area, "setting": setting, "map": name, "image": image, "value": AREAS[area] * value}
        for area, table in scores.items()
        for row, setting in enumerate(settings)
        for column, name in enumerate(maps)
        for image, value in enumerate(table[row, column].tolist())
    ]


def similarity_rows(group: str, similarities: Similarities) -> list[dict[str, Any]]:
    """Long format: one row per measure, pair (or reference) and image; status of the first and the second map."""
    rows = []
    for measure, values in similarities.values.items():
        for i, first in enumerate(similarities.names):
            for j in range(i + 1, len(similarities.names)):
                pair = (group, measure, first, similarities.names[j])
                rows += [
                    _row(*pair, image, values[i, j], similarities.status[i], similarities.status[j])
                    for image in range(values.shape[2])
                ]
            for kind, table in (("another seed", similarities.noise_floor), ("another image", similarities.chance)):
                pair, own = (group, measure, first, kind), similarities.status[i]
                rows += [_row(*pair, image, table[measure][i], own, own) for image in range(values.shape[2])]
    return rows


def _row(
    group: str, measure: str, first: str, second: str, image: int, values: Tensor, one: list[str], other: list[str]
) -> dict[str, Any]:
    status = one[image] if one[image] != OK else other[image]
    about = {"group": group, "measure": measure, "first": first, "second": second, "image": image}
    return about | {"value": float(values[image]), "status": status}
