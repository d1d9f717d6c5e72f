"""Model randomisation: rank correlation, the order of layers, restoration to the bit, and values against redrawn copies."""

import copy

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from saliency_ext.attribution import Gradient
from saliency_ext.attribution.controls import Centre
from saliency_ext.attribution.random_weights import RandomWeights, reinitialised_copy
from saliency_ext.infill import Constant
from saliency_ext.metrics import Deletion
from saliency_ext.metrics._rank_correlation import rank_correlation
from saliency_ext.metrics.model_randomisation import ModelRandomisation
from saliency_ext.models._reinitialised_weights import layers_from_output, redraw, restored
from tests.helpers import tensors
from tests.metrics.perturbation_cases import make_model, requested, run, same_results

SIZE = (4, 5)


def only(results, name="map"):
    return results[name, "model_randomisation"]


def bits(model):
    return [tensor.detach().clone() for tensor in (*model.parameters(), *model.buffers())]


def same_bits(model, before):
    now = [*model.parameters(), *model.buffers()]
    return all(torch.equal(a.view(torch.uint8), b.view(torch.uint8)) for a, b in zip(now, before, strict=True))


# ---- rank correlation


@pytest.mark.parametrize("kind", ["untied", "tied"])
def test_rank_correlation_is_that_of_scipy(kind):
    first, second = tensors(4, 7, 9), tensors(4, 7, 9, seed=1)
    if kind == "tied":
        first, second = (first * 4).round() - 2, (second * 3).round() * -0.0 + (second * 3).round()
    result = rank_correlation(first, second)
    expected = [spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(first, second, strict=True)]
    torch.testing.assert_close(result, torch.tensor(expected).double(), rtol=1e-12, atol=1e-12)
    assert torch.equal(result[2:3], rank_correlation(first[2:3], second[2:3]))
    assert torch.equal(rank_correlation(first, (3 * first).exp()), torch.ones(4).double())
    assert torch.equal(rank_correlation(-first, second), -result)


def test_rank_correlation_where_it_is_not_defined():
    varied, constant = tensors(1, 2, 3), torch.ones(1, 2, 3)
    assert rank_correlation(constant, 2 * constant).item() == 1
    assert rank_correlation(constant, varied).item() == rank_correlation(varied, constant).item() == 0
    assert rank_correlation(varied, varied * torch.nan).isnan().item()
    assert rank_correlation(torch.tensor([[[0.0, -0.0]]]), torch.tensor([[[1.0, 2.0]]])).item() == 0  # -0 ties with 0
    assert rank_correlation(varied[:0], varied[:0]).shape == (0,)


# ---- layers, drawn anew and put back


class HeadFirst(nn.Module):
    """Registers its head before its body, shares a weight, and has a part that is read but never called."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(12, 3)
        self.body = nn.Conv2d(3, 3, 1)
        self.attention = nn.MultiheadAttention(3, 1, batch_first=True)
        self.again = nn.Conv2d(3, 3, 1)
        self.again.weight = self.body.weight
        self.register_buffer("calls", torch.tensor([0.5, torch.nan]))

    def forward(self, x):
        tokens = self.again(self.body(x)).flatten(2).transpose(1, 2)
        tokens = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return self.head(tokens.flatten(1))


def test_layers_come_in_the_order_of_the_forward():
    model = HeadFirst().eval()
    layers = layers_from_output(model, torch.zeros(1, 3, 2, 2))
    assert [layer.name for layer in layers] == ["head", "attention.out_proj", "attention", "again", "body"]
    places = {name: place for place, (name, _) in enumerate(model.named_parameters())}
    assert [place for place, _ in layers[3].parameters] == [places["body.weight"], places["again.bias"]]  # the shared one, once
    assert [place for place, _ in layers[4].parameters] == [places["body.bias"]]
    drawn = [place for layer in layers for place, _ in layer.parameters]
    assert len(drawn) == len(set(drawn))
    assert places["attention.in_proj_bias"] not in drawn  # all zero: a draw would keep it


class Scaled(nn.Module):
    """Holds a parameter itself, and returns no tensor."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
        self.inner = HeadFirst()

    def forward(self, x):
        return {"logits": self.scale * self.inner(x)}


def test_what_the_model_holds_itself_comes_first():
    layers = layers_from_output(Scaled().eval(), torch.zeros(1, 3, 2, 2))
    assert [layer.name for layer in layers][:2] == ["Scaled", "inner.head"]


def test_everything_drawn_is_the_model_of_the_control():
    model = HeadFirst().eval()
    expected, other = reinitialised_copy(model, 3), reinitialised_copy(model, 4)
    layers = layers_from_output(model, torch.zeros(1, 3, 2, 2))
    with restored(model):
        redraw(layers, 3)
        for mine, theirs, third in zip(model.parameters(), expected.parameters(), other.parameters(), strict=True):
            assert torch.equal(mine, theirs)
            assert torch.equal(mine, third) == bool((mine == mine.flatten()[0]).all())


@pytest.mark.parametrize("grad_mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
@pytest.mark.parametrize("made_in", [torch.enable_grad, torch.inference_mode])
def test_everything_is_put_back_after_an_exception(grad_mode, made_in):
    with made_in():
        model = HeadFirst().eval()
        model.head.weight.data[0, 0] = torch.nan
    before, objects = bits(model), [*model.parameters(), *model.buffers()]
    with pytest.raises(KeyError), grad_mode(), restored(model):
        redraw(layers_from_output(model, torch.zeros(1, 3, 2, 2)), 0)
        model.calls = torch.zeros(2)
        with torch.inference_mode(made_in is torch.inference_mode):
            objects[0].data.zero_()
        raise KeyError
    assert same_bits(model, before)
    assert all(a is b for a, b in zip(objects, (*model.parameters(), *model.buffers()), strict=True))


def test_the_callers_graph_stays_valid():
    model, images = make_model(), tensors(2, 3, *SIZE)
    loss = model(images).square().sum()  # saves the weights for its backward
    run(model, images, Gradient(model), [ModelRandomisation()])
    loss.backward()
    expected = copy.deepcopy(model)
    expected.zero_grad()
    expected(images).square().sum().backward()
    for mine, theirs in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.equal(mine.grad, theirs.grad)


# ---- the metric


def test_the_value_is_the_correlation_with_a_redrawn_copy():
    model, images, target = make_model(), tensors(3, 3, *SIZE), torch.tensor([0, 3, 5])
    method = Gradient(model)
    maps, other = method(images, target), RandomWeights(Gradient, model, seed=2)(images, target)
    expected = torch.tensor([spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(maps, other, strict=True)])
    for mode in ("cascade", "independent", "all"):
        result = only(run(model, images, method, [ModelRandomisation(mode=mode, seed=2)], target=target)[0])
        torch.testing.assert_close(result.values, expected.double(), rtol=1e-9, atol=1e-9)
        assert result.status == ["ok"] * 3 and result.info.direction == "lower"


def test_the_cascade_draws_from_the_output_down():
    model, images = make_model(), tensors(2, 3, *SIZE)
    method, drawn = Gradient(model), reinitialised_copy(model, 0)
    clean = method(images, 0)
    only_head, only_body = copy.deepcopy(model), copy.deepcopy(model)
    only_head[3].load_state_dict(drawn[3].state_dict())
    only_body[0].load_state_dict(drawn[0].state_dict())
    head, body, both = (rank_correlation(clean, Gradient(each)(images, 0)) for each in (only_head, only_body, drawn))
    cascade = only(run(model, images, method, [ModelRandomisation(steps=None)])[0])
    assert torch.equal(cascade.curves["cascade"], torch.stack([torch.ones(2).double(), head, both], 1))
    assert cascade.fractions.tolist() == [0, 0.5, 1] and cascade.parameters["layers"] == ("3", "0")
    alone = only(run(model, images, method, [ModelRandomisation("independent")])[0])
    assert torch.equal(alone.curves["independent"], torch.stack([head, body], 1))
    assert torch.equal(alone.values, both) and alone.fractions.tolist() == [0.5, 1]
    at_once = only(run(model, images, method, [ModelRandomisation("all")])[0])
    assert torch.equal(at_once.curves["cascade"], torch.stack([torch.ones(2).double(), both], 1))
    assert at_once.parameters["layers"] == ("3, 0",)


def test_blocks_of_layers():
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(5)), nn.Flatten(), nn.Linear(60, 2)).eval()
    result = only(run(model, tensors(2, 3, *SIZE), Gradient(model), [ModelRandomisation(steps=4)])[0])
    assert result.parameters["layers"] == ("6", "4, 3", "2", "1, 0")
    torch.testing.assert_close(result.fractions, torch.tensor([0, 1, 3, 4, 6]).double() / 6)


def test_the_model_is_restored_also_after_an_exception():
    model, images, calls = make_model(), tensors(2, 3, *SIZE), []
    model.requires_grad_(False)
    before, state = bits(model), torch.get_rng_state()

    def breaks(inputs, target):
        calls.append(len(inputs))
        if len(calls) == 3:
            raise RuntimeError("broken on purpose")
        return Gradient(model)(inputs, target)

    with pytest.raises(RuntimeError, match="broken on purpose"):
        run(model, images, breaks, [ModelRandomisation()], on_bad="raise")
    assert same_bits(model, before)
    run(model, images, Gradient(model), [ModelRandomisation()])
    assert same_bits(model, before) and torch.equal(torch.get_rng_state(), state)
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters()) and not model.training


def test_other_metrics_do_not_notice():
    """Masked inputs that wait in the buffer are forwarded by the model of before."""
    model, images = make_model(), tensors(3, 3, *SIZE)
    metrics = [Deletion(Constant(0.5)), ModelRandomisation(), MoreDeletion(Constant(0.0))]
    maps = {"a": Gradient(model), "b": Gradient(model, channels="max")}
    together, engine = run(model, images, maps, metrics)
    apart, plain = run(model, images, maps, metrics[::2])
    for pair in apart:
        same_results(together[pair], apart[pair])
    assert requested(engine) == requested(plain)


class MoreDeletion(Deletion):
    """Under another infill."""


@pytest.mark.parametrize("kind", ["control", "copy"])
def test_a_method_that_is_not_tied_to_the_model_is_found(kind):
    model = make_model()
    method = Centre() if kind == "control" else Gradient(copy.deepcopy(model))
    with pytest.warns(RuntimeWarning, match="drawing every parameter of the model anew changed no map: the method ignores the"):
        result = only(run(model, tensors(2, 3, *SIZE), method, [ModelRandomisation()])[0])
    assert result.values.tolist() == [1.0, 1.0] and result.status == ["flat_curve"] * 2


def test_constant_and_nonfinite_maps(recwarn):
    model, images = make_model(), tensors(3, 3, *SIZE)
    gradient, clean = Gradient(model), model[0].weight.detach().clone()

    def method(inputs, target):
        maps = gradient(inputs, target)
        maps[0] = 0.0
        if not torch.equal(model[0].weight, clean):
            maps[1], maps[2, 0, 0] = 7.0, torch.nan
        return maps

    result = only(run(model, images, method, [ModelRandomisation("all")])[0])
    assert result.status == ["degenerate_map", "ok", "nonfinite_score"]
    assert result.values[:2].tolist() == [1.0, 0.0] and result.values[2].isnan()
    zeros = only(run(model, images, lambda inputs, target: 0 * inputs[:, 0], [ModelRandomisation()])[0])
    assert zeros.status == ["degenerate_map"] * 3 and zeros.values.tolist() == [1.0] * 3
    assert not any("changed no map" in str(warning.message) for warning in recwarn)  # constant maps prove nothing


def test_chunks_and_runs_change_no_bit_and_seeds_do():
    def method(inputs, target):  # bit-equal in any batch
        return (inputs * model[0].weight.sum((0, 2, 3))[:, None, None]).sum(1)

    model, images = make_model(), tensors(5, 3, *SIZE)
    whole = only(run(model, images, method, [ModelRandomisation(seed=1)])[0])
    for chunk in (1, 2):
        same_results(only(run(model, images, method, [ModelRandomisation(seed=1)], chunk=chunk)[0]), whole)
    order = torch.tensor([3, 0])
    same_results(only(run(model, images[order], method, [ModelRandomisation(seed=1)])[0]), whole, order)
    assert not torch.equal(only(run(model, images, method, [ModelRandomisation(seed=2)])[0]).values, whole.values)
    assert only(run(model, images[:0], Gradient(model), [ModelRandomisation()])[0]).values.shape == (0,)


def test_what_it_cannot_work_with_is_refused():
    model, images = make_model(), tensors(2, 3, *SIZE)
    text = (
        "ModelRandomisation: expected forward to be a torch.nn.Module, got function; only a module has parameters to draw; pass"
    )
    with pytest.raises(TypeError, match=text):
        run(lambda x: model(x), images, Gradient(model), [ModelRandomisation()])
    with pytest.raises(
        TypeError, match=r"expected maps\['map'\] to be a method, for metric 'model_randomisation' explains other"
    ):
        run(model, images, tensors(2, *SIZE), [ModelRandomisation()])
    empty = nn.Flatten().eval()
    with pytest.raises(
        ValueError, match="expected forward to have floating parameters whose entries differ, got Flatten with none"
    ):
        run(empty, images, lambda inputs, target: inputs.sum(1), [ModelRandomisation()])


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"mode": "up"}, ValueError, "ModelRandomisation: expected mode to be one of 'cascade', 'independent', 'all', got 'up'"),
        ({"steps": 0}, ValueError, "ModelRandomisation: expected steps in"),
        ({"seed": 0.5}, TypeError, "ModelRandomisation: expected seed to be an int, got float"),
    ],
)
def test_bad_choices_are_refused(options, error, text):
    with pytest.raises(error, match=text):
        ModelRandomisation(**options)
