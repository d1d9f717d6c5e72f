"""What removed pixels become, in model input space (the literature: baseline, imputation, removal); one infill per file.

To add one: one file in this folder with a frozen dataclass derived from `BaseInfill` (`RandomInfill` where it draws), which has
an `info: InfillInfo` of its own and makes the pixels in `_fill`; its fields are its parameters and its key; and its test. It is
found by the registry, the command line and the docs without further changes. Any other object with the protocol
`saliency_ext.protocols.Infill` serves as well.

Every registered class can be imported from here by its name: `from saliency_ext.infill import Constant`.
"""

import typing as _typing

from .base import BaseInfill as BaseInfill
from .base import InfillOptions as InfillOptions
from .base import RandomInfill as RandomInfill
from .registry import INFILLS as INFILLS

_SHARED = ("INFILLS", "BaseInfill", "InfillOptions", "RandomInfill")


def __getattr__(name: str) -> _typing.Any:
    """A registered infill by the name of its class; `__all__`, which names them all."""
    return INFILLS.attribute(__name__, name, _SHARED)


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *__getattr__("__all__")})
