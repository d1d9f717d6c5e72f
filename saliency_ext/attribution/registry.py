"""Every method by name, with defaults that suit a first look: how it is made from a model and a few common choices, and its cost.

To add one: a row below. Its name is that of its `info`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

from torch import Tensor

from ..checks import bad_value, require_choice
from ..infill import DatasetMean
from ..protocols import Forward, Infill, MethodInfo
from ..segmentation import Segmenter, slic
from .agf.method import AGF
from .base import Method
from .controls import Centre, Edge, GreyLevel, RandomControl
from .eigen_cam import EigenCAM
from .expected_gradients import ExpectedGradients
from .extremal_perturbation import ExtremalPerturbation
from .grad_cam import GradCAM
from .grad_cam_plus_plus import GradCAMPlusPlus
from .gradient import Gradient, InputXGradient
from .integrated_gradients import IntegratedGradients
from .intrinsic_mask import IntrinsicMask
from .kernel_shap import KernelSHAP
from .layer_cam import LayerCAM
from .lime import LIME
from .meaningful_perturbation import MeaningfulPerturbation
from .occlusion import Occlusion
from .random_weights import RandomWeights
from .rise import RISE
from .score_cam import ScoreCAM
from .smooth_grad import SmoothGrad, SmoothGradSquared, VarGrad
from .xrai import XRAI

CONTROLS = ("random", "centre", "edge", "grey_level")
RANDOM_WEIGHTS = "_random_weights"


@dataclass(frozen=True)
class MethodChoices:
    """What all methods of a run share.

    infill: what a removed pixel becomes, in methods that remove pixels (but for meaningful and extremal perturbation, which
    blur); also the baseline of integrated gradients. segmenter: of LIME and KernelSHAP. bank: (M, C, H, W) images, for expected
    gradients and intrinsic masks. seed: of all draws. max_batch: images per forward. samples: at most so many draws (masks,
    coalitions, noisy copies) per image in the methods whose cost they are, an odd number rounded up for Kernel SHAP, which draws
    pairs; None: as many as each takes by itself.
    """

    infill: Infill = field(default_factory=DatasetMean)
    segmenter: Segmenter = slic
    reference_images: Tensor | None = None
    seed: int = 0
    max_batch: int = 64
    samples: int | None = None


@dataclass(frozen=True)
class MethodEntry:
    """One row: name, a line that says what it does, and how it is made. `cost` and `family` are those of `info`."""

    name: str
    info: MethodInfo
    summary: str
    make: Callable[[Forward, MethodChoices], Method]


def _row(kind: Any, summary: str, make: Callable[[Any, MethodChoices], Method] | None = None) -> MethodEntry:
    plain = lambda model, c: kind(model, max_batch=c.max_batch)  # noqa: E731
    return MethodEntry(kind.info.name, kind.info, summary, make or plain)


def _draws(kind: Any, choices: MethodChoices) -> dict[str, Any]:
    """The number of draws as the argument of a method, where fewer are wanted than it takes by itself."""
    counted = "masks" if kind is RISE else "samples"
    if choices.samples is None or counted not in (parameters := signature(kind).parameters):
        return {}
    fewer = min(choices.samples, parameters[counted].default)
    return {counted: fewer + fewer % 2 if kind is KernelSHAP else fewer}  # Kernel SHAP draws pairs


def _seeded(kind: Any) -> Callable[[Any, MethodChoices], Method]:
    return lambda model, c: kind(model, seed=c.seed, max_batch=c.max_batch, **_draws(kind, c))


def _removing(kind: Any) -> Callable[[Any, MethodChoices], Method]:
    return lambda model, c: kind(model, c.infill, max_batch=c.max_batch)


def _coalitions(kind: Any) -> Callable[[Any, MethodChoices], Method]:
    return lambda model, c: kind(model, c.infill, c.segmenter, seed=c.seed, max_batch=c.max_batch, **_draws(kind, c))


def _with_reference_images(kind: Any) -> Callable[[Any, MethodChoices], Method]:
    def make(model: Forward, choices: MethodChoices) -> Method:
        if choices.reference_images is None:
            remedy = "pass images, in model input space, that stand for the data"
            bad_value("make_methods", "choices.bank", f"images (M, C, H, W) for {kind.info.name}", None, remedy)
        options = {"seed": choices.seed, "max_batch": choices.max_batch}
        made: Method = kind(model, choices.reference_images, **options, **_draws(kind, choices))
        return made

    return make


_ENTRIES = (
    _row(GradCAM, "activations of the last layer with places, weighted by their gradients"),
    _row(GradCAMPlusPlus, "as grad_cam, with weights that favour several objects"),
    _row(LayerCAM, "as grad_cam, but each place of the layer has its own weight"),
    _row(EigenCAM, "the main direction of the activations; the same for all classes"),
    _row(ScoreCAM, "activations weighted by what the model says of the image seen through them", _removing(ScoreCAM)),
    _row(Gradient, "how the score changes with each pixel"),
    _row(InputXGradient, "the gradient times the input: the terms of a linear model"),
    _row(IntegratedGradients, "gradients averaged along the way from the infill to the image", _removing(IntegratedGradients)),
    _row(SmoothGrad, "gradients averaged over noisy copies of the image", _seeded(SmoothGrad)),
    _row(SmoothGradSquared, "mean of the squared gradients of noisy copies", _seeded(SmoothGradSquared)),
    _row(VarGrad, "variance of the gradients of noisy copies", _seeded(VarGrad)),
    _row(
        ExpectedGradients,
        "integrated gradients over many other images as starting points",
        _with_reference_images(ExpectedGradients),
    ),
    _row(AGF, "relevance handed backwards layer by layer, from activations and gradients"),
    _row(XRAI, "regions, grown in the order of the gradients they hold"),
    _row(Occlusion, "how the score falls when a window of the image is covered", _removing(Occlusion)),
    _row(
        RISE,
        "mean of random masks, weighted by the score of the image seen through them",
        lambda model, c: RISE(model, c.infill, seed=c.seed, max_batch=c.max_batch, **_draws(RISE, c)),
    ),
    _row(LIME, "a linear model of the score, fitted to images that lack some superpixels", _coalitions(LIME)),
    _row(KernelSHAP, "Shapley values of superpixels, estimated", _coalitions(KernelSHAP)),
    _row(
        IntrinsicMask,
        "few pixels that keep the class, whatever stands in the others' place",
        _with_reference_images(IntrinsicMask),
    ),
    _row(
        MeaningfulPerturbation,
        "what a small smooth mask blurs to destroy the score",
        lambda model, c: MeaningfulPerturbation(model, seed=c.seed, max_batch=c.max_batch),
    ),
    _row(ExtremalPerturbation, "the smooth part of a given area that keeps the score highest"),
    _row(RandomControl, "control: drawn at random", lambda model, c: RandomControl(c.seed)),
    _row(Centre, "control: the middle of the image", lambda model, c: Centre()),
    _row(Edge, "control: an edge detector", lambda model, c: Edge()),
    _row(GreyLevel, "control: the brightness of the image", lambda model, c: GreyLevel()),
)

METHODS = {entry.name: entry for entry in _ENTRIES}


def make_methods(names: Sequence[str], model: Forward, choices: MethodChoices) -> Mapping[str, Method]:
    """Methods by name, for `evaluate`.

    Args:
        names: keys of METHODS; with "_random_weights" appended, the method on a copy of the model with random weights: a control.
        model: callable (N, C, H, W) -> logits (N, K); a torch.nn.Module for the CAM family, AGF and random weights.
        choices: what they share.

    Returns:
        name -> method, in the order given.

    Raises:
        TypeError, ValueError: an unknown name, or what the method says of the model.

    Example:
        >>> model = lambda inputs: inputs.mean((2, 3))
        >>> list(make_methods(["gradient", "random"], model, MethodChoices()))
        ['gradient', 'random']
    """
    made: dict[str, Method] = {}
    for name in names:
        plain = name.removesuffix(RANDOM_WEIGHTS)
        require_choice("make_methods", "names", plain, tuple(METHODS))
        made[name] = make_method(METHODS[plain], model, choices, random_weights=plain != name)
    return made


def make_method(entry: MethodEntry, model: Any, choices: MethodChoices, *, random_weights: bool = False) -> Method:
    """The method of a row; on a copy of the model with random weights if that is asked for."""
    if random_weights:
        return RandomWeights(lambda redrawn: entry.make(redrawn, choices), model, choices.seed)
    return entry.make(model, choices)
