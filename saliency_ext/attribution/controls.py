"""Controls: maps that do not depend on the model, a lower bar for every method."""

from abc import abstractmethod
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from .. import rng_streams
from ..checks import require_integer, require_ndim, require_tensor
from ..models.targets import Target, requested_classes
from ..ops import philox_uniform
from ..protocols import MethodInfo
from .base import Method, MethodOptions


class Control(Method):
    """A map made of the image alone, or of less. Made without a model, called like any method; all targets get the same map.

    Subclasses set `info` and implement `_map`. Cost: no forward. Named targets ("predicted", "top-3") work, as only their
    number counts; classes are not held against a number of classes.
    """

    @classmethod
    def from_options(cls, model: Any, options: MethodOptions, **further: Any) -> Self:
        """With the options that concern it."""
        return cls(**further)

    def __init__(self) -> None:
        pass  # without the model that Method requires

    @property
    def explained_model(self) -> None:
        """A control has no model."""

    def _dtype(self, images: Tensor) -> torch.dtype:
        return images.dtype

    def __call__(self, inputs: Tensor, target: Target, *, sample_ids: Tensor | None = None) -> Tensor:
        """The map of each image: arguments, shapes and errors as for any `Method`."""
        if isinstance(target, str):
            name = type(self).__name__
            images = require_tensor(name, "inputs", inputs)
            require_ndim(name, "inputs", images, "(N, C, H, W)")
            requested = target.removeprefix("top-")
            equal = images.new_zeros(len(images), int(requested) if requested.isdecimal() else 1)
            target = requested_classes(target, len(images), lambda: equal)
        return super().__call__(inputs, target, sample_ids=sample_ids)

    def _explain(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor) -> Tensor:
        # Packed first: the layout of the inputs must not change the order of a sum.
        return self._map(inputs.contiguous(), sample_ids)[:, None].repeat(1, classes.shape[1], 1, 1)

    @abstractmethod
    def _map(self, inputs: Tensor, sample_ids: Tensor) -> Tensor:
        """(N, H, W) of inputs (N, C, H, W)."""


class RandomControl(Control):
    """Saliency drawn at random: the level that every method must beat.

    saliency[n, p] = u, uniform in [0, 1), keyed by (seed, sample id, pixel): the same for all targets of an image, and
    independent of the random orders and infills of the same seed.

    Args:
        seed: in [0, 2^63).

    Polarity, unit: none. Memory: the output. Deterministic, bit-equal on every device. 2^24 levels: of 224 x 224 pixels about
    75 pairs are tied. Trap: a random map still lands on a large object; compare with the share of the image it covers.

    Example:
        >>> import torch
        >>> together = RandomControl(seed=1)(torch.zeros(2, 3, 4, 4), 0, sample_ids=torch.tensor([7, 9]))
        >>> alone = RandomControl(seed=1)(torch.zeros(1, 3, 4, 4), 5, sample_ids=torch.tensor([9]))
        >>> torch.equal(together[1:], alone)
        True
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="random",
        family="control",
        signed=False,
        cost="0",
        reference="",
        summary="control: drawn at random",
        chance=True,
    )

    @classmethod
    def from_options(cls, model: Any, options: MethodOptions, **further: Any) -> Self:
        """With the options that concern it."""
        return cls(options.seed, **further)

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = require_integer("RandomControl", "seed", seed, 0, 2**63 - 1)

    def _map(self, inputs: Tensor, sample_ids: Tensor) -> Tensor:
        noise = philox_uniform((1, *inputs.shape[2:]), sample_ids, seed=self.seed, stream=rng_streams.CONTROL)
        return noise[:, 0].to(inputs.dtype)


class Centre(Control):
    """Saliency that falls from the middle of the image: how far does a photographer's habit go?

    saliency[n, i, j] = 1 - d / d_corner, d the Euclidean distance in pixels from ((H - 1) / 2, (W - 1) / 2): 1 in the middle,
    0 in the corners; 1 for a single pixel.

    Polarity: larger = nearer to the middle. Unit: none. Memory: the output. Deterministic. Trap: symmetric, so ties in fours.

    Example:
        >>> import torch
        >>> Centre()(torch.zeros(1, 3, 1, 5), 0)
        tensor([[[0.0000, 0.5000, 1.0000, 0.5000, 0.0000]]])
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="centre",
        family="control",
        signed=False,
        cost="0",
        reference="",
        summary="control: the middle of the image",
    )

    def _map(self, inputs: Tensor, sample_ids: Tensor) -> Tensor:
        count, _, height, width = inputs.shape
        rows, columns = (torch.arange(size, dtype=torch.float64) - (size - 1) / 2 for size in (height, width))
        distance = torch.hypot(rows[:, None], columns[None])
        nearness = 1 - distance / distance.amax().clamp(min=0.5)  # 0.5: a single pixel is at distance 0 of 0
        return nearness.to(device=inputs.device, dtype=inputs.dtype).expand(count, -1, -1)


class Edge(Control):
    """Saliency of an edge detector: many maps that please the eye are little more [Adebayo 2018, Sec. 5].

    saliency = sqrt(dy^2 + dx^2) of the grey image, the plain mean over channels; slopes are central differences
    (g[i + 1] - g[i - 1]) / 2, one-sided at the borders, and 0 along a side of one pixel.

    Polarity: larger = steeper, whichever side is bright. Unit: model input space per pixel. Memory: a few grey images.
    Deterministic. Trap: channels that were normalised by different deviations weigh differently in the grey image.

    Example:
        >>> import torch
        >>> Edge()(torch.tensor([[[[0.0, 0.0, 4.0, 4.0, 4.0]]]]), 0)
        tensor([[[0., 2., 2., 0., 0.]]])

    References:
        Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim. Sanity Checks for Saliency Maps. NeurIPS 2018.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="edge",
        family="control",
        signed=False,
        cost="0",
        reference="Adebayo 2018",
        summary="control: an edge detector",
    )

    def _map(self, inputs: Tensor, sample_ids: Tensor) -> Tensor:
        grey = inputs.mean(1)
        slopes = [torch.gradient(grey, dim=dim)[0] if grey.shape[dim] > 1 else torch.zeros_like(grey) for dim in (1, 2)]
        return torch.hypot(*slopes)


class GreyLevel(Control):
    """Saliency that is the brightness of the image: bright is relevant.

    saliency = mean over channels of the inputs. Against an infill of the mean colour it removes the pixels that differ most on
    one side, so it can score well on curves without any model: where objects are bright, print it beside the methods.

    Polarity: larger = brighter, so negative in normalised space where darker than the mean; no sign of evidence. Unit: model
    input space. Memory: one grey image. Deterministic. Trap: where objects are dark, its negative is the control to beat.

    Example:
        >>> import torch
        >>> GreyLevel()(torch.tensor([[[[0.0, 1.0]], [[2.0, 5.0]]]]), 0)
        tensor([[[1., 3.]]])
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="grey_level",
        family="control",
        signed=False,
        cost="0",
        reference="",
        summary="control: the brightness of the image",
    )

    def _map(self, inputs: Tensor, sample_ids: Tensor) -> Tensor:
        return inputs.mean(1)
