"""Model randomisation control: the same method on a copy of the model with random weights."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from ..checks import bad_type, bad_value, require_integer
from ..models._reinitialised_weights import redraw_parameter
from ..protocols import MethodInfo
from .adapters import as_method
from .base import Method

SUFFIX = "_random_weights"


class RandomWeights(Method):
    """Saliency by the same method, on a copy of the model with random parameters [Adebayo 2018, Sec. 3].

    saliency = method_factory(copy)(inputs, target). Each floating parameter of the copy is drawn anew: mean(p) + std(p) z, with
    mean and deviation over the entries of that parameter, and z standard normal keyed by (seed, place of the parameter in
    model.parameters(), entry). So every layer keeps its scale. A map that hardly changes does not depend on what was learned.

    A parameter whose entries are all equal (a fresh bias, a single number) keeps its value; shared parameters stay shared.
    Parameters that are not floating are kept. Buffers are kept, among them the running statistics of batch normalisation: for
    random channels they carry no information on the classes, but hold the scale of signals; set to 0 and 1, signals fade with
    depth.

    Args:
        method_factory: called once with the copy: a method class, or a function such as `lambda m: Gradient(m, channels="max")`.
            What it returns may be anything that `as_method` takes without further words.
        model: torch.nn.Module; it is not changed. The copy is made at once, in evaluation mode, and kept: later changes of the
            model are not followed.
        seed: in [0, 2^63).

    A named target ("predicted", "top-3") means the classes of the given model, not of the copy, so that the target stays the
    same. Polarity, unit, cost, sign: those of the method. Memory: a second model. Deterministic: no generator state is read or
    changed. `method` is the method on the copy.

    Traps: the logits of the copy vary much less with the image than those of the model (in deep nets by orders of magnitude), so
    compare maps by rank or after scaling. Maps differ between seeds: use more than one. Absolute values make
    maps look similar: compare signed maps with their signs.

    Example:
        >>> import torch
        >>> from saliency_ext.attribution import Gradient
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 2)).eval()
        >>> control = RandomWeights(Gradient, model, seed=0)
        >>> images = torch.ones(1, 1, 3, 3)
        >>> torch.equal(control(images, 1), Gradient(model)(images, 1)), control.info.name
        (False, 'gradient_random_weights')

    References:
        Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim. Sanity Checks for Saliency Maps. NeurIPS 2018.
    """

    def __init__(self, method_factory: Callable[[Any], Any], model: Module, seed: int = 0) -> None:
        name = "RandomWeights"
        if not callable(method_factory):
            remedy = "pass a method class, or a function of the model"
            bad_type(name, "method_factory", "to be callable", type(method_factory).__name__, remedy)
        if not isinstance(model, Module):
            bad_type(name, "model", "to be a torch.nn.Module", type(model).__name__, "only a module has parameters to draw")
        require_integer(name, "seed", seed, 0, 2**63 - 1)
        self.seed = seed
        randomised = reinitialised_copy(model, seed)
        self.method = as_method(method_factory(randomised))
        if self.method.explained_model is model:
            bad_value(name, "method_factory", "to use the model that it is called with", "a method on the given model")
        super().__init__(model, max_batch=self.method.max_batch)
        info = self.method.info
        self.info = MethodInfo(f"{info.name}{SUFFIX}", "control", info.signed, info.cost, "Adebayo 2018")  # type: ignore[misc]

    def _explain(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor) -> Tensor:
        return self.method(inputs, classes, sample_ids=sample_ids)


def reinitialised_copy(model: Module, seed: int) -> Module:
    """A frozen copy in evaluation mode with parameters drawn anew, as `RandomWeights` describes."""
    with torch.inference_mode(False), torch.no_grad():
        # Weights that a hook recomputes in each forward (pruning, weight norm) may belong to a graph, and are copied without it.
        recomputed = (value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor))
        copied = copy.deepcopy(model, {id(value): value.detach().clone() for value in recomputed}).eval()
        for index, parameter in enumerate(copied.parameters()):
            parameter.requires_grad_(False).grad = None
            if parameter.is_floating_point() and parameter.numel() > 0:
                redraw_parameter(parameter, index, seed)
    return copied
