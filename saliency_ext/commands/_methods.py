"""Methods of a run from their names: those of the catalogue, two variants, and the controls."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..attribution import ExpectedGradients, Gradient, InputXGradient, IntrinsicMask, Method
from ..attribution.registry import CONTROLS, RANDOM_WEIGHTS, MethodChoices, MethodEntry, make_method
from ..attribution.registry import METHODS as REGISTRY
from ..segmentation import slic
from ._command_result import known, refuse
from ._models import CommandModel
from ._shared_options import SharedOptions

ALL = "all"
_OF_A_BANK = (ExpectedGradients.info.name, IntrinsicMask.info.name)
DEFAULT_METHODS = ("grad_cam", "layer_cam", "gradient", "input_x_gradient", "integrated_gradients")


def _absolute(kind: Any, summary: str) -> MethodEntry:
    make = lambda model, c: kind(model, channels="abs_sum", max_batch=c.max_batch)  # noqa: E731
    return MethodEntry(f"{kind.info.name}_abs", kind.info, summary, make)


_VARIANTS = (
    _absolute(Gradient, "the size of the gradient: how much the score changes, up or down"),
    _absolute(InputXGradient, "the size of the gradient times the input"),
)
METHODS: dict[str, MethodEntry] = {**REGISTRY, **{entry.name: entry for entry in _VARIANTS}}


@dataclass(frozen=True)
class Sampling:
    """What methods that draw have in common besides the seed.

    samples: at most so many draws per image; None: as many as each method has by itself. bank: gives images (M, C, H, W) that
    stand for the data, when they are asked for.
    """

    samples: int | None = None
    reference_images: Callable[[], Tensor | None] = field(default=lambda: None)


def chosen_methods(
    names: Sequence[str] | None, model: CommandModel, shared: SharedOptions, *, controls: bool, sampling: Sampling | None = None
) -> Mapping[str, Method]:
    """Methods by name, "all" for every one; then the controls: four that know no model, and a method on random weights.

    None: the usual ones. One that nobody named is left out with a warning where it cannot be used on the model.
    """
    given = [each for name in names or DEFAULT_METHODS for each in (explaining() if name == ALL else (name,))]
    known("--methods", [name.removesuffix(RANDOM_WEIGHTS) for name in given], METHODS)
    wanted = list(dict.fromkeys(given))
    if controls:
        wanted = list(dict.fromkeys([*wanted, *_redrawn(wanted), *CONTROLS]))
    drawn = sampling or Sampling()
    reference_images = (
        drawn.reference_images() if any(name.removesuffix(RANDOM_WEIGHTS) in _OF_A_BANK for name in wanted) else None
    )
    choices = MethodChoices(shared.infill, slic, reference_images, shared.seed, shared.max_batch, drawn.samples)
    made: dict[str, Method] = {}
    for name in wanted:
        try:
            plain = name.removesuffix(RANDOM_WEIGHTS)
            made[name] = make_method(METHODS[plain], model.forward, choices, random_weights=plain != name)
        except (TypeError, ValueError, RuntimeError, ImportError) as error:
            if name in (names or ()):
                refuse(f"--methods: {name} cannot be used on this model: {error}")
            whose = "--methods" if name in given else "controls (--no-controls leaves out all)"
            warnings.warn(f"{whose}: without {name}, which cannot be used on this model: {error}", RuntimeWarning, stacklevel=2)
    if not any(name in made for name in given):
        refuse("--methods: none of the usual ones can be used on this model; `saliency-ext list` shows all names")
    return made


def explaining() -> tuple[str, ...]:
    """Names of all methods that are no controls."""
    return tuple(name for name, entry in METHODS.items() if entry.info.family != "control")


def _redrawn(names: Sequence[str]) -> list[str]:
    """The first method on random weights whose maps are not cut off at 0, else the first: those are often 0 everywhere there."""
    if any(name.endswith(RANDOM_WEIGHTS) for name in names):
        return []
    methods = [name for name in names if METHODS[name].info.family != "control"]
    return [f"{name}{RANDOM_WEIGHTS}" for name in sorted(methods, key=_cut_off)[:1]]


def _cut_off(name: str) -> bool:
    """Whether negative evidence is dropped: not where maps are signed, nor where they are sizes of gradients."""
    info = METHODS[name].info
    return not info.signed and info.family != "gradient"
