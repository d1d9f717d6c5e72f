"""Finds the modules behind a forward: through torch.compile, functools.partial, bound methods, closures and objects."""

import functools
import types
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

# Objects searched at most: a forward that hangs on a whole application is not searched to its end.
_MOST_VISITED = 4096
# Values that hold no module, and whose parts are not searched.
_PLAIN = (int, float, complex, str, bytes, type, type(None))
_LIBRARIES = ("torch", "numpy", "builtins", "collections", "threading", "logging", "weakref", "PIL")


def plain_module(forward: Any) -> nn.Module | None:
    """The module that a forward runs as it is, or None where it does more than that, or is no module.

    Seen through: torch.compile (of a module or of its bound method), functools.partial and bound methods. What stands behind a
    compiled module is the module that was compiled, unless hooks were registered on the compiled one, which would be skipped.

    Example:
        >>> net = nn.Linear(1, 1)
        >>> plain_module(functools.partial(net.forward)) is net, plain_module(lambda inputs: net(inputs))
        (True, None)
    """
    while forward is not None:
        if isinstance(forward, nn.Module):
            inner = vars(forward).get("_modules", {}).get("_orig_mod")
            if inner is None or has_hooks(forward):
                return forward
            forward = inner
        elif isinstance(forward, functools.partial):
            forward = forward.func
        elif isinstance(forward, types.MethodType):
            forward = forward.__self__ if isinstance(forward.__self__, nn.Module) else None
        else:
            forward = getattr(forward, "_torchdynamo_orig_callable", None)
    return None


def modules_by_name(forward: Any) -> dict[str, nn.Module]:
    """All modules below the one that a forward is, aliases included; none where it is no module as it is."""
    plain = plain_module(forward)
    named = () if plain is None else plain.named_modules(remove_duplicate=False)
    return {name: module for name, module in named if name}


def has_hooks(module: nn.Module) -> bool:
    """Whether forward hooks or pre-hooks were registered on this very module."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def modules_behind(forward: Callable[..., Any]) -> list[nn.Module]:
    """Every module that a forward can be seen to reach, parts included, each once.

    Searched: the forward itself and its parts; what a partial application, a bound method, a compiled function, a closure or
    the defaults of a function hold; the globals that a function names; attributes of objects, and items of lists, tuples and
    dicts on the way (also modules that another one holds in a plain list).

    Example:
        >>> net = nn.Sequential(nn.Linear(1, 1))
        >>> modules_behind(lambda inputs: net(inputs) * 2) == [net, net[0]]
        True
    """
    result: dict[int, nn.Module] = {}
    waiting: deque[Any] = deque([forward])
    seen: dict[int, Any] = {}
    while waiting and len(seen) < _MOST_VISITED:
        thing = waiting.popleft()
        if isinstance(thing, _PLAIN) or id(thing) in seen:
            continue
        seen[id(thing)] = thing  # kept alive: its identity must stay its own
        if isinstance(thing, nn.Module):
            for part in thing.modules():
                if id(part) not in result:
                    result[id(part)] = part
                    own = (value for name, value in vars(part).items() if not name.startswith("_"))
                    waiting.extend(value for value in own if _may_hold(value))
        else:
            waiting.extend(_held(thing))
    return list(result.values())


def _may_hold(value: Any) -> bool:
    """Whether a value can lead to a module: not numbers, words and tensors, nor sequences that begin with one."""
    if isinstance(value, list | tuple):
        return len(value) > 0 and _may_hold(value[0])
    return not isinstance(value, (*_PLAIN, Tensor))


def _held(thing: Any) -> Iterator[Any]:
    """What an object that is no module holds."""
    if isinstance(thing, functools.partial):
        yield from (thing.func, *thing.args, *thing.keywords.values())
    elif isinstance(thing, types.MethodType):
        yield from (thing.__self__, thing.__func__)
    elif isinstance(thing, types.FunctionType):
        yield from _held_by_function(thing)
    elif isinstance(thing, list | tuple | set | frozenset):
        yield from thing
    elif isinstance(thing, dict):
        yield from thing.values()
    elif type(thing).__module__.partition(".")[0] not in _LIBRARIES and hasattr(thing, "__dict__"):
        yield from vars(thing).values()
        call = next((vars(kind)["__call__"] for kind in type(thing).__mro__ if "__call__" in vars(kind)), None)
        if isinstance(call, types.FunctionType):
            yield call


def _held_by_function(function: types.FunctionType) -> Iterator[Any]:
    yield from vars(function).values()  # what it wraps
    if function.__module__ is not None and function.__module__.partition(".")[0] in _LIBRARIES:
        return
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    names = _names(function.__code__)
    for name in names:
        value = function.__globals__.get(name)
        if isinstance(value, types.ModuleType):  # `package.net` in the code names both
            if value.__name__.partition(".")[0] not in _LIBRARIES:
                yield from (vars(value)[other] for other in names if isinstance(vars(value).get(other), nn.Module))
        elif value is not None:
            yield value


def _names(code: types.CodeType) -> set[str]:
    """Names of globals and attributes in the code of a function, and of the functions written inside it."""
    inner = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return set(code.co_names).union(*(_names(each) for each in inner))
