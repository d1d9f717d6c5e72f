"""The rules of a metric."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..checks import require_choice
from .table import Rule, Table, run
from .world import Linear, changed, classes, constant, distance, images, network, refused, state_of

KINDS = ("deletion", "insertion", "fidelity", "other")

MetricCall = Callable[[Any, Tensor, Tensor, Tensor], Tensor]


def check_metric(metric: MetricCall, kind: str = "other", name: str | None = None) -> Table:
    """Checks a metric of maps against rules that follow from its definition, on models whose answers are known.

    Args:
        metric: (model, inputs (N, C, H, W), classes (N,), maps (N, H, W)) -> (N,) values. With infill 0 in its curves.
        kind: what more may be asked. "deletion" and "insertion": the order of the map decides, and the known contributions of a
            linear model are not beaten. "fidelity": also, the negated map has minus the value. "other": none of these.
        name: of the subject.

    Returns:
        A `Table`.

    Raises:
        ValueError: an unknown kind.

    Note:
        Deterministic as the metric. Cost: about 30 calls on three or four small images.

    Example:
        >>> from saliency_ext import evaluate
        >>> from saliency_ext.infill import Constant
        >>> from saliency_ext.metrics import Deletion
        >>> def deletion(model, inputs, target, maps):
        ...     return evaluate(model, inputs, target, maps, [Deletion(Constant(0.0))])["map", "deletion"].values
        >>> check_metric(deletion, "deletion").failed
        ()
    """
    require_choice("check_metric", "kind", kind, KINDS)
    rules = _Rules(metric)
    found = rules.common()
    if kind != "other":
        found += rules.of_an_order(-1 if kind == "deletion" else 1)
    if kind == "fidelity":
        found += rules.of_a_difference()
    return run(str(name or getattr(metric, "__name__", type(metric).__name__)), found)


def _maps(count: int = 3) -> Tensor:
    """(N, H, W) without ties."""
    return images(count + 5)[5:, 0]


class _Rules:
    """The rules for one metric."""

    def __init__(self, metric: MetricCall) -> None:
        self.model = network()
        self.metric = metric

    def ask(self, inputs: Tensor, maps: Tensor, model: Any = None, target: Tensor | None = None) -> Tensor:
        wanted = classes(len(inputs)) if target is None else target
        return torch.as_tensor(self.metric(self.model if model is None else model, inputs, wanted, maps))

    def common(self) -> list[Rule]:
        return [
            ("one finite value per image", self.values),
            ("the same twice", lambda: distance(self.ask(images(), _maps()), self.ask(images(), _maps()), 1e-12)),
            ("an image alone is the image in a batch", self.alone),
            ("strides do not matter", self.strides),
            ("odd and non-square images", self.odd),
            ("an empty batch", self.empty),
            ("a constant map has a value", self.constant_map),
            ("a NaN in one map is not hidden, and stays there", self.nan),
            ("maps of another size are refused", lambda: refused(lambda: self.ask(images(), _maps()[:, 1:]))),
            ("a map too few is refused", lambda: refused(lambda: self.ask(images(), _maps()[:2]))),
            ("inputs and maps are not modified", self.inputs_kept),
            ("the model is as it was", self.model_kept),
            ("a model in training mode is judged as in eval mode", self.training),
        ]

    def of_an_order(self, sign: int) -> list[Rule]:
        return [
            ("a strictly increasing transform of the map changes nothing", self.increasing),
            ("a positive factor changes nothing", lambda: self.same(2.5 * _maps())),
            ("a constant model: all maps alike", self.constant_model),
            ("the known contributions of a linear model are not beaten", lambda: self.best(sign)),
            ("their negative is not beaten from below", lambda: self.worst(sign)),
        ]

    def of_a_difference(self) -> list[Rule]:
        return [
            ("the negated map has minus the value", self.negated),
            ("a constant model has value 0", self.zero),
        ]

    def values(self) -> str:
        found = self.ask(images(), _maps())
        if found.shape != (3,):
            return f"shape {tuple(found.shape)}"
        return "" if bool(found.isfinite().all()) else "NaN or Inf"

    def alone(self) -> str:
        together = self.ask(images(), _maps(), target=torch.zeros(3, dtype=torch.int64))
        first = self.ask(images()[:1], _maps()[:1], target=torch.zeros(1, dtype=torch.int64))
        return distance(together[:1], first)  # the first: random draws may be keyed by the place in the batch

    def strides(self) -> str:
        wide = torch.zeros(3, 24, 12)
        wide[:, ::2] = _maps()
        plain = self.ask(images(), _maps())
        seen = distance(plain, self.ask(images().contiguous(memory_format=torch.channels_last), _maps()))
        return seen or distance(plain, self.ask(images(), wide[:, ::2]))

    def odd(self) -> str:
        found = self.ask(images(2, 9, 14), images(2, 9, 14)[:, 1])
        return "" if found.shape == (2,) and bool(found.isfinite().all()) else f"got {found.tolist()}"

    def empty(self) -> str:
        found = self.ask(images()[:0], _maps()[:0])
        return "" if len(found) == 0 else f"shape {tuple(found.shape)}"

    def constant_map(self) -> str:
        found = self.ask(images(), torch.zeros_like(_maps()))
        return "" if bool(found.isfinite().all()) else f"got {found.tolist()}"

    def nan(self) -> str:
        broken = _maps()
        broken[1, 2, 2] = torch.nan
        try:
            found = self.ask(images(), broken)
        except ValueError:
            return ""  # refused: not hidden either
        if bool(found[1].isfinite()):
            return "a value for a map with NaN"
        return "" if bool(found[::2].isfinite().all()) else "other images have no value"

    def inputs_kept(self) -> str:
        inputs, maps = images(), _maps()
        self.ask(inputs, maps)
        return "" if torch.equal(inputs, images()) and torch.equal(maps, _maps()) else "values changed"

    def model_kept(self) -> str:
        before = state_of(self.model)
        self.ask(images(), _maps())
        return changed(before, state_of(self.model))

    def training(self) -> str:
        model = torch.nn.Sequential(self.model, torch.nn.Dropout(0.5)).eval()
        expected = self.ask(images(), _maps(), model)
        seen = distance(expected, self.ask(images(), _maps(), model.train()))
        return seen or ("" if model.training else "left in eval mode")

    def same(self, maps: Tensor) -> str:
        return distance(self.ask(images(), _maps()), self.ask(images(), maps))

    def increasing(self) -> str:
        return self.same(_maps().double().exp() + _maps().double() ** 3)

    def constant_model(self) -> str:
        return distance(self.ask(images(), _maps(), constant), self.ask(images(), -_maps(), constant), 1e-6)

    def known(self, sign: int) -> tuple[Tensor, Tensor]:
        """(N,) value of the contributions times sign, and (N, 6) of other maps."""
        model, inputs, target = Linear(), images(4), torch.zeros(4, dtype=torch.int64)
        terms = model.contributions(inputs)
        others = [images(20)[start : start + 4, 1] for start in range(4, 20, 4)] + [inputs[:, 0], terms.abs()]
        asked = [self.ask(inputs, each, model, target) for each in (sign * terms, *others)]
        return asked[0], torch.stack(asked[1:], 1)

    def best(self, sign: int) -> str:
        value, others = self.known(1)
        beaten = (sign * others > sign * value[:, None] + 1e-6).sum()
        return f"beaten by {int(beaten)} of {others.numel()} other maps" if beaten else ""

    def worst(self, sign: int) -> str:
        value, others = self.known(-1)
        below = (sign * others < sign * value[:, None] - 1e-6).sum()
        return f"{int(below)} of {others.numel()} other maps are worse" if below else ""

    def negated(self) -> str:
        return distance(self.ask(images(), _maps()), -self.ask(images(), -_maps()))

    def zero(self) -> str:
        found = self.ask(images(), _maps(), constant)
        return "" if bool((found.abs() < 1e-6).all()) else f"got {found.tolist()}"
