"""How much memory one more image takes in a forward: measured, not guessed."""

import sys
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..models import evaluation_mode
from ..models.logits import model_logits


def batch_that_fits(forward: Callable[[Tensor], Any], example: Tensor, budget: int, largest: int) -> int:
    """The number of images, in [1, largest], whose forward stays within a budget in bytes.

    Forwards one and two copies of the example (1, C, H, W) and counts the bytes of all tensors alive at once; the difference is
    what an image takes, the rest is what a forward takes whatever its size. Workspaces inside single operations are not seen.
    """
    if example.shape[0] == 0:
        return 1
    one, two = (_peak_bytes(forward, example.repeat(copies, 1, 1, 1)) for copies in (1, 2))
    per_image = max(two - one, 2 * example.numel() * example.element_size())
    return max(1, min(largest, (budget - max(one - per_image, 0)) // per_image))


def _peak_bytes(forward: Callable[[Tensor], Any], inputs: Tensor) -> int:
    # Where the compiler is in use, it must not compile the counting, nor the forward for two more shapes.
    eager = torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
    with evaluation_mode(forward), eager, _LiveBytes() as live:
        model_logits(forward, inputs)
    peak: int = live.peak
    return peak + inputs.numel() * inputs.element_size()


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the storages made inside it that are alive, and their peak."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: to skip it, torch would import its compiler, which takes seconds."""
        return False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._alive = 0
        self._users: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {_storage(value) for value in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(value, Tensor)}
        for value in torch.utils._pytree.tree_leaves(result):
            if isinstance(value, Tensor) and (_storage(value) in self._users or _storage(value) not in given):
                self._use(value)
        return result

    def _use(self, value: Tensor) -> None:
        storage, size = _storage(value), value.untyped_storage().nbytes()
        if storage not in self._users:
            self._alive += size
            self.peak = max(self.peak, self._alive)
        self._users[storage] = self._users.get(storage, 0) + 1
        weakref.finalize(value, self._drop, storage, size)

    def _drop(self, storage: int, size: int) -> None:
        self._users[storage] -= 1
        if self._users[storage] == 0:
            del self._users[storage]
            self._alive -= size


def _storage(value: Tensor) -> int:
    return int(value.untyped_storage()._cdata)
