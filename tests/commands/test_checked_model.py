"""Models that people bring to the command line: read rightly, or refused in one line before anything is written."""

import argparse
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import prune, weight_norm

from saliency_ext.attribution import registry
from saliency_ext.commands import _checked_model
from saliency_ext.commands._checked_model import checked_model
from saliency_ext.commands._command_result import USAGE, CommandError
from saliency_ext.commands._methods import chosen_methods
from saliency_ext.commands._models import CommandModel
from saliency_ext.commands._shared_options import SharedOptions
from saliency_ext.infill import Constant
from saliency_ext.integrations._loaded_model import ASSUMED
from saliency_ext.models import PreprocessSpec


def net(channels=3, outputs=5):
    torch.manual_seed(0)
    layers = [nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, outputs)]
    return nn.Sequential(*layers).eval()


class Wrapped(nn.Module):
    """Makes of its logits what a function says."""

    def __init__(self, make):
        super().__init__()
        self.net, self.make = net(), make

    def forward(self, inputs):
        return self.make(self.net(inputs))


class Two(nn.Module):
    def forward(self, inputs, more):
        return inputs.mean((2, 3)) + more


class Fails(nn.Module):
    def forward(self, inputs):
        raise ValueError("boom\nand more")


def loaded(model, monkeypatch, **options):
    """What a command gets of a model that was found."""
    chosen = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.2, 0.3), "source": ASSUMED} | options
    spec = PreprocessSpec(chosen.pop("mean"), chosen.pop("std"), (16, 12), shorter=18, **chosen)
    result = CommandModel("python:m:f", model.eval().requires_grad_(False), spec, None)
    monkeypatch.setattr(_checked_model, "load_model", lambda name, **given: result)
    return checked_model(argparse.Namespace(model="python:m:f", device="cpu", size=None, mean=None, std=None))


@pytest.mark.parametrize(
    "make",
    [
        lambda logits: {"logits": logits},
        lambda logits: (logits, None),
        lambda logits: [logits],
        lambda logits: argparse.Namespace(logits=logits, loss=None),
    ],
)
def test_outputs_that_hold_logits_are_unwrapped(make, monkeypatch):
    inputs = torch.randn(2, 3, 16, 12)
    with pytest.warns(RuntimeWarning):
        model = loaded(Wrapped(make), monkeypatch)
    assert torch.equal(model.forward(inputs), net()(inputs)) and model.outputs == 5 and not model.forward.training


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (Wrapped(lambda logits: {"scores": logits}), "TypeError: forward: expected its result to be logits"),
        (Wrapped(lambda logits: logits[0]), r"ValueError: forward: expected its logits of shape \(N, K\)"),
        (Wrapped(lambda logits: None), "TypeError: forward: expected its result to be logits"),
        (Two(), "TypeError: .*missing 1 required positional argument: 'more'"),
        (Fails(), r"ValueError: boom \(test_checked_model.py, line \d+\)"),
        (net(channels=4), "RuntimeError: .* to have 4 channels"),
    ],
)
def test_what_is_no_classifier_of_pictures_is_one_line(model, text, monkeypatch):
    with pytest.raises(
        CommandError, match=rf"--model python:m:f: its forward fails on a picture of shape \(1, 3, 16, 12\): {text}"
    ) as caught:
        loaded(model, monkeypatch)
    assert caught.value.status == USAGE and "\n" not in str(caught.value)


def test_a_model_of_one_channel_is_given_grey_pictures(monkeypatch):
    with pytest.warns(RuntimeWarning, match="does not say how pictures are prepared for it: .*, grey; mean 0.5; std 0.233"):
        model = loaded(net(channels=1), monkeypatch)
    spec = model.preprocessing
    assert (spec.channels, spec.size, spec.shorter, model.outputs) == ("L", (16, 12), 18, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is assumed
        model = loaded(net(channels=1), monkeypatch, mean=(0.3,) * 3, std=(0.1,) * 3, source="as asked")
    assert (model.preprocessing.mean, model.preprocessing.std) == ((0.3,), (0.1,))
    with pytest.raises(CommandError, match="to have 1 channels"):
        loaded(net(channels=1), monkeypatch, source="as asked")


def test_what_is_assumed_is_said(monkeypatch):
    with pytest.warns(RuntimeWarning, match="--model python:m:f does not say how .*mean 0.4, 0.5, 0.6; std .*assumed"):
        assert loaded(net(), monkeypatch).preprocessing.mean == (0.4, 0.5, 0.6)


# ---- methods that cannot be used on a model


def pruned():
    model = net()
    prune.l1_unstructured(model[0], "weight", 0.3)
    return model


def normed():
    model = net()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch: it is deprecated, and still found in models
        weight_norm(model[0])
    return model


@pytest.fixture
def shared():
    return SharedOptions(Constant(0.0), 2, "probability", 0, 8)


def methods(model, names, shared, controls=True):
    result = CommandModel("python:m:f", model, PreprocessSpec((0.5,), (0.25,), (16, 16)), None, 5)
    return chosen_methods(names, result, shared, controls=controls)


@pytest.mark.parametrize("make", [pruned, normed])
def test_recomputed_weights_have_all_controls(make, shared):
    assert "gradient_random_weights" in methods(make(), ["gradient"], shared)


def failing(monkeypatch, name):
    """A method of that name cannot be made, of any model."""
    make = registry.make_method

    def fails(wanted, *arguments):
        if name == wanted:
            raise ValueError("it cannot be made")
        return make(wanted, *arguments)

    monkeypatch.setattr("saliency_ext.commands._methods.make_method", fails)


def test_a_control_that_cannot_be_made_is_left_out_unless_asked_for(shared, monkeypatch):
    failing(monkeypatch, "gradient_random_weights")
    with pytest.warns(RuntimeWarning, match=r"controls \(--no-controls leaves out all\): without gradient_random_weights, which"):
        made = methods(net(), ["gradient"], shared)
    assert set(made) == {"gradient", "random", "centre", "edge", "grey_level"}
    with pytest.raises(CommandError, match="--methods: gradient_random_weights cannot be used on this model"):
        methods(net(), ["gradient", "gradient_random_weights"], shared)


def test_a_usual_method_that_cannot_be_made_is_left_out_unless_asked_for(shared, monkeypatch):
    failing(monkeypatch, "grad_cam")
    with pytest.warns(RuntimeWarning, match="--methods: without grad_cam, which cannot be used on this model: it cannot be made"):
        made = methods(net(), None, shared, controls=False)
    assert "gradient" in made and "grad_cam" not in made
    with pytest.raises(CommandError, match="--methods: grad_cam cannot be used on this model"):
        methods(net(), ["gradient", "grad_cam"], shared, controls=False)
