"""Rounds of a ranking: distributed over processes, and persisted once they are finished."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._atomic_io import DamagedError, make_folder, read_record, write_record
from ..checks import bad_value
from ..study._fingerprint import RUN, Fingerprint, begin_or_join, run_name
from ..study._model_observation import ObservedOutputs
from ..study._process_group import ProcessGroup

Values = dict[str, Tensor]
# (places of images, names of maps) -> (n,) float64 of each map, and how many masked inputs were forwarded
Score = Callable[[Tensor, Sequence[str]], tuple[Values, int]]

_FUNCTION = "rank_methods"
_ROUNDS = "rounds"


class RoundStore:
    """run.json (what the run is) and rounds/000000.json (values of the maps on the images of a round, and what they took).

    Each file is there complete or not at all, and holds a digest of its content. Numbers are written so that they are read back
    to the bit.

    Args:
        folder: made by `enter`.
        made: the fingerprint of the run.
        outputs: of the model on a few inputs.
    """

    def __init__(self, folder: Path, made: Fingerprint, outputs: ObservedOutputs) -> None:
        self._folder, self._run = folder, run_name(made, outputs)
        self._record = {"run": self._run, "fingerprint": made, "outputs": outputs}

    def enter(self) -> list[dict[str, Any]]:
        """Begins the run in the folder, or joins it if it is the same: its finished rounds, from the first on.

        From the first round on that is damaged or of another run, which is named in a warning, rounds are scored again.

        Raises:
            ValueError: another run is there, or a run.json of another hand. OSError: it cannot be written to.
        """
        make_folder(self._folder / _ROUNDS)
        remedy = "give another folder, or what it was"
        record = begin_or_join(_FUNCTION, self._folder, self._record, has_files_of=self._has_rounds_of, remedy=remedy)
        self._run = record["run"]
        result: list[dict[str, Any]] = []
        while (kept := self._sound(len(result))) is not None:
            result.append(kept)
        if (path := self._path(len(result))).exists():
            text = f"{_FUNCTION}: {path} is no round of this run, or damaged; from it on rounds are scored again"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
        return result

    def write(self, number: int, values: Mapping[str, Tensor], masked: int) -> None:
        """Keeps a round."""
        maps = {name: own.tolist() for name, own in values.items()}
        write_record(self._path(number), {"run": self._run, "masked_inputs": masked, "maps": maps})

    def _sound(self, number: int) -> dict[str, Any] | None:
        """A round of this run, as it was written; else None."""
        try:
            kept = read_record(self._path(number), _FUNCTION)
        except DamagedError:
            return None
        return kept if kept is not None and kept.get("run") == self._run else None

    def _has_rounds_of(self, run: str) -> bool:
        numbers = [path.stem for path in (self._folder / _ROUNDS).glob("[0-9]*.json")]
        return run == self._run and any(self._sound(int(number)) is not None for number in numbers if number.isdecimal())

    def remove_temporary(self) -> None:
        """Removes what was left half written."""
        for path in [*self._folder.glob(f"{RUN}.*.tmp"), *(self._folder / _ROUNDS).glob("[0-9]*.tmp")]:
            path.unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self._folder / _ROUNDS / f"{number:06d}.json"


class Rounds:
    """Values of one round of images after the other, the same in every process of a group.

    A round is cut into pieces of a fixed number of images, as the last bits of a model's outputs may depend on the batch size.
    The p-th piece is evaluated by process p modulo their number. The first process reads and writes the folder.

    Args:
        process_group: the processes that share a round.
        score: scores images, piece by piece.
        piece: images.
        store: where finished rounds are persisted, or None.
    """

    def __init__(self, process_group: ProcessGroup, score: Score, piece: int, store: RoundStore | None) -> None:
        self._process_group, self._score, self._piece, self._store = process_group, score, piece, store
        self._number = 0
        self._kept: list[dict[str, Any]] = []
        self._unwritten: tuple[int, Values, int] | None = None
        self._there = int(process_group.all_reduce_sum(1, self._enter)) if store is not None else 0

    def take(self, picks: Tensor, names: Sequence[str]) -> tuple[Values, int]:
        """Values of the maps on the next images, and how many masked inputs they took in all processes."""
        work = self._read if self._number < self._there else self._scored
        total = self._process_group.all_reduce_sum(1 + len(names) * len(picks), lambda: work(picks, names))
        values = dict(zip(names, total[1:].clone().view(torch.float64).view(len(names), len(picks)), strict=True))
        if self._number >= self._there:
            self._unwritten = (self._number, values, int(total[0]))
        self._number += 1
        return values, int(total[0])

    def finish(self) -> None:
        """Keeps the last round."""
        if self._store is not None:
            self._process_group.all_reduce_sum(0, self._last)

    def _enter(self) -> Tensor:
        if self._process_group.first and self._store is not None:
            self._kept = self._store.enter()
        return torch.tensor([len(self._kept)])

    def _last(self) -> Tensor:
        self._write()
        if self._process_group.first and self._store is not None:
            self._store.remove_temporary()
        return torch.empty(0, dtype=torch.int64)

    def _write(self) -> None:
        """Keeps the round before. Within the work of the next, so that a full disk of one process stops all of them."""
        if self._process_group.first and self._store is not None and self._unwritten is not None:
            self._store.write(*self._unwritten)
        self._unwritten = None

    def _read(self, picks: Tensor, names: Sequence[str]) -> Tensor:
        """What was kept of a round, from the first process alone."""
        result = torch.zeros(1 + len(names) * len(picks), dtype=torch.int64)
        if self._process_group.first:
            kept = self._kept[self._number]
            rows = [kept["maps"].get(name, ()) for name in names]
            if list(kept["maps"]) != list(names) or any(len(row) != len(picks) for row in rows):
                bad_value(
                    _FUNCTION, "out", f"with a round of {', '.join(names)}", f"another under number {self._number}", "remove it"
                )
            result[0] = kept["masked_inputs"]
            result[1:] = torch.tensor(rows, dtype=torch.float64).flatten().view(torch.int64)
        return result

    def _scored(self, picks: Tensor, names: Sequence[str]) -> Tensor:
        """What this process finds out; 0 in the places of others. Bits are summed, so that NaN is NaN."""
        self._write()
        own = [
            place for place in range(len(picks)) if place // self._piece % self._process_group.world == self._process_group.rank
        ]
        result = torch.zeros(1 + len(names) * len(picks), dtype=torch.int64)
        if own:
            values, result[0] = self._score(picks[own], names)
            matrix = result[1:].view(len(names), len(picks))
            matrix[:, own] = torch.stack([values[name] for name in names]).view(torch.int64)
        return result
