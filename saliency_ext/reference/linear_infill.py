"""Reference of `linear_infill`: conjugate gradients in float64 on all planes at once, run to the end."""

from collections.abc import Callable

import torch
from torch import Tensor

_WEIGHTS = {
    "road": [[1.0, 2.0, 1.0], [2.0, 0.0, 2.0], [1.0, 2.0, 1.0]],
    "harmonic": [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]],
}


def linear_infill(
    inputs: Tensor, remove: Tensor, stencil: str = "road", noise: Tensor | None = None, noise_std: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Filled images (S, N, C, H, W) and residuals (S, N, C); see `saliency_ext.ops.linear_infill` for the kernel.

    noise: (N, C, H, W), added times noise_std where a pixel is removed.
    """
    steps, (n, c, h, w) = remove.shape[0], inputs.shape
    remove = remove.view(torch.uint8) != 0  # True is any byte but 0
    if steps * inputs.numel() == 0:
        return inputs.new_zeros(steps, n, c, h, w), torch.zeros(steps, n, c, device=inputs.device)
    weights = torch.tensor([[_WEIGHTS[stencil]]], dtype=torch.float64, device=inputs.device)

    def neighbours(planes: Tensor) -> Tensor:
        return torch.nn.functional.conv2d(planes.reshape(-1, 1, h, w), weights, padding=1).view(planes.shape)

    images, unknown = inputs.double().expand(steps, n, c, h, w), remove[:, :, None].expand(steps, n, c, h, w)
    bad = (~images.isfinite() & ~unknown).any(-1).any(-1)  # planes with known pixels that are no numbers
    images = torch.where(bad[..., None, None], 0.0, images)
    sums = neighbours(torch.ones_like(images)).clamp(min=1)
    known = torch.where(unknown, 0.0, images)
    mean = (known / (~unknown).sum((-1, -2), keepdim=True).clamp(min=1)).sum((-1, -2), keepdim=True)
    known = torch.where(unknown, 0.0, known - mean)
    unit = known.abs().amax((-1, -2), keepdim=True)  # squares of huge and of tiny values must fit, too
    unit = torch.where(unit > 0, unit, 1.0)
    solved = torch.where(unknown, unit * _solve(neighbours, sums, unknown, known / unit), known)
    gap = torch.where(unknown, neighbours(solved) / sums - solved, 0.0).abs().amax((-1, -2))
    removed = solved + mean
    if noise is not None:
        removed = removed + noise_std * noise.double()
    lost = (bad & unknown.any(-1).any(-1))[..., None, None]
    filled = torch.where(unknown, torch.where(lost, torch.nan, removed).to(inputs.dtype), inputs)
    return filled, torch.where(lost[..., 0, 0], torch.nan, gap).float()


def _solve(neighbours: Callable[[Tensor], Tensor], sums: Tensor, unknown: Tensor, known: Tensor) -> Tensor:
    """x with sums x - neighbours(x) = neighbours(known) where unknown, and 0 elsewhere."""
    left = torch.where(unknown, neighbours(known), 0.0)
    x, goal = torch.zeros_like(left), 1e-15 * known.abs().amax((-1, -2))
    direction, before = torch.zeros_like(left), torch.ones_like(goal)
    for _ in range(20 * sum(left.shape[-2:]) + 100):
        z = left / sums
        if bool((z.abs().amax((-1, -2)) <= goal).all()):
            break
        now = (z * left).sum((-1, -2))
        direction = z + (now / before).nan_to_num(0.0, 0.0, 0.0)[..., None, None] * direction
        applied = torch.where(unknown, sums * direction - neighbours(direction), 0.0)
        step = (now / (direction * applied).sum((-1, -2))).nan_to_num(0.0, 0.0, 0.0)[..., None, None]
        x, left, before = x + step * direction, left - step * applied, now
    return x
