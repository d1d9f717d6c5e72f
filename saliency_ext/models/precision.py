"""The dtype of a model: which one to render for, and which ones gradients can be trusted in."""

from typing import Any

import torch
from torch import nn

from ..checks import bad_type, dtype_name

FULL_PRECISION = (torch.float32, torch.float64)


def half_dtype(model: Any) -> torch.dtype | None:
    """float16 or bfloat16 where the first floating parameter of a module has it; None otherwise, and for a plain callable."""
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    first = next((parameter.dtype for parameter in parameters if parameter.is_floating_point()), torch.float32)
    return None if first in FULL_PRECISION else first


def require_full_precision(function: str, model: Any) -> None:
    """Refuses a module with a parameter of half precision."""
    for parameter in model.parameters() if isinstance(model, nn.Module) else ():
        if parameter.is_floating_point() and parameter.dtype not in FULL_PRECISION:
            remedy = "convert it with .float(): small gradients vanish in half precision"
            bad_type(function, "model", "to have parameters of float32 or float64", dtype_name(parameter.dtype), remedy)
