"""What the parts of the library expect of each other, and what users may supply themselves."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

# Any callable from inputs (N, C, H, W) to logits (N, K).
Forward = Callable[[Tensor], Tensor]

# Any callable from inputs (N, C, H, W) and classes (N,) to saliency (N, H, W): a method of saliency_ext.attribution, or yours.
Explainer = Callable[[Tensor, Tensor], Tensor]


@runtime_checkable
class Infill(Protocol):
    """What a removed pixel becomes, in model input space.

    `name` and `parameters` are recorded with every result; `key` identifies the infill in the plan: equal keys mean equal
    pixels for the same images. `draws` is the number of independent draws whose scores are averaged (1 for a
    deterministic infill).
    """

    @property
    def name(self) -> str:
        """Short name, for reports."""

    @property
    def parameters(self) -> dict[str, object]:
        """What was chosen, as plain values."""

    @property
    def key(self) -> Hashable:
        """Canonical identity: name and parameters."""

    @property
    def draws(self) -> int:
        """Independent draws averaged per masked input."""

    def fill(self, inputs: Tensor, sample_ids: Tensor, draw: int = 0) -> Tensor:
        """Infill for inputs (N, C, H, W) of samples (N,) int64: a tensor that broadcasts to the inputs, same dtype and device.

        Depends on each image, its id and the draw alone, not on the batch. The inputs are not modified.
        """


@runtime_checkable
class MaskedInfill(Infill, Protocol):
    """An infill that must know what is removed (imputation from the pixels around)."""

    def fill_removed(self, inputs: Tensor, remove: Tensor, sample_ids: Tensor, draw: int = 0) -> Tensor:
        """Filled images (S, N, C, H, W) for removal masks (S, N, H, W) bool; kept pixels are those of the inputs."""


@dataclass(frozen=True)
class MetricInfo:
    """Everything that is said of a metric; printed beside its numbers in every report.

    Attributes:
        name: snake case, unique; the command line and results know the metric by it.
        direction: "higher" or "lower" is better, or "none".
        unit: of a value.
        measures: the property, in a few words.
        reference: the paper, short: "Petsiuk 2018".
        citation: the paper in full, where `bibliography` does not have it under its short form.
        role: what it may decide, one of `metrics.base.ROLES`.
        needs: "truth" for a truth mask, "method" for the method itself (it explains other inputs too), or "".
        range: smallest and largest value, where they are certain with the default parameters.
        meaning: what the number says, in plain words, with what a reader must not conclude from it.
        conformance: which rules of the conformance kit it must keep, a kind of `conformance.check_metric`.
        horizontal: what the horizontal axis of its curves shows.
        curve_labels: (name, legend) of its curves; a curve without one is shown under its name.
        loss_band: name of the curve that is drawn as a band below the score of the clean image, or "".
        class_specific: whether it distinguishes a map of the target class from one that marks all objects.
        default: its place among the metrics that the command line uses if none are named; 0: it is not among them.
    """

    name: str
    direction: str
    unit: str
    measures: str
    reference: str
    role: str = "order"
    needs: str = ""
    range: tuple[float, float] | None = None
    meaning: str = ""
    citation: str = ""
    horizontal: str = "share of pixels removed"
    curve_labels: tuple[tuple[str, str], ...] = ()
    loss_band: str = ""
    class_specific: bool = False
    conformance: str = "other"
    default: int = 0

    def __post_init__(self) -> None:
        # Lists where they were read from a file.
        if self.range is not None:
            object.__setattr__(self, "range", tuple(self.range))
        object.__setattr__(self, "curve_labels", tuple(map(tuple, self.curve_labels)))

    @property
    def sign(self) -> int:
        """What makes larger better when values are multiplied by it: 1, -1, or 0 where no direction is."""
        return {"higher": 1, "lower": -1}.get(self.direction, 0)


@dataclass(frozen=True)
class MethodInfo:
    """Everything that is said of an attribution method; printed beside its maps in every report.

    Attributes:
        name: snake case, unique; the command line and results know the method by it.
        family: "gradient", "cam", "perturbation", "relevance", "control", "given" (maps without a method) or "foreign".
        signed: negative values are evidence against the target.
        cost: forwards (F) and backwards (B) per image, T targets.
        reference: the paper, short: "Petsiuk 2018".
        citation: the paper in full, where `bibliography` does not have it under its short form.
        summary: what it does, in a few words.
        default: its place among the methods that the command line uses if none are named; 0: it is not among them.
        needs: "reference_images" for images that stand for the data, or "".
        chance: whether its maps are random: curves of other methods are drawn beside its own.
    """

    name: str
    family: str
    signed: bool
    cost: str
    reference: str
    summary: str = ""
    citation: str = ""
    default: int = 0
    needs: str = ""
    chance: bool = False


@dataclass(frozen=True)
class InfillInfo:
    """What is said of an infill.

    Attributes:
        name: snake case, unique; recorded with every result.
        summary: what a removed pixel becomes, in a few words.
        reference: the paper or code, short.
        by_name: whether the common options of the command line are enough to make it.
    """

    name: str
    summary: str
    reference: str = ""
    by_name: bool = True
