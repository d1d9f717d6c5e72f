"""Where the evidence for a class is in a scene, and where the evidence for the other object: for own-minus-other scores."""

import torch
from torch import Tensor

from ..checks import require_choice, require_dtype, require_range, require_shape, require_tensor
from .scenes import CLASSES, ENTITY_OF_CLASS, SIDE, Scenes

KINDS = ("ink", "box")


def own_region(scenes: Scenes, classes: Tensor, kind: str = "ink") -> Tensor:
    """Pixels (N, 64, 64) bool of the objects that a class names; all False where it names nothing in the scene.

    Args:
        scenes: N scenes.
        classes: (N,) int64, 0 to 13.
        kind: "ink" (visible ink) or "box" (tight boxes).

    Example:
        >>> from saliency_ext.testbed.scenes import make_scenes
        >>> scenes = make_scenes("test", 4)
        >>> bool((own_region(scenes, scenes.labels) & other_region(scenes, scenes.labels)).any())
        False
    """
    return _union(scenes, _named(scenes, classes, "own_region"), kind)


def other_region(scenes: Scenes, classes: Tensor, kind: str = "ink") -> Tensor:
    """Pixels (N, 64, 64) bool of the objects that a class does not name. Arguments as `own_region`.

    A map that is about the class is on its own object more often than on the other; a map that only finds objects is on both
    alike. So report own minus other, never own alone.
    """
    return _union(scenes, ~_named(scenes, classes, "other_region") & (scenes.entities >= 0), kind)


def box_masks(boxes: Tensor) -> Tensor:
    """Masks (..., 64, 64) bool of boxes (..., 4): top, left, bottom, right, half-open."""
    at = torch.arange(SIDE)
    top, left, bottom, right = boxes[..., None].unbind(-2)
    return ((at >= top) & (at < bottom))[..., :, None] & ((at >= left) & (at < right))[..., None, :]


def _named(scenes: Scenes, classes: Tensor, function: str) -> Tensor:
    """(N, 2) bool: which objects the class names."""
    require_dtype(function, "classes", require_tensor(function, "classes", classes), (torch.int64,))
    require_shape(function, "classes", classes, "(N,)", (len(scenes),))
    require_range(function, "classes", classes, 0, len(CLASSES) - 1)
    return scenes.entities == torch.tensor(ENTITY_OF_CLASS)[classes][:, None]


def _union(scenes: Scenes, which: Tensor, kind: str) -> Tensor:
    require_choice("own_region", "kind", kind, KINDS)
    masks = scenes.ink if kind == "ink" else box_masks(scenes.boxes)
    return (masks & which[:, :, None, None]).any(1)
