"""The callback: what it logs and when, and that training does not notice it; in Lightning itself where it is installed."""

import math
import subprocess
import sys
from importlib import import_module
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch.utils.data import TensorDataset

from saliency_ext.attribution import GradCAM, Gradient, Occlusion
from saliency_ext.evaluation import evaluate
from saliency_ext.infill import Constant
from saliency_ext.integrations.lightning import SaliencyCallback, callback_base
from saliency_ext.metrics import Deletion, Insertion, PointingGame

METRICS = [Deletion(Constant(0.0)), Insertion(Constant(0.0))]
METHODS = {"cam": GradCAM, "gradient": lambda model: Gradient(model, channels="abs_sum")}


class Module(torch.nn.Module):
    """With Lightning's log_dict; dropout and batch statistics that would show training mode."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        layers = [torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Dropout(0.5)]
        self.net = torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(16, 3))
        self.net[3].eval()
        self.logged = []

    def forward(self, inputs):
        return self.net(inputs)

    def log_dict(self, values, **options):
        self.logged.append((values, options))


class Fit:
    """A stand-in for a trainer: calls the hooks that the callback has, in Lightning's order."""

    def __init__(self, callback, epochs):
        self.callback, self.epochs, self.current_epoch = callback, epochs, 0

    def fit(self, module):
        for epoch in range(self.epochs):
            self.current_epoch = epoch
            for name in ("on_train_epoch_start", "on_validation_epoch_end", "on_train_epoch_end"):
                getattr(self.callback, name, lambda *_: None)(self, module)


def data(count=5):
    images = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return images, torch.arange(count) % 3


@pytest.mark.parametrize(("every", "epochs"), [(1, [0, 1, 2, 3, 4]), (2, [1, 3]), (5, [4]), (6, [])])
def test_the_turn_of_an_epoch(every, epochs):
    module, seen = Module(), []
    module.log_dict = lambda values, **_: seen.append(fit.current_epoch)
    fit = Fit(SaliencyCallback(data(2), {"cam": GradCAM}, METRICS[:1], every_n_epochs=every), 5)
    fit.fit(module)
    assert seen == epochs


def test_what_is_logged_is_what_evaluate_says():
    module, (images, target) = Module(), data()
    callback = SaliencyCallback((images, target), METHODS, METRICS)
    Fit(callback, 1).fit(module)
    ((values, options),) = module.logged
    own = module.eval()
    expected = evaluate(own, images, target, {name: make(own) for name, make in METHODS.items()}, METRICS)
    assert set(values) == {f"saliency/{m}/{k}" for m in METHODS for k in ("deletion", "insertion")}
    for method, metric in expected:
        value = values[f"saliency/{method}/{metric}"]
        assert isinstance(value, float) and value == pytest.approx(expected[method, metric].values.mean().item(), rel=1e-6)
    assert options == {"on_step": False, "on_epoch": True, "batch_size": 5}
    assert callback.results is not None and set(callback.results) == set(expected)


@pytest.mark.filterwarnings("error")
def test_training_does_not_notice():
    module = Module().train()
    module.net[3].eval()
    module(data()[0]).sum().backward()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    grads = [weight.grad.clone() for weight in module.parameters()]
    modes = [each.training for each in module.modules()]
    random = torch.get_rng_state()
    Fit(SaliencyCallback(data(), METHODS, METRICS), 1).fit(module)
    assert torch.equal(torch.get_rng_state(), random) and [each.training for each in module.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(torch.equal(weight.grad, grad) for weight, grad in zip(module.parameters(), grads, strict=True))
    assert all(weight.requires_grad for weight in module.parameters())


def test_a_method_that_fails_leaves_the_modes():
    module = Module().train()

    def fails(model):
        raise RuntimeError("no such layer")

    with pytest.raises(RuntimeError, match="no such layer"):
        Fit(SaliencyCallback(data(), {"fails": fails}, METRICS), 1).fit(module)
    assert module.training and module.net[0].training


def test_samples_are_spread_over_a_dataset():
    images, target = data(9)
    module = Module().eval()
    result = SaliencyCallback(TensorDataset(images, target), METHODS, METRICS, samples=3).evaluate(module)
    assert result == SaliencyCallback((images[[0, 4, 8]], target[[0, 4, 8]]), METHODS, METRICS).evaluate(module)
    assert result == SaliencyCallback((images, target), METHODS, METRICS, samples=3).evaluate(module)
    assert result != SaliencyCallback((images[:3], target[:3]), METHODS, METRICS).evaluate(module)
    every = SaliencyCallback(TensorDataset(images, target), METHODS, METRICS, samples=99).evaluate(module)
    assert every == SaliencyCallback((images, target), METHODS, METRICS).evaluate(module)


def test_truth_model_options_and_prefix():
    """The method's maps have channels, which an option reduces; the truth of an image is where its largest value is."""
    images, target = data()
    module = SimpleNamespace(inner=Module().eval())
    largest = images.amax(1)
    truth = largest == largest.amax((1, 2), keepdim=True)
    seen = []

    def method(model):
        seen.append(model)
        return lambda inputs, target: inputs

    def judged(channels):
        chosen = {"model": lambda given: given.inner, "options": {"channels": channels}, "prefix": "val", "samples": 2}
        return SaliencyCallback((images, target, truth), {"it": method}, [PointingGame()], **chosen).evaluate(module)

    assert judged("max") == {"val/it/pointing_game": 1.0} and seen == [module.inner]
    assert judged("sum") == {"val/it/pointing_game": 0.0}, "another option, another map"


def test_inputs_follow_the_dtype_of_the_module():
    images, target = data()
    metrics, methods = METRICS[:1], METHODS | {"occlusion": lambda model: Occlusion(model, Constant(0.0), window=4, stride=4)}
    expected = SaliencyCallback((images, target), methods, metrics).evaluate(Module().eval())
    double = SaliencyCallback((images, target), methods, metrics).evaluate(Module().eval().double())
    assert double == pytest.approx(expected, rel=1e-5) and double != expected
    assert SaliencyCallback((images.double(), target), methods, metrics).evaluate(Module().eval()) == expected


@pytest.mark.filterwarnings("ignore:evaluate. method .* failed")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_module_in_half_precision(dtype):
    """It is given its own dtype; methods that need gradients refuse it, which does not end the training."""
    (images, target), seen = data(), set()
    module = Module().train().to(dtype)
    module.net.register_forward_pre_hook(lambda _, given: seen.add(given[0].dtype))
    methods = {"cam": GradCAM, "occlusion": lambda model: Occlusion(model, Constant(0.0), window=4, stride=4)}
    callback = SaliencyCallback((images.to(dtype), target), methods, METRICS[:1])
    result, name = callback.evaluate(module), "saliency/occlusion/deletion"
    expected = SaliencyCallback((images, target), methods, METRICS[:1]).evaluate(Module())
    assert result[name] == pytest.approx(expected[name], rel=0.02) and seen == {dtype} and module.training
    assert math.isnan(result["saliency/cam/deletion"]) and set(callback.results["cam", "deletion"].status) == {"method_failed"}
    given = {"methods": {"map": lambda _: lambda inputs, target: inputs[:, 0]}, "metrics": METRICS[:1]}
    callback = SaliencyCallback((images, target), model=lambda module: lambda inputs: module(inputs), **given)
    (one,), (other,) = callback.evaluate(module).values(), callback.evaluate(Module()).values()
    assert one == pytest.approx(other, rel=0.02) and seen == {dtype}


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"data": 3}, TypeError, r"expected data to be tensors \(inputs, target\) or a map-style dataset .*, got int"),
        ({"data": data()[0]}, TypeError, r"expected data to be tensors \(inputs, target\)"),
        ({"data": (data()[0], data()[1][:2])}, ValueError, r"expected data\[1\] of shape \(M,\) = \(5,\), got \(2,\)"),
        (
            {"data": (*data(), torch.ones(5, 8, 7) > 0)},
            ValueError,
            r"expected data\[2\] of shape .* = \(5, 8, 8\), got \(5, 8, 7\)",
        ),
        (
            {"data": (*data(), torch.ones(6, 8, 8) > 0), "samples": 2},
            ValueError,
            r"expected data\[2\] of shape .*got \(6, 8, 8\)",
        ),
        ({"data": (data()[0][0], data()[1])}, ValueError, r"expected data\[0\] of shape \(M, C, H, W\), got \(3, 8, 8\)"),
        ({"data": [torch.zeros(3, 8, 8)]}, TypeError, r"expected data to hold \(image, label\), got Tensor"),
        ({"data": [(1, 2)]}, TypeError, "expected an image of data to be a torch.Tensor, got int"),
        ({"data": []}, ValueError, "expected data at least one sample, got none"),
        ({"methods": {}}, TypeError, "expected methods to be a mapping from names to functions of a model, got dict"),
        ({"methods": {"a": 1}}, TypeError, r"expected methods\['a'\] to be a function from a model to a method, got int"),
        ({"every_n_epochs": 0}, ValueError, "expected every_n_epochs in .*, got 0"),
        ({"samples": 0}, ValueError, "expected samples in .*, got 0"),
    ],
)
def test_bad_arguments(change, error, text):
    with pytest.raises(error, match=f"SaliencyCallback: {text}"):
        SaliencyCallback(**({"data": data(), "methods": METHODS, "metrics": METRICS} | change))


def test_the_base_is_that_of_the_package_in_use(monkeypatch):
    result = {name: type("Callback", (), {}) for name in ("lightning.pytorch", "pytorch_lightning")}
    for name in ("lightning", *result):
        monkeypatch.setitem(sys.modules, name, None)
    assert callback_base() is object
    module = ModuleType("pytorch_lightning")
    module.Callback = result["pytorch_lightning"]
    monkeypatch.setitem(sys.modules, "pytorch_lightning", module)
    assert callback_base() is result["pytorch_lightning"], "the other one cannot be imported"
    newer = ModuleType("lightning.pytorch")
    newer.Callback = result["lightning.pytorch"]
    monkeypatch.setitem(sys.modules, "lightning", ModuleType("lightning"))
    monkeypatch.setitem(sys.modules, "lightning.pytorch", newer)
    assert callback_base() is result["lightning.pytorch"]


@pytest.mark.parametrize("name", ["lightning.pytorch", "pytorch_lightning"])
def test_inside_lightning(name, tmp_path):
    """In a process of its own, as the base is chosen when the callback is imported."""
    try:
        import_module(name)
    except Exception as error:
        pytest.skip(f"{name} cannot be imported: {error}")
    ran = subprocess.run([sys.executable, "-c", INSIDE, name, str(tmp_path)], capture_output=True, text=True)
    assert ran.returncode == 0 and ran.stdout.split()[-2:] == ["2", "True"], ran.stdout + ran.stderr


INSIDE = """
import importlib, sys, torch
partner = importlib.import_module(sys.argv[1])
from saliency_ext.attribution import Gradient
from saliency_ext.infill import Constant
from saliency_ext.integrations.lightning import SaliencyCallback
from saliency_ext.metrics import Deletion

class Module(partner.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
    def forward(self, inputs):
        return self.net(inputs)
    def training_step(self, batch, index):
        return torch.nn.functional.cross_entropy(self(batch[0]), batch[1])
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

data = torch.utils.data.TensorDataset(torch.randn(8, 3, 2, 2), torch.arange(8) % 3)
callback = SaliencyCallback(data, {"gradient": lambda model: Gradient(model, channels="abs_sum")}, [Deletion(Constant(0.0))])
trainer = partner.Trainer(max_epochs=2, callbacks=[callback], accelerator="cpu", logger=False, enable_checkpointing=False,
                          default_root_dir=sys.argv[2], enable_progress_bar=False)
trainer.fit(Module(), torch.utils.data.DataLoader(data, batch_size=4))
print(trainer.current_epoch, "saliency/gradient/deletion" in trainer.callback_metrics)
"""
