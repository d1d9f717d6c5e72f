"""Segmentations that do not depend on pixel values: grids, given labels, atoms of masks; and checks of all labels."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ..checks import bad_value, require_device, require_dtype, require_integer, require_ndim, require_shape, require_tensor

# Any callable from inputs (N, C, H, W) to integer labels (N, H, W), -1 = no segment: a function of this package, a partial of
# one, or yours. The labels of an image must depend on that image alone.
Segmenter = Callable[[Tensor], Tensor]


def grid(inputs: Tensor, cells: int | tuple[int, int]) -> Tensor:
    """Rectangular cells, the same for every image, sizes differing by at most one pixel.

    label(y, x) = floor(y R / H) S + floor(x S / W) for R rows of S cells.

    Args:
        inputs: (N, C, H, W); only the shape is read.
        cells: R = S, or (R, S); each >= 1, and at most one per pixel is made.

    Returns, Raises: as `slic`.

    Example:
        >>> import torch
        >>> grid(torch.zeros(1, 1, 2, 4), (1, 3))[0]
        tensor([[0, 0, 1, 2],
                [0, 0, 1, 2]])
    """
    require_ndim("grid", "inputs", require_tensor("grid", "inputs", inputs), "(N, C, H, W)")
    rows, columns = cells if isinstance(cells, tuple) and len(cells) == 2 else (cells, cells)
    places = []
    for wanted, size in zip((rows, columns), inputs.shape[2:], strict=True):
        count = min(require_integer("grid", "cells", wanted, 1, 2**31 - 1), size)
        places.append((torch.arange(size, device=inputs.device) * count // max(size, 1), count))
    (down, _), (across, per_row) = places
    return (down[:, None] * per_row + across).repeat(len(inputs), 1, 1)


def given(labels: Tensor) -> Tensor:
    """Labels of your own, checked and compacted: numbered 0 .. K_n - 1 in each image, in their order; -1 stays -1.

    Args:
        labels: (N, H, W) int64 or int32, >= -1. Any gaps.

    Returns:
        (N, H, W) int64, sharing no memory with the labels.

    Raises:
        TypeError: not integers. ValueError: another shape, or a label below -1.

    Example:
        >>> import torch
        >>> given(torch.tensor([[[7, -1, 10**12, 7]]]))
        tensor([[[ 0, -1,  1,  0]]])
    """
    return _checked("given", "labels", labels)


def atoms(masks: Tensor, *, uncovered: str = "atom") -> Tensor:
    """Disjoint atoms of overlapping masks: pixels covered by the same masks are one atom.

    An atom need not be connected. Numbered in order of their membership patterns, read as binary numbers (mask m is bit m).

    Args:
        masks: (N, M, H, W) bool, for example all masks of a mask generator.
        uncovered: pixels of no mask are "atom": one atom of their own (label 0), or "none": -1.

    Returns:
        (N, H, W) int64 labels; at most min(2^M, H W) per image. Memory: linear in pixels, whatever M.

    Raises:
        TypeError: not bool. ValueError: another shape or option.

    Example:
        >>> import torch
        >>> left, middle = torch.tensor([1, 1, 0, 0]) > 0, torch.tensor([0, 1, 1, 0]) > 0
        >>> atoms(torch.stack([left, middle])[None, :, None])
        tensor([[[1, 3, 2, 0]]])
    """
    require_dtype("atoms", "masks", require_tensor("atoms", "masks", masks), (torch.bool,), "compare with a threshold: masks > 0")
    require_ndim("atoms", "masks", masks, "(N, M, H, W)")
    if uncovered not in ("atom", "none"):
        bad_value("atoms", "uncovered", "to be 'atom' or 'none'", repr(uncovered))
    pixels = masks.shape[2] * masks.shape[3]
    labels = torch.zeros_like(masks[:, :1], dtype=torch.int64).sum(1)  # of the right shape for M = 0, too
    for part in reversed(range(0, masks.shape[1], 62)):  # as many bits as an int64 >= 0 holds
        word = torch.zeros_like(labels)
        for bit, mask in enumerate(masks[:, part : part + 62].unbind(1)):
            word |= mask.long() << bit
        labels = _compacted(labels * pixels + _compacted(word))
    return labels if uncovered == "atom" else _compacted(labels.masked_fill(~masks.any(1), -1))


def segments_of(function: str, segmenter: Segmenter, inputs: Tensor) -> Tensor:
    """Labels of a segmenter for the inputs, checked and compacted as by `given`, on the inputs' device."""
    labels = segmenter(inputs.detach())
    require_shape(
        function,
        "the segmenter's labels",
        require_tensor(function, "the segmenter's labels", labels),
        "(N, H, W)",
        (len(inputs), *inputs.shape[2:]),
    )
    require_device(function, "the segmenter's labels", labels, inputs, "inputs")
    return _checked(function, "the segmenter's labels", labels)


def segmenter_name(segmenter: Segmenter) -> str:
    """What is recorded of a segmenter: its name, and the options of a partial.

    Example:
        >>> from functools import partial
        >>> segmenter_name(partial(grid, cells=3))
        'grid(cells=3)'
    """
    if isinstance(segmenter, partial):
        options = [repr(value) for value in segmenter.args] + [f"{name}={value!r}" for name, value in segmenter.keywords.items()]
        return f"{segmenter_name(segmenter.func)}({', '.join(options)})"
    return str(getattr(segmenter, "__qualname__", None) or type(segmenter).__name__)


def _checked(function: str, argument: str, labels: Tensor) -> Tensor:
    require_tensor(function, argument, labels)
    require_dtype(function, argument, labels, (torch.int64, torch.int32), "labels are numbers of segments: .long()")
    require_ndim(function, argument, labels, "(N, H, W)")
    if labels.numel() > 0 and int(labels.min()) < -1:
        bad_value(function, argument, ">= -1 (-1: no segment)", int(labels.min()))
    return _compacted(labels.long())


def _compacted(labels: Tensor) -> Tensor:
    """Labels >= -1 numbered 0 .. K_n - 1 in each image, in their order; a new tensor. Tables no longer than an image."""
    pixels = labels.shape[1] * labels.shape[2]
    if labels.numel() == 0:
        return labels.clone()
    if int(labels.max()) >= pixels:
        labels = torch.stack([torch.unique(image, return_inverse=True)[1] - (image.min() < 0).long() for image in labels])
    places = labels.flatten(1) + 1
    present = torch.zeros(len(labels), pixels + 1, dtype=torch.bool, device=labels.device).scatter_(1, places, True)
    present[:, 0] = True  # -1 stays -1
    return (present.cumsum(1) - 2).gather(1, places).view_as(labels)
