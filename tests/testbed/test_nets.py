"""Nets and weights: what is shipped loads, is what its log says, recognises what it claims; anything else is refused by name."""

import hashlib
import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load, save

from saliency_ext.testbed import load as loading
from saliency_ext.testbed import train as training
from saliency_ext.testbed.__main__ import main
from saliency_ext.testbed._accuracy import recognition
from saliency_ext.testbed.load import FILES, WEIGHTS, load_net, training_log
from saliency_ext.testbed.nets import NETS, make_net
from saliency_ext.testbed.scenes import MEAN, STD, make_scenes, normalise
from saliency_ext.testbed.train import PLANS, TrainingPlan, train

MEASURES = ("one_object", "in_scene", "both_found", "synonym_pair")
PARAMETERS = {"residual": 223_466, "transformer": 178_022}
SHIPPED = ("residual", "transformer")


@pytest.fixture
def copy(tmp_path):
    """The shipped folder, to be damaged; `rehash` makes the log agree with the damaged file."""
    shutil.copytree(WEIGHTS, tmp_path / "weights")
    folder = tmp_path / "weights"

    def rehash(content, **changes):
        (folder / FILES["residual"]).write_bytes(content)
        log = json.loads((folder / "training_log.json").read_text())
        log["residual"] |= {"sha256": hashlib.sha256(content).hexdigest(), **changes}
        (folder / "training_log.json").write_text(json.dumps(log))
        return folder

    return folder, (folder / FILES["residual"]).read_bytes(), rehash


def refused(folder, text, error=ValueError):
    with pytest.raises(error, match=text) as caught:
        load_net("residual", folder=folder)
    assert FILES["residual"] in str(caught.value) or "training_log.json" in str(caught.value)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_are_those_of_the_log(name):
    record = training_log()[name]
    content = (WEIGHTS / FILES[name]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == record["sha256"] and len(content) == record["bytes"]
    net = load_net(name)
    assert sum(p.numel() for p in net.parameters()) == record["parameters"] == PARAMETERS[name]
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    assert record["plan"] == vars(PLANS[name]) and (tuple(record["mean"]), tuple(record["std"])) == (MEAN, STD)
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) < 3 << 20


@pytest.mark.parametrize("name", SHIPPED)
def test_stated_recognition_holds(name):
    """Not the first scenes, which the log is about: others of the same kind."""
    record = training_log()[name]["test"]
    scenes = make_scenes("test", torch.arange(10_000, 10_000 + 400))
    with torch.no_grad():
        logits = load_net(name)(scenes.inputs)
    for measure_name, hits in recognition(logits, scenes).items():
        stated, of = record[measure_name]["share"], record[measure_name]["of"]
        variance = max(stated * (1 - stated), 0.01) * (1 / len(hits) + 1 / of)
        assert abs(hits.double().mean().item() - stated) <= 3 * variance**0.5, (measure_name, hits.double().mean(), stated)


def test_the_residual_net_is_good_enough_to_judge_maps_with():
    shares = {name: training_log()["residual"]["test"][name]["share"] for name in MEASURES}
    assert shares["one_object"] >= 0.95 and shares["in_scene"] >= 0.98 and shares["both_found"] >= 0.93


def test_the_transformer_knows_digits_if_not_well():
    shares = {name: training_log()["transformer"]["test"][name]["share"] for name in MEASURES}
    assert shares["one_object"] >= 0.7 and shares["in_scene"] >= 0.8, "chance is 0.1 and 0.17"


def test_readme_states_the_numbers_of_the_log():
    text = (WEIGHTS.parent / "README.md").read_text()
    for name in SHIPPED:
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
        record = training_log()[name]
        assert re.findall(r"\d\.\d{3}", row) == [f"{record['test'][measure]['share']:.3f}" for measure in MEASURES]
        assert f"{record['parameters']:,}" in row


def test_recognition_by_hand():
    scenes = make_scenes("test", 300)
    two = scenes.two_objects
    first, second = scenes.entities.unbind(1)
    logits = torch.zeros(300, 14)
    at = torch.arange(300)
    logits[at, first] = 5.0
    got = {name: hits.double().mean().item() for name, hits in recognition(logits, scenes).items()}
    assert got["one_object"] == got["in_scene"] == 1 and got["both_found"] < 0.5 and got["synonym_pair"] < 0.6
    logits[at[two], second[two]] = 4.0
    logits[at[first < 4], first[first < 4] + 10] = 4.5  # two names of the first do not count as both objects
    assert {name: hits.double().mean().item() for name, hits in recognition(logits, scenes).items()} == dict.fromkeys(
        MEASURES, 1.0
    )
    got = recognition(logits.roll(1, 1), scenes)
    assert not bool(got["one_object"].any()) and len(got["one_object"]) == int((~two).sum())
    assert len(got["both_found"]) == int(two.sum()) and len(got["in_scene"]) == 300
    with pytest.raises(ValueError, match=r"recognition: expected logits of shape \(N, K\) = \(300, 14\), got \(300, 10\)"):
        recognition(logits[:, :10], scenes)


@pytest.mark.parametrize("name", NETS)
def test_random_nets_are_keyed_and_rows_are_independent(name):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    net = make_net(name, seed=4)
    assert torch.equal(torch.random.get_rng_state(), before) and not net.training
    images = make_scenes("test", 5).inputs
    with torch.no_grad():
        assert torch.equal(net(images), make_net(name, seed=4)(images))
        assert not torch.allclose(net(images), make_net(name, seed=5)(images))
        torch.testing.assert_close(net(images)[3:4], net(images[3:4]))
        assert net(images[:0]).shape == (0, 14)


def test_class_activation_map_of_the_residual_net_is_exact():
    net, images = load_net("residual"), make_scenes("test", 4).inputs
    features = net.blocks(net.stem(images))
    assert features.shape == (4, 96, 8, 8)
    maps = torch.einsum("kc,nchw->nkhw", net.head.weight, features)
    torch.testing.assert_close(maps.mean((2, 3)) + net.head.bias, net(images), rtol=1e-4, atol=1e-4)


def test_transformer_tokens_are_a_class_token_and_the_grid():
    net, images, seen = make_net("transformer"), make_scenes("test", 2).inputs, []
    handles = [block.attention.softmax.register_forward_hook(lambda module, given, out: seen.append(out)) for block in net.blocks]
    net(images)
    for handle in handles:
        handle.remove()
    assert [weights.shape for weights in seen] == [(2, 4, 65, 65)] * 4 and net.grid == (8, 8)
    torch.testing.assert_close(seen[0].sum(-1), torch.ones(2, 4, 65))
    assert not seen[-1].isnan().any() and sum(1 for module in net.modules() if isinstance(module, torch.nn.Softmax)) == 4


def test_half_precision_keeps_batch_norm_in_float32():
    scenes = make_scenes("test", 4)
    exact = load_net("residual")(scenes.inputs)
    for dtype, tolerance in ((torch.float16, 0.1), (torch.bfloat16, 0.5)):
        net = load_net("residual", dtype=dtype)
        norms = [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        assert norms and all(value.dtype != dtype for norm in norms for value in (*norm.parameters(), *norm.buffers()))
        assert net.head.weight.dtype == net.stem[0].weight.dtype == dtype
        assert (net(scenes.inputs.to(dtype)).float() - exact).abs().max() < tolerance
    with pytest.raises(TypeError, match="load_net: expected dtype to be float32 or float16 or bfloat16, got torch.float64"):
        load_net(dtype=torch.float64)


def test_normalisation_by_hand():
    image = torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 3, 1, 1)
    expected = [(level - mean) / std for level, mean, std in zip((0, 1, 0.2), MEAN, STD, strict=True)]
    torch.testing.assert_close(normalise(image).flatten(), torch.tensor(expected))


def test_damaged_files_are_refused(copy):
    folder, good, rehash = copy
    flipped = bytearray(good)
    flipped[-1] ^= 1
    (folder / FILES["residual"]).write_bytes(flipped)
    refused(folder, "with the sha256 of its log, [0-9a-f]{64}, got [0-9a-f]{64}; reinstall the package, or train again")
    refused(rehash(good[:-5]), "to be a valid safetensors file, got SafetensorError")
    length = 8  # bytes of the size of the header
    bad_headers = [
        good[:4],
        (1 << 40).to_bytes(length, "little") + good[length:],
        (60_000).to_bytes(length, "little") + good[length:5000],
        (9).to_bytes(length, "little") + b"not json!",
    ]
    for content in bad_headers:
        refused(rehash(content), "to be a valid safetensors file, got SafetensorError")
    refused(rehash(good + bytes(4 << 20)), "of at most 4194304 bytes, got more")
    (folder / FILES["residual"]).unlink()
    refused(folder, "expected the file .*, got no such file; reinstall", FileNotFoundError)


def test_files_of_other_tensors_are_refused(copy):
    _, good, rehash = copy
    tensors = load(good)

    def changed(**values):
        return save({name: value for name, value in (tensors | values).items() if value is not None})

    refused(rehash(changed(**{"head.bias": None})), "with the tensors of the net, got no 'head.bias'")
    refused(rehash(changed(extra=torch.zeros(2))), "with the tensors of the net, got also 'extra'")
    refused(rehash(changed(**{"head.bias": torch.zeros(15)})), r"head.bias of shape \(14,\) and dtype float32, got \(15,\) and")
    refused(rehash(changed(**{"head.bias": torch.zeros(14).half()})), r"head.bias of shape .* got \(14,\) and float16")
    refused(rehash(changed(**{"head.bias": torch.full((14,), torch.nan)})), "with finite values in head.bias, got NaN")
    refused(rehash(good, mean=[0, 0, 0]), r"trained on inputs with mean .* got \[0, 0, 0\] and")
    assert load_net("residual", folder=rehash(good, mean=MEAN)).head.bias.shape == (14,)


def test_a_pickle_is_never_run(copy):
    _, _, rehash = copy
    path = rehash(b"") / FILES["residual"]
    torch.save({"head.bias": torch.zeros(14)}, path)
    refused(rehash(path.read_bytes()), "to be a valid safetensors file, got SafetensorError")


@pytest.mark.parametrize("text", ["", "[]", '{"residual": 3}', '{"residual": {"sha256": "0"}}', "[" * 5000, "\xff"])
def test_a_log_that_is_none_is_refused(copy, text):
    folder, _, _ = copy
    (folder / "training_log.json").write_text(text, encoding="latin-1")
    refused(folder, "to be the JSON log of trained nets, with sha256, mean and std of each, got something else")


def test_a_net_that_the_log_lacks_is_refused(copy):
    folder, _, _ = copy
    log = json.loads((folder / "training_log.json").read_text())
    del log["residual"]
    (folder / "training_log.json").write_text(json.dumps(log))
    refused(folder, "to tell of the net 'residual', got")
    with pytest.raises(ValueError, match="load_net: expected name to be one of 'residual', 'transformer', got 'resnet'"):
        load_net("resnet")


def test_missing_safetensors_is_named(monkeypatch):
    def missing(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(loading, "import_module", missing)
    with pytest.raises(ImportError, match="load_net: expected safetensors to be installed, .*pip install safetensors"):
        load_net("residual")


@pytest.mark.parametrize("name", NETS)
def test_training_is_deterministic_and_leaves_no_trace(name, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "TEST_SCENES", 20)
    plan, threads = TrainingPlan(scenes=20, epochs=2, batch=8, rate=2e-3, decay=0.0), torch.get_num_threads()
    state = torch.random.get_rng_state()
    with torch.inference_mode():
        records = [train(name, tmp_path / str(number), seed=7, plan=plan) for number in range(2)]
    assert records[0]["sha256"] == records[1]["sha256"] and records[0]["epoch_losses"] == records[1]["epoch_losses"]
    assert len(records[0]["epoch_losses"]) == 2 and set(records[0]["test"]) == set(MEASURES)
    assert torch.equal(torch.random.get_rng_state(), state) and torch.get_num_threads() == threads
    trained, start = load_net(name, folder=tmp_path / "0").state_dict(), make_net(name, seed=7).state_dict()
    assert not any(torch.equal(trained[key], start[key]) for key in start if key.endswith(("weight", "num_batches_tracked")))
    with pytest.raises(ValueError, match="train: expected name to be one of"):
        train("resnet", tmp_path)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_stated_losses_fall(name):
    losses = training_log()[name]["epoch_losses"]
    assert len(losses) == PLANS[name].epochs and losses[-1] < {"residual": 0.4, "transformer": 0.65}[name] * losses[0]


def test_the_command_trains_into_a_folder(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "saliency_ext.testbed.__main__.train",
        lambda name, folder, **options: calls.append((name, folder, options)) or {"test": {}},
    )
    assert main(["train", "--output", str(tmp_path), "--seed", "2"]) == 0
    assert calls == [(name, str(tmp_path), {"seed": 2, "threads": 1}) for name in NETS]
