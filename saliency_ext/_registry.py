"""Registries: classes by name, from the project's own modules, from installed packages, and by import path.

A registry is filled when it is first read. A class registers itself by standing in a public module of the registry's package
with an `info` of its own; other packages register classes through the entry-point group of the registry.
"""

import importlib
import inspect
import pkgutil
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Generic, TypeVar

from .checks import bad_value, require_choice

T = TypeVar("T")


@dataclass(frozen=True)
class Variant:
    """A second name of a registered class, for the command line: the class with other options.

    Attributes:
        name: snake case, unique among names and variants.
        summary: what it does, in a few words.
        options: further keyword arguments of the class's `from_options`.
    """

    name: str
    summary: str
    options: Mapping[str, object] = field(default_factory=dict)


class Registry(Mapping[str, type[T]], Generic[T]):
    """Name -> class of every metric, method or infill that can be found, in the order of the module names.

    Args:
        kind: what is registered, for messages: "metric", "method" or "infill".
        package: full name of the package whose public modules hold the project's own classes.
        group: entry-point group in which other packages register theirs; the name of an entry point is that of the class's
            `info.name`, its value `package.module:Class`.
        base: what `info` of a registered class must be an instance of.

    Note:
        An installed package that cannot be imported is left out with one RuntimeWarning that names it. A name that two classes
        claim is refused with both import paths. Reading is safe from several threads.

    Example:
        >>> from saliency_ext.metrics.registry import METRICS
        >>> METRICS["deletion"].__name__
        'Deletion'
    """

    def __init__(self, kind: str, package: str, group: str, base: type) -> None:
        self.kind, self.package, self.group, self.base = kind, package, group, base
        self._classes: dict[str, type[T]] = {}
        self._filled = False
        self._lock = threading.RLock()

    def __getitem__(self, name: str) -> type[T]:
        self._fill()
        return self._classes[name]

    def __iter__(self) -> Iterator[str]:
        self._fill()
        return iter(self._classes)

    def __len__(self) -> int:
        self._fill()
        return len(self._classes)

    def find(self, function: str, argument: str, name: str) -> type[T]:
        """The class of a registered name, or of an import path `package.module:Class`.

        Raises:
            ValueError: no such name (the near ones are named), or nothing of this kind at the import path.
        """
        if ":" not in name:
            require_choice(function, argument, name, tuple(self))
            return self[name]
        module, _, attribute = name.partition(":")
        expected = f"package.module:Class of a {self.kind}"
        try:
            thing = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            bad_value(function, argument, expected, f"{name!r} ({error})")
        if not self._is_one(thing):
            bad_value(function, argument, expected, repr(name), f"it is a class with an `info` of type {self.base.__name__}")
        result: type[T] = thing
        return result

    def variants(self) -> dict[str, tuple[type[T], Variant]]:
        """Further names, of classes with other options."""
        return {each.name: (kind, each) for kind in self.values() for each in kind.variants}  # type: ignore[attr-defined]

    def made_by(self, function: str, argument: str, name: str) -> tuple[type[T], Mapping[str, object]]:
        """The class of a name, a variant or an import path, and the further options that it is made with.

        Raises:
            ValueError: as `find`.
        """
        variants = self.variants()
        if name in variants:
            kind, variant = variants[name]
            return kind, variant.options
        if ":" not in name:
            require_choice(function, argument, name, (*self, *variants))
        return self.find(function, argument, name), {}

    def defaults(self) -> tuple[str, ...]:
        """Names of the classes that are used where none are named, in their order."""
        places = {name: kind.info.default for name, kind in self.items()}  # type: ignore[attr-defined]
        return tuple(sorted((name for name, place in places.items() if place), key=places.__getitem__))

    def summaries(self) -> dict[str, str]:
        """What each name and variant does, in a few words."""
        own: dict[str, str] = {name: kind.info.summary for name, kind in self.items()}  # type: ignore[attr-defined]
        return own | {name: variant.summary for name, (_, variant) in self.variants().items()}

    def attribute(self, module: str, name: str, shared: tuple[str, ...]) -> Any:
        """What `__getattr__` of a package returns: a class by its own name, or `__all__` with the shared names and all classes.

        Raises:
            AttributeError: no class has this name.
        """
        if name == "__all__":
            return sorted({*shared, *(kind.__name__ for kind in self.values())})
        if not name.startswith("_"):
            for kind in self.values():
                if kind.__name__ == name:
                    return kind
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    def add(self, registered: type[T]) -> None:
        """Registers a class under `info.name`; the same class twice is one.

        Raises:
            ValueError: another class has this name.
        """
        name: str = registered.info.name  # type: ignore[attr-defined]  # T is bound to what has one
        with self._lock:
            other = self._classes.setdefault(name, registered)
        if other is not registered:
            first, second = (f"{each.__module__}:{each.__qualname__}" for each in (other, registered))
            bad_value(self.group, "names", "different ones", f"{name!r} of {first} and of {second}", f"rename one {self.kind}")

    def _fill(self) -> None:
        with self._lock:
            if self._filled:
                return
            for module in _public_modules(self.package):
                for thing in vars(module).values():
                    if self._is_one(thing) and f"{thing.__module__}.".startswith(f"{module.__name__}."):
                        self.add(thing)
            self._filled = True  # what is registered by others may ask for ours
            for point in entry_points(group=self.group):
                self._add_installed(point)

    def _add_installed(self, point: EntryPoint) -> None:
        try:
            thing = point.load()
            if not self._is_one(thing):
                raise TypeError(f"{point.value} is no class with an `info` of type {self.base.__name__}")
            self.add(thing)
        except Exception as error:  # a package that is not ours must not stop the others
            text = f"{self.group}: without {point.name!r} of {point.value}: {type(error).__name__}: {error}"
            warnings.warn(text, RuntimeWarning, stacklevel=2)

    def _is_one(self, thing: object) -> bool:
        return isinstance(thing, type) and isinstance(vars(thing).get("info"), self.base) and not inspect.isabstract(thing)


def _public_modules(package: str) -> Iterator[ModuleType]:
    """The package's modules and subpackages whose names do not start with an underscore."""
    folder = importlib.import_module(package).__path__
    for module in sorted(pkgutil.iter_modules(folder), key=lambda each: each.name):
        if not module.name.startswith("_"):
            yield importlib.import_module(f"{package}.{module.name}")
