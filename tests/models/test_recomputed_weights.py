"""Models whose weights are recomputed in each forward: methods, controls and metrics that look at weights themselves."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from saliency_ext.attribution import Gradient, RandomWeights

from .states import ASKING, MAPS, OF_THE_MODEL, alike, explained, judged, network

RECOMPUTED = {
    "prune": lambda layer: prune.l1_unstructured(layer, "weight", 0.4),
    "weight_norm": lambda layer: weight_norm(layer),
    "spectral_norm": lambda layer: spectral_norm(layer),
    "parametrized": lambda layer: parametrizations.weight_norm(layer),
}
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def with_recomputed(kind):
    """A network with recomputed weights, as it comes from training, and one with the same numbers as parameters."""
    net, plain = network(), network()
    for module in net:
        if isinstance(module, nn.Conv2d | nn.Linear):
            RECOMPUTED[kind](module)
    net.train()(torch.rand(2, 3, 12, 12))  # weights on the layers now belong to a graph
    net.eval()(torch.rand(2, 3, 12, 12))
    with torch.no_grad():
        for own, layer in zip(plain, net, strict=True):
            if isinstance(own, nn.Conv2d | nn.Linear):
                own.weight.copy_(layer.weight)
                own.bias.copy_(layer.bias)
    plain[1].load_state_dict(net[1].state_dict())
    return net, plain


@pytest.mark.parametrize("kind", RECOMPUTED)
@pytest.mark.parametrize("name", [name for name in OF_THE_MODEL if "random" not in name])
def test_maps_are_those_of_the_weights(name, kind):
    net, plain = with_recomputed(kind)
    assert alike(explained(name, net), explained(name, plain), 1e-3)


@pytest.mark.parametrize("kind", RECOMPUTED)
def test_a_control_with_random_weights_can_be_made(kind):
    net, _ = with_recomputed(kind)
    inputs, before = torch.rand(2, 3, 12, 12), {name: value.clone() for name, value in net.state_dict().items()}
    control = RandomWeights(Gradient, net)
    saliency = control(inputs, 1)
    assert saliency.isfinite().all() and not alike(saliency, Gradient(net)(inputs, 1), 0.1)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    if kind == "prune":
        assert ((control.method.model[3].weight == 0) == (net[3].weight == 0)).all(), "what was pruned stays so"


@pytest.mark.parametrize("kind", RECOMPUTED)
def test_randomised_layers_are_put_back(kind):
    assert "model_randomisation" in ASKING and "gradient" in MAPS
    net, _ = with_recomputed(kind)
    with torch.no_grad():
        logits, weight = net(torch.ones(1, 3, 12, 12)), net[3].weight.clone()
    assert judged("model_randomisation", net).values.isfinite().all()
    assert torch.equal(net[3].weight, weight)
    assert torch.equal(net(torch.ones(1, 3, 12, 12)), logits)
