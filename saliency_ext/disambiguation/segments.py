"""Partitions for the pair search: few disjoint segments that tile an image, from a segmenter, labels or overlapping masks.

The partitions themselves are those of `saliency_ext.segmentation`; here their number is bounded. A search forwards once
per segment and label and holds a square of bits per label, so 10^5 segments are merged, by a stated rule, before it begins.
"""

from dataclasses import dataclass
from importlib import import_module

import numpy
import torch
from torch import Tensor

from ..checks import bad_type, require_dtype, require_integer, require_ndim, require_tensor
from ..fingerprinting import tensor_digest
from ..segmentation import Segmenter, atoms, given, segment_counts, segment_sizes, segmenter_name, segments_of

MAX_SEGMENTS = 256


@dataclass(frozen=True)
class Partition:
    """Disjoint segments of N images.

    labels: (N, H, W) int64, 0 .. K_n - 1 without gaps; -1: never removed. name: where they are from. merged: per image, how many
    segments (or masks, see `mask_partition`) were merged away. spared: per image, pixels that are never removed.
    """

    labels: Tensor
    name: str
    merged: tuple[int, ...]
    spared: tuple[int, ...]

    @property
    def counts(self) -> Tensor:
        """Segments of each image (N,) int64."""
        return segment_counts(self.labels)

    def digest(self, image: int) -> str:
        """16 hex digits that identify the segments of one image."""
        return tensor_digest(self.labels[image])


def partition(
    inputs: Tensor, segmenter: Segmenter | Tensor, *, max_segments: int = MAX_SEGMENTS, min_pixels: int = 1
) -> Partition:
    """Segments of images, at most `max_segments` in each.

    Segments of fewer than min_pixels pixels are left out of the search: their pixels are never removed. If more than
    `max_segments` are left, the largest stay (ties: the lower number), and every pixel of the others joins the nearest segment
    that stays (Euclidean distance; ties as scipy's distance transform has them). No pixel is lost and segments stay disjoint.

    Args:
        inputs: (N, C, H, W) float32 or float64, in model input space.
        segmenter: a function of `saliency_ext.segmentation`, a partial of one, or yours; or labels (N, H, W) int64, -1 = never
            removed, any gaps.
        max_segments: >= 1. min_pixels: >= 1; 5 as published.

    Returns:
        A Partition on the inputs' device.

    Raises:
        TypeError, ValueError: neither callable nor labels, labels of another shape, numbers out of range; what the segmenter
        raises.

    Note:
        Deterministic. Memory: linear in pixels. Cost: the segmenter's, once per image; merging is one distance transform.

    Example:
        >>> import torch
        >>> result = partition(torch.zeros(1, 1, 1, 5), torch.tensor([[[7, 7, 3, 9, 9]]]), max_segments=2)
        >>> result.labels, result.merged
        (tensor([[[0, 0, 0, 1, 1]]]), (1,))
    """
    function = "partition"
    require_ndim(function, "inputs", require_tensor(function, "inputs", inputs), "(N, C, H, W)")
    _check_limits(function, max_segments, min_pixels)
    if isinstance(segmenter, Tensor):
        name, labels = "given", segments_of(function, lambda _: segmenter, inputs)
    elif callable(segmenter):
        name, labels = segmenter_name(segmenter), segments_of(function, segmenter, inputs)
    else:
        remedy = "for example functools.partial(saliency_ext.segmentation.grid, cells=8)"
        bad_type(function, "segmenter", "to be a function of inputs, or labels", type(segmenter).__name__, remedy)
    labels = _without_small(labels, min_pixels)
    counts = segment_counts(labels)
    for image in (counts > max_segments).nonzero().flatten().tolist():
        labels[image] = _merged(labels[image], max_segments)
    return _made(labels, name, (counts - max_segments).clamp(min=0))


def mask_partition(masks: Tensor, *, max_segments: int = MAX_SEGMENTS, min_pixels: int = 1) -> Partition:
    """Disjoint atoms of overlapping masks, for example those of a mask generator: pixels in the same masks are one segment.

    Exact: pixels share a segment if and only if the same masks cover them; pixels of no mask are one segment. If there are more
    than `max_segments` atoms, masks are dropped, smallest area first and those of one area together, until there are not: then
    every mask that stays is still a union of segments. Segments are numbered by their first pixel, so the order of the masks does
    not matter. Fewer than min_pixels pixels: as in `partition`.

    Args:
        masks: (N, M, H, W) bool. max_segments, min_pixels: as in `partition`.

    Returns:
        A Partition; `merged` counts the masks that were dropped.

    Raises:
        TypeError, ValueError: not bool, another shape, numbers out of range.

    Note:
        Deterministic. Memory: linear in the masks. Cost: log2(M) passes over the masks of an image with too many atoms.

    Example:
        >>> import torch
        >>> left, middle = torch.tensor([1, 1, 0, 0]) > 0, torch.tensor([0, 1, 1, 0]) > 0
        >>> mask_partition(torch.stack([left, middle])[None, :, None]).labels
        tensor([[[0, 1, 2, 3]]])
    """
    function = "mask_partition"
    require_dtype(
        function, "masks", require_tensor(function, "masks", masks), (torch.bool,), "compare with a threshold: masks > 0"
    )
    require_ndim(function, "masks", masks, "(N, M, H, W)")
    _check_limits(function, max_segments, min_pixels)
    labels = torch.empty_like(masks[:, :1], dtype=torch.int64).sum(1)
    dropped = torch.zeros(len(masks), dtype=torch.int64)
    for image, own in enumerate(masks):
        kept = _masks_that_fit(own, max_segments)
        dropped[image] = len(own) - int(kept.sum())
        labels[image] = _by_first_pixel(atoms(own[kept][None])[0])
    return _made(_without_small(labels, min_pixels), "masks", dropped)


def _check_limits(function: str, max_segments: int, min_pixels: int) -> None:
    require_integer(function, "max_segments", max_segments, 1, 2**31 - 1)
    require_integer(function, "min_pixels", min_pixels, 1, 2**31 - 1)


def _made(labels: Tensor, name: str, merged: Tensor) -> Partition:
    return Partition(labels, name, tuple(merged.tolist()), tuple((labels < 0).flatten(1).sum(1).tolist()))


def _without_small(labels: Tensor, min_pixels: int) -> Tensor:
    if min_pixels == 1 or labels.numel() == 0:
        return labels
    sizes = segment_sizes(labels, int(segment_counts(labels).max())).to(labels.device)
    small = sizes.gather(1, labels.clamp(min=0).flatten(1)).view_as(labels) < min_pixels
    return given(labels.masked_fill(small & (labels >= 0), -1))


def _merged(labels: Tensor, max_segments: int) -> Tensor:
    """Labels (H, W) with the largest `max_segments` segments, which the pixels of the others join."""
    sizes = segment_sizes(labels[None], int(labels.max()) + 1)[0]
    stay = torch.zeros(len(sizes), dtype=torch.bool)
    stay[sizes.argsort(descending=True, stable=True)[:max_segments]] = True
    host = labels.cpu()
    joins = ~stay[host.clamp(min=0)] & (host >= 0)
    stays = stay[host.clamp(min=0)] & (host >= 0)
    transform = import_module("scipy.ndimage").distance_transform_edt
    down, across = transform(~stays.numpy(), return_distances=False, return_indices=True)
    nearest = host[torch.from_numpy(down).long(), torch.from_numpy(across).long()]
    return given(torch.where(joins, nearest, host)[None])[0].to(labels.device)


def _masks_that_fit(masks: Tensor, max_segments: int) -> Tensor:
    """Which masks (M,) stay: the largest areas, as many as give at most `max_segments` atoms."""
    areas = masks.flatten(1).sum(1)
    levels = sorted(set(areas.tolist()))  # ascending; dropping those below a level
    low, high = 0, len(levels)
    while low < high:
        middle = (low + high) // 2
        fits = int(segment_counts(atoms(masks[areas >= levels[middle]][None]))[0]) <= max_segments
        low, high = (low, middle) if fits else (middle + 1, high)
    return areas >= (levels[low] if low < len(levels) else torch.inf)


def _by_first_pixel(labels: Tensor) -> Tensor:
    """Labels (H, W) 0 .. K - 1 renumbered in the order in which they first appear."""
    _, first = numpy.unique(labels.cpu().numpy(), return_index=True)
    return torch.from_numpy(first.argsort().argsort()).to(labels.device)[labels]
