"""What `mask_step_` works on: how cells become pixels, what is minimised and how, and the state of the masks."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import bad_value, require_choice, require_integer, require_number
from .gaussian_blur import gaussian_blur

KINDS = ("anisotropic", "isotropic", "squared")


class Resizing(NamedTuple):
    """A separable linear map from cells (h, w) to pixels (H, W): pixels = down^T @ cells @ across.

    Attributes:
        down: (h, H), dtype of the masks.
        down_bands: (h + H, 2) int32: for each cell the pixels [first, last) with a weight, then for each pixel its cells.
        across, across_bands: the same for the columns.

    Example:
        >>> Resizing.bilinear((4, 4), 2).down
        tensor([[1.0000, 0.7500, 0.2500, 0.0000],
                [0.0000, 0.2500, 0.7500, 1.0000]])
    """

    down: Tensor
    down_bands: Tensor
    across: Tensor
    across_bands: Tensor

    @staticmethod
    def bilinear(
        size: tuple[int, int],
        scale: int,
        *,
        sigma: float = 0.0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> "Resizing":
        """Bilinear with half-pixel centres, cells clamped at the border, then a Gaussian of `sigma` pixels (mirrored border).

        There are ceil(H / scale) by ceil(W / scale) cells. Where the scale does not divide a side, the cells are spread evenly
        over it: each is a little smaller than `scale`.
        """
        function = "Resizing.bilinear"
        require_integer(function, "scale", scale, 1, 2**31 - 1)
        require_number(function, "sigma", sigma)
        parts: list[Tensor] = []
        for pixels in size:
            matrix = _bilinear(max(-(-pixels // scale), min(pixels, 1)), pixels)
            if sigma > 0 and pixels > 0:
                matrix = gaussian_blur(matrix[:, None, None], sigma)[:, 0, 0]
            bands = torch.cat([_bands(matrix), _bands(matrix.T)])
            parts += [matrix.to(device=device, dtype=dtype), bands.to(device)]
        return Resizing(*parts)


@dataclass(frozen=True)
class MaskRule:
    """What a step minimises besides the model's loss, and how.

    objective = loss + area * sum(M) + variation * TV(M), with TV as in `total_variation` (kind, beta), and M the pixels of the
    mask, or its cells.

    Args:
        logits: True: parameters are logits, cells their softmax over the planes and one more plane whose logit is 0 (one plane:
            the sigmoid). False: parameters are the cells, clamped to [0, 1] after each step.
        on: "pixels" or "cells": of what area and variation are.
        area, variation: weights; a negative area rewards a large mask. Sums, not means.
        kind, beta: of the variation.
        optimiser: "adam" [Kingma 2015] or "momentum".
        rate: learning rate, > 0.
        beta1: decay of Adam's first moment, or the momentum. beta2: of its second, or the damping. Both in [0, 1).
        eps: Adam's.

    Example:
        >>> MaskRule(area=0.5).optimiser
        'adam'
    """

    logits: bool = True
    on: str = "pixels"
    area: float = 0.0
    variation: float = 0.0
    kind: str = "squared"
    beta: float = 1.0
    optimiser: str = "adam"
    rate: float = 0.05
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        name = "MaskRule"
        require_choice(name, "on", self.on, ("pixels", "cells"))
        require_choice(name, "kind", self.kind, KINDS)
        require_choice(name, "optimiser", self.optimiser, ("adam", "momentum"))
        require_number(name, "area", self.area, low=float("-inf"))
        for argument in ("variation", "eps", "beta1", "beta2"):
            require_number(name, argument, getattr(self, argument))
        for argument in ("rate", "beta"):
            require_number(name, argument, getattr(self, argument), above=0.0)
        for argument in ("beta1", "beta2"):
            if getattr(self, argument) >= 1:
                bad_value(name, argument, "in [0, 1)", getattr(self, argument))


class MaskState(NamedTuple):
    """Masks that are being optimised: R rows of P planes. Contiguous, changed in place by `mask_step_`.

    Attributes:
        values: (R, P, h, w) float32 or float64 parameters. exp_avg, exp_avg_sq: moments of the optimiser. cells: the mask before
            it is resized. mask: (R, P, H, W).
        counts: (R,) int64 steps done. active: (R,) uint8, 0 once the gradient was not finite (or set so by the caller): such a
            row keeps its parameters. terms: (R, 3) float64, of the mask before the step: sum |d loss / d mask| (0: the model
            does not react), the sum of its area (pixels or cells), its variation (0 where it has no weight).

    Example:
        >>> state = MaskState.start(torch.zeros(1, 1, 2, 2), (4, 4))
        >>> state.mask.shape, state.active
        (torch.Size([1, 1, 4, 4]), tensor([1], dtype=torch.uint8))
    """

    values: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor
    cells: Tensor
    mask: Tensor
    counts: Tensor
    active: Tensor
    terms: Tensor

    @staticmethod
    def start(values: Tensor, size: tuple[int, int]) -> "MaskState":
        """The state before the first step; cells and mask are written by a step without a gradient."""
        rows, planes = values.shape[:2]
        return MaskState(
            values=values.clone(memory_format=torch.contiguous_format),
            exp_avg=values.new_zeros(values.shape),
            exp_avg_sq=values.new_zeros(values.shape),
            cells=values.new_zeros(values.shape),
            mask=values.new_zeros(rows, planes, *size),
            counts=values.new_zeros(rows, dtype=torch.int64),
            active=values.new_ones(rows, dtype=torch.uint8),
            terms=values.new_zeros(rows, 3, dtype=torch.float64),
        )


def _bilinear(cells: int, pixels: int) -> Tensor:
    """(cells, pixels), float64 weights."""
    at = ((torch.arange(pixels, dtype=torch.float64) + 0.5) * (cells / max(pixels, 1)) - 0.5).clamp(min=0)
    below = at.long().clamp(max=max(cells - 1, 0))
    above = (below + 1).clamp(max=max(cells - 1, 0))
    matrix = torch.zeros(cells, pixels, dtype=torch.float64)
    matrix.scatter_add_(0, below[None], (1 - (at - below))[None])
    return matrix.scatter_add_(0, above[None], (at - below)[None])


def _bands(matrix: Tensor) -> Tensor:
    """(rows, 2) int32: first and one past the last column that is not 0."""
    used = (matrix != 0).to(torch.uint8)
    if matrix.shape[1] == 0:
        return torch.zeros(len(matrix), 2, dtype=torch.int32)
    first, last = used.argmax(1), matrix.shape[1] - used.flip(1).argmax(1)
    bands = torch.stack([first, last], 1)
    return torch.where((matrix != 0).any(1)[:, None], bands, 0).to(torch.int32)
