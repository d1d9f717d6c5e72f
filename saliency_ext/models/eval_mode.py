"""Runs a model in evaluation mode, outside the caller's autocast, and restores its state."""

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from ._modules import modules_behind

_TRAINING = "the model is in training mode; it is run in eval mode and restored"
_AUTOCAST_DEVICES = ("cpu", "cuda", "xpu", "mps")


@contextmanager
def evaluation_mode(forward: Callable[..., Any], *, warn: bool = True) -> Iterator[None]:
    """Puts the modules behind a forward into eval mode, without gradients and without the caller's autocast.

    Each module's own mode is restored, also after an exception, and also where the model's own forward changed it. Of several
    threads that use a module at once, the first one in saves the mode and the last one out restores it.

    Modules are found as `models._modules.modules_behind` does. Where none is found, the modules that run are watched: one in
    training mode is put into eval mode before it runs, and restored. A buffer that the forward changes in eval mode is not
    restored; a warning reports it, as it does training mode (unless `warn` is False: batch statistics would couple the images,
    and running the model would change them).
    """
    modules = modules_behind(forward)
    if warn and any(module.training for module in modules):
        warnings.warn(_TRAINING, RuntimeWarning, stacklevel=3)
    with ExitStack() as stack:
        stack.enter_context(without_autocast())
        stack.enter_context(torch.no_grad())
        stack.enter_context(_USERS.using(modules))
        if not modules:
            stack.enter_context(_watched(warn))
        buffers = _buffers(modules) if warn else []
        before = [value._version for _, value in buffers]
        yield
        changed = [name for (name, value), version in zip(buffers, before, strict=True) if value._version != version]
        if changed:
            written = f"the model's forward writes into its buffer(s) {', '.join(changed[:5])} in eval mode"
            warnings.warn(f"{written}: outputs may depend on what ran before", RuntimeWarning, stacklevel=3)


@contextmanager
def without_autocast() -> Iterator[None]:
    """Leaves the caller's autocast outside: nothing within runs in half precision that was not made so."""
    with ExitStack() as stack:
        for device in _AUTOCAST_DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


@contextmanager
def weights_replaced(function: str, model: nn.Module) -> Iterator[None]:
    """Within the block the weights of a model are others: threads that want to run it wait until the block has ended.

    Raises:
        RuntimeError: another thread is running the model.
    """
    with _USERS.alone(function, list(model.modules())):
        yield


class _Users:
    """Who uses which module: how often each thread has entered, and the mode that the module is given back in."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._modes: dict[int, tuple[nn.Module, bool]] = {}
        self._threads: dict[int, list[int]] = {}  # module -> threads, one entry per block that uses it
        self._owners: dict[int, int] = {}  # module whose weights are replaced -> thread

    @contextmanager
    def using(self, modules: list[nn.Module]) -> Iterator[None]:
        """Modules in eval mode while the block runs."""
        me = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: all(self._owners.get(id(module), me) == me for module in modules))
            for module in modules:
                self._modes.setdefault(id(module), (module, module.training))
                self._threads.setdefault(id(module), []).append(me)
            for module in modules:  # when all modes are known: a compiled module and the one inside it have one
                if module.training:
                    module.training = False
        try:
            yield
        finally:
            with self._changed:
                for module in modules:
                    users = self._threads[id(module)]
                    users.remove(me)
                    if not users:
                        del self._threads[id(module)]
                        _, training = self._modes.pop(id(module))
                        if module.training is not training:
                            module.training = training
                self._changed.notify_all()

    @contextmanager
    def alone(self, function: str, modules: list[nn.Module]) -> Iterator[None]:
        """No other thread runs these modules while the block runs."""
        me, mine = threading.get_ident(), []
        with self._changed:
            others = any(user != me for module in modules for user in self._threads.get(id(module), ()))
            if others or any(self._owners.get(id(module), me) != me for module in modules):
                raise RuntimeError(
                    f"{function}: expected the model to be free, as its weights are replaced for a while, got one that another "
                    "thread is running; give each thread a copy of the model"
                )
            mine = [id(module) for module in modules if id(module) not in self._owners]
            self._owners.update(dict.fromkeys(mine, me))
        try:
            yield
        finally:
            with self._changed:
                for key in mine:
                    del self._owners[key]
                self._changed.notify_all()


_USERS = _Users()


@contextmanager
def _watched(warn: bool) -> Iterator[None]:
    """Modules that this thread runs, found as they run, are put into eval mode before they do."""
    me = threading.get_ident()
    with ExitStack() as users:

        def before(module: nn.Module, _: Any) -> None:
            if threading.get_ident() == me and module.training:
                parts = list(module.modules())
                if warn:
                    warnings.warn(_TRAINING, RuntimeWarning, stacklevel=3)
                users.enter_context(_USERS.using(parts))

        handle = register_module_forward_pre_hook(before)
        try:
            yield
        finally:
            handle.remove()


def _buffers(modules: list[nn.Module]) -> list[tuple[str, Tensor]]:
    """Buffers whose number of writes can be read, with names for a message."""
    named = [(f"{type(module).__name__}.{name}", value) for module in modules for name, value in module._buffers.items()]
    return [(name, value) for name, value in named if value is not None and not value.is_inference()]
