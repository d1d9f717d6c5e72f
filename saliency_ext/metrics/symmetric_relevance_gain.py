"""Symmetric relevance gain: fidelity in units of superpixels."""

import weakref
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from torch import Tensor

from .. import ops
from ..checks import bad_type, bad_value, require_integer
from ..perturbation import LogSpaced, Outputs, Schedule
from ..perturbation.coalitions import CoalitionMasks
from ..perturbation.curve_integration import area_under
from ..protocols import MetricInfo
from ..segmentation import Segmenter, segment_counts, segment_sizes, segment_sums, segmenter_name, segments_of, slic
from ._levels import levelled
from ._perturbation_metric import PerturbationMetric
from .base import MetricOptions
from .context import Keys, MetricContext
from .curve_metric import infill_parameters, require_same_counts
from .result import OK, UNDEFINED, MetricResult

_GRID = torch.linspace(0, 1, 21, dtype=torch.float64)  # where curves of images with different segments are shown


@dataclass
class _LastLabels:
    """The labels of the last images: all maps of a chunk are cut alike, once."""

    inputs: "weakref.ref[Tensor] | None" = None
    version: int = -1
    labels: Tensor | None = None


@dataclass(frozen=True)
class _Requested:
    keys: Keys  # MoRF steps, then LeRF steps
    fractions: Tensor  # (N, S)
    segments: Tensor  # (N,)


@dataclass(frozen=True)
class SymmetricRelevanceGain(PerturbationMetric):
    """SRG = AUC_LeRF - AUC_MoRF where what is removed are superpixels, whole [Bluecher 2024].

    A superpixel's relevance is the mean of the map over it. Per image of K superpixels, counts c_0 .. c_S of the schedule:
        MoRF(c) = f(image without its c most relevant superpixels),   LeRF(c) = f(image without its c least relevant ones)
        AUC = trapezoid over the true share c / K of SUPERPIXELS removed (not of pixels: superpixels count alike, large or small)
    Score and polarity: higher is better; a random order has 0 in expectation; the negated map has the negated value (without
    ties). In [-1, 1] for probability. With single pixels as segments it is `Fidelity`.

    Args:
        infill: what a removed superpixel becomes; published: an imputer averaged over 5 draws (`draws=5` of the infill).
        score: "probability", "logit", "log_probability", "sigmoid" or "accuracy" of the target.
        segmenter: inputs (N, C, H, W) to labels (N, H, W); pixels of label -1 are never removed. Published: SLIC with compactness
            1 and 25 superpixels, also 75, 500 and 5000.
        schedule: counts of superpixels, for the K of each image; published: 15, spaced in the logarithm, none and all included.
        seed: of the order of superpixels with equal means, keyed with the sample id.

    extras: auc_morf, auc_lerf, segments (K). curves: morf, lerf, linearly interpolated at 21 equal shares of superpixels, because
    K differs between images; the areas are of the counts themselves.

    Note:
        Images of one superpixel or none have no value (status undefined): there is no order. Cost: up to
        2 S masked inputs per image and draw, and one segmentation of the images, shared by all maps of a chunk; the ends are
        shared with all other metrics. Deterministic; neither batch nor chunk changes a number. Traps: values for different
        numbers of superpixels are not comparable; one large superpixel may decide the curve at a small share; some libraries
        print it with the other sign.

    Example:
        >>> import torch
        >>> from saliency_ext.evaluation import evaluate
        >>> from saliency_ext.infill import Constant
        >>> images = torch.tensor([[[[3.0, 3.0, 1.0, 0.0]]]])
        >>> linear = lambda x: torch.stack([x.flatten(1).sum(1), torch.zeros(len(x))], 1)
        >>> halves = lambda x: (torch.arange(4) // 2).expand(len(x), 1, 4)
        >>> metric = SymmetricRelevanceGain(Constant(0.0), score="logit", segmenter=halves)
        >>> results = evaluate(linear, images, 0, {"terms": images[:, 0], "negated": -images[:, 0]}, [metric])
        >>> [results[name, "symmetric_relevance_gain"].values.item() for name in ("terms", "negated")]  # 7 6 0 against 7 1 0
        [2.5, -2.5]

    References:
        Bluecher, Vielhaben, Strodthoff. Decoupling Pixel Flipping and Occlusion Strategy. 2024.
    """

    segmenter: Segmenter = slic
    schedule: Schedule = field(default_factory=LogSpaced)
    seed: int = 0
    _last: _LastLabels = field(default_factory=_LastLabels, init=False, repr=False, compare=False)

    info: ClassVar[MetricInfo] = MetricInfo(
        name="symmetric_relevance_gain",
        direction="higher",
        unit="difference of areas under the score over the share of superpixels",
        measures="order of relevance of superpixels, artifacts cancelled",
        reference="Bluecher 2024",
        role="order",
        range=(-1.0, 1.0),
        meaning="Fidelity on superpixels instead of pixels: the image stays closer to what the model knows.",
        horizontal="share of superpixels removed",
        curve_labels=(("morf", "most relevant first (MoRF)"), ("lerf", "least relevant first (LeRF)")),
    )

    @classmethod
    def from_options(cls, options: MetricOptions) -> Self:
        """The metric with those of the shared options that apply to it."""
        return cls(options.infill, options.score, seed=options.seed)

    def __post_init__(self) -> None:
        super().__post_init__()
        name = "SymmetricRelevanceGain"
        if not callable(self.segmenter):
            remedy = "pass a function of inputs, for example a partial of saliency_ext.segmentation.slic"
            bad_type(name, "segmenter", "to be callable", type(self.segmenter).__name__, remedy)
        require_integer(name, "seed", self.seed, 0, 2**63 - 1)
        require_same_counts(name, self.schedule)

    @property
    def parameters(self) -> dict[str, object]:
        """All parameters, as plain values."""
        return {
            **infill_parameters(self.infill),
            "score": self.score,
            "segmenter": segmenter_name(self.segmenter),
            "schedule": repr(self.schedule),
            "ties": "random",
            "seed": self.seed,
        }

    def request(self, context: MetricContext) -> _Requested:
        """Both orders of each image's superpixels."""
        labels = self._labels(context.inputs)
        result = segment_counts(labels).cpu()
        counts = self._counts(result)
        ranks = self._ranks(context, labels, int(result.max()) if len(result) else 0)[:, None]
        kept_morf = ranks >= counts[:, :, None]
        kept_lerf = ranks < (result[:, None] - counts)[:, :, None]
        coalitions = torch.cat([kept_morf, kept_lerf], 1).to(labels.device)
        keys = context.request(CoalitionMasks(labels, coalitions), self.infill)
        return _Requested(keys, counts / result[:, None].double().clamp(min=1), result)

    def compute(self, outputs: Outputs, requested: _Requested) -> MetricResult:
        """Values per image, from the model's outputs."""
        morf, lerf = outputs.mean_score(requested.keys, self.score).chunk(2, 1)
        auc_morf, auc_lerf = (area_under(curve, requested.fractions) for curve in (morf, lerf))
        extras = {"auc_morf": auc_morf, "auc_lerf": auc_lerf, "segments": requested.segments.double()}
        curves = {name: _interpolated(curve, requested.fractions) for name, curve in (("morf", morf), ("lerf", lerf))}
        status = [OK if count > 1 else UNDEFINED for count in requested.segments.tolist()]
        return MetricResult(self.info, auc_lerf - auc_morf, self.parameters, status, _GRID.clone(), curves, extras)

    def _labels(self, inputs: Tensor) -> Tensor:
        last = self._last
        version = -1 if inputs.is_inference() else inputs._version
        if last.labels is None or last.inputs is None or last.inputs() is not inputs or last.version != version:
            last.labels = segments_of("SymmetricRelevanceGain", self.segmenter, inputs)
            last.inputs, last.version = weakref.ref(inputs), version
        return last.labels

    def _counts(self, segments: Tensor) -> Tensor:
        """(N, S) counts of superpixels removed; shorter lists repeat their end, which adds no area."""
        lists = {count: self.schedule.counts(count) if count > 0 else [0, 0] for count in set(segments.tolist())}
        for count, steps in lists.items():
            if count > 0 and len(steps) < 2:
                bad_value("SymmetricRelevanceGain", "schedule", "to give at least two counts", f"{steps} for {count} superpixels")
        longest = max(map(len, lists.values()), default=2)  # both ends, also where there is no image
        rows = [lists[count] + lists[count][-1:] * (longest - len(lists[count])) for count in segments.tolist()]
        return torch.tensor(rows, dtype=torch.int64).view(len(rows), longest)

    def _ranks(self, context: MetricContext, labels: Tensor, count: int) -> Tensor:
        """(N, K) order of the superpixels by mean relevance, 0 = most relevant; those an image lacks come last.

        Means that differ by rounding alone, in units of float32, tie.
        """
        sizes = segment_sizes(labels, count)
        means = segment_sums(levelled(context.saliency)[:, None].double(), labels, count)[:, 0] / sizes.clamp(min=1)
        means = levelled(torch.where(sizes > 0, means, -torch.inf).float()[:, None])
        return ops.rank(means, ties="random", seed=self.seed, sample_ids=context.sample_ids.cpu(), nan="last")[:, 0]


def _interpolated(curve: Tensor, fractions: Tensor) -> Tensor:
    """Curves (N, S) over increasing fractions (N, S) at the 21 shares, ends held."""
    if curve.shape[1] < 2:
        return curve.expand(-1, len(_GRID))
    wanted = _GRID.expand(len(curve), -1).contiguous()
    right = torch.searchsorted(fractions.contiguous(), wanted).clamp(1, curve.shape[1] - 1)
    start, end = fractions.gather(1, right - 1), fractions.gather(1, right)
    weight = ((wanted - start) / (end - start)).nan_to_num(1.0).clamp(0, 1)
    return torch.lerp(curve.gather(1, right - 1), curve.gather(1, right), weight)
