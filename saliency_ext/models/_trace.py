"""The outputs of all modules in one forward, in the order in which they finish."""

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from .hooks import first_tensor, intercepted
from .logits import model_logits


@dataclass(frozen=True)
class Call:
    """One call of a module that returned a tensor.

    Attributes:
        name, module: which; a module with several names has its first.
        index: which of its calls, 0 = first.
        shape: of its (first) tensor.
        repeats: it handed on the very tensor of the module that finished before it, as containers do.
        pooling: a pooling layer of torch.
        block: has parts, and stands in a list of modules or right under the model, as transformer blocks do; of several that
            return one tensor the innermost.
    """

    name: str
    module: nn.Module
    index: int
    shape: tuple[int, ...]
    repeats: bool
    pooling: bool
    block: bool


def trace(model: Callable[..., Any], modules: dict[str, nn.Module], image: Tensor, calls: list[Call]) -> Tensor:
    """Logits (1, K) of a copy of the image (1, C, H, W); the calls of these modules are appended as they finish.

    Where the forward fails, `calls` holds those before the failure.
    """
    counts: Counter[nn.Module] = Counter()
    last: tuple[Tensor | None, int, bool] = (None, 0, False)  # tensor, version, whether a block returned it
    names: dict[nn.Module, str] = {}
    for name, module in modules.items():
        names.setdefault(module, name)

    def monitor(module: nn.Module, name: str) -> Callable[[int, Any], Any]:
        pooling = any(kind.__module__ == "torch.nn.modules.pooling" for kind in type(module).__mro__)
        parent = modules.get(name.rpartition(".")[0])
        listed = parent is None or isinstance(parent, nn.ModuleList | nn.Sequential)
        block = listed and next(module.children(), None) is not None

        def visit(_: int, output: Any) -> Any:
            nonlocal last
            counts[module] += 1
            tensor = first_tensor(output)
            if tensor is not None:
                # The version distinguishes an in-place layer from the tensor it wrote into.
                version = 0 if tensor.is_inference() else tensor._version
                repeats = tensor is last[0] and version == last[1]
                known = repeats and last[2]
                shape = tuple(tensor.shape)
                calls.append(Call(name, module, counts[module] - 1, shape, repeats, pooling, block and not known))
                last = (tensor, version, block or known)
            return output

        return visit

    with ExitStack() as stack:
        for module, name in names.items():
            stack.enter_context(intercepted(module, monitor(module, name)))
        return model_logits(model, image.clone())
