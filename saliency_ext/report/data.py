"""What a report shows, as plain values: gathered from `Results` and from what the caller adds."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import nan

from torch import Tensor

from ..checks import bad_value, require_ndim, require_tensor
from ..disambiguation import PairResult
from ..evaluation.results import Results, summary_of
from ..evaluation.stop_report import StopReport
from ..metrics.result import DEGENERATE_MAP, FLAT_CURVE, MetricResult
from ..perturbation import Counters
from ..protocols import MethodInfo, MetricInfo
from ..stats.intervals import Summary

TITLE = "Which saliency method can be trusted?"
CONTROL = "control"
DOUBTFUL = (DEGENERATE_MAP, FLAT_CURVE)  # statuses with a value of limited meaning
# What each status means to a reader. Statuses of samples without a value first.
STATUS_TEXTS = {
    "unreadable_sample": "the sample could not be read; no map was evaluated on it",
    "nonfinite_input": "the image has NaN or Inf",
    "nonfinite_map": "the map has NaN or Inf",
    "method_failed": "the method raised an error on this image",
    "nonfinite_score": "the model's score is NaN or Inf",
    "undefined": "the metric has no value here, for example for a constant map or an empty truth mask",
    "out_of_memory": "not even a single image fitted into memory",
    "degenerate_map": "the map is constant: its ranking is arbitrary, although there is a value",
    "flat_curve": "the score is constant along the curve: the value says nothing about the map",
}


@dataclass(frozen=True)
class Example:
    """One image with its maps.

    caption: what is seen, and which class is explained. picture: (H, W, 3) uint8. maps: name -> (H, W) floating.
    """

    caption: str
    picture: Tensor
    maps: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        require_ndim("Example", "picture", require_tensor("Example", "picture", self.picture), "(H, W, 3)")
        size = tuple(self.picture.shape[:2])
        for name, saliency in self.maps.items():
            if tuple(saliency.shape) != size:
                bad_value("Example", f"maps[{name!r}]", f"of shape (H, W) = {size}", tuple(saliency.shape))


@dataclass(frozen=True)
class PairExample:
    """One image with the results for pairs of its labels.

    caption: what is seen. picture: (H, W, 3) uint8. pairs: of `PairFinder`, for this image. labels: names of classes, as far as
    they are known.
    """

    caption: str
    picture: Tensor
    pairs: Sequence[PairResult]
    labels: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_ndim("PairExample", "picture", require_tensor("PairExample", "picture", self.picture), "(H, W, 3)")
        size = tuple(self.picture.shape[:2])
        for proof in (proof for pair in self.pairs for proof in pair.proofs):
            if tuple(proof.masks[0].shape) != size:
                bad_value("PairExample", "the masks of pairs", f"of shape (H, W) = {size}", tuple(proof.masks[0].shape))

    def name(self, label: int) -> str:
        """A class by its name, or its number."""
        return self.labels.get(label, f"class {label}")


@dataclass(frozen=True)
class MethodLine:
    """A method or control: its name, and what is known of it."""

    name: str
    info: MethodInfo

    @property
    def control(self) -> bool:
        """Whether it is a control, which does not depend on the trained model."""
        return self.info.family == CONTROL


@dataclass(frozen=True)
class MetricLine:
    """A metric: its name in the results, what is said of it, and the parameters of its values."""

    name: str
    info: MetricInfo
    parameters: dict[str, str]


@dataclass(frozen=True)
class SampleError:
    """Samples without a value: under which maps and metrics, and why."""

    samples: list[str]
    status: str
    maps: list[str]
    metrics: list[str]
    reason: str


@dataclass(frozen=True)
class ReportData:
    """Everything a report shows."""

    title: str
    methods: list[MethodLine]
    metrics: list[MetricLine]
    results: dict[tuple[str, str], MetricResult]
    images: int
    sample_errors: list[SampleError]  # samples without a value
    doubts: list[tuple[str, str, str, int]]  # map, metric, status, count: values of limited meaning
    counters: Counters
    counted: str  # what `requested` and `run` count
    requested: int
    run: int
    facts: dict[str, str]
    examples: list[Example]
    pairs: list[PairExample]
    stopped: StopReport | None  # where a study with a stop rule ended

    @property
    def controls(self) -> list[str]:
        """Names of the controls."""
        return [line.name for line in self.methods if line.control]

    def result(self, method: str, metric: str) -> MetricResult | None:
        """The values of a method under a metric, if there are any."""
        return self.results.get((method, metric))

    def summary(self, method: str, metric: str) -> Summary:
        """Mean and interval of a method under a metric; NaN where nothing was measured."""
        result = self.result(method, metric)
        return Summary(nan, nan, nan, 0, self.images) if result is None else summary_of(result)


def gather(
    results: Results,
    *,
    title: str = TITLE,
    methods: Mapping[str, MethodInfo] | None = None,
    controls: Collection[str] = (),
    samples: Sequence[str] | None = None,
    reasons: Sequence[str] | None = None,
    masked_inputs: Mapping[str, int] | None = None,
    facts: Mapping[str, str] | None = None,
    examples: Sequence[Example] = (),
    pairs: Sequence[PairExample] = (),
) -> ReportData:
    """Plain values from results.

    Args:
        results: of `evaluate`; at least one map under one metric.
        title: of the report.
        methods: name of a map -> its info, in place of what the results know of it.
        controls: names of further maps that do not depend on the trained model, besides those whose info says so.
        samples: a name per image; their numbers if not given.
        reasons: per image why it could not be read, or "".
        masked_inputs: "requested" and "run", counted per image, as the summary of a study does; else those of the results'
            counters are shown, which count kinds of masked input per chunk of images.
        facts: what else a reader must know, such as model, data, target and seed.
        examples: images with their maps.
        pairs: images with verdicts on pairs of their labels.

    Raises:
        ValueError: no results; a control that is no map; not one name or reason per image.
    """
    if len(results) == 0:
        bad_value("gather", "results", "at least one map under one metric", "none")
    names = list(dict.fromkeys(name for name, _ in results))
    unknown = [name for name in controls if name not in names]
    if unknown:
        bad_value("gather", "controls", f"to be among {', '.join(names)}", ", ".join(unknown))
    known = results.methods | dict(methods or {})
    lines = [MethodLine(name, _info(name, known.get(name), name in controls)) for name in names]
    by_pair = {pair: results[pair] for pair in results}
    images = max(len(result.values) for result in by_pair.values())
    labels = [str(number) for number in range(images)] if samples is None else list(samples)
    why = [""] * images if reasons is None else list(reasons)
    for argument, given in (("samples", labels), ("reasons", why)):
        if len(given) != images:
            bad_value("gather", argument, f"one for each of {images} images", len(given))
    return ReportData(
        title=title,
        methods=lines,
        metrics=_metrics(by_pair),
        results=by_pair,
        images=images,
        sample_errors=_sample_errors(by_pair, labels, why),
        doubts=_doubts(by_pair),
        counters=results.counters,
        counted="kinds of masked input per chunk of images" if masked_inputs is None else "masked inputs",
        requested=results.counters.requested if masked_inputs is None else masked_inputs["requested"],
        run=results.counters.unique if masked_inputs is None else masked_inputs["run"],
        facts=dict(facts or {}),
        examples=list(examples),
        pairs=list(pairs),
        stopped=results.stopped,
    )


def _info(name: str, known: MethodInfo | None, control: bool) -> MethodInfo:
    info = known or MethodInfo(name, "", True, "", "")
    return replace(info, family=CONTROL) if control else info


def _metrics(by_pair: dict[tuple[str, str], MetricResult]) -> list[MetricLine]:
    """One line per metric. A parameter that is not the same for all maps says whose it is."""
    lines = []
    for metric in dict.fromkeys(name for _, name in by_pair):
        own = {method: result for (method, name), result in by_pair.items() if name == metric}
        info = next(iter(own.values())).info
        parameters: dict[str, str] = {}
        for key in dict.fromkeys(key for result in own.values() for key in result.parameters):
            texts = {method: _text(result.parameters.get(key)) for method, result in own.items()}
            same = len(set(texts.values())) == 1
            parameters[key] = next(iter(texts.values())) if same else "; ".join(f"{name}: {text}" for name, text in texts.items())
        lines.append(MetricLine(metric, info, parameters))
    return lines


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "(" + ", ".join(_text(item) for item in value) + ")" if isinstance(value, tuple | list) else str(value)


def _sample_errors(by_pair: dict[tuple[str, str], MetricResult], samples: list[str], reasons: list[str]) -> list[SampleError]:
    """Samples without a value. Those that share status, maps, metrics and reason share a line, at the place of the first."""
    metrics: dict[tuple[int, str, str], list[str]] = {}
    for (method, metric), result in by_pair.items():
        for index in (~result.valid).nonzero().flatten().tolist():
            metrics.setdefault((index, result.status[index], method), []).append(metric)
    maps: dict[tuple[int, str, tuple[str, ...]], list[str]] = {}
    for (index, status, method), names in metrics.items():
        maps.setdefault((index, status, tuple(names)), []).append(method)
    grouped: dict[tuple[str, str, tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for (index, status, under), methods in sorted(maps.items(), key=lambda item: item[0][:2]):
        reason = reasons[index] or STATUS_TEXTS.get(status, "")
        grouped.setdefault((status, reason, tuple(methods), under), []).append(samples[index] or f"number {index}")
    return [SampleError(names, status, list(of), list(under), reason) for (status, reason, of, under), names in grouped.items()]


def _doubts(by_pair: dict[tuple[str, str], MetricResult]) -> list[tuple[str, str, str, int]]:
    counted = {pair: Counter(result.status) for pair, result in by_pair.items()}
    return [
        (method, metric, status, count)
        for (method, metric), statuses in counted.items()
        for status, count in statuses.items()
        if status in DOUBTFUL
    ]
