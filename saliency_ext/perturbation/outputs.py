"""Model outputs: per masked input and image the requested logits, the log-sum-exp of all logits, and the winning class."""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..checks import bad_value, require_choice
from ..models.score import ALL_SCORES, require_meaning
from .curve_points import CurvePoints, PointTable

SCORES = ALL_SCORES


def read_out(logits: Tensor, classes: Tensor) -> Tensor:
    """(B, T + 2), float32 or float64, on the logits' device: asked logits, log-sum-exp, winner.

    Args:
        logits: (B, K).
        classes: (B, T) int64 in [0, K).
    """
    rows = logits if logits.dtype == torch.float64 else logits.float()
    return torch.cat([rows.gather(1, classes), rows.logsumexp(1, keepdim=True), rows.argmax(1, keepdim=True).to(rows.dtype)], 1)


def average(parts: Sequence[Tensor]) -> Tensor:
    """Mean of tensors of one shape, summed in order: the rounding of a reduction may depend on the shape, so on the batch."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total / len(parts)


@dataclass
class Outputs:
    """Outputs for one chunk of images, on the host in float64. Grows as plans are run; a known masked input is never run again.

    Attributes:
        classes: (N, T) asked classes per image; the first is the target.
        failed: (N,) bool, images of which some masked input could not be run for want of memory.
        num_classes: K, logits of the model; None before its first forward.
    """

    classes: Tensor
    failed: Tensor = field(init=False)
    num_classes: int | None = field(default=None, init=False)
    _rows: dict[Hashable, Tensor] = field(default_factory=dict)  # key -> (N, T + 2): logits, log-sum-exp, winner
    _tables: dict[Hashable, PointTable] = field(default_factory=dict)  # of curves that each image asked for other points of

    def __post_init__(self) -> None:
        self.failed = torch.zeros(self.classes.shape[0], dtype=torch.bool)

    def known(self) -> set[Hashable]:
        """Keys that need not be asked again."""
        return set(self._rows)

    def add(self, key: Hashable, row: Tensor) -> None:
        """Stores one masked input's (N, T + 2) read-out."""
        self._rows[key] = row

    def score(self, keys: Sequence[Hashable], kind: str, column: int = 0) -> Tensor:
        """Scores (N, S) of the requested class `column` for the masked inputs with these keys.

        "probability" softmax over all logits, "logit" raw, "log_probability", "sigmoid" of the logit, "accuracy" 1 where the
        class wins.

        Raises:
            ValueError: an unknown score, or one that compares classes where the model has a single output.
        """
        require_choice("Answers.score", "kind", kind, SCORES)
        if self.num_classes is not None:
            require_meaning("Answers.score", kind, self.num_classes)
        return self._scored(self._stacked("Answers.score", keys), kind, column)

    def _scored(self, rows: Tensor, kind: str, column: int = 0) -> Tensor:
        """Scores (N, S) of read-outs (N, S, columns)."""
        logit, normaliser, winner = rows[..., column], rows[..., -2], rows[..., -1]
        if kind == "logit":
            return logit
        if kind == "sigmoid":
            return logit.sigmoid()
        if kind == "accuracy":
            return torch.where(normaliser.isnan(), torch.nan, (winner == self.classes[:, column, None]).double())
        log_probability = logit - normaliser
        return log_probability if kind == "log_probability" else log_probability.exp()

    def logits(self, keys: Sequence[Hashable], classes: Tensor) -> Tensor:
        """Raw logits (N, S, L) of classes (N, L), each of which was asked."""
        result = classes[:, :, None] == self.classes[:, None]
        if not result.any(2).all():
            bad_value("Answers.logits", "classes", "to be among those asked", classes[~result.any(2)].tolist())
        columns = result.int().argmax(2)
        rows = self._stacked("Answers.logits", keys)
        return rows.gather(2, columns[:, None].expand(-1, rows.shape[1], -1))

    def _stacked(self, function: str, keys: Sequence[Hashable]) -> Tensor:
        if not keys:
            bad_value(function, "keys", "at least one", "none")
        return torch.stack([self._rows[key] for key in keys], 1)

    def mean_score(self, draws: Sequence[Sequence[Hashable]], kind: str, column: int = 0) -> Tensor:
        """Scores (N, S) averaged over the draws of a stochastic infill."""
        return average([self.score(keys, kind, column) for keys in draws])

    def known_points(self, points: CurvePoints) -> Tensor:
        """(N, P) bool, the points of a curve that need not be asked again."""
        table = self._tables.get(points.key)
        return torch.zeros(len(self.classes), len(points.counts), dtype=torch.bool) if table is None else table.known

    def add_points(self, points: CurvePoints, images: Tensor, places: Tensor, rows: Tensor) -> None:
        """Stores read-outs (draws, R, columns) of R pairs of an image and a place of a curve."""
        if points.key not in self._tables:
            self._tables[points.key] = PointTable.empty(len(rows), len(self.classes), len(points.counts), rows.shape[2])
        self._tables[points.key].add(images, places, rows)

    def point_scores(self, points: CurvePoints, kind: str) -> Tensor:
        """Scores (N, P) of the target at the points of a curve, averaged over the draws of the infill; NaN where unknown."""
        table = self._tables.get(points.key)
        if table is None:
            return torch.full((len(self.classes), len(points.counts)), torch.nan, dtype=torch.float64)
        return average([self._scored(rows, kind) for rows in table.rows])

    def digest(self) -> str:
        """A fingerprint of all answers, for tests of exactness."""
        state = hashlib.blake2b(digest_size=16)
        for key in sorted(self._rows, key=repr):
            state.update(repr(key).encode() + self._rows[key].numpy().tobytes())
        for key in sorted(self._tables, key=repr):
            state.update(repr(key).encode() + self._tables[key].rows.numpy().tobytes())
        return state.hexdigest()
