"""Attribution Guided Factorization (AGF): relevance propagation made class-specific by factorisation with gradients."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...checks import bad_type, bad_value, dtype_name, require_device, require_dtype, require_ndim, require_shape, require_tensor
from ...models import evaluation_mode
from ...models.gradients import detach_inference
from ...models.logits import model_logits
from ...models.score import require_meaning
from ...models.targets import check_classes
from ...nonfinite import finite_rows, with_zeros
from ...protocols import MethodInfo
from ..base import Method
from ._backward_pass import BackwardPass
from ._convolution import Terms
from ._graph import Network, Record
from ._initial_relevance import logit_gradient
from ._operations import Linear
from ._output_check import module_to_read, require_own_output
from ._rule_selection import make_plan, names_of
from ._rules import unit_maximum


class AGF(Method):
    """Saliency by Attribution Guided Factorization [Gur 2021]: relevance and gradient carried back together.

    With X the input of the last linear layer and s_t the target's share among the classes that compete with it,

        g = d s_t / d X,   rel = X g,

    and every layer, last to first, sends both back by a local rule (`rules.py`). Relevance alone is nearly class-blind, the
    gradient alone coarse; so each convolution with the full rule adds to its relevance B a residual made of the activations and
    the gradient, factorised into what lies under B > 0 and under B < 0 (`factor.py`), shifted to sum to 0:

        rel <- B + R - mean of R where B != 0,   R = ((F_X + M) sigmoid(B) + F_G + U) where B != 0   (`convolution.py`).

    The saliency is rel at the images over its maximum, summed over channels; where no value is positive it is divided by the
    largest magnitude, so signs are kept. Larger than 0 supports the target. Rules and constants follow the official code;
    departures from it only where that code divides by zero or flips signs (see `rules.py`).

    Which convolution gets which rule (`convolutions` shows it): the first ones, with no weights between them and the images, take
    the z-box rule. Of the others, 1 x 1 kernels and those whose output enters an addition with nothing but batch norm between
    take the abs rule alone ("flat"), the rest the full rule. That is the published choice on VGG (all full), on ResNet-50, -101
    and -152 (the 3 x 3 convolutions full) and on ResNet-18 and -34 (the first of each block full).

    Args:
        model: nn.Module that torch.fx can trace, of Conv2d, Linear, BatchNorm, ReLU, pooling, Dropout, flatten, additions and
            their functional forms, ending in a linear layer (N, K). Its structure is read here, its weights at each call.
        dtype: torch.float32 or torch.float64 to compute in; None: that of the model's parameters.
        full: names of the convolutions with the full rule, instead of the choice above.
        flat: the abs rule alone for every convolution.
        no_fx, no_m, no_fdx, no_a: leave F_X, M, F_G or U out. no_reg: leave the sigmoid out.
        gradcam: a Grad-CAM-like term in place of F_X + M.
        max_batch: images at a time.

    Unit: none, the largest value before the channel sum is 1. Cost: two forwards, then per target 1.5 (ResNet-50) to 2 times
    (VGG-16) a forward and an input gradient; a term that is switched off costs nothing. Memory: all activations of max_batch
    images, about twice with several targets. Deterministic on the CPU; on CUDA as far as torch's pooling backward is. Not
    differentiable.

    Traps: |rel| grows by orders of magnitude through a deep residual network while its sum stays, so in float32 single pixels of
    a ResNet-50 are off by percents; dtype=torch.float64 is exact. The start is not invariant to a constant added to all logits,
    and where one class is so far ahead that its share rounds to 1 the map is all zeros. Relevance that meets a zero (a ReLU that
    is off, X = 0) is dropped. A model that does more than its traced layers (forward hooks) is refused: each batch is run
    through the model itself, too, and the outputs are compared.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)]
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), *head).eval()
        >>> agf = AGF(model)
        >>> agf.convolutions
        {'0': 'first', '2': 'full'}
        >>> agf(torch.rand(2, 3, 8, 8), "predicted").shape
        torch.Size([2, 8, 8])

    References:
        Gur, Ali, Wolf. Visualization of Supervised and Self-Supervised Neural Networks via Attribution Guided Factorization. AAAI
        2021, arXiv 2012.02166; code: shirgur/AGFVisualization (MIT).
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="agf",
        family="relevance",
        signed=True,
        cost="2 F + 2 T (F + B)",
        reference="Gur 2021",
        summary="relevance handed backwards layer by layer, from activations and gradients",
    )

    def __init__(
        self,
        model: nn.Module,
        *,
        dtype: torch.dtype | None = None,
        full: Sequence[str] | None = None,
        flat: bool = False,
        no_fx: bool = False,
        no_m: bool = False,
        no_reg: bool = False,
        no_fdx: bool = False,
        no_a: bool = False,
        gradcam: bool = False,
        max_batch: int = 16,
    ) -> None:
        super().__init__(model, max_batch=max_batch)
        module_to_read(model)
        if dtype not in (None, torch.float32, torch.float64):
            bad_value("AGF", "dtype", "to be None, float32 or float64", dtype_name(dtype) if dtype else dtype)
        if flat and full is not None:
            bad_value("AGF", "full", "to be None with flat=True", full)
        switches = {"no_fx": no_fx, "no_m": no_m, "no_reg": no_reg, "no_fdx": no_fdx, "no_a": no_a, "gradcam": gradcam}
        for switch, value in {**switches, "flat": flat}.items():
            if not isinstance(value, bool):
                bad_type("AGF", switch, "to be a bool", type(value).__name__)
        self.dtype = dtype
        self.flat = flat
        self.terms = Terms(**switches)
        self.full = full
        self._read()
        self.full = None if full is None else tuple(full)

    def _read(self) -> None:
        """Reads the structure of the model."""
        with evaluation_mode(self.model):
            self._network = Network(module_to_read(self.model))
        self._plan = make_plan(self._network, () if self.flat else self.full, self.terms.uses_gradient)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_network", "_plan")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._read()  # a copy reads its own model

    @property
    def convolutions(self) -> dict[str, str]:
        """Rule of each convolution, by its name: "first" (z-box), "full" or "flat"."""
        return names_of(self._network, self._plan)

    def from_features(self, inputs: Tensor, neighbours: Tensor) -> Tensor:
        """Saliency without a label: what sets an image apart from its nearest neighbour in the space of the features.

            g = f(inputs) - f(neighbours),   rel = f(inputs) g,

        then the same way back; g is the gradient of |f(inputs) - f(neighbours)|^2 / 2. This is our reading of the label-free
        variant for self-supervised models: the official code has none, and it has not been compared with published maps.

        Args:
            inputs: (N, C, H, W) float32 or float64, in model input space.
            neighbours: images of the same shape, or features (N, D). Found by the caller, who leaves the image itself out:
                equal features give an empty map, or rounding noise made large.

        Returns:
            (N, H, W) as from a call. Features f: the input of the last linear layer, or the model's output if it does not end in
            one.

        Raises:
            TypeError, ValueError: a wrong type or shape, or features that are not (N, D).

        Example:
            >>> import torch
            >>> from torch import nn
            >>> encoder = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
            >>> AGF(encoder).from_features(torch.rand(2, 1, 6, 6), torch.zeros(2, 4)).shape
            torch.Size([2, 6, 6])
        """
        name = "AGF.from_features"
        images, others = require_tensor(name, "inputs", inputs), require_tensor(name, "neighbours", neighbours)
        require_dtype(name, "inputs", images, (torch.float32, torch.float64), "convert with .float() and normalise")
        require_ndim(name, "inputs", images, "(N, C, H, W)")
        require_device(name, "neighbours", others, images, "inputs")
        if others.ndim == 4:
            require_shape(name, "neighbours", others, "(N, C, H, W)", images.shape)
        elif others.ndim != 2 or len(others) != len(images):
            bad_value(name, "neighbours", "images like the inputs, or features (N, D)", tuple(others.shape))
        if images.numel() == 0:
            return images.new_empty(len(images), *images.shape[2:])
        good = finite_rows(images) & finite_rows(others)
        shown, beside = (with_zeros(each.detach(), good) for each in (images, others))
        parts = zip(torch.split(shown, self.max_batch), torch.split(beside, self.max_batch), strict=True)
        saliency = torch.cat([self._difference_maps(part, other) for part, other in parts])
        return saliency if bool(good.all()) else saliency.masked_fill(~good.view(-1, 1, 1), torch.nan)

    def _difference_maps(self, inputs: Tensor, neighbours: Tensor) -> Tensor:
        with self._running():
            records = self._checked_records(inputs)
            own = self._features(records)
            other = (
                self._features(self._checked_records(neighbours))
                if neighbours.ndim == 4
                else detach_inference(neighbours).to(own.dtype)
            )
            require_shape("AGF.from_features", "neighbours", other, "(N, D)", own.shape)
            g = own - other
            backward_pass = BackwardPass(self._network, self._plan, records, self.terms, keep=False)
            return _saliency(backward_pass.relevance(own * g, g), inputs.dtype)

    def _explain(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor) -> Tensor:
        parts = zip(torch.split(inputs, self.max_batch), torch.split(classes, self.max_batch), strict=True)
        return torch.cat([self._maps(images, requested) for images, requested in parts])

    def _maps(self, inputs: Tensor, classes: Tensor) -> Tensor:
        """(N, T, H, W): one forward, then one way back per target."""
        with self._running():
            records = self._checked_records(inputs)
            head, logits = self._head(records)
            features = self._features(records)
            check_classes("AGF", classes, logits.shape[1])
            require_meaning("AGF", "probability", logits.shape[1])  # relevance starts from a share among the classes
            backward_pass = BackwardPass(self._network, self._plan, records, self.terms, keep=classes.shape[1] > 1)
            maps = []
            for requested in detach_inference(classes).unbind(1):
                g = logit_gradient(logits, requested) @ head.weight
                maps.append(_saliency(backward_pass.relevance(features * g, g), inputs.dtype))
            return torch.stack(maps, 1)

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Eval mode, no gradients, and no inference mode: its tensors could not be differentiated in the pools."""
        with evaluation_mode(self.model), torch.inference_mode(False), torch.no_grad():
            yield

    def _checked_records(self, inputs: Tensor) -> list[Record]:
        """The traced steps as they run, if what comes out is what the model itself returns; it runs first.

        So weights that the model recomputes in each forward (pruning, weight or spectral norm) are read as they then are.
        """
        own = model_logits(self.model, detach_inference(inputs).clone())
        records = self._network.run(detach_inference(inputs).to(self.dtype or inputs.dtype).contiguous())
        require_own_output(self.model, self._network, records, own)
        return records

    def _features(self, records: list[Record]) -> Tensor:
        features = records[self._plan.features].output
        if features.ndim != 2:
            bad_value(
                "AGF", "model", "to have features (N, D) before its last linear layer", tuple(features.shape), "flatten them"
            )
        return features

    def _head(self, records: list[Record]) -> tuple[Linear, Tensor]:
        """The last linear layer and the logits (N, K)."""
        step, record = self._network.steps[self._network.output], records[self._network.output]
        if not isinstance(record.operation, Linear):
            bad_value("AGF", "model", "to end in a linear layer", f"{step.name} ({step.kind.__name__})", "see from_features")
        return record.operation, record.output


def _saliency(rel: Tensor, dtype: torch.dtype) -> Tensor:
    """(N, H, W): relevance over its maximum, summed over channels."""
    return unit_maximum(rel).sum(1).to(dtype)
