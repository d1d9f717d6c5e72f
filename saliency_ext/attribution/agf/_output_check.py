"""Checks that the traced operations compute the output of the model itself."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ...checks import bad_type, bad_value
from ...models._modules import has_hooks, plain_module
from ...models.precision import HALF_PRECISION, model_dtype
from ._graph import Network, Record

# How far the traced steps may be from the model's own output, as a share of the largest value: rounding of another order of sums.
_ROUNDING = 1e-3
_HALF = 0.1  # of a model of half precision, whose weights are cast


def module_to_read(model: Any) -> nn.Module:
    """The module whose layers are read: also behind torch.compile, a partial application or a bound method."""
    module = plain_module(model)
    if module is None:
        bad_type("AGF", "model", "to be an nn.Module", type(model).__name__, "its layers must be seen")
    return module


def require_own_output(model: Any, network: Network, records: Sequence[Record], own: Tensor) -> None:
    """Refuses traced steps whose output is not that of the model itself.

    Args:
        records: of the steps, on the images of which the model returned `own` (N, K).
    """
    traced = records[network.output].output
    share = _HALF if model_dtype(model) in HALF_PRECISION else _ROUNDING
    if traced.shape == own.shape and _equal(traced, own, share):
        return
    hooked = [name or "the model" for name, module in network.model.named_modules() if has_hooks(module)]
    seen = f"forward hooks on {', '.join(map(repr, hooked[:5]))}" if hooked else "a forward of more than these layers"
    remedy = "fold what the hooks do into layers, or remove them"
    bad_value("AGF", "model", "to compute what its traced layers do", f"other outputs ({seen})", remedy)


def _equal(traced: Tensor, own: Tensor, share: float) -> bool:
    """Whether outputs (N, K) differ by rounding alone, NaN and infinities included."""
    reach = share * own.abs().nan_to_num(0, 0, 0).amax(1, keepdim=True).clamp(min=1e-6)
    equal = ((traced - own).abs() <= reach) | (traced == own) | (traced.isnan() & own.isnan())
    return bool(equal.all())
