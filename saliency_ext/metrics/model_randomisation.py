"""Model randomisation: does the map depend on what the model has learned?"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn import Module

from ..checks import bad_type, bad_value, require_choice, require_integer
from ..models._reinitialised_weights import Layer, layers_from_output, redraw, restored
from ..nonfinite import finite_rows
from ..protocols import MetricInfo
from ._explainer_metric import ExplainerMetric
from ._rank_correlation import rank_correlation
from .base import MetricOptions
from .context import MetricContext
from .result import MetricResult

MODES = ("cascade", "independent", "all")


@dataclass(frozen=True)
class ModelRandomisation(ExplainerMetric):
    """Rank correlation between the map and the map of the same model with random parameters [Adebayo 2018].

    value = Spearman correlation over the pixels of E(inputs; model) and E(inputs; model with all parameters drawn anew)
    Each floating parameter becomes mean + std z, with mean and deviation over its entries and z standard normal, keyed by (seed,
    its index, entry): every layer keeps its scale (deviation: the source draws from the initialiser). Parameters whose entries
    are all equal, and buffers (running statistics), keep their values. The target stays. Tied pixels share their mean rank; two
    constant maps correlate 1, a constant and another one 0.

    Direction: lower is better, and 0 is enough: a strongly negative value is dependence too. Unit: correlation. Range: [-1, 1].
    Polarity: none, both maps have the same; strictly increasing functions of the map change nothing. It needs the method and the
    model: `evaluate` refuses maps that are tensors, and a forward that is no torch.nn.Module is refused.

    A low value is necessary, not sufficient: a random map that is drawn anew in each call has 0 and explains nothing. A high
    value means that the map would look the same without any learning (an edge detector has 1).

    Args:
        mode: "cascade" draws from the output side downwards, keeping what was drawn; "independent" draws each block alone; "all"
            draws everything at once. The value is that of everything drawn, in each mode.
        steps: at most so many blocks of consecutive layers; None: every layer with parameters by itself.
        seed: of the parameters; a random network may be degenerate (dead ReLUs): use more than one seed.

    curves: cascade (N, blocks + 1), from nothing drawn (1) to everything, over the share of layers drawn, also for "all"; or
    independent (N, blocks), over the share of layers down to the block. parameters: layers, the names in each block.

    Traps: low is no proof: a map of noise, drawn anew by each model, has 0 as well. Maps of ReLU nets whose drawn weights die are
    constant, and have no correlation.

    Note:
        The method must be made on the very module that is evaluated: parameters are changed in place, and every parameter and
        buffer is put back to the bit, also after an exception. Where no map changes at all, a RuntimeWarning says so (and the
        status is flat_curve): the method ignores the model, or has a copy. While it runs, the model must not be used elsewhere.
        Cost: one map per block and image ("independent" one more, "all" one), one small forward, and a draw of all
        parameters per chunk of images: larger chunks draw less often. Memory: a second set of parameters. Deterministic if the
        method is; no generator state is read or changed.

    Example:
        >>> import torch
        >>> from saliency_ext.attribution import Gradient
        >>> from saliency_ext.evaluation import evaluate
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 2)).eval()
        >>> images = torch.ones(1, 1, 16, 16)
        >>> gradient = evaluate(model, images, 0, Gradient(model), [ModelRandomisation()])["map", "model_randomisation"]
        >>> bool(gradient.values.abs() < 0.5), gradient.parameters["layers"]
        (True, ('1',))

    References:
        Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim. Sanity Checks for Saliency Maps. NeurIPS 2018.
    """

    mode: str = "cascade"
    steps: int | None = 10
    seed: int = 0

    info: ClassVar[MetricInfo] = MetricInfo(
        name="model_randomisation",
        direction="lower",
        unit="rank correlation",
        measures="dependence on what the model has learned",
        reference="Adebayo 2018",
        role="sanity",
        needs="method",
        meaning="How similar the map is to that of the same model with random weights. High: the map does not show what was "
        "learned.",
        horizontal="share of layers with random weights",
    )

    @classmethod
    def from_options(cls, options: MetricOptions) -> Self:
        """The metric with those of the shared options that apply to it."""
        return cls(seed=options.seed)

    def __post_init__(self) -> None:
        name = "ModelRandomisation"
        require_choice(name, "mode", self.mode, MODES)
        if self.steps is not None:
            require_integer(name, "steps", self.steps, 1, 2**31 - 1)
        require_integer(name, "seed", self.seed, 0, 2**63 - 1)

    def request(self, context: MetricContext) -> MetricResult:
        """Explains the images under one model after the other."""
        explain, model = self.explainer(context), context.forward
        if not isinstance(model, Module):
            remedy = "only a module has parameters to draw; pass the module itself, on which the method was made"
            bad_type("ModelRandomisation", "forward", "to be a torch.nn.Module", type(model).__name__, remedy)
        layers = layers_from_output(model, context.inputs.new_zeros(1, *context.inputs.shape[1:]))  # the same for every chunk
        if not layers:
            expected = "to have floating parameters whose entries differ"
            bad_value("ModelRandomisation", "forward", expected, f"{type(model).__name__} with none", "nothing can be drawn anew")
        blocks = _blocks(layers, 1 if self.mode == "all" else self.steps)
        last, points = context.saliency, []

        def point() -> None:
            nonlocal last
            last = explain(context.inputs, context.target)
            points.append(rank_correlation(context.saliency, last).cpu())

        self._visit(model, blocks, point)
        _warn_if_nothing_changed(context.saliency, last)
        values = points.pop() if self.mode == "independent" else points[-1]
        if self.mode != "independent":
            points.insert(0, torch.where(finite_rows(context.saliency), 1.0, torch.nan).double().cpu())
        drawn = torch.tensor([len(block) for block in blocks], dtype=torch.float64).cumsum(0) / len(layers)
        fractions = drawn if self.mode == "independent" else torch.cat([drawn.new_zeros(1), drawn])
        name = "independent" if self.mode == "independent" else "cascade"
        names = tuple(", ".join(layer.name for layer in block) for block in blocks)
        parameters = {**self.parameters, "layers": names}
        return MetricResult(self.info, values, parameters, fractions=fractions, curves={name: torch.stack(points, 1)})

    def _visit(self, model: Module, blocks: list[list[Layer]], point: Callable[[], None]) -> None:
        """Calls `point` after each step of the mode, and last with all layers drawn."""
        if self.mode == "independent":
            for block in blocks:
                with restored(model):
                    redraw(block, self.seed)
                    point()
            blocks = [[layer for block in blocks for layer in block]]
        with restored(model):
            for block in blocks:
                redraw(block, self.seed)
                point()


def _blocks(layers: list[Layer], steps: int | None) -> list[list[Layer]]:
    """The layers in at most `steps` runs of nearly equal length."""
    count = len(layers) if steps is None else min(steps, len(layers))
    bounds = [index * len(layers) // count for index in range(count + 1)]
    return [layers[start:stop] for start, stop in pairwise(bounds)]


def _warn_if_nothing_changed(before: Tensor, after: Tensor) -> None:
    flat = before.flatten(1)
    not_constant = flat.amax(1) > flat.amin(1) if flat.numel() else torch.zeros(len(flat), dtype=torch.bool)
    if not_constant.any() and bool((flat == after.flatten(1))[not_constant].all()):
        text = (
            "ModelRandomisation: drawing every parameter of the model anew changed no map: the method ignores the model, or was "
            "made on another module or a copy; make it on the module that is evaluated"
        )
        warnings.warn(text, RuntimeWarning, stacklevel=2)
