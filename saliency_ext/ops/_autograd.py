"""What the dispatcher's autograd keys do for a native op: gradients, forward-mode derivatives, versions of what is written."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad
from torch.autograd.function import _SingleLevelFunction

Kernel = Callable[..., Any]


def autograd_kernel(
    op: Any, backward: Callable[..., Any], setup_context: Callable[..., Any], tangent: Callable[..., Any] | None
) -> Kernel:
    """The op with its derivatives. Takes the dispatch keys before the arguments.

    backward, setup_context: as in `torch.autograd.Function`. tangent(result, primals, tangents): that of the first result, from
    the arguments and their tangents (None where one has none). tangent=None: forward mode is refused.
    """

    def below(keys: Any, *args: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            return op.redispatch(keys & torch._C._after_autograd_keyset, *args)

    def forward(ctx: Any, keys: Any, *args: Any) -> Any:
        # A Function turns derivatives off, also for the transforms of torch.func around this one.
        around = torch._C._are_functorch_transforms_active()
        with torch.set_grad_enabled(around), forward_ad._set_fwd_grad_enabled(around):
            result = below(keys, *args)
        setup_context(ctx, args, result)
        return result

    def gradients(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        return (None, *backward(ctx, *upstream))

    # Of one level of torch.func's transforms: this kernel already runs inside the level that differentiates.
    function = type(
        f"BackwardOf_{op._opname}",
        (_SingleLevelFunction,),
        {"forward": staticmethod(forward), "backward": staticmethod(gradients)},
    )

    def kernel(keys: Any, *args: Any) -> Any:
        if forward_ad._current_level >= 0:
            primals, tangents = zip(*map(unpacked, args), strict=True)
            if any(part is not None for part in tangents):
                if tangent is None:
                    raise RuntimeError(
                        f"{op._opname}: expected arguments without a forward-mode tangent, got one; it has no forward derivative"
                    )
                result = op(*primals)
                several = isinstance(result, tuple)
                dual = forward_ad.make_dual(  # type: ignore[no-untyped-call]
                    result[0] if several else result, tangent(result, primals, tangents)
                )
                return (dual, *result[1:]) if several else dual
        if torch.is_grad_enabled() and torch._C._any_requires_grad(*args):
            with enable_single_level_autograd_function():
                return function.apply(keys, *args)  # type: ignore[attr-defined]
        return below(keys, *args)

    return kernel


def writing_kernel(op: Any) -> Kernel:
    """The op, which raises the version of every tensor it writes to, so that a graph that saved one refuses its backward pass."""
    written = [index for index, argument in enumerate(op._schema.arguments) if argument.is_write]
    keys_below, redispatch, increment = torch._C._after_ADInplaceOrView_keyset, op.redispatch, torch._C._increment_version

    def kernel(keys: Any, *args: Any) -> Any:
        result = redispatch(keys & keys_below, *args)
        increment([args[index] for index in written])
        return result

    return kernel


def unpacked(value: Any) -> tuple[Any, Tensor | None]:
    """An argument without its forward-mode tangent, and the tangent."""
    if not isinstance(value, Tensor):
        return value, None
    primal, tangent = forward_ad.unpack_dual(value)  # type: ignore[no-untyped-call]
    return (value, None) if tangent is None else (primal, tangent)
