"""Every choice of a method is in its description: a study never takes the maps of one method for those of another."""

import functools
import inspect

import pytest
import torch
from torch import nn

from saliency_ext import attribution
from saliency_ext.attribution import Gradient
from saliency_ext.attribution.adapters import ForeignMethod
from saliency_ext.attribution.base import MethodOptions
from saliency_ext.attribution.registry import METHODS, make_methods
from saliency_ext.fingerprinting import Fingerprinter
from saliency_ext.infill import Constant
from saliency_ext.segmentation import grid

DECIDES_NOTHING = {"max_batch"}  # maps do not depend on it; a study records its own batch


def net(seed=0):
    torch.manual_seed(seed)
    body = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()


def reference_images(seed):
    return torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(seed))


def explain(inputs, classes):
    return inputs.sum(1)


MODEL = net()
# What each argument is in the method that is changed, where it has no default or where its default leaves no room ...
USUAL = {
    "model": MODEL,
    "infill": Constant(0.0),
    "baselines": Constant(0.0),
    "reference_images": reference_images(0),
    "segmenter": functools.partial(grid, cells=3),
    "explain": explain,
    "name": "mine",
    "channels": "sum",
    "method_factory": Gradient,
}
# ... and what it is changed to, one argument at a time.
OTHER = {
    "model": net(1),
    "infill": Constant(1.0),
    "baselines": (Constant(0.0), Constant(1.0)),
    "reference_images": reference_images(1),
    "segmenter": functools.partial(grid, cells=2),
    "explain": lambda inputs, classes: inputs.amax(1),
    "name": "yours",
    "method_factory": functools.partial(Gradient, channels="max"),
    "pixel_attribution": explain,
    "channels": "max_abs",
    "score": "log_probability",
    "seed": 1,
    "layer": "0",
    "dtype": torch.float64,
    "full": ("2",),
    "closed_form": "never",
    "weights": "increase",
    "top_channels": 2,
    "rule": "midpoint",
    "kernel": "none",
    "weighting": "mean",
    "sampling": "antithetic",
    "border": "clamp",
    "tolerance": 0.1,
    "window": 3,
    "stride": 1,
    "areas": (0.2,),
    "operator": "fade",
    "reward": "contrastive",
    "reduction": "sum",
    "loss": "nll",
    "labels": (0, 1),
    "kind": "squared",
    "start": "disc",
    "scales": (100.0, 200.0),
}
BY_KIND = {
    ("RISE", "grid"): 5,
    ("EigenCAM", "grid"): (2, 2),
    ("ExtremalPerturbation", "grid"): 5,
    ("ExtremalPerturbation", "mode"): "delete",
    ("MeaningfulPerturbation", "mode"): "preservation",
}


def methods():
    public = [getattr(attribution, name) for name in attribution.__all__]
    kinds = [each for each in public if inspect.isclass(each) and issubclass(each, attribution.Method)]
    return [kind for kind in kinds if not inspect.isabstract(kind)] + [ForeignMethod]


def changed(kind, name, default):
    """Another value of an argument."""
    if (kind.__name__, name) in BY_KIND or name in OTHER:
        return BY_KIND.get((kind.__name__, name), OTHER.get(name))
    if name == "grid":
        return (2, 2)
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return default + 2
    if isinstance(default, float):
        return default / 4 + 0.01
    raise LookupError(f"{kind.__name__}: say in OTHER what {name} is changed to")


ARGUMENTS = [
    (kind, name, parameter.default)
    for kind in methods()
    for name, parameter in inspect.signature(kind).parameters.items()
    if name not in DECIDES_NOTHING
]


@pytest.mark.parametrize(("kind", "name", "default"), ARGUMENTS, ids=lambda each: getattr(each, "__name__", str(each))[:20])
def test_each_argument_of_each_method_is_described(kind, name, default):
    parameters = inspect.signature(kind).parameters
    usual = {each: USUAL[each] for each in parameters if each in USUAL}
    other = changed(kind, name, default)
    assert other != usual.get(name, default) if name != "reference_images" else not torch.equal(other, usual[name])
    result = [Fingerprinter(MODEL).describe(kind(**chosen)) for chosen in (usual, usual | {name: other})]
    assert result[0] == Fingerprinter(MODEL).describe(kind(**usual)), "equal choices are described alike"
    assert result[0] != result[1], f"{kind.__name__}: {name} is not in the description"


def test_all_methods_of_the_catalogue_are_asked():
    assert {entry.info.name for entry in METHODS.values()} <= {kind.info.name for kind in methods() if hasattr(kind, "info")}


FEWER = {"rise": "masks", "extremal_perturbation": "steps", "meaningful_perturbation": "steps", "intrinsic_mask": "steps"}


@pytest.mark.parametrize("name", METHODS)
def test_a_call_does_not_change_the_description(name):
    choices = MethodOptions(Constant(0.0), USUAL["segmenter"], reference_images(0))
    method = make_methods([name], MODEL, choices)[name]
    if name in FEWER:
        setattr(method, FEWER[name], 4)
    before = Fingerprinter(MODEL).describe(method)
    method(reference_images(2), 1)
    assert Fingerprinter(MODEL).describe(method) == before
