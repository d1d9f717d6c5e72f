"""Infill by the pixels of another image of the data."""

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ..checks import bad_value, require_dtype, require_ndim, require_shape, require_tensor
from ..ops import philox_uniform
from ..protocols import InfillInfo
from .base import RandomInfill


@dataclass(frozen=True)
class OtherImage(RandomInfill):
    """Infill of another image, drawn from reference images: removed pixels look natural, but belong to something else.

    infill[n] = reference_images[i], i = (u1 2^24 + u2) mod B, with u1, u2 two 24-bit words keyed by (seed, sample id, draw). The
    bias of the remainder is below B / 2^48 of a probability.

    Args:
        reference_images: (B, C, H, W) float32 or float64, B >= 1, finite, in model input space; C, H, W of the inputs to come. A
            copy is kept, on its device. An image that is among them may be
            drawn for itself.
        seed: in [0, 2^63).
        draws: independent draws averaged per perturbed input, >= 1.

    Returns:
        `fill`: (N, C, H, W), dtype and device of the inputs.

    Raises:
        TypeError: reference_images is not a float32 or float64 tensor; seed or draws is not an int.
        ValueError: reference_images is not 4-D, is empty, holds NaN or infinity, or has another shape than the inputs; seed or
        draws out of range.

    Note:
        Deterministic; no generator state is read or changed; neither batch nor order changes the choice. The reference images
        enter key, equality and `parameters` by a digest of shape and values. Memory: the reference images, and the output.

    Example:
        >>> import torch
        >>> reference_images = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 1, 2, 2)
        >>> OtherImage(reference_images, seed=0).fill(torch.zeros(8, 1, 2, 2), torch.arange(8))[:, 0, 0, 0]
        tensor([0., 2., 0., 2., 0., 1., 2., 0.])
    """

    info: ClassVar[InfillInfo] = InfillInfo("other_image", "the pixels of another image of the data", by_name=False)

    reference_images: Tensor = field(repr=False, compare=False)
    seed: int
    draws: int = 1
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        reference_images = require_tensor("OtherImage", "reference_images", self.reference_images)
        require_dtype("OtherImage", "reference_images", reference_images, (torch.float32, torch.float64), "convert with .float()")
        require_ndim("OtherImage", "reference_images", reference_images, "(B, C, H, W)")
        if len(reference_images) == 0:
            bad_value("OtherImage", "reference_images", "to hold at least one image", "none")
        bad = (~reference_images.detach().isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
        if bad:
            bad_value(
                "OtherImage", "reference_images", "without NaN or infinity", f"some in image(s) {bad}", "leave these images out"
            )
        self._check_randomness(self.seed, self.draws)
        reference_images = reference_images.detach().clone(memory_format=torch.contiguous_format)
        object.__setattr__(self, "reference_images", reference_images)
        object.__setattr__(self, "digest", _digest(reference_images))

    @property
    def parameters(self) -> dict[str, object]:
        """Digest and number of the reference images, seed and draws."""
        return {"reference_images": self.digest, "images": len(self.reference_images), "seed": self.seed, "draws": self.draws}

    @property
    def key(self) -> Hashable:
        """Name, content of the reference images, and seed; without the seed for a single image."""
        return ("other_image", self.digest, self.seed if len(self.reference_images) > 1 else "any")

    def _fill(self, inputs: Tensor, sample_ids: Tensor, draw: int) -> Tensor:
        require_shape(
            "OtherImage",
            "inputs",
            inputs,
            "(N, C, H, W) of the reference images",
            (len(inputs), *self.reference_images.shape[1:]),
        )
        words = philox_uniform((1, 1, 2), sample_ids, seed=self.seed, stream=draw).view(-1, 2)
        upper, lower = (words * 2**24).long().unbind(1)
        chosen = ((upper << 24) + lower) % len(self.reference_images)
        return self.reference_images[chosen.to(self.reference_images.device)].to(device=inputs.device, dtype=inputs.dtype)


def _digest(reference_images: Tensor) -> str:
    """Of shape and values: equal for equal values, whatever their dtype, device or sign of zero."""
    content = hashlib.sha256(repr(tuple(reference_images.shape)).encode())
    for image in reference_images:
        values = image.cpu() + 0.0
        if values.dtype == torch.float64 and torch.equal(values.float().double(), values):
            values = values.float()
        content.update(values.numpy())
    return content.hexdigest()[:32]
