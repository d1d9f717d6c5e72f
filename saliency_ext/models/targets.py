"""Which class a score is about."""

import torch
from torch import Tensor

from ..checks import bad_type, bad_value, require_dtype, require_shape

Target = Tensor | int | str


def resolve_target(target: Target, clean_logits: Tensor) -> Tensor:
    """Class indices (N,) int64 on the logits' device.

    Args:
        target: (N,) integer tensor, one class for all images, or "predicted": the winner on the clean image.
        clean_logits: (N, K).

    Raises:
        TypeError: another type. ValueError: wrong shape, or a class outside [0, K), with its place.

    Example:
        >>> import torch
        >>> resolve_target("predicted", torch.tensor([[0.0, 2.0], [3.0, 1.0]]))
        tensor([1, 0])
    """
    images, classes = clean_logits.shape
    if isinstance(target, str):
        if target != "predicted":
            bad_value("resolve_target", "target", "class indices, an int or 'predicted'", repr(target))
        return clean_logits.argmax(1)
    if isinstance(target, bool) or not isinstance(target, int | Tensor):
        bad_type("resolve_target", "target", "class indices, an int or 'predicted'", type(target).__name__)
    if isinstance(target, int):
        target = torch.full((images,), target)
    require_dtype("resolve_target", "target", target, (torch.int64, torch.int32))
    require_shape("resolve_target", "target", target, "(N,)", (images,))
    indices = target.to(device=clean_logits.device, dtype=torch.int64)
    outside = (indices < 0) | (indices >= classes)
    if outside.any():
        at = int(outside.nonzero()[0])
        bad_value("resolve_target", "target", f"in [0, {classes})", f"{int(indices[at])} at index {at}")
    return indices
