"""The device of a model, and the check that images are on it."""

from typing import Any

from torch import Tensor

from ..checks import bad_value
from ._modules import plain_module


def require_model_device(function: str, forward: Any, inputs: Tensor, remedy: str = "") -> None:
    """Refuses inputs that are not on the device of the model's first parameter.

    Parameters without values (on the device "meta", as where weights are loaded when a layer runs) count only if all are.
    """
    module = plain_module(forward)
    if module is None:
        return
    first = next(module.parameters(), inputs)
    device = next((each.device for each in module.parameters() if not each.is_meta), first.device)
    if device != inputs.device:
        move = f"move them with .to({str(device)!r}){remedy}"
        bad_value(function, "inputs", f"on the device of the model ({device})", inputs.device, move)
