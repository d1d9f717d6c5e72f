"""The rules of a metric."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ..checks import bad_value, require_choice
from ..evaluation import evaluate
from ..metrics.base import MetricLike, as_metric
from ._conformance_table import ConformanceTable, Rule, run
from ._fixtures import CLASSES, LinearNet, changed, classes, constant, distance, images, network, refused, state_of

KINDS = ("deletion", "insertion", "fidelity", "other")

MetricCall = Callable[[Any, Tensor, Tensor, Tensor], Tensor]


def check_metric(metric: MetricCall | MetricLike, kind: str | None = None, name: str | None = None) -> ConformanceTable:
    """Checks a metric of maps against rules that follow from its definition, on models whose outputs are known.

    Args:
        metric: an object that `evaluate` takes, such as `Deletion(Constant(0.0))`; or a function (model, inputs (N, C, H, W),
            classes (N,), maps (N, H, W)) -> (N,) values. Its infill must be 0 for the rules on known contributions. A metric that
            needs a truth mask is given the central half of the image.
        kind: which further rules must hold. "deletion" and "insertion": only the order of the map matters, and the known
            contributions of a linear model have the best value. "fidelity": also, the negated map has the negated value. "other":
            none. None: `info.conformance` of an object, "other" for a function.
        name: of the subject; by default that of the metric.

    Returns:
        A `ConformanceTable`.

    Raises:
        ValueError: an unknown kind; a metric that needs the method itself. TypeError: no metric, with the missing member.

    Note:
        Deterministic as the metric. Cost: 31 calls on at most three small images; 53 for "deletion" and "insertion", 56 for
        "fidelity", on at most four; fewer where rules do not hold.

    Example:
        >>> from saliency_ext.infill import Constant
        >>> from saliency_ext.metrics import Deletion
        >>> print(str(check_metric(Deletion(Constant(0.0)))).splitlines()[0])
        deletion: 29 of 29 rules hold
        >>> check_metric(lambda model, inputs, target, maps: maps.mean((1, 2)), name="mean").failed[:1]
        ('a NaN in one image is reported for that image alone',)
    """
    call, kind_of_metric, subject = _call_of(metric)
    kind = kind_of_metric if kind is None else kind
    require_choice("check_metric", "kind", kind, KINDS)
    rules = _Rules(call)
    result = rules.common()
    if kind != "other":
        result += rules.of_an_order(-1 if kind == "deletion" else 1)
    if kind == "fidelity":
        result += rules.of_a_difference()
    return run(str(name or subject), result)


def _call_of(metric: MetricCall | MetricLike) -> tuple[MetricCall, str, str]:
    """The metric as a function of model, images, classes and maps; the kind that it says it is; its name."""
    if callable(metric) and not isinstance(metric, type):
        return metric, "other", getattr(metric, "__name__", type(metric).__name__)
    judged = as_metric("check_metric", metric)
    needs = judged.info.needs
    if needs == "method":
        expected = "a metric of maps: the conformance kit has no method that could explain other inputs"
        bad_value("check_metric", "metric", expected, repr(judged.info.name))

    def call(model: Any, inputs: Tensor, target: Tensor, maps: Tensor) -> Tensor:
        truth = central_half(inputs) if needs == "truth" else None
        results = evaluate(model, inputs, target, maps, [judged], truth=truth, check_model=False)
        return results["map", judged.info.name].values

    return call, judged.info.conformance, judged.info.name


def central_half(inputs: Tensor) -> Tensor:
    """(N, H, W) bool: a rectangle of half the height and half the width in the centre; at least one pixel."""
    truth = torch.zeros(len(inputs), *inputs.shape[2:], dtype=torch.bool)
    rows, columns = (slice(side // 4, side // 4 + max(side // 2, 1)) for side in inputs.shape[2:])
    truth[:, rows, columns] = True
    return truth


def _maps(count: int = 3) -> Tensor:
    """(N, H, W) without ties."""
    return images(count + 5)[5:, 0]


class _Rules:
    """The rules for one metric."""

    def __init__(self, metric: MetricCall) -> None:
        self.model = network()
        self.metric = metric

    def values_of(self, inputs: Tensor, maps: Tensor, model: Any = None, target: Tensor | None = None) -> Tensor:
        labels = classes(len(inputs)) if target is None else target
        return torch.as_tensor(self.metric(self.model if model is None else model, inputs, labels, maps))

    def common(self) -> list[Rule]:
        return [
            ("one finite value per image", self.values),
            ("deterministic", lambda: distance(self.values_of(images(), _maps()), self.values_of(images(), _maps()), 1e-12)),
            ("independent of batch composition", self.alone),
            ("independent of memory layout", self.strides),
            ("odd and non-square image sizes", lambda: self.sized(9, 14)),
            ("images of height 1", lambda: self.sized(1, 14)),
            ("an empty batch gives an empty result", self.empty),
            ("a constant map has a value", self.constant_map),
            ("a NaN in one map is reported for that image alone", lambda: self.nonfinite("map", torch.nan)),
            ("an Inf in one map is reported for that image alone", lambda: self.nonfinite("map", torch.inf)),
            ("a NaN in one image is reported for that image alone", lambda: self.nonfinite("image", torch.nan)),
            ("maps of a wrong size raise an error", lambda: refused(lambda: self.values_of(images(), _maps()[:, 1:]))),
            ("too few maps raise an error", lambda: refused(lambda: self.values_of(images(), _maps()[:2]))),
            ("a class out of range raises an error", lambda: self.refuses_classes(classes() + CLASSES)),
            ("too few classes raise an error", lambda: self.refuses_classes(classes()[:2])),
            ("uint8 images raise an error", lambda: refused(lambda: self.values_of(images().byte(), _maps()))),
            ("inputs and maps are not modified", self.inputs_kept),
            ("the model is unchanged", lambda: self.model_kept(images())),
            ("the model is unchanged after an error", lambda: self.model_kept(images()[:, :2])),
            ("a model in training mode is evaluated in eval mode", self.training),
            ("a model output with .logits is read, or raises an error", self.wrapped),
            ("works inside no_grad", lambda: self.inside(torch.no_grad)),
            ("works inside inference_mode", lambda: self.inside(torch.inference_mode)),
        ]

    def of_an_order(self, sign: int) -> list[Rule]:
        return [
            ("invariant to strictly increasing transforms of the map", self.increasing),
            ("-0 and +0 are equal", self.signed_zero),
            ("invariant to a positive factor", lambda: self.same(2.5 * _maps())),
            ("all maps have the same value on a constant model", self.constant_model),
            ("the true contributions of a linear model have the best value", lambda: self.best(sign)),
            ("their negative has the worst value", lambda: self.worst(sign)),
        ]

    def of_a_difference(self) -> list[Rule]:
        return [
            ("the negated map has the negated value", self.negated),
            ("a constant model gives 0", self.zero),
        ]

    def values(self) -> str:
        result = self.values_of(images(), _maps())
        if result.shape != (3,):
            return f"shape {tuple(result.shape)}"
        return "" if bool(result.isfinite().all()) else "NaN or Inf"

    def alone(self) -> str:
        together = self.values_of(images(), _maps(), target=torch.zeros(3, dtype=torch.int64))
        first = self.values_of(images()[:1], _maps()[:1], target=torch.zeros(1, dtype=torch.int64))
        return distance(together[:1], first)  # the first: random draws may be keyed by the place in the batch

    def strides(self) -> str:
        wide = torch.zeros(3, 24, 12)
        wide[:, ::2] = _maps()
        plain = self.values_of(images(), _maps())
        seen = distance(plain, self.values_of(images().contiguous(memory_format=torch.channels_last), _maps()))
        return seen or distance(plain, self.values_of(images(), wide[:, ::2]))

    def sized(self, height: int, width: int) -> str:
        inputs = images(2, height, width)
        result = self.values_of(inputs, inputs[:, 1])
        return "" if result.shape == (2,) and bool(result.isfinite().all()) else f"got {result.tolist()}"

    def empty(self) -> str:
        result = self.values_of(images()[:0], _maps()[:0])
        return "" if len(result) == 0 else f"shape {tuple(result.shape)}"

    def constant_map(self) -> str:
        result = self.values_of(images(), torch.zeros_like(_maps()))
        return "" if bool(result.isfinite().all()) else f"got {result.tolist()}"

    def nonfinite(self, where: str, value: float) -> str:
        inputs, maps = images(), _maps()
        (maps if where == "map" else inputs[:, 0])[1, 2, 2] = value
        try:
            result = self.values_of(inputs, maps)
        except ValueError:
            return ""  # refused: not hidden either
        if bool(result[1].isfinite()):
            return f"a value in spite of {value} in the {where}"
        return "" if bool(result[::2].isfinite().all()) else "other images have no value"

    def refuses_classes(self, target: Tensor) -> str:
        return refused(lambda: self.values_of(images(), _maps(), target=target))

    def inputs_kept(self) -> str:
        inputs, maps = images(), _maps()
        self.values_of(inputs, maps)
        return "" if torch.equal(inputs, images()) and torch.equal(maps, _maps()) else "values changed"

    def model_kept(self, inputs: Tensor) -> str:
        before = state_of(self.model)
        refused(lambda: self.values_of(inputs, _maps()))  # with a channel too few the model itself fails
        return changed(before, state_of(self.model))

    def wrapped(self) -> str:
        model = self.model
        try:
            return distance(
                self.values_of(images(), _maps()), self.values_of(images(), _maps(), lambda x: SimpleNamespace(logits=model(x)))
            )
        except (TypeError, ValueError):
            return ""

    def inside(self, context: Any) -> str:
        expected = self.values_of(images(), _maps())
        with context():
            return distance(expected, self.values_of(images(), _maps()))

    def training(self) -> str:
        model = torch.nn.Sequential(self.model, torch.nn.Dropout(0.5)).eval()
        expected = self.values_of(images(), _maps(), model)
        seen = distance(expected, self.values_of(images(), _maps(), model.train()))
        return seen or ("" if model.training else "left in eval mode")

    def same(self, maps: Tensor) -> str:
        return distance(self.values_of(images(), _maps()), self.values_of(images(), maps))

    def increasing(self) -> str:
        return self.same(_maps().double().exp() + _maps().double() ** 3)

    def signed_zero(self) -> str:
        maps = _maps().clamp(min=0)
        return distance(self.values_of(images(), maps), self.values_of(images(), torch.where(maps == 0, -maps, maps)))

    def constant_model(self) -> str:
        return distance(self.values_of(images(), _maps(), constant), self.values_of(images(), -_maps(), constant), 1e-6)

    def known(self, sign: int) -> tuple[Tensor, Tensor]:
        """(N,) value of the contributions times sign, and (N, 6) of other maps."""
        model, inputs, target = LinearNet(), images(4), torch.zeros(4, dtype=torch.int64)
        terms = model.contributions(inputs)
        others = [images(20)[start : start + 4, 1] for start in range(4, 20, 4)] + [inputs[:, 0], terms.abs()]
        contributions, *rest = [self.values_of(inputs, maps, model, target) for maps in (sign * terms, *others)]
        return contributions, torch.stack(rest, 1)

    def best(self, sign: int) -> str:
        value, others = self.known(1)
        beaten = (sign * others > sign * value[:, None] + 1e-6).sum()
        return f"beaten by {int(beaten)} of {others.numel()} other maps" if beaten else ""

    def worst(self, sign: int) -> str:
        value, others = self.known(-1)
        below = (sign * others < sign * value[:, None] - 1e-6).sum()
        return f"{int(below)} of {others.numel()} other maps are worse" if below else ""

    def negated(self) -> str:
        return distance(self.values_of(images(), _maps()), -self.values_of(images(), -_maps()))

    def zero(self) -> str:
        result = self.values_of(images(), _maps(), constant)
        return "" if bool((result.abs() < 1e-6).all()) else f"got {result.tolist()}"
