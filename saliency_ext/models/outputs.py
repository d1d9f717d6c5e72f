"""Finds the logits in what a model returns."""

from typing import Any

from torch import Tensor

from ..checks import bad_type, bad_value


def logits_of(output: Any, batch: int) -> Tensor:
    """Logits (N, K) from a tensor, an object with `.logits`, a mapping with "logits", or a tuple that begins with them.

    Args:
        output: what the model returned for a batch.
        batch: N.

    Raises:
        TypeError: nothing in the output looks like logits. ValueError: they are not (N, K).

    Example:
        >>> import torch
        >>> logits_of({"logits": torch.zeros(2, 5)}, 2).shape
        torch.Size([2, 5])
    """
    found = output
    if hasattr(output, "logits"):
        found = output.logits
    elif isinstance(output, dict) and "logits" in output:
        found = output["logits"]
    elif isinstance(output, tuple | list) and len(output) > 0:
        found = output[0]
    if not isinstance(found, Tensor):
        seen = f"{type(output).__name__} with keys {list(output)}" if isinstance(output, dict) else type(output).__name__
        bad_type("forward", "its result", "to be logits (N, K), or to hold them as `logits`", seen, "wrap it in a function")
    if found.ndim != 2 or found.shape[0] != batch:
        remedy = "add the batch dimension" if found.ndim == 1 else "return one row of class scores per image"
        bad_value("forward", "its logits", f"of shape (N, K) with N = {batch}", tuple(found.shape), remedy)
    return found
