"""Statistics per segment: counts, sizes, sums of values; and maps from one value per segment."""

import torch
from torch import Tensor


def segment_counts(labels: Tensor) -> Tensor:
    """Number of segments (N,) int64 of compact labels (N, H, W)."""
    flat = labels.flatten(1)
    return flat.amax(1) + 1 if flat.shape[1] > 0 else flat.new_zeros(len(flat))


def segment_sums(values: Tensor, labels: Tensor, segments: int) -> Tensor:
    """Sum of values (N, C, H, W) over each segment of labels (N, H, W) in [-1, segments): (N, C, segments) float64, host.

    Summed on the host in row-major order: neither batch nor device changes the bits. Label -1 is left out.
    """
    flat = values.detach().cpu().double().flatten(2)
    places = (labels.cpu().flatten(1) + 1)[:, None].expand_as(flat)
    return flat.new_zeros(*flat.shape[:2], segments + 1).scatter_add_(2, places, flat)[..., 1:]


def segment_sizes(labels: Tensor, segments: int) -> Tensor:
    """Pixels of each segment: (N, segments) int64, host."""
    places = labels.cpu().flatten(1) + 1
    return places.new_zeros(len(places), segments + 1).scatter_add_(1, places, torch.ones_like(places))[:, 1:]


def painted(values: Tensor, labels: Tensor) -> Tensor:
    """Each pixel gets its segment's value: values (N, C, segments) and labels (N, H, W) to (N, C, H, W); label -1 gets 0.

    Example:
        >>> import torch
        >>> painted(torch.tensor([[[5.0, 7.0]]]), torch.tensor([[[1, 0, -1]]]))
        tensor([[[[7., 5., 0.]]]])
    """
    n, c, _ = values.shape
    places = (labels.flatten(1) + 1)[:, None].expand(n, c, -1)
    return torch.cat([values.new_zeros(n, c, 1), values], 2).gather(2, places).view(n, c, *labels.shape[1:])
