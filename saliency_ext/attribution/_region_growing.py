"""Region growing of XRAI: dilated segments, and the order in which they are added."""

import math

import torch
from torch import Tensor

from ..segmentation import atoms, segment_sizes, segment_sums


def dilated_segments(labels: Tensor, radius: float) -> Tensor:
    """Masks (K, H, W) of the segments of compact labels (H, W), each grown by a disc: (dy, dx) with dy^2 + dx^2 <= radius^2.

    Example:
        >>> import torch
        >>> dilated_segments(torch.tensor([[0, 0, 1, 1]]), 1.0).int().tolist()
        [[[1, 1, 1, 0]], [[0, 1, 1, 1]]]
    """
    height, width = labels.shape
    masks = torch.zeros(int(labels.max()) + 1, height, width, dtype=torch.bool)
    rows, columns = torch.arange(height)[:, None].expand_as(labels), torch.arange(width).expand_as(labels)
    reach = math.floor(radius)
    for dy in range(max(-reach, 1 - height), min(reach, height - 1) + 1):
        for dx in range(max(-reach, 1 - width), min(reach, width - 1) + 1):
            if dy * dy + dx * dx <= radius * radius:
                to = slice(max(dy, 0), height + min(dy, 0)), slice(max(dx, 0), width + min(dx, 0))
                source = slice(max(-dy, 0), height - max(dy, 0)), slice(max(-dx, 0), width - max(dx, 0))
                masks[labels[source], rows[to], columns[to]] = True
    return masks


def grow_regions(attribution: Tensor, masks: Tensor, min_gain: int) -> tuple[Tensor, list[int]]:
    """Takes segments greedily by the mean attribution of the pixels they newly cover.

    A segment that would add fewer than min_gain pixels is passed over; the first of equal means is taken. Pixels that are left
    get their own mean. Sums are kept per atom (pixels of the same segments), so a step costs changed segments x atoms.

    Args:
        attribution: (H, W) float64, finite.
        masks: (M, H, W) bool, may overlap.
        min_gain: >= 1.

    Returns:
        The map (H, W), each pixel with the mean of the region it came with, and the segments in the order taken.
    """
    labels = atoms(masks[None])
    count = int(labels.max()) + 1
    sums = segment_sums(attribution[None, None], labels, count)[0, 0]
    sizes = segment_sizes(labels, count)[0].double()
    pixel_of_atom = torch.empty(count, dtype=torch.int64).scatter_(0, labels.flatten(), torch.arange(labels.numel()))
    members = masks.flatten(1)[:, pixel_of_atom].double()
    values, left = torch.zeros(count, dtype=torch.float64), torch.ones(count, dtype=torch.bool)
    gained_sum, gained_size, order = (members * sums).sum(1), (members * sizes).sum(1), []
    while bool((gained_size >= min_gain).any()):
        means = torch.where(gained_size >= min_gain, gained_sum / gained_size, -math.inf)
        best = int((means == means.max()).nonzero()[0])
        new = (members[best] > 0) & left
        values[new] = sums[new].sum() / sizes[new].sum()
        left &= ~new
        # Summed anew where something changed, not subtracted: segments with the same pixels left keep equal means.
        shrunk = (members[:, new] > 0).any(1)
        gained_sum[shrunk] = (members[shrunk] * (sums * left)).sum(1)
        gained_size[shrunk] = (members[shrunk] * (sizes * left)).sum(1)
        order.append(best)
    if bool(left.any()):
        values[left] = sums[left].sum() / sizes[left].sum()
    return values[labels[0]], order
