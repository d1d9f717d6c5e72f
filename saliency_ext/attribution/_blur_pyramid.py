"""A pyramid of increasingly blurred images, and interpolation between neighbouring levels per pixel."""

import torch
from torch import Tensor

from ..ops.gaussian_blur import gaussian_blur


class BlurPyramid:
    """Perturbs images by a mask: 1 shows the image, 0 its strongest blur, and between them the blur is weaker, not mixed in.

    Level k of L has the blur largest * (1 - k / (L - 1)); M lies between the levels around M (L - 1), linearly [Fong 2019].
    `fade` instead is M times the image.

    Args:
        images: (R, C, H, W). largest: standard deviation of level 0 in pixels. levels: L >= 2.
    """

    def __init__(self, images: Tensor, largest: float, levels: int) -> None:
        rows, channels, height, width = images.shape
        self._shape, self._levels = (height, width), levels
        sigmas = [largest * (1 - k / (levels - 1)) for k in range(levels)]
        # One image at a time: the same product in any batch.
        blurred = [torch.stack([gaussian_blur(image[None], sigma)[0] for sigma in sigmas]) for image in images]
        stack = torch.stack(blurred).permute(0, 3, 4, 1, 2)  # (R, H, W, L, C)
        pairs = torch.cat([stack[:, :, :, :-1], stack[:, :, :, 1:] - stack[:, :, :, :-1]], -1)
        self._table = pairs.reshape(-1, 2 * channels)  # a level and the step to the next, side by side: one row to fetch
        self._first = torch.arange(rows * height * width, device=images.device).view(rows, 1, height, width) * (levels - 1)
        self._channels = channels

    def __call__(self, masks: Tensor) -> tuple[Tensor, Tensor]:
        """For masks (R, A, H, W): perturbed images and their slopes by the mask, (R A, C, H, W) both."""
        at = masks * (self._levels - 1)
        below = at.floor().clamp(0, self._levels - 2)
        chosen = self._table.index_select(0, (self._first + below.long()).flatten())
        level, step = chosen.view(-1, *self._shape, 2 * self._channels).permute(0, 3, 1, 2).chunk(2, 1)
        between = (at - below).flatten(0, 1)[:, None]
        return torch.addcmul(level, between, step), step * (self._levels - 1)


class Fade:
    """The image times the mask. Called as a `BlurPyramid`."""

    def __init__(self, images: Tensor) -> None:
        self._images = images

    def __call__(self, masks: Tensor) -> tuple[Tensor, Tensor]:
        """For masks (R, A, H, W): perturbed images and their slopes by the mask, (R A, C, H, W) both."""
        slopes = self._images[:, None].expand(-1, masks.shape[1], -1, -1, -1).flatten(0, 1)
        return masks.flatten(0, 1)[:, None] * slopes, slopes
