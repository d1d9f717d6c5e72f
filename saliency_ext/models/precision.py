"""The dtype of a model: the one to render inputs in, and those precise enough for gradients."""

from typing import Any

import torch
from torch import Tensor

from ..checks import bad_type, dtype_name
from ._modules import modules_behind, plain_module

FULL_PRECISION = (torch.float32, torch.float64)
HALF_PRECISION = (torch.float16, torch.bfloat16)


def model_dtype(forward: Any) -> torch.dtype | None:
    """The dtype of the first floating parameter of the module that a forward is; None where there is none, or it does more."""
    module = plain_module(forward)
    parameters = () if module is None else module.parameters()
    return next((each.dtype for each in parameters if each.dtype in (*FULL_PRECISION, *HALF_PRECISION)), None)


def full_dtype(forward: Any, images: Tensor) -> torch.dtype:
    """The dtype in which to compute with images: that of the model where it is float32 or float64, else their own.

    Where the forward does more than run a module: that of the modules behind it, if they all have one.
    """
    if images.dtype not in FULL_PRECISION:
        return images.dtype
    own = model_dtype(forward)
    dtypes = {own} if own is not None else _dtypes_behind(forward)
    return next(iter(dtypes)) if len(dtypes) == 1 and dtypes <= {*FULL_PRECISION} else images.dtype


def _dtypes_behind(forward: Any) -> set[torch.dtype]:
    parameters = (each for module in modules_behind(forward) for each in module._parameters.values() if each is not None)
    return {each.dtype for each in parameters if each.is_floating_point()}


def require_full_precision(function: str, forward: Any) -> None:
    """Refuses a forward with a parameter of half precision behind it."""
    for module in modules_behind(forward):
        for parameter in module.parameters(recurse=False):
            if parameter.is_floating_point() and parameter.dtype not in FULL_PRECISION:
                remedy = "convert it with .float(): small gradients vanish in half precision"
                bad_type(function, "model", "to have parameters of float32 or float64", dtype_name(parameter.dtype), remedy)
