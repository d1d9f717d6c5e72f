"""A model or a method that is no longer what a folder was begun with is refused there, whatever changed; rounding is not."""

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

from saliency_ext.infill import Constant
from saliency_ext.metrics import Fidelity
from saliency_ext.perturbation import Engine, EqualFractions
from saliency_ext.ranking import rank_methods
from saliency_ext.study._model_observation import observe, outputs_differ
from tests.helpers import tensors
from tests.study.studies import PROBED, SmallNet, make_study, result_bytes

FEW = {"inputs": tensors(6, 3, 6, 5, seed=1), "chunk": 2}


class Tempered(SmallNet):
    """Divides its logits by a plain attribute."""

    def __init__(self, temperature=1.0, private=1.0):
        super().__init__()
        self.temperature, self._private, self.choices = temperature, private, {"scale": [1.0]}

    def forward(self, images):
        return super().forward(images) * self.choices["scale"][0] / self.temperature / self._private


def with_attribute(model, name, value):
    setattr(model, name, value)
    return model


def with_forward(factor):
    """A class of the same name, whose forward was edited."""
    made = types.new_class("Tempered", (Tempered,))
    made.__module__, made.__qualname__ = Tempered.__module__, Tempered.__qualname__
    made.forward = eval(f"lambda self, images: SmallNet.forward(self, images) * {factor}", {"SmallNet": SmallNet})
    return made()


def with_hook(kind, hook):
    model = Tempered()
    getattr(model.head, f"register_{kind}")(hook)
    return model


def with_scale(value):
    model = Tempered()
    model.choices["scale"][0] = value
    return model


CHANGED = {
    "an attribute": (Tempered, lambda: Tempered(0.1), "model.attributes.temperature"),
    "a little of an attribute": (Tempered, lambda: Tempered(1.0 + 1e-6), "model.attributes.temperature"),
    "a private attribute": (Tempered, lambda: Tempered(private=0.9), "outputs of the model on an image: deviate by"),
    "something in an attribute": (Tempered, lambda: with_scale(2.0), "model.attributes.choices"),
    "the code of forward": (lambda: with_forward(1.0), lambda: with_forward(1.5), "model.code"),
    "forward of one object": (
        Tempered,
        lambda: with_attribute(Tempered(), "forward", lambda images: images.flatten(1)[:, :5]),
        "model.attributes.forward",
    ),
    "a forward hook": (Tempered, lambda: with_hook("forward_hook", lambda m, i, o: o * 0.5), "outputs of the model"),
    "a forward pre-hook": (Tempered, lambda: with_hook("forward_pre_hook", lambda m, i: (i[0] + 1,)), "outputs of the model"),
    "a backward hook": (
        Tempered,
        lambda: with_hook("full_backward_hook", lambda m, i, o: (i[0] * 2, *i[1:])),
        "model.attributes.hooks",
    ),
}


@pytest.mark.parametrize("what", CHANGED)
def test_another_model_in_the_same_folder_is_refused(tmp_path, what):
    before, after, named = CHANGED[what]
    make_study(tmp_path / "study", before(), **FEW).run()
    whole = result_bytes(tmp_path / "study")
    make_study(tmp_path / "study", before(), **FEW).resume()
    with pytest.raises(ValueError, match=named):
        make_study(tmp_path / "study", after(), **FEW).run()
    assert result_bytes(tmp_path / "study") == whole
    make_study(tmp_path / "study", after(), **FEW).run(force_new_run=True)
    make_study(tmp_path / "fresh", after(), **FEW).run()
    assert result_bytes(tmp_path / "study") == result_bytes(tmp_path / "fresh")


def ranking(out, model):
    images = tensors(8, 3, 6, 5, seed=1)
    maps = {"a": images[:, 0], "b": images[:, 1]}
    metric = Fidelity(Constant(0.5), EqualFractions(3))
    return rank_methods(model, images, 0, maps, metric, round_size=4, bounds=(-1.0, 1.0), out=out)


@pytest.mark.parametrize("what", ["an attribute", "a private attribute", "the code of forward", "a forward hook"])
def test_a_ranking_refuses_it_too(tmp_path, what):
    before, after, named = CHANGED[what]
    result = ranking(tmp_path, before())
    assert ranking(tmp_path, before()) == result
    with pytest.raises(ValueError, match=named):
        ranking(tmp_path, after())


class Mine:
    """A method of a user, with a choice in a private field."""

    def __init__(self, power):
        self._power = power

    def __call__(self, inputs, target):
        return inputs.sum(1) ** self._power


def test_a_private_field_of_a_method_is_seen(tmp_path):
    make_study(tmp_path, maps={"mine": Mine(1)}, **FEW).run()
    make_study(tmp_path, maps={"mine": Mine(1)}, **FEW).run()
    with pytest.raises(ValueError, match="maps.mine._power: was 1, now 2"):
        make_study(tmp_path, maps={"mine": Mine(2)}, **FEW).run()


class Restless(SmallNet):
    """Counts, keeps what it saw, and makes a part when it is first needed."""

    def __init__(self):
        super().__init__()
        self.seen, self.table, self.history = None, None, []

    def forward(self, images):
        self.seen, self.table = images, torch.ones(5) if self.table is None else self.table
        self.history.append(len(images))
        return super().forward(images) * self.table


def test_what_a_model_changes_by_itself_is_no_other_model(tmp_path):
    """The same object again, which has worked since, and a fresh one."""
    model = Restless()
    make_study(tmp_path, model, **FEW).run()
    for again in (model, Restless()):
        calls = again.calls
        make_study(tmp_path, again, **FEW).run()
        assert again.calls - calls == PROBED


def test_a_model_with_dropout_is_known_by_its_description(tmp_path):
    class Noisy(SmallNet):
        def forward(self, images):
            return super().forward(images) + torch.rand(1)

    with pytest.warns(RuntimeWarning, match="stochastic"):
        make_study(tmp_path, Noisy(), **FEW).run()
    make_study(tmp_path, Noisy(), **FEW).run()
    engine, state = Engine(Noisy(), max_batch=4), torch.random.get_rng_state()
    assert observe(engine, FEW["inputs"]).outputs["logits"] == "not the same twice"
    assert torch.equal(state, torch.random.get_rng_state()), "no number of the caller's is drawn"


def test_rounding_is_forgiven_and_no_more():
    seen = observe(Engine(SmallNet(), max_batch=4), tensors(2, 3, 6, 5)).outputs
    rows = seen["logits"]
    assert len(rows) == 4 and len(rows[0]) == 5

    def times(factor):
        return {**seen, "logits": [[value * factor for value in row] for row in rows]}

    assert outputs_differ(seen, times(1 + 1e-5)) == "" and "deviate by" in outputs_differ(seen, times(1 + 1e-3))
    gone = {**seen, "logits": [[float("nan")] * 5] * 4}
    assert outputs_differ(gone, gone) == "" and "deviate by inf" in outputs_differ(seen, gone) and outputs_differ(gone, seen)
    assert "another number" in outputs_differ(seen, {**seen, "logits": [row[:4] for row in rows]})
    assert outputs_differ(seen, {**seen, "logits": "not the same twice"}) and outputs_differ({}, seen)
    nothing = observe(Engine(SmallNet(), max_batch=4), torch.full((2, 3, 6, 5), torch.nan)).outputs
    assert nothing["logits"] == [] and outputs_differ(nothing, nothing) == ""


PROGRAM = """
import sys, torch
from tests.study.studies import make_study, tensors
torch.set_num_threads(int(sys.argv[2]))
layers = [torch.nn.Conv2d(3, 16, 3, padding=1)] + [torch.nn.Conv2d(16, 16, 3, padding=1) for _ in range(6)]
parts = [part for layer in layers for part in (layer, torch.nn.ReLU())]
net = torch.nn.Sequential(*parts, torch.nn.Flatten(), torch.nn.Linear(480, 7))
for own in net.parameters():
    own.data = (torch.arange(own.numel()) * 37 % 101).view(own.shape) / 202 - 0.25
methods = {"red": lambda inputs, target: inputs[:, 0]}
study = make_study(sys.argv[1], net.eval(), inputs=tensors(4, 3, 6, 5), controls=False, maps=methods)
print(study.run()["red", "deletion"].values.tolist())
"""


def test_another_instruction_set_goes_on_with_the_same_run(tmp_path):
    """Chunks of both are merged; nothing is evaluated again."""
    home = Path(__file__).parents[2]
    texts = []
    for threads, environment in ((1, {}), (2, {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"})):
        command = [sys.executable, "-W", "error::RuntimeWarning", "-c", PROGRAM, str(tmp_path), str(threads)]
        done = subprocess.run(command, cwd=home, env=os.environ | environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        texts.append(done.stdout)
        (tmp_path / "results.parquet").unlink()
        (tmp_path / "shards" / "000001.parquet").unlink()
    assert texts[0].split(",")[:2] == texts[1].split(",")[:2], "the first chunk is that of the first process"
