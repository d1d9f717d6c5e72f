"""Where the objects of a scene go: keyed random positions that keep stated distances.

Every scene draws its own candidates until one fits, so its place does not depend on the scenes drawn with it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..checks import bad_value
from ..ops import philox_uniform

CLEAR = 4  # pixels between boxes that must not be close
_CANDIDATES = 32  # per round, of which the last few are packed into corners
_PACKED = 8
_ROUNDS = 16
_FAR = 1 << 30


@dataclass(frozen=True)
class Distance:
    """How two boxes lie to each other.

    gap: (lowest, highest) pixels between them, or None where any distance of at least 4 pixels will do.
    overlap: (lowest, highest) share of the smaller box that the other covers; replaces the gap.
    """

    gap: tuple[int, int] | None = None
    overlap: tuple[float, float] | None = None


def gap_between(first: Tensor, second: Tensor) -> Tensor:
    """Pixels between boxes (..., 4): the larger of the horizontal and the vertical gap; negative where they overlap."""
    apart = torch.maximum(second[..., :2] - first[..., 2:], first[..., :2] - second[..., 2:])
    return apart.amax(-1)


def overlap_share(first: Tensor, second: Tensor) -> Tensor:
    """Share of the smaller of two boxes (..., 4) that the other covers."""
    common = torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(first[..., :2], second[..., :2])
    return common.clamp(min=0).prod(-1).double() / torch.minimum(_area(first), _area(second)).clamp(min=1)


def place_boxes(sizes: Tensor, present: Tensor, side: int, distance: Distance, ids: Tensor, seed: int, stream: int) -> Tensor:
    """Boxes of the two objects and the distractor.

    Args:
        sizes: (N, 3, 2) int64, height and width of object 1, object 2, distractor.
        present: (N, 3) bool.
        side: of the image, pixels.
        distance: between the objects. The distractor keeps 4 pixels from both.
        ids: (N,) int64; seed; stream: the key of the draws, streams `stream` to `stream` + 15.

    Returns:
        (N, 3, 4) int64: top, left, bottom, right, half-open; zeros where absent.

    Raises:
        ValueError: no candidate of a scene fits.
    """
    boxes = torch.zeros(len(ids), 3, 4, dtype=torch.int64)
    open_ = torch.arange(len(ids))
    for number in range(_ROUNDS):
        if len(open_) == 0:
            break
        draws = philox_uniform((1, _CANDIDATES, 9), ids[open_], seed=seed, stream=stream + number)[:, 0].double()
        candidates = _candidates(draws, sizes[open_][:, None], side, distance)
        fits = _fits(candidates, present[open_][:, None], side, distance)
        first = fits.byte().argmax(1)
        chosen = candidates[torch.arange(len(open_)), first]
        some = fits.any(1)
        boxes[open_[some]] = chosen[some]
        open_ = open_[~some]
    if len(open_):
        sizes_of = tuple(map(tuple, sizes[open_[0]].tolist()))
        bad_value("make_scenes", "recipe", f"to leave room in {side} x {side} pixels", f"sizes {sizes_of}", "use smaller objects")
    return boxes * present[:, :, None]


def _candidates(draws: Tensor, sizes: Tensor, side: int, distance: Distance) -> Tensor:
    """(N, R, 3, 4) boxes from uniform draws (N, R, 9); those at the end sit in corners, which fit where little else does."""
    room = side - sizes  # (N, 1, 3, 2)
    packed = (torch.arange(draws.shape[1]) >= draws.shape[1] - _PACKED)[:, None, None]
    places = draws[..., :6].view(*draws.shape[:-1], 3, 2)
    free = (places * (room + 1)).long()
    corner = (places >= 0.5) * room
    starts = torch.where(packed, corner, free)
    if distance.gap is not None or distance.overlap is not None:
        moved = starts[:, :, 0] + _offset(draws[..., 6:], sizes[:, :, 0], sizes[:, :, 1], distance, packed[..., 0])
        starts = torch.stack([starts[:, :, 0], moved, starts[:, :, 2]], 2)
    return torch.cat([starts, starts + sizes], -1)


def _offset(draws: Tensor, first: Tensor, second: Tensor, distance: Distance, packed: Tensor) -> Tensor:
    """(N, R, 2) from object 1 to object 2, so that they face each other along one axis."""
    facing = 1 - second + (draws[..., 1:2] * (first + second - 1)).long()  # their projections share at least a pixel
    facing = torch.where(packed, 0, facing)
    if distance.overlap is not None:
        shift = 1 - second + (draws[..., 2:3] * (first + second - 1)).long()
    else:
        lowest, highest = distance.gap or (CLEAR, CLEAR)
        gap = lowest + (draws[..., 2:3] * (highest - lowest + 1)).long()
        shift = torch.where(draws[..., :1] * 4 % 2 < 1, first + gap, -second - gap)
    vertical = draws[..., :1] < 0.5
    axis = torch.cat([vertical, ~vertical], -1)
    return torch.where(axis, shift, facing)


def _fits(boxes: Tensor, present: Tensor, side: int, distance: Distance) -> Tensor:
    """(N, R): inside the image, and as far from each other as asked."""
    one, two, distractor = boxes.unbind(2)
    inside = ((boxes >= 0) & (boxes <= side)).all(-1) | ~present
    pair = present[..., 0] & present[..., 1]
    if distance.overlap is not None:
        share = overlap_share(one, two)
        near = (share >= distance.overlap[0]) & (share <= distance.overlap[1])
    else:
        gap = gap_between(one, two)
        lowest, highest = distance.gap or (CLEAR, _FAR)
        near = (gap >= lowest) & (gap <= highest)
    away = [gap_between(box, distractor) >= CLEAR for box in (one, two)]
    clear = [ok | ~(present[..., j] & present[..., 2]) for j, ok in enumerate(away)]
    return inside.all(-1) & (near | ~pair) & clear[0] & clear[1]


def _area(box: Tensor) -> Tensor:
    return (box[..., 2:] - box[..., :2]).prod(-1)
