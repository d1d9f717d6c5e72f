"""What the report is given of an image whose pairs of labels were judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from ..checks import bad_value, require_ndim, require_tensor
from ..disambiguation import PairResult


@dataclass(frozen=True)
class PairExample:
    """One image and what was found of the pairs of its labels.

    caption: what is seen. picture: (H, W, 3) uint8. pairs: of `PairFinder`, for this image. labels: names of classes, as far as
    they are known.
    """

    caption: str
    picture: Tensor
    pairs: Sequence[PairResult]
    labels: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_ndim("PairExample", "picture", require_tensor("PairExample", "picture", self.picture), "(H, W, 3)")
        size = tuple(self.picture.shape[:2])
        for proof in (proof for pair in self.pairs for proof in pair.proofs):
            if tuple(proof.masks[0].shape) != size:
                bad_value("PairExample", "the masks of pairs", f"of shape (H, W) = {size}", tuple(proof.masks[0].shape))

    def name(self, label: int) -> str:
        """A class by its name, or its number."""
        return self.labels.get(label, f"class {label}")
