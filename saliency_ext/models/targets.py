"""Which class a score is about."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..checks import bad_type, bad_value, require_dtype, require_shape

Target = Tensor | int | str

_EXPECTED = "class indices, an int, 'predicted' or 'top-k' with a number for k"


def resolve_target(target: Target, clean_logits: Tensor) -> Tensor:
    """Class indices (N,), or (N, T) where several were asked, int64 on the logits' device.

    Args:
        target: (N,) or (N, T) integer tensor, one class for all images, "predicted" (the winner on the clean image), or "top-3"
            (the three winners, best first; any number).
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
    indices = asked_classes(target, clean_logits.shape[0], lambda: clean_logits)
    check_classes("resolve_target", indices, clean_logits.shape[1])
    return indices.to(clean_logits.device)


def asked_classes(target: Target, images: int, clean_logits: Callable[[], Tensor]) -> Tensor:
    """As `resolve_target`, but the logits are only made where the target needs them, and the classes are not held against K."""
    if isinstance(target, str):
        count = 1 if target == "predicted" else _top(target)
        logits = clean_logits()
        if count > logits.shape[1]:
            bad_value("resolve_target", "target", f"'top-k' with k in [1, {logits.shape[1]}]", repr(target))
        best = logits.topk(count, 1).indices if count > 1 else logits.argmax(1, keepdim=True)
        return best[:, 0] if target == "predicted" else best
    if isinstance(target, bool) or not isinstance(target, int | Tensor):
        bad_type("resolve_target", "target", _EXPECTED, type(target).__name__)
    if isinstance(target, int):
        return torch.full((images,), target)
    require_dtype("resolve_target", "target", target, (torch.int64, torch.int32))
    if target.ndim != 2:
        require_shape("resolve_target", "target", target, "(N,)", (images,))
    else:
        require_shape("resolve_target", "target", target, "(N, T)", (images, target.shape[1]))
    return target.to(torch.int64)


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
