"""Every infill by name. Classes in public modules of this folder that have their own `info` are registered."""

from .._registry import Registry
from ..checks import bad_type, bad_value
from ..protocols import Infill, InfillInfo
from .base import BaseInfill, InfillOptions, require_infill

INFILLS: Registry[BaseInfill] = Registry("infill", "saliency_ext.infill", "saliency_ext.infills", InfillInfo)


def infill_summaries() -> dict[str, str]:
    """What each infill that can be made by name does, in a few words."""
    return {name: text for name, text in INFILLS.summaries().items() if name not in INFILLS or INFILLS[name].info.by_name}


def make_infill(name: str, options: InfillOptions) -> Infill:
    """The infill of a name or variant, or of an import path `package.module:Class`.

    Raises:
        TypeError: the class cannot be made by name. ValueError: an unknown name, or an infill that needs more than the options.

    Example:
        >>> make_infill("grey", InfillOptions())
        Constant(value=(0.5,))
    """
    kind, further = INFILLS.made_by("make_infill", "name", name)
    if not issubclass(kind, BaseInfill):
        expected, remedy = "to be a subclass of BaseInfill, to be made by name", "see docs/how-to/own-infill.md"
        bad_type("make_infill", f"name ({name!r})", expected, kind.__name__, remedy)
    if not kind.info.by_name and not further:
        expected = f"one of {', '.join(infill_summaries())}"
        bad_value("make_infill", "name", expected, repr(name), f"make it in Python: infill.{kind.__name__}(...)")
    return require_infill("make_infill", kind.from_options(options, **further))
