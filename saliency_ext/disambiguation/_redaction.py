"""Retention of labels, in percent of their clean scores, when segments are redacted."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..models.logits import model_logits
from ..perturbation import CoalitionMasks, Engine, Plan
from ..perturbation.outputs import read_out
from ..protocols import Forward, Infill

_CELLS = 1 << 26  # rows x sets x segments per plan: their memory in bytes


class Centred(nn.Module):
    """A model whose logits are measured from their own mean: z_k - mean over finite z. Probabilities are those of the model.

    So "logit relative to the mean logit" is the logit of this model, whatever the classes read.

    Example:
        >>> import torch
        >>> Centred(lambda inputs: torch.tensor([[1.0, 5.0]]))(torch.zeros(1, 3, 4, 4))
        tensor([[-2.,  2.]])
    """

    def __init__(self, model: Forward) -> None:
        super().__init__()
        self.model = model
        self.training = False  # of this module alone: the model's own mode is its owner's

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, K)."""
        logits = model_logits(self.model, inputs)
        wide = logits if logits.dtype == torch.float64 else logits.float()
        finite = wide.isfinite()
        mean = wide.where(finite, 0).sum(1, keepdim=True) / finite.sum(1, keepdim=True).clamp(min=1)
        return wide - mean


def clean_scores(logits: Tensor, classes: Tensor) -> Tensor:
    """Probability and centred logit (N, T, 2) float64 of classes (N, T), from centred logits (N, K), as `Outputs` has them."""
    rows = read_out(logits, classes.to(logits.device)).cpu().double()
    requested, normaliser = rows[:, :-2], rows[:, -2:-1]
    return torch.stack([(requested - normaliser).exp(), requested], 2)


@dataclass(frozen=True)
class Redactions:
    """N images under redaction.

    engine: of a `Centred` model. inputs (N, C, H, W); classes (N, T); sample_ids (N,); segments (N, H, W); on one device.
    infill: what redacted pixels become. clean (N, T, 2): scores of the images themselves, on the host.
    """

    engine: Engine
    inputs: Tensor
    classes: Tensor
    sample_ids: Tensor
    segments: Tensor
    infill: Infill
    clean: Tensor

    def under(self, infill: Infill) -> "Redactions":
        """The same with another infill."""
        return Redactions(self.engine, self.inputs, self.classes, self.sample_ids, self.segments, infill, self.clean)

    def retention(self, images: Tensor, removed: Tensor) -> Tensor:
        """Percent of each label that is left when sets of segments are redacted.

        r = 100 score(redacted) / score(clean); the score of a random infill is the mean over its draws.

        Args:
            images: (R,) int64, which image each row speaks of.
            removed: (R, S, M) bool, S sets of segments for each row, True = redacted.

        Returns:
            (R, S, T, 2) float64 on the host: probability, logit. NaN where the logit of the clean image is not above the mean.
        """
        together = max(1, _CELLS // max(removed.shape[1] * removed.shape[2], 1))
        parts = zip(torch.split(images, together), torch.split(removed, together), strict=True)
        shape = (0, removed.shape[1], self.classes.shape[1], 2)
        return torch.cat([removed.new_zeros(shape, dtype=torch.float64), *(self._requested(rows, sets) for rows, sets in parts)])

    def _requested(self, images: Tensor, removed: Tensor) -> Tensor:
        if removed.numel() == 0:
            return torch.full((*removed.shape[:2], self.classes.shape[1], 2), 100.0, dtype=torch.float64)
        at = images.to(self.inputs.device)
        plan, masks = Plan(), CoalitionMasks(self.segments[at], ~removed.to(at.device))
        draws = plan.request(masks, self.infill)
        outputs = self.engine.run(plan, self.inputs[at], self.classes[at], sample_ids=self.sample_ids[at])
        columns = range(self.classes.shape[1])
        scores = torch.stack([torch.stack([outputs.mean_score(draws, kind, t) for kind in ("probability", "logit")], 2)
                              for t in columns], 2)  # fmt: skip
        return retained(scores, self.clean[images][:, None])


def retained(scores: Tensor, clean: Tensor) -> Tensor:
    """100 scores / clean, both (..., 2): probability, logit. A share of a logit at or below the mean has no meaning: NaN."""
    sense = torch.ones_like(clean, dtype=torch.bool)
    sense[..., 1] = clean[..., 1] > 0
    return torch.where(sense, 100 * scores / clean, torch.nan)
