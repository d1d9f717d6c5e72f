"""Infills that a proof may name: those that a few plain numbers describe, within bounds, so that anyone can make them again."""

from collections.abc import Callable
from typing import Any

from ..checks import bad_value
from ..infill.blur import Blur
from ..infill.constant import Constant, DatasetMean
from ..infill.image_extreme import ImageExtreme
from ..infill.image_mean import ImageMean
from ..infill.imputed import Harmonic, NoisyLinear
from ..infill.noise import GaussianNoise, UniformNoise
from ..infill.rise_blur import RiseBlur
from ..infill.shuffle import Shuffle
from ..protocols import Infill

INFILLS: dict[str, Callable[..., Infill]] = {
    "blur": Blur, "constant": Constant, "dataset_mean": DatasetMean, "gaussian_noise": GaussianNoise, "harmonic": Harmonic,
    "image_extreme": ImageExtreme, "image_mean": ImageMean, "noisy_linear": NoisyLinear, "rise_blur": RiseBlur,
    "shuffle": Shuffle, "uniform_noise": UniformNoise,
}  # fmt: skip
_DRAWS = 16
_CHANNELS = 1 << 10
_LARGEST = 1e6  # of a number in model input space
_FINEST = 1e-6  # tolerance of a solver


def check_describable(function: str, infill: Infill, size: tuple[int, int]) -> None:
    """Refuses an infill that `infill_from` would not make again for images of a size (H, W)."""
    if infill.name not in INFILLS:
        expected = f"to be one of {', '.join(INFILLS)}"
        bad_value(function, "the proof's infill", expected, infill.name, "a proof must say how to make it again")
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in infill.parameters.items()}
    infill_from(function, infill.name, plain, size)


def infill_from(function: str, name: str, parameters: Any, size: tuple[int, int]) -> Infill:
    """The infill of a name and of parameters that nobody vouches for, for images of a size (H, W).

    Bounds, so that a checker spends no more than the proof is worth: 16 draws, numbers up to 1e6 in size, 1024 channels, a sigma
    no larger than the image's longer side, tolerances of 1e-6 at least.

    Raises:
        TypeError, ValueError, OverflowError: no such infill, other parameters, out of bounds.
    """
    if name not in INFILLS:
        bad_value(function, "shown.infill", f"one of {', '.join(INFILLS)}", repr(name))
    if not isinstance(parameters, dict):
        bad_value(function, "shown.parameters", "to be an object", type(parameters).__name__)
    for key, value in parameters.items():
        _check(function, f"shown.parameters.{key[:40]}", key, value, max(size))
    infill = INFILLS[name](**{key: tuple(value) if isinstance(value, list) else value for key, value in parameters.items()})
    if infill.draws > _DRAWS:
        bad_value(function, "shown.parameters.draws", f"<= {_DRAWS}", infill.draws)
    return infill


def _check(function: str, field: str, key: str, value: Any, side: int) -> None:
    values = value if isinstance(value, list) else [value]
    if len(values) > _CHANNELS:
        bad_value(function, field, f"of at most {_CHANNELS} numbers", len(values))
    largest = side if key == "sigma" else 2**63 - 1 if key == "seed" else _LARGEST
    for item in values:
        if isinstance(item, str):
            continue  # a choice, which the infill checks
        if not isinstance(item, int | float):
            bad_value(function, field, "made of numbers", type(item).__name__)
        if not -largest <= item <= largest:
            bad_value(function, field, f"in [-{largest:g}, {largest:g}]", f"{str(item)[:40]}")
        if key == "tolerance" and item < _FINEST:
            bad_value(function, field, f">= {_FINEST:g}", f"{str(item)[:40]}")
