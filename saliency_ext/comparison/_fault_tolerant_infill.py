"""A fault-tolerant infill: a sample it fails for gets NaN and a reason, the others are unaffected."""

from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from ..protocols import Infill, MaskedInfill

INFILL_FAILED = "infill_failed"


class FaultTolerantInfill:
    """Another infill, with the same name, parameters, key and pixels, that never raises for a sample.

    Where the infill raises for a batch, it is called image by image; an image it fails for is filled with NaN, so that its
    scores are NaN. `failed` collects sample id -> reason.

    Example:
        >>> import torch
        >>> from saliency_ext.infill import OtherImage
        >>> odd = FaultTolerantInfill(OtherImage(torch.zeros(1, 1, 2, 2), seed=0))  # knows 2 x 2 images only
        >>> odd.fill(torch.ones(1, 1, 3, 3), torch.tensor([7])).isnan().all().item(), list(odd.failed)
        (True, [7])
    """

    def __init__(self, infill: Infill) -> None:
        self.infill = infill
        self.failed: dict[int, str] = {}

    @property
    def name(self) -> str:
        """Short name, for reports."""
        return self.infill.name

    @property
    def parameters(self) -> dict[str, object]:
        """What was chosen, as plain values."""
        return self.infill.parameters

    @property
    def key(self) -> Hashable:
        """That of the infill: its pixels are these."""
        return self.infill.key

    @property
    def draws(self) -> int:
        """Independent draws averaged per masked input."""
        return self.infill.draws

    def fill(self, inputs: Tensor, sample_ids: Tensor, draw: int = 0) -> Tensor:
        """As the infill's, NaN for images it fails for."""
        try:
            return self.infill.fill(inputs, sample_ids, draw)
        except Exception:
            whole = torch.full_like(inputs, torch.nan)
            return self._one_by_one(sample_ids, whole, 0, lambda one: self.infill.fill(inputs[one], sample_ids[one], draw))

    def _one_by_one(self, sample_ids: Tensor, whole: Tensor, dim: int, make: Callable[[slice], Tensor]) -> Tensor:
        """Writes what is made of each image into its place of dimension `dim`."""
        for index, sample in enumerate(sample_ids.tolist()):
            try:
                made = make(slice(index, index + 1))
            except Exception as error:  # recorded; a user's infill may raise anything
                self.failed[sample] = f"{type(error).__name__}: {error}"
            else:
                whole.narrow(dim, index, 1).copy_(made)
        return whole


class FaultTolerantMaskedInfill(FaultTolerantInfill):
    """The same for an infill that must know what is removed."""

    infill: MaskedInfill

    def fill_removed(self, inputs: Tensor, remove: Tensor, sample_ids: Tensor, draw: int = 0) -> Tensor:
        """As the infill's, NaN for images it fails for."""
        try:
            return self.infill.fill_removed(inputs, remove, sample_ids, draw)
        except Exception:
            whole = inputs.new_full((len(remove), *inputs.shape), torch.nan)

            def one_image(one: slice) -> Tensor:
                return self.infill.fill_removed(inputs[one], remove[:, one], sample_ids[one], draw)

            return self._one_by_one(sample_ids, whole, 1, one_image)


def fault_tolerant(infill: Infill) -> FaultTolerantInfill:
    """A fault-tolerant wrapper of the infill, a new one also if it already has one: failures are recorded per use."""
    own = infill.infill if isinstance(infill, FaultTolerantInfill) else infill
    return FaultTolerantMaskedInfill(own) if isinstance(own, MaskedInfill) else FaultTolerantInfill(own)
