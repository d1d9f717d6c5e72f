"""Calls the model and extracts the logits from its output."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from ..checks import bad_type, bad_value, dtype_name
from ._placement import require_model_device
from .precision import HALF_PRECISION, model_dtype

_OTHER_DTYPE = ("should be the same", "same dtype", "expected scalar type")  # in messages of torch about dtypes that do not fit


def model_logits(forward: Callable[..., Any], inputs: Tensor) -> Tensor:
    """Logits (N, K) of a model for inputs (N, C, H, W), differentiable where the model is.

    The inputs are cast to the dtype of the model's parameters; logits of half precision become float32. Called inside
    `evaluation_mode` or `differentiable`. A model may write on what it is given: pass a copy of what is needed later.

    Raises:
        TypeError, ValueError: what is wrong with the output; inputs on another device than the model.
    """
    require_model_device("forward", forward, inputs)
    given = inputs.to(model_dtype(forward) or inputs.dtype)
    try:
        output = forward(given)
    except RuntimeError as error:
        if any(words in str(error) for words in _OTHER_DTYPE):
            remedy = f"convert one of them, or cast inside the forward (torch says: {error})"
            bad_type("forward", "inputs", "of the dtype of the model's parameters", dtype_name(given.dtype), remedy)
        raise
    logits = logits_of(output, len(inputs))
    return logits.float() if logits.dtype in HALF_PRECISION else logits


def require_outputs(logits: Tensor, outputs: int) -> None:
    """Refuses logits (N, K) of another K than the model returned before."""
    if logits.shape[1] != outputs:
        remedy = "a model must return as many for whatever images"
        bad_value("forward", "its logits", f"to be as many as before, K = {outputs}", f"K = {logits.shape[1]}", remedy)


def logits_of(output: Any, batch: int) -> Tensor:
    """Logits (N, K) from a tensor, an object with `.logits`, a mapping with "logits", or a tuple that begins with them.

    Args:
        output: what the model returned for a batch.
        batch: N.

    Raises:
        TypeError: nothing in the output looks like logits, or they are no floating numbers. ValueError: they are not (N, K).

    Example:
        >>> import torch
        >>> logits_of({"logits": torch.zeros(2, 5)}, 2).shape
        torch.Size([2, 5])
    """
    result = output
    if hasattr(output, "logits"):
        result = output.logits
    elif isinstance(output, Mapping) and "logits" in output:
        result = output["logits"]
    elif isinstance(output, tuple | list) and len(output) > 0:
        result = output[0]
    if not isinstance(result, Tensor):
        seen = f"{type(output).__name__} with keys {list(output)}" if isinstance(output, Mapping) else type(output).__name__
        bad_type("forward", "its result", "to be logits (N, K), or to hold them as `logits`", seen, "wrap it in a function")
    if not result.is_floating_point():
        bad_type("forward", "its logits", "of a floating dtype", dtype_name(result.dtype), "return scores, not classes")
    if result.ndim != 2 or result.shape[0] != batch or result.shape[1] == 0:
        remedy = "return one row of class scores per image"
        if result.ndim == 1:
            remedy = "return one output as (N, 1)" if len(result) == batch else "add the batch dimension"
        bad_value("forward", "its logits", f"of shape (N, K) with N = {batch}", tuple(result.shape), remedy)
    return result
