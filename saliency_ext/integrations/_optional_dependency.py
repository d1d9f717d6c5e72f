"""Third-party packages of the integrations, imported lazily; an error that says what to install."""

import importlib
import re
from typing import Any


def optional_dependency(name: str, oldest: tuple[int, int], extra: str) -> Any:
    """The module of a third-party package.

    Args:
        name: what is imported.
        oldest: oldest version that is supported: (major, minor).
        extra: of this package, which installs it.

    Raises:
        ImportError: it is missing, cannot be imported, or is too old.

    Example:
        >>> optional_dependency("no_such_library", (1, 0), "torchmetrics")
        Traceback (most recent call last):
        ...
        ImportError: no_such_library >= 1.0 is needed, got none; pip install 'saliency_ext[torchmetrics]'
    """
    required = ".".join(map(str, oldest))
    remedy = f"pip install 'saliency_ext[{extra}]'"
    try:
        module = importlib.import_module(name)
    except Exception as error:  # also what a broken installation raises while it is imported
        got = "none" if isinstance(error, ModuleNotFoundError) else f"one that fails with {type(error).__name__}: {error}"
        raise ImportError(f"{name} >= {required} is needed, got {got}; {remedy}") from error
    version = str(getattr(module, "__version__", ""))
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < oldest:
        raise ImportError(f"{name} >= {required} is needed, got {version or 'one without a version'}; {remedy}")
    return module
