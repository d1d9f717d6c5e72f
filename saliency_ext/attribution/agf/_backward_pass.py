"""The backward pass: relevance and gradient from the features to the images, one local rule per recorded operation."""

import torch
from torch import Tensor

from ._convolution import Terms, full_rule
from ._graph import IMAGE, Network, Record
from ._operations import Affine, Conv, Linear, Pool, Relu, Reshape
from ._rule_selection import FIRST, FULL, RuleSelection
from ._rules import abs_rule, add_rule, flattened_rule, pool_rule, relu_rule, split_rule, zbox_rule

Streams = tuple[Tensor, Tensor | None]


class BackwardPass:
    """One forward that several targets share, and the rules to go back through it.

    Args:
        network, rule_selection: of the model.
        records: of `Network.run`.
        terms: switches of the full rule.
        keep: whether to remember what does not depend on the target; worth its memory for several targets.
    """

    def __init__(self, network: Network, rule_selection: RuleSelection, records: list[Record], terms: Terms, keep: bool) -> None:
        self.network, self.rule_selection, self.records, self.terms = network, rule_selection, records, terms
        self._keep = keep
        self._responses: dict[int, Tensor] = {}

    def relevance(self, rel: Tensor, g: Tensor) -> Tensor:
        """Relevance (N, C, H, W) of the images, from the relevance of the plan's features and the gradient there."""
        start, needed = self.rule_selection.features, self.rule_selection.gradient
        rels: dict[int, list[Tensor]] = {start: [rel]}
        gradients: dict[int, Tensor] = {start: g} if start in needed else {}
        with torch.no_grad():
            for at in range(start, IMAGE, -1):
                if at not in rels:
                    continue  # it does not lead to the features
                joined = split_rule(self.records[at].output, rels.pop(at))
                streams = self._step(at, joined, gradients.pop(at, None))
                for source, (back, slope) in zip(self.network.steps[at].sources, streams, strict=True):
                    rels.setdefault(source, []).append(back)
                    if slope is not None and source in needed:
                        gradients[source] = gradients[source] + slope if source in gradients else slope
        return split_rule(self.records[IMAGE].output, rels[IMAGE])

    def _step(self, at: int, rel: Tensor, g: Tensor | None) -> list[Streams]:
        """Both streams at each input of a step; no gradient where nothing below uses it."""
        operation, inputs = self.records[at].operation, self.records[at].inputs
        x, y = inputs[0], self.records[at].output
        match operation:
            case Conv():
                return [self._conv(at, operation, x, rel, g)]
            case Linear():
                return [self._linear(at, operation, x, rel, g)]
            case Relu():
                return [(relu_rule(y, rel), None if g is None else relu_rule(y, g))]
            case Affine():
                return [(rel, None if g is None else g * operation.scale)]
            case Pool():
                return [pool_rule(operation.function, x, rel, g)]
            case Reshape():
                return [(rel.reshape(x.shape), None if g is None else g.reshape(x.shape))]
        first, second = add_rule(x, inputs[1], rel)
        return [(first, g), (second, g)]

    def _conv(self, at: int, conv: Conv, x: Tensor, rel: Tensor, g_out: Tensor | None) -> Streams:
        rule = self.rule_selection.rules[at]
        if rule == FIRST:
            return zbox_rule(conv, x, rel), None
        g = None if g_out is None else conv.transpose(g_out, conv.weight, x)
        base, absolute = self._base(at, conv, x, rel)
        return (full_rule(conv, x, base, rel, g, g_out, absolute, self.terms) if rule == FULL else base), g

    def _linear(self, at: int, linear: Linear, x: Tensor, rel: Tensor, g_out: Tensor | None) -> Streams:
        g = None if g_out is None else linear.transpose(g_out, linear.weight, x)
        base, _ = self._base(at, linear, x, rel)
        if at in self.rule_selection.flattened and g is not None:
            shape = self.records[self.rule_selection.flattened[at]].output.shape
            if len(shape) == 4:
                base = flattened_rule(base, x, g, shape)
        return base, g

    def _base(self, at: int, layer: Conv | Linear, x: Tensor, rel: Tensor) -> tuple[Tensor, Tensor]:
        """B of the abs rule, and |w|."""
        absolute, magnitude = layer.weight.abs(), x.abs()
        response = self._responses.get(at)
        if response is None:
            response = layer.apply(magnitude, absolute)
            if self._keep:
                self._responses[at] = response
        return abs_rule(magnitude, response, rel, lambda s: layer.transpose(s, absolute, x)), absolute
