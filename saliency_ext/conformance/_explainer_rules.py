"""Conformance rules of explainers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.adapters import explaining_function, name_of
from ._conformance_table import ConformanceTable, Rule, run
from ._fixtures import CLASSES, changed, classes, distance, images, network, refused, state_of


def check_explainer(make: Callable[[nn.Module], Any], name: str | None = None) -> ConformanceTable:
    """Checks an explainer against the rules that any map-maker should keep, on a small convolutional net.

    Args:
        make: from a model to an explainer: an object with `.attribute(inputs, target=classes)`, as Captum's, or a callable
            (inputs (N, C, H, W), classes (N,)) -> (N, H, W), (N, 1, h, w) or (N, C, h, w).
        name: of the subject; its class if not given.

    Returns:
        A `ConformanceTable`. No rule says that a map is right: that is what metrics are for.

    Note:
        Deterministic as the explainer. Cost: 33 calls on at most three small images, fewer where rules do not hold. Foreign
        explainers are called as they are; in `evaluate` they run behind `attribution.as_method`, which mends what it can (modes,
        gradients, generator states).

    Example:
        >>> from saliency_ext.attribution import Gradient
        >>> check_explainer(lambda model: Gradient(model, channels="abs_sum")).failed
        ()
    """
    model = network()
    explainer = make(model)
    return run(str(name or name_of(explainer)), _Rules(model, explainer).rules())


class _Rules:
    """The rules for one explainer on one model."""

    def __init__(self, model: nn.Module, explainer: Any) -> None:
        self.model, self.explainer = model, explainer

    def request(self, inputs: Tensor, target: Any) -> Any:
        explain = explaining_function(self.explainer)
        return self.explainer(inputs, target) if explain is None else explain(inputs, target)

    def rules(self) -> list[Rule]:
        return [
            ("one finite map per image", self.maps),
            ("the map has the size of the image", self.size),
            ("deterministic", lambda: distance(self.request(images(), classes()), self.request(images(), classes()), 1e-6)),
            ("independent of batch composition", self.alone),
            ("independent of memory layout", self.strides),
            ("odd and non-square image sizes", lambda: self.shaped(images(2, 9, 14))),
            ("an empty batch gives an empty result", self.empty),
            ("maps depend on the class", self.class_matters),
            ("a class out of range raises an error", lambda: refused(lambda: self.request(images(), classes() + CLASSES))),
            ("too few classes raise an error", lambda: refused(lambda: self.request(images(), classes()[:2]))),
            ("uint8 images raise an error", lambda: refused(lambda: self.request(images().byte(), classes()))),
            ("inputs are not modified", self.inputs_kept),
            ("requires_grad of the inputs is kept, .grad is not written", self.gradients_kept),
            ("the model is unchanged", self.model_kept),
            ("the model is unchanged after an error", self.model_kept_after_error),
            ("a model in training mode is explained in eval mode", self.training),
            ("frozen weights do not change the map", self.frozen),
            ("works inside no_grad", lambda: self.inside(torch.no_grad)),
            ("works inside inference_mode", lambda: self.inside(torch.inference_mode)),
            ("a NaN in one image does not affect the others", self.nan),
        ]

    def maps(self) -> str:
        result = self.request(images(), classes())
        if not isinstance(result, Tensor):
            return f"got {type(result).__name__}"
        if result.ndim not in (3, 4) or len(result) != 3:
            return f"shape {tuple(result.shape)}"
        return "" if bool(result.isfinite().all()) else "NaN or Inf"

    def size(self) -> str:
        return self.shaped(images())

    def shaped(self, inputs: Tensor) -> str:
        result = self.request(inputs, classes(len(inputs)))
        return "" if result.shape[-2:] == inputs.shape[-2:] else f"{tuple(result.shape[-2:])} for {tuple(inputs.shape[-2:])}"

    def alone(self) -> str:
        # Each image as the first: random draws may be keyed by the place in the batch.
        for start in range(len(images())):
            inputs, target = images().roll(-start, 0), classes().roll(-start)
            seen = distance(self.request(inputs, target)[:1], self.request(inputs[:1], target[:1]))
            if seen:
                return seen
        return ""

    def strides(self) -> str:
        wide = torch.zeros(3, 6, 12, 12)
        wide[:, ::2] = images()
        plain = self.request(images(), classes())
        seen = distance(plain, self.request(images().contiguous(memory_format=torch.channels_last), classes()))
        return seen or distance(plain, self.request(wide[:, ::2], classes()))

    def empty(self) -> str:
        result = self.request(images()[:0], classes()[:0])
        return "" if len(result) == 0 else f"shape {tuple(result.shape)}"

    def class_matters(self) -> str:
        other = self.request(images(), (classes() + 1) % CLASSES)
        return "" if distance(self.request(images(), classes()), other, 1e-6) else "the maps of two classes are equal"

    def inputs_kept(self) -> str:
        inputs = images()
        self.request(inputs, classes())
        flag = "requires_grad changed" if inputs.requires_grad or inputs.grad is not None else ""
        return flag or ("" if torch.equal(inputs, images()) else "values changed")

    def gradients_kept(self) -> str:
        inputs = images().requires_grad_(True)
        self.request(inputs, classes())
        return "requires_grad changed" if not inputs.requires_grad else "" if inputs.grad is None else ".grad was written"

    def model_kept(self) -> str:
        before = state_of(self.model)
        self.request(images(), classes())
        return changed(before, state_of(self.model))

    def model_kept_after_error(self) -> str:
        before = state_of(self.model)
        refused(lambda: self.request(images()[:, :2], classes()))  # a channel too few: the model itself fails
        return changed(before, state_of(self.model))

    def training(self) -> str:
        expected = self.request(images(), classes())
        self.model.train()
        try:
            seen = distance(expected, self.request(images(), classes()))
            return seen or ("" if self.model.training else "left in eval mode")
        finally:
            self.model.eval()

    def frozen(self) -> str:
        expected = self.request(images(), classes())
        weights = list(self.model.parameters())
        before = [weight.requires_grad for weight in weights]
        self.model.requires_grad_(False)
        try:
            return distance(expected, self.request(images(), classes()))
        finally:
            for weight, flag in zip(weights, before, strict=True):
                weight.requires_grad_(flag)

    def inside(self, context: Any) -> str:
        expected = self.request(images(), classes())
        with context():
            return distance(expected, self.request(images(), classes()))

    def nan(self) -> str:
        broken = images()
        broken[1, 0, 3, 3] = torch.nan
        result = self.request(broken, classes())
        return "" if bool(result[::2].isfinite().all()) else "other images are NaN too"
