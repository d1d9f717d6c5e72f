"""What the model said: per probe and image the asked logits, the log-sum-exp of all logits, and the winning class."""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..checks import bad_value, require_choice

SCORES = ("probability", "logit", "log_probability", "accuracy")


def read_out(logits: Tensor, classes: Tensor) -> Tensor:
    """(..., N, T + 2) float64 on the host: asked logits, log-sum-exp, winner. One copy to the host.

    Args:
        logits: (S * N, K), step by step.
        classes: (N, T) int64 in [0, K).
    """
    n, t = classes.shape
    rows = (logits if logits.dtype == torch.float64 else logits.float()).view(-1 if n > 0 else 1, n, logits.shape[1])
    asked = rows.gather(2, classes.expand(rows.shape[0], n, t))
    summary = torch.stack([rows.logsumexp(2), rows.argmax(2).to(rows.dtype)], 2)
    return torch.cat([asked, summary], 2).cpu().double()


@dataclass
class Answers:
    """Answers for one chunk of images, on the host in float64. Grows as plans are run; a known probe is never run again.

    Attributes:
        classes: (N, T) asked classes per image.
    """

    classes: Tensor
    _rows: dict[Hashable, Tensor] = field(default_factory=dict)  # key -> (N, T + 2): logits, log-sum-exp, winner

    def known(self) -> set[Hashable]:
        """Keys that need not be asked again."""
        return set(self._rows)

    def add(self, key: Hashable, row: Tensor) -> None:
        """Stores one probe's (N, T + 2) read-out."""
        self._rows[key] = row

    def score(self, keys: Sequence[Hashable], kind: str, column: int = 0) -> Tensor:
        """Scores (N, S) of the asked class `column` for the probes with these keys.

        "probability" softmax over all logits, "logit" raw, "log_probability", "accuracy" 1 where the class wins.
        """
        require_choice("Answers.score", "kind", kind, SCORES)
        if not keys:
            bad_value("Answers.score", "keys", "at least one", "none")
        rows = torch.stack([self._rows[key] for key in keys], 1)
        logit, normaliser, winner = rows[..., column], rows[..., -2], rows[..., -1]
        if kind == "logit":
            return logit
        if kind == "accuracy":
            return (winner == self.classes[:, column, None]).double()
        log_probability = logit - normaliser
        return log_probability if kind == "log_probability" else log_probability.exp()

    def mean_score(self, draws: Sequence[Sequence[Hashable]], kind: str, column: int = 0) -> Tensor:
        """Scores (N, S) averaged over the draws of a stochastic infill."""
        return torch.stack([self.score(keys, kind, column) for keys in draws]).mean(0)

    def digest(self) -> str:
        """A fingerprint of all answers, for tests of exactness."""
        state = hashlib.blake2b(digest_size=16)
        for key in sorted(self._rows, key=repr):
            state.update(repr(key).encode() + self._rows[key].numpy().tobytes())
        return state.hexdigest()
