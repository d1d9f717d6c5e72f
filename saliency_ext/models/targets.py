"""Target classes: given, predicted or top-k."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy
import torch
from torch import Tensor

from ..checks import bad_type, bad_value, require_dtype, require_shape

# Also a list, or an integer or array of numpy.
Target = Tensor | int | str | Sequence[int] | numpy.ndarray[Any, Any] | numpy.generic

_EXPECTED = "class indices, an int, 'predicted' or 'top-k' with a number for k"
_REMEDY = "pass integers, one class per image: for one-hot rows or scores, .argmax(1)"
_ONE_FOR_ALL = "one class for all images is an int"
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def resolve_target(target: Target, clean_logits: Tensor) -> Tensor:
    """Class indices (N,), or (N, T) for several targets per image, int64 on the logits' device.

    Args:
        target: (N,) or (N, T) integers (a tensor, a numpy array or a list), one class for all images (an int, also of numpy, or a
            tensor without dimensions), "predicted" (the winner on the clean image), or "top-3" (the three winners, best first;
            any number).
        clean_logits: (N, K).

    Raises:
        TypeError: another type. ValueError: wrong shape, or a class outside [0, K), with its place.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[0.0, 2.0], [3.0, 1.0]])
        >>> resolve_target("predicted", logits), resolve_target("top-2", logits)
        (tensor([1, 0]), tensor([[1, 0],
                [0, 1]]))
    """
    indices = requested_classes(target, clean_logits.shape[0], lambda: clean_logits)
    check_classes("resolve_target", indices, clean_logits.shape[1])
    return indices.to(clean_logits.device)


def requested_classes(target: Target, images: int, clean_logits: Callable[[], Tensor]) -> Tensor:
    """As `resolve_target`, but the logits are only made where the target needs them, and the classes are not held against K."""
    if isinstance(target, str):
        count = 1 if target == "predicted" else _top(target)
        logits = clean_logits()
        if count > logits.shape[1]:
            bad_value("resolve_target", "target", f"'top-k' with k in [1, {logits.shape[1]}]", repr(target))
        best = logits.topk(count, 1).indices if count > 1 else logits.argmax(1, keepdim=True)
        return best[:, 0] if target == "predicted" else best
    indices = torch.as_tensor(plain_target(target))
    if indices.ndim == 0:
        return indices.expand(images).clone()
    if indices.ndim != 2:
        require_shape("resolve_target", "target", indices, "(N,)", (images,), _ONE_FOR_ALL)
    else:
        require_shape("resolve_target", "target", indices, "(N, T)", (images, indices.shape[1]), _ONE_FOR_ALL)
    return indices


def plain_target(target: Any) -> Tensor | int | str:
    """A target in one of three forms: a word, one class as an int, or classes as an int64 tensor (N,) or (N, T).

    Raises:
        TypeError, ValueError: it is no integer, nor an array, list or tensor of integers.
    """
    if isinstance(target, str):
        return target
    classes = _indices(target)
    return int(classes) if classes.ndim == 0 else classes


def _indices(target: Any) -> Tensor:
    """Classes as int64: an integer of Python or numpy (0-d), an array, a list of them, or a tensor."""
    values = target
    if isinstance(target, list | tuple | numpy.ndarray | numpy.generic):
        try:
            values = torch.as_tensor(numpy.array(target))  # a copy: the caller's array stays the caller's
        except (TypeError, ValueError, RuntimeError):
            bad_type("resolve_target", "target", _EXPECTED, f"a {type(target).__name__} of {_kinds(target)}", _REMEDY)
    elif isinstance(target, int) and not isinstance(target, bool):
        if abs(target) >= 2**63:
            bad_value("resolve_target", "target", _EXPECTED, target)
        values = torch.tensor(target)
    if not isinstance(values, Tensor):
        bad_type("resolve_target", "target", _EXPECTED, type(target).__name__, _REMEDY)
    if values.numel() == 0 and isinstance(target, list | tuple):
        values = values.long()
    require_dtype("resolve_target", "target", values, _INTEGERS, _REMEDY)
    return values.to(torch.int64)


def _kinds(target: Any) -> str:
    return ", ".join(sorted({type(each).__name__ for each in target})) if isinstance(target, list | tuple) else str(target.dtype)


def check_classes(function: str, classes: Tensor, count: int, *, first: int = 0, argument: str = "target") -> None:
    """Refuses a class outside [0, count), with its place, counted from `first`."""
    outside = (classes < 0) | (classes >= count)
    if outside.any():
        at = tuple(outside.nonzero()[0].tolist())
        place = at[0] + first if len(at) == 1 else (at[0] + first, *at[1:])
        bad_value(function, argument, f"in [0, {count})", f"{int(classes[at])} at index {place}")


def _top(target: str) -> int:
    digits = target.removeprefix("top-")
    if digits == target or not digits.isdecimal() or int(digits) < 1:
        bad_value("resolve_target", "target", _EXPECTED, repr(target))
    return int(digits)
