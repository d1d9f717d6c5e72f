"""Methods of this library with Captum's interface. Captum's objects need no adapter: `as_method` accepts them.

Captum itself is not imported: `.attribute(inputs, baselines, target)` is a shape, and Captum's metrics take it as any function.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..attribution.base import Method
from ..checks import bad_type, bad_value, require_choice, require_shape, require_tensor
from ..fingerprinting import tensor_digest
from ..infill.base import BaseInfill
from ..infill.constant import Constant
from ..protocols import Infill

_CHANNELS = ("share", "one")


class Attribution:
    """A method with Captum's `.attribute`.

    Args:
        method: a `Method`; or, where baselines are to be chosen in the call, a function from an infill to a `Method`, such as
            `lambda infill: IntegratedGradients(model, infill)`.
        channels: shape of the attribution. "share": that of the inputs (N, C, H, W), each channel 1/C of the map, so that the sum
            over channels is the map; as Captum's metrics need it. "one": (N, 1, H, W), the map itself.

    Note:
        Polarity, unit, cost, memory and determinism are those of the method. Not offered: several input tensors, further forward
        arguments, convergence deltas. Captum's NoiseTunnel calls behind `.attribute` and refuses it: use `SmoothGrad`.

    Example:
        >>> import torch
        >>> from saliency_ext.attribution import IntegratedGradients
        >>> model = lambda x: torch.stack([x.flatten(1).sum(1), -x.flatten(1).sum(1)], 1)
        >>> ours = Attribution(lambda infill: IntegratedGradients(model, infill), channels="one")
        >>> ours.attribute(torch.tensor([[[[1.0, 2.0]]]]), baselines=1.0, target=0).round()
        tensor([[[[0., 1.]]]])
    """

    def __init__(self, method: Method | Callable[[Infill], Method], *, channels: str = "share") -> None:
        if isinstance(method, type) or not callable(method):
            got = f"the class {method.__name__}" if isinstance(method, type) else type(method).__name__
            remedy = "pass a method made for a model, or a function from an infill to one"
            bad_type("Attribution", "method", "to be a Method", got, remedy)
        require_choice("Attribution", "channels", channels, _CHANNELS)
        self.method = method
        self.channels = channels

    @property
    def forward_func(self) -> Any:
        """The model of a method; None where the method is made in the call."""
        return self.method.explained_model if isinstance(self.method, Method) else None

    def has_convergence_delta(self) -> bool:
        """Whether `.attribute` can return how far the terms are from their sum: no."""
        return False

    def attribute(
        self,
        inputs: Tensor | tuple[Tensor],
        baselines: float | Tensor | tuple[Any] | None = None,
        target: Any = None,
        additional_forward_args: Any = None,
    ) -> Tensor | tuple[Tensor]:
        """Attribution of each image for its target, as Captum returns it: a tuple where the inputs are a tuple.

        Args:
            inputs: (N, C, H, W) float32 or float64, or a tuple of one.
            baselines: a number, a tensor (1, C, H, W) or one per image (N, C, H, W); None is 0. A method that is made already has
                its infill: then None.
            target: a class, (N,) classes as a tensor or a list, or "predicted".
            additional_forward_args: not taken.

        Raises:
            TypeError, ValueError: several inputs, a missing target, baselines for a method that has its own.
        """
        function = "attribute"
        images = _single(function, "inputs", inputs)
        if additional_forward_args is not None:
            remedy = "bind them to the model with functools.partial"
            bad_value(function, "additional_forward_args", "to be None", type(additional_forward_args).__name__, remedy)
        maps = self._method(images, baselines)(images, _target(target))
        attribution = maps[:, None]
        if self.channels == "share":
            attribution = (attribution / images.shape[1]).expand(-1, images.shape[1], -1, -1).clone()
        return (attribution,) if isinstance(inputs, tuple) else attribution

    def _method(self, images: Tensor, baselines: Any) -> Method:
        if isinstance(self.method, Method):
            if baselines is not None:
                remedy = "to choose it in the call, pass a function: Attribution(lambda infill: Occlusion(model, infill))"
                bad_value("attribute", "baselines", "to be None: the method has its infill", type(baselines).__name__, remedy)
            return self.method
        return self.method(_infill(images, _single("attribute", "baselines", baselines)))


@dataclass(frozen=True, eq=False)
class GivenImages(BaseInfill):
    """Infill with given images: one (1, C, H, W) for all samples, or the one of its id (M, C, H, W) for each.

    infill[n] = images[sample_id[n]]. Deterministic. Memory: the images.

    Raises:
        ValueError: another shape than the inputs; a sample id without an image.

    Example:
        >>> import torch
        >>> GivenImages(torch.arange(4.0).view(2, 1, 1, 2)).fill(torch.zeros(1, 1, 1, 2), torch.tensor([1]))
        tensor([[[[2., 3.]]]])
    """

    images: Tensor

    @property
    def name(self) -> str:
        """Short name, for reports."""
        return "given_images"

    @property
    def parameters(self) -> dict[str, object]:
        """A digest of the images."""
        return {"images": tensor_digest(self.images)}

    @property
    def key(self) -> Hashable:
        """Name and content."""
        return (self.name, tensor_digest(self.images))

    def _fill(self, inputs: Tensor, sample_ids: Tensor, draw: int) -> Tensor:
        count = len(self.images)
        require_shape("GivenImages", "images", self.images, "(M, C, H, W)", (count, *inputs.shape[1:]))
        images = self.images.detach().to(inputs)
        if count == 1:
            return images.clone()
        if len(sample_ids) and int(sample_ids.max()) >= count:
            bad_value("GivenImages", "sample_ids", f"below {count}, one image each", int(sample_ids.max()))
        return images[sample_ids]


def _single(function: str, argument: str, value: Any) -> Any:
    """The only entry of a tuple, or what is no tuple."""
    if not isinstance(value, tuple):
        return value
    if len(value) != 1:
        bad_value(function, argument, "one tensor, or a tuple of one", f"{len(value)}", "the methods here explain images alone")
    return value[0]


def _infill(images: Tensor, baselines: Any) -> Infill:
    if baselines is None or isinstance(baselines, int | float):
        return Constant(0.0 if baselines is None else baselines)
    given = require_tensor("attribute", "baselines", baselines)
    if given.ndim == 0:
        return Constant(float(given))
    if given.shape[1:] != images.shape[1:] or len(given) not in (1, len(images)):
        expected = f"a number, or of shape (1, C, H, W) or (N, C, H, W) = {tuple(images.shape)}"
        bad_value("attribute", "baselines", expected, tuple(given.shape))
    return GivenImages(given)


def _target(target: Any) -> Any:
    if target is None:
        bad_value("attribute", "target", "a class, (N,) classes or 'predicted'", None)
    if isinstance(target, list):
        if not all(isinstance(each, int) for each in target):
            bad_type("attribute", "target", "to hold one class per image", "a list of other things", "the logits are (N, K)")
        return torch.tensor(target)
    return target
