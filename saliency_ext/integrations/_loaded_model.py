"""A loaded model of another library: the model, its image processor, and the names of its classes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from ..checks import bad_type, bad_value
from ..models import PreprocessSpec

ASSUMED = "assumed"  # the source of a spec that the model does not provide
_SIDES = ((97, 61), (64, 80))  # of the pictures that a processor is tried on: width and height
_PRIMARY = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
_ROUNDING = 0.004  # of the distance from black to white: half a level of 255, and the rounding of the middle grey


class LoadedModel(NamedTuple):
    """A model in eval mode from (N, C, H, W) to logits, how pictures become its inputs, and its classes if they are known."""

    forward: nn.Module
    preprocessing: PreprocessSpec
    labels: tuple[str, ...] | None


@dataclass(frozen=True)
class Processor:
    """A library's own way from a Pillow picture in RGB to inputs (C, H, W).

    run: that way. at_side: the same for inputs of another side, by the library; None: it has none.
    """

    run: Callable[[Any], Any]
    at_side: Callable[[int], "Processor"] | None = None

    def __call__(self, picture: Any) -> Tensor:
        """(C, H, W) float32."""
        return torch.as_tensor(self.run(picture)).float()


def measured(processor: Processor, source: str) -> PreprocessSpec:
    """What a processor makes of pixels, from pictures of one colour that it is given: no setting of it is read.

    Args:
        source: where this comes from, for reports.

    Raises:
        ValueError: it gives no inputs (C, H, W) of one size, draws at random, or does not scale channels one by one.
    """
    from PIL import Image

    def made(colour: tuple[int, int, int]) -> Tensor:
        return processor(Image.new("RGB", _SIDES[0], colour))

    down = Image.linear_gradient("L")
    ramp = Image.merge("RGB", (down, down.transpose(Image.Transpose.ROTATE_90), down))
    first, other, again = (processor(ramp.resize(sides)) for sides in (*_SIDES, _SIDES[0]))
    if first.ndim != 3 or first.shape[0] not in (1, 3):
        _bad("inputs (C, H, W) with 1 or 3 channels of each picture", tuple(first.shape))
    if other.shape != first.shape:
        _bad("inputs of one size for every picture", f"{tuple(first.shape)} and {tuple(other.shape)}")
    if not torch.equal(first, again):
        _bad("the same inputs of one picture each time", "others: it draws at random")
    height, width = first.shape[1:]
    black, grey, white, *primary = (
        made(colour)[:, height // 2, width // 2].double() for colour in ((0,) * 3, (128,) * 3, (255,) * 3, *_PRIMARY)
    )
    reach = white - black
    straight = (grey - black - reach * (128 / 255)).abs() <= _ROUNDING * reach.abs()
    if not bool(((reach > 0) & straight).all()):
        _bad("brighter inputs for brighter pixels, in proportion", f"{black.tolist()} to {white.tolist()}, {grey.tolist()}")
    std, mean = 1 / reach, -black / reach
    return PreprocessSpec(
        _plain(mean), _plain(std), (height, width), source=source, channels=_order(primary, black, reach), processor=processor
    )


def at_side(spec: PreprocessSpec, side: int) -> PreprocessSpec:
    """A measured spec for inputs of another side, as the library itself makes them.

    Raises:
        ValueError: its processor has no other side, or gives another one than requested.
    """
    processor = spec.processor
    if not isinstance(processor, Processor) or processor.at_side is None:
        bad_value("at_side", "side", f"{spec.size}, what the processor of {spec.source} makes", side)
    result = measured(processor.at_side(side), spec.source)
    if result.size != (side, side):
        bad_value("at_side", "side", f"one that the processor of {spec.source} can make", f"{side}; it makes {result.size}")
    return result


def renormalised(spec: PreprocessSpec, mean: tuple[float, ...], std: tuple[float, ...]) -> PreprocessSpec:
    """With other mean and std of pixels in [0, 1]; a processor's inputs are brought to them."""
    given = replace(spec, mean=mean, std=std, range=(0.0, 1.0))
    if spec.processor is None:
        return given
    return replace(given, processor=Processor(partial(_renormalise, spec, given)))


def _renormalise(own: PreprocessSpec, given: PreprocessSpec, picture: Any) -> Tensor:
    columns = (torch.tensor(values).view(-1, 1, 1) for values in (own.unit_mean, own.unit_std, given.mean, given.std))
    own_mean, own_std, mean, std = columns
    made: Tensor = own.processor(picture)  # type: ignore[misc]  # not None where this is made
    return (made * own_std + own_mean - mean) / std


def _order(primary: list[Tensor], black: Tensor, reach: Tensor) -> str:
    """Which channels of a picture the inputs' channels are, from inputs of red, green and blue."""
    shares = torch.stack([(each - black) / reach for each in primary])  # (of the picture, of the inputs)
    if shares.shape[1] == 1:
        return "L"
    for name, order in (("RGB", (0, 1, 2)), ("BGR", (2, 1, 0))):
        if torch.allclose(shares, torch.eye(3, dtype=shares.dtype)[:, order], atol=_ROUNDING):
            return name
    _bad("one channel of the picture in each of the inputs", shares.tolist())


def _plain(values: Tensor) -> tuple[float, ...]:
    """To six digits, the same on every machine."""
    return tuple(float(f"{value:.6g}") + 0.0 for value in values.tolist())


def _bad(expected: str, got: object) -> NoReturn:
    bad_value("processor", "its result", f"to be {expected}", got)


def unreadable(library: str, source: Any, expected: str, error: Exception | None = None) -> NoReturn:
    """Refuses what says nothing of a model's inputs, or something that cannot be."""
    function = f"{library}.preprocess_spec"
    remedy = "or write a models.PreprocessSpec by hand"
    if error is None:
        bad_type(function, "source", f"to be {expected}", type(source).__name__, remedy)
    bad_value(function, "source", f"{expected} that can be run on a picture", f"{type(error).__name__}: {error}", remedy)
