"""Selects the rule of each convolution, and how deep the gradient is needed, from the graph alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...checks import bad_type, bad_value
from ._graph import IMAGE, Network
from ._operations import Add, Affine, Conv, Linear, Reshape

FIRST, FULL, FLAT = "first", "full", "flat"


@dataclass(frozen=True)
class RuleSelection:
    """The choices for one network.

    Attributes:
        rules: position of a convolution -> "first", "full" or "flat".
        flattened: position of a linear layer -> position of the step whose 4-d map was flattened into its input.
        gradient: positions of the steps at whose output the gradient is still needed.
        features: position of the step whose output is the last linear layer's input, or the module's output if it does not end
            in a linear layer.
    """

    rules: dict[int, str]
    flattened: dict[int, int]
    gradient: frozenset[int]
    features: int


def make_plan(network: Network, full: Sequence[str] | None, needs_gradient: bool) -> RuleSelection:
    """The plan of a network.

    A convolution is "first" if no convolution and no linear layer lies between it and the images. Otherwise it is "flat" if its
    kernel is 1 x 1 or its output enters an addition with nothing but batch norm and the like in between, and "full" if not.

    Args:
        network: the traced module.
        full: names of the convolutions that get the full rule instead; all others are flat.
        needs_gradient: whether the full rule uses the gradient at all.
    """
    steps = network.steps
    rules = {at: _rule(network, at) for at, step in enumerate(steps) if step.kind is Conv}
    if full is not None:
        rules = _overridden(network, rules, full)
    flattened = {at: steps[step.sources[0]].sources[0] for at, step in enumerate(steps) if _reads_reshape(network, at)}
    users = {at for at, rule in rules.items() if rule == FULL and needs_gradient} | set(flattened)
    gradient: set[int] = set()
    for at, step in enumerate(steps):
        if at in users or any(source in gradient for source in step.sources):
            gradient.add(at)
    last = steps[network.output]
    features = last.sources[0] if last.kind is Linear else network.output
    return RuleSelection(rules, flattened, frozenset(gradient), features)


def names_of(network: Network, rule_selection: RuleSelection) -> dict[str, str]:
    """Rule of each convolution by its name."""
    return {network.steps[at].name: rule for at, rule in rule_selection.rules.items()}


def _rule(network: Network, at: int) -> str:
    if _is_first(network, at):
        return FIRST
    operation = network.operation(network.steps[at], torch.float32, lambda node: None)
    pointwise = isinstance(operation, Conv) and operation.is_pointwise
    return FLAT if pointwise or _enters_addition(network, at) else FULL


def _is_first(network: Network, at: int) -> bool:
    above = set(network.steps[at].sources)
    for position in range(at - 1, IMAGE, -1):
        if position in above:
            if network.steps[position].kind in (Conv, Linear):
                return False
            above |= set(network.steps[position].sources)
    return True


def _enters_addition(network: Network, at: int) -> bool:
    reached = {at}
    for position, step in enumerate(network.steps[at + 1 :], at + 1):
        if reached & set(step.sources):
            if step.kind is Add:
                return True
            if step.kind is Affine:
                reached.add(position)
    return False


def _reads_reshape(network: Network, at: int) -> bool:
    step = network.steps[at]
    return step.kind is Linear and at != network.output and network.steps[step.sources[0]].kind is Reshape


def _overridden(network: Network, rules: dict[int, str], full: Any) -> dict[int, str]:
    if isinstance(full, str) or not all(isinstance(name, str) for name in full):
        bad_type("AGF", "full", "to be names of convolutions", repr(full), "for example full=['features.3']")
    possible = [network.steps[at].name for at, rule in rules.items() if rule != FIRST]
    unknown = [name for name in full if name not in possible]
    if unknown:
        bad_value("AGF", "full", "to name convolutions after the first: " + ", ".join(possible), ", ".join(unknown))
    return {at: rule if rule == FIRST else FULL if network.steps[at].name in full else FLAT for at, rule in rules.items()}
