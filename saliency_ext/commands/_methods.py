"""Methods of a run from their names: those of the registry, their variants, and the controls."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from ..attribution.base import Method, MethodOptions
from ..attribution.random_weights import SUFFIX as RANDOM_WEIGHTS
from ..attribution.registry import METHODS, make_method
from ..attribution.registry import controls as control_names
from ..protocols import MethodInfo
from ..segmentation import slic
from ._command_result import known, refuse
from ._models import CommandModel
from ._shared_options import SharedOptions

ALL = "all"


def default_methods() -> tuple[str, ...]:
    """Names of the methods of a run that names none."""
    return METHODS.defaults()


@dataclass(frozen=True)
class Sampling:
    """What methods that draw have in common besides the seed.

    samples: at most so many draws per image; None: as many as each method has by itself. reference_images: returns images
    (M, C, H, W) that stand for the data; called only where a method needs them.
    """

    samples: int | None = None
    reference_images: Callable[[], Tensor | None] = field(default=lambda: None)


def chosen_methods(
    names: Sequence[str] | None, model: CommandModel, shared: SharedOptions, *, controls: bool, sampling: Sampling | None = None
) -> Mapping[str, Method]:
    """Methods by name, "all" for every one; then the controls: four that know no model, and a method on random weights.

    None: the usual ones. One that nobody named is left out with a warning where it cannot be used on the model.
    """
    requested = [each for name in names or default_methods() for each in (explaining() if name == ALL else (name,))]
    known(
        "--methods", [plain for name in requested if ":" not in (plain := name.removesuffix(RANDOM_WEIGHTS))], METHODS.summaries()
    )
    selected = list(dict.fromkeys(requested))
    if controls:
        selected = list(dict.fromkeys([*selected, *_with_random_weights(selected), *control_names()]))
    drawn = sampling or Sampling()
    reference_images = drawn.reference_images() if any(_info(name).needs == "reference_images" for name in selected) else None
    options = MethodOptions(shared.infill, slic, reference_images, shared.seed, shared.max_batch, drawn.samples)
    methods: dict[str, Method] = {}
    for name in selected:
        try:
            methods[name] = make_method(name, model.forward, options)
        except (TypeError, ValueError, RuntimeError, ImportError) as error:
            if name in (names or ()):
                refuse(f"--methods: {name} cannot be used on this model: {error}")
            whose = "--methods" if name in requested else "controls (--no-controls leaves out all)"
            warnings.warn(f"{whose}: without {name}, which cannot be used on this model: {error}", RuntimeWarning, stacklevel=2)
    if not any(name in methods for name in requested):
        refuse("--methods: none of the usual ones can be used on this model; `saliency-ext list` shows all names")
    return methods


def explaining() -> tuple[str, ...]:
    """Names of all methods that are no controls, with their variants."""
    return tuple(name for name in METHODS.summaries() if _info(name).family != "control")


def _info(name: str) -> MethodInfo:
    """The `info` of the method of a name, a variant or an import path; for a control on random weights that of its method."""
    return METHODS.made_by("make_methods", "names", name.removesuffix(RANDOM_WEIGHTS))[0].info


def _with_random_weights(names: Sequence[str]) -> list[str]:
    """The first method on random weights whose maps are not cut off at 0, else the first: those are often 0 everywhere there."""
    if any(name.endswith(RANDOM_WEIGHTS) for name in names):
        return []
    methods = [name for name in names if _info(name).family != "control"]
    return [f"{name}{RANDOM_WEIGHTS}" for name in sorted(methods, key=_cut_off)[:1]]


def _cut_off(name: str) -> bool:
    """Whether negative evidence is dropped: not where maps are signed, nor where they are sizes of gradients."""
    info = _info(name)
    return not info.signed and info.family != "gradient"
