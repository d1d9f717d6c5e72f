"""A run is continued only as what it was: everything that decides a number is in the fingerprint, and a change is named."""

import functools
import multiprocessing
import threading

import pytest
import torch

import saliency_ext
from saliency_ext.attribution import Gradient
from saliency_ext.fingerprinting import Fingerprinter, module_digest, tensor_digest
from saliency_ext.infill import Constant, OtherImage
from saliency_ext.metrics import Deletion, Fidelity
from saliency_ext.perturbation import EqualFractions
from saliency_ext.study._fingerprint import differences, listed
from tests.helpers import tensors
from tests.study.studies import GREY, PROBED, SmallNet, make_study, result_bytes

IMAGES = tensors(11, 3, 6, 5, seed=1)
FEW = EqualFractions(3)


def describe(value, model=None):
    return Fingerprinter(model).describe(value)


def changed_image():
    images = IMAGES.clone()
    images[7, 2, 5, 4] += 1e-7
    return images


def changed_weight():
    model = SmallNet()
    with torch.no_grad():
        model.head.bias[3] += 1e-7
    return model


def times(factor):
    return lambda inputs, target: inputs.sum(1) * factor


CHANGES = {
    "weights": ({"model": changed_weight()}, r"model\.weights: was \w{16}, now \w{16}"),
    "another net": (
        {"model": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(90, 5)).eval()},
        r"model\.class: was tests",
    ),
    "a pixel": ({"inputs": changed_image()}, r"inputs\.content\[7\]: was \w{16}, now \w{16}"),
    "fewer images": ({"inputs": IMAGES[:10]}, "number of fingerprint.inputs.content: was 11, now 10"),
    "order of images": ({"inputs": IMAGES.flip(0)}, r"inputs\.content\[0\]: was"),
    "sample ids": ({"sample_ids": torch.arange(1, 12)}, r"inputs\.sample_ids: was"),
    "names": ({"names": list("abcdefghijk")}, r"inputs\.names: was None, now \w{16}"),
    "identity": ({"identity": "version 2"}, r"inputs\.content: was 11 items, now version 2"),
    "target": ({"target": 3}, "target: was predicted, now 3"),
    "truth": ({"truth": IMAGES[:, 0] > 0.5}, r"truth: was None, now \w{16}"),
    "an option of a method": (
        {"maps": {"gradient": functools.partial(Gradient, channels="max"), "signed": Gradient}},
        "abs_sum",
    ),
    "order of methods": (
        {"maps": {"signed": Gradient, "gradient": Gradient}},
        r"order\.maps\[0\]: was gradient, now signed",
    ),
    "a metric": (
        {"metrics": [Deletion(GREY, FEW)]},
        r"metrics\.fidelity: was a saliency_ext\.metrics\.fidelity\.Fidelity, now absent",
    ),
    "a parameter": (
        {"metrics": [Deletion(GREY, FEW, score="logit"), Fidelity(GREY, FEW, references=1)]},
        r"metrics\.deletion\.score: was probability, now logit",
    ),
    "an infill": (
        {"metrics": [Deletion(Constant(0.25), FEW), Fidelity(GREY, FEW, references=1)]},
        r"metrics\.deletion\.infill\.value: was 0\.5, now 0\.25",
    ),
    "seed": ({"seed": 2}, r"options\.seed: was 0, now 2"),
    "controls": ({"controls": False}, r"maps\.random: was a saliency_ext\.attribution\.controls\.RandomControl, now absent"),
    "batch": ({"engine": {"max_batch": 4}}, r"options\.batch: was 8, now 4"),
    "resample": ({"resample": "area"}, r"options\.resample: was None, now area"),
    "chunk": ({"chunk": 3}, r"layout\.chunk: was 2, now 3"),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("finished")
    make_study(out).run()
    return out


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_refused_and_named(name, finished):
    options, text = CHANGES[name]
    before = result_bytes(finished)
    with pytest.raises(ValueError, match=text) as caught:
        make_study(finished, **options).resume()
    message = str(caught.value)
    assert message.startswith("Study: expected out a folder with this run or none, got '") and "force_new_run=True" in message
    assert result_bytes(finished) == before


def test_another_version_is_refused(finished, monkeypatch):
    monkeypatch.setattr(saliency_ext, "__version__", "9.9")
    with pytest.raises(ValueError, match=r"fingerprint\.library\.saliency_ext: was .*, now 9\.9"):
        make_study(finished).run()


def test_what_decides_no_number_may_change(finished):
    model = SmallNet()
    options = {"class_names": ["a"] * 5, "max_unreadable": 1.0, "progress": lambda *_: None, "rank": 1, "world": 3}
    make_study(finished, model, inputs=list(IMAGES), **options).resume()
    assert model.calls == PROBED


def test_force_new_run_drops_the_old_run(tmp_path):
    make_study(tmp_path / "a").run()
    make_study(tmp_path / "a", seed=5, chunk=4).run(force_new_run=True)
    make_study(tmp_path / "b", seed=5, chunk=4).run()
    assert result_bytes(tmp_path / "a") == result_bytes(tmp_path / "b")
    assert len(list((tmp_path / "a" / "shards").iterdir())) == 2 * 3
    model = SmallNet()
    make_study(tmp_path / "a", model, seed=5, chunk=4).run(force_new_run=True)  # the same run is no other run
    assert model.calls == PROBED


def test_tensors_are_described_by_dtype_shape_and_bytes():
    values = tensors(4, 6)
    assert tensor_digest(values) == tensor_digest(values.t().contiguous().t()) == tensor_digest(values.clone().requires_grad_())
    others = [values.double(), values.view(6, 4), values + 1e-7, values[:3], values[:0], values.bfloat16(), torch.tensor(1.0)]
    assert len({tensor_digest(other) for other in [values, *others]}) == 8


def test_modules_are_described_by_class_structure_and_weights():
    def net(activation=torch.nn.ReLU, seed=0):
        layers = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2), activation())
        for place, parameter in enumerate(layers.parameters()):
            parameter.data = tensors(*parameter.shape, seed=seed + place)
        return layers

    first = module_digest(net())
    assert first == module_digest(net()) == module_digest(net().train())
    assert module_digest(net(torch.nn.GELU))["structure"] != first["structure"]
    statistics = net()
    statistics[1].running_mean[0] = 0.5
    assert module_digest(statistics)["weights"] != first["weights"] != module_digest(net(seed=1))["weights"]


def test_functions_are_described_by_what_they_do():
    def one(inputs, target):
        return inputs.sum(1)

    first = one

    def one(inputs, target):
        return inputs.amax(1)

    assert describe(first) == describe(first) and describe(first) != describe(one)
    assert describe(times(2.0)) == describe(times(2.0)) != describe(times(3.0))
    assert describe(times(tensors(2))) != describe(times(tensors(2, seed=1)))
    assert describe(functools.partial(one, target=1)) != describe(functools.partial(one, target=2))
    inner = [eval(f"lambda x: (lambda y: y + {number})(x)") for number in (1, 2)]
    assert describe(inner[0])["code"] != describe(inner[1])["code"]


class Counter:
    def __init__(self, steps, scale=1.0):
        self.steps, self._scale, self._lock, self.me = steps, scale, threading.Lock(), self

    def explain(self, inputs, target):
        return inputs.sum(1) * self._scale


def with_code(change):
    """The class of a counter whose `explain` was edited."""
    return type("Counter", (Counter,), {"explain": lambda self, inputs, target: inputs.sum(1) * change})


class Slotted:
    __slots__ = ("_scale",)

    def __init__(self, scale):
        self._scale = scale


class Mine(Gradient):
    """A method of a user, on one of this library."""

    def __init__(self, model, scale):
        super().__init__(model)
        self._scale, self._targets = scale, object()

    def _explain(self, inputs, classes, sample_ids):
        return super()._explain(inputs, classes, sample_ids) * self._scale


def test_objects_are_described_by_their_attributes_and_the_code_of_their_class():
    assert describe(Counter(3)) == describe(Counter(3)) != describe(Counter(4))
    assert describe(Counter(3))["me"] == "itself" and describe(Counter(3)) != describe(Counter(3, 2.0))
    assert describe(Counter(3).explain) == describe(Counter(3).explain) != describe(Counter(4).explain)
    assert describe(Counter(3).explain) != describe(Counter(3, 2.0).explain)
    edited = [with_code(change)(3) for change in (1.0, 1.0, 2.0)]
    assert describe(edited[0]) == describe(edited[1]) != describe(edited[2])
    assert describe(Slotted(1.0)) != describe(Slotted(2.0))
    model = SmallNet()
    assert describe(Mine(model, 1.0), model) == describe(Mine(model, 1.0), model) != describe(Mine(model, 2.0), model)
    reference_sets = [OtherImage(tensors(2, 3, 6, 5, seed=seed), seed=0) for seed in (0, 1)]
    assert describe(reference_sets[0]) != describe(reference_sets[1]) and describe(object()) == describe(object())
    assert describe({"b": {3, 1, 2}, "a": (1.5, None, torch.float32)}) == {"b": [1, 2, 3], "a": ["1.5", None, "torch.float32"]}


def test_where_something_lies_decides_nothing(tmp_path):
    for place in ("a", "b"):
        (tmp_path / place).write_text(place)
    assert describe(str(tmp_path / "a")) == describe(tmp_path / "b") != describe("max")
    assert describe(torch.device("cuda:0")) == describe(torch.device("cuda:1")) == describe("cuda:3") != describe("cpu")


def test_a_shallow_description_has_names_and_public_attributes():
    def shallow(value):
        return Fingerprinter(None, deep=False).describe(value)

    assert shallow(Counter(3)) == shallow(Counter(3, 2.0)) != shallow(Counter(4))
    assert shallow(SmallNet()) == module_digest(SmallNet())


def test_the_model_and_its_parts_are_named():
    model = SmallNet()
    assert describe([model, model.head], model) == ["model", "model.head"]
    assert describe(Gradient(model), model)["model"] == "model" and describe(Gradient(SmallNet(1)), model)["model"] != "model"


def member(inputs, target):
    return inputs.sum(1) if target in {"first", "second", "third", "fourth"} else inputs.amax(1)


def described(found):
    found.put(describe([member, {"x", "y", "z"}, Counter(2), SmallNet()]))


def test_another_process_describes_alike():
    context = multiprocessing.get_context("forkserver")  # with a hash seed of its own
    result = context.Queue()
    process = context.Process(target=described, args=(result,))
    process.start()
    assert result.get(timeout=60) == describe([member, {"x", "y", "z"}, Counter(2), SmallNet()])
    process.join()


def test_differences_are_listed_by_place():
    old, new = {"a": {"b": 1, "c": [1, 2]}, "d": {"class": "Net"}}, {"a": {"b": 2, "c": [3]}, "e": "x" * 99}
    lines = differences(old, new)
    assert lines[:4] == ["a.b: was 1, now 2", "number of a.c: was 2, now 1", "a.c[0]: was 1, now 3", "d: was a Net, now absent"]
    assert lines[4:] == ["e: was absent, now " + "x" * 57 + "..."] and differences(old, old) == []
    assert listed(["a"] * 8) == "a; a; a; a; a; a; and 2 more"
