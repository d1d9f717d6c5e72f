"""Named presets: metrics with the choices of published codes, so that a number can be held against theirs.

What no preset reproduces: the order of tied pixels where the published sort is not stable. Numbers agree on maps without ties.
The target is an argument of `evaluate`, not of a metric: each preset says which it means.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ..checks import bad_type, bad_value, require_choice
from ..infill.constant import Constant
from ..infill.image_extreme import ImageExtreme
from ..infill.imputed import NoisyLinear
from ..infill.rise_blur import RiseBlur
from ..perturbation import (
    Complement,
    EqualFractions,
    FixedSteps,
    GivenFractions,
    OpenSteps,
    PixelSteps,
    TruncatedLinspace,
    WithoutFirst,
)
from ..protocols import Infill
from ._presets_labels import gupta2022, gupta2022_mass, gupta2022_reverse, gupta2022_signature
from .base import ModelMetric
from .deletion import Deletion
from .fidelity import Fidelity
from .insertion import Insertion
from .morf import LeRF, MoRF
from .road import FRACTIONS, ROADCombined

_ZERO = Constant(0.0)
_TENTHS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def default(*, infill: Infill, steps: int = 20, score: str = "probability") -> list[ModelMetric]:
    """This library's own choices: deletion, insertion and fidelity with one infill, which has no default.

    Equal fractions, both ends, true fractions; ties at random, keyed; trapezoid in [0, 1]. The target is the caller's.
    """
    schedule = EqualFractions(steps)
    return [metric(infill, schedule, score=score) for metric in (Deletion, Insertion, Fidelity)]


def rise(*, pixels_per_step: int = 224) -> list[ModelMetric]:
    """Deletion and insertion of the published RISE code (eclique/RISE, MIT).

    ceil(n / step) + 1 points, both ends, the last step may be short; 224 pixels for single images, 1792 in the evaluation
    notebook. The order is an ascending sort turned round: last index first, undefined on ties. Deletion into 0 in model input
    space, insertion from `RiseBlur`: two infills, so insertion is not deletion reversed. Softmax probability; target="predicted".
    AUC: (sum - first / 2 - last / 2) / (points - 1), as if all steps were equal. Mean of AUCs = AUC of the mean curve.
    """
    schedule = PixelSteps(pixels_per_step)
    return [
        Deletion(_ZERO, schedule, ties="last_index", area="even"),
        Insertion(RiseBlur(), schedule, ties="last_index", area="even"),
    ]


def torchcam(*, steps: int = 20, infill: Infill = _ZERO, score: str = "logit") -> list[ModelMetric]:
    """Deletion and insertion of torch-cam (frgfm/torch-cam, Apache-2.0), on maps of the input's size.

    Steps of ceil(n / steps) pixels, both ends. Stable descending order: first index first. 0 in model input space in both
    curves. The model's raw output; score="probability" for its logits_fn=softmax. target="predicted" unless classes are given.
    AUC: trapezoid over the true fractions. Its bilinear resizing of a coarse map is `evaluate(resample="bilinear")`.
    """
    schedule = FixedSteps(steps)
    return [metric(infill, schedule, score=score, ties="index") for metric in (Deletion, Insertion)]


def xplique(*, steps: int = 10, max_percentage: float = 1.0, infill: Infill = _ZERO, score: str = "logit") -> list[ModelMetric]:
    """Deletion and insertion of Xplique (deel-ai/xplique, MIT; CausalFidelity).

    Counts linspace(0, floor(n max_percentage), steps + 1) cut to integers; insertion too begins at the infill and ends there.
    The order is an ascending sort turned round: last index first, undefined on ties. Baseline 0. What the operator returns,
    without activation; the target is given. Maps of several channels are averaged there: pass the mean. steps = -1 (all pixels)
    is steps=n here. AUC: mean over adjacent pairs, of the mean curve there, of each image here: the same mean.
    """
    schedule = TruncatedLinspace(steps, max_percentage)
    return [metric(infill, schedule, score=score, ties="last_index", area="even") for metric in (Deletion, Insertion)]


def quantus(*, features_in_step: int = 1, baseline: str | float = "black") -> list[ModelMetric]:
    """PixelFlipping of Quantus (LGPL-3.0; written independently) with maps (N, H, W).

    Flips channel VALUES, not pixels: the map is repeated for each of C channels, and the points are step, 2 step, ... C H W
    values, without 0. The C copies of a pixel are tied and their sort is not stable: the published order is defined only where
    C = 1 or step is a multiple of C; here copies go channel by channel, first index first. Softmax of the given class.
    baseline: "black" / "white" (the image's smallest / largest value over all channels), or a number.
    AUC: trapezoid with dx = 1, so it grows with the number of points (its return_auc_per_sample; the raw curve is `curves`).
    Not reproduced: baseline "mean" (mean of the image as flipped so far) and "uniform" (the global random state), attributions
    with a value per channel, abs and normalise (take the absolute value before; a positive factor changes no order).
    """
    if isinstance(baseline, str):
        require_choice("quantus", "baseline", baseline, ("black", "white"))
        infill: Infill = ImageExtreme("min" if baseline == "black" else "max")
    else:
        infill = Constant(baseline)
    schedule = WithoutFirst(PixelSteps(features_in_step))
    return [MoRF(infill, schedule, ties="index", area="steps", unit="channel_value")]


def quantus_srg(*, infill: Infill, steps: int = 28) -> list[ModelMetric]:
    """SymmetricRelevanceGain of Quantus (LGPL-3.0; written independently).

    Steps of ceil(n / steps) pixels. One stable descending order, read both ways. The infill is made once, of the clean image.
    Softmax of the given class. Value: mean over all points but the first of LIF - MIF; both ends agree in both orders, so
    this is the area "even". Sign: higher is better.
    """
    return [Fidelity(infill, FixedSteps(steps), ties="index", area="even")]


def fpa(*, append_full: bool = False) -> list[ModelMetric]:
    """MIF / LIF fidelity of the feature perturbation augmentation code (lenbrocki; no licence; written independently).

    Steps of floor(0.05 n) pixels below n: the last point is drawn at 100 % but is not the full removal (append_full adds it). One
    order, LIF its exact reverse: last index first, undefined on ties. 0 in model input space. Raw logit divided by its clean
    value; an image whose clean logit is <= 0 has no value here. target="predicted".
    AUC: trapezoid over an even axis 0..100, so a flat curve has 100; value LIF - MIF. Not reproduced: its interval, which
    treats the two curves as independent; ours is paired.
    """
    schedule = OpenSteps(0.05, append_full)
    return [Fidelity(_ZERO, schedule, score="logit", ties="last_index", area="percent", relative=True)]


def road(
    *, infill: Infill | None = None, std: Sequence[float] | None = None, score: str = "accuracy", seed: int = 0
) -> list[ModelMetric]:
    """ROAD's two curves (tleemann/road_evaluation, MIT).

    Infill: noisy linear imputation in [0, 1] pixel space, noise 0.01 there. For normalised inputs give the `std` of each channel:
    the noise is 0.01 / std; without it the inputs are taken to be in [0, 1]. infill= takes another one.
    MoRF removes int(p n) pixels at p = .1 .2 .3 .4 .5 .7 .9. Its LeRF at p KEEPS int(p n) and removes the rest; here `LeRF` has
    the share removed as its axis, so the grids of the two differ: do not subtract their means (`metrics.ROAD` has one grid).
    Accuracy (or score="probability") of the annotated class. Maps are summed over channels. Published are curves; the value here
    is their plain mean. Not reproduced: noise of 1e-4 of the map's range, which breaks ties but also swaps close values.
    """
    if infill is not None and std is not None:
        bad_value("road", "infill and std", "one of them", "both", "the infill has its own noise")
    if min(std or [1.0]) <= 0:
        bad_value("road", "std", "> 0", min(std or [1.0]))
    filled = infill if infill is not None else NoisyLinear([0.01 / s for s in std] if std else 0.01, seed)
    kept = GivenFractions(FRACTIONS)
    return [
        MoRF(filled, kept, score=score, area="mean"),
        LeRF(filled, Complement(kept), score=score, area="mean"),
    ]


def gradcam_road(*, infill: Infill | None = None, score: str = "probability", seed: int = 0) -> list[ModelMetric]:
    """ROADCombined of pytorch-grad-cam (jacobgil, MIT); see `PercentileGap`.

    Infill: noisy linear imputation, noise 0.01 in model input space; infill= takes another one.
    Percentiles 10 .. 90 are the share KEPT in both orders; strict "<", so all pixels at the threshold are removed. score: that of
    its target (logit or softmax). Value: mean over percentiles of (LeRF - MoRF) / 2. Not reproduced: percentile "auto" (Otsu).
    """
    return [ROADCombined(NoisyLinear(0.01, seed) if infill is None else infill, score)]


def agf(*, mean: Sequence[float], std: Sequence[float]) -> list[ModelMetric]:
    """Positive and negative perturbation of AGF and Transformer-Explainability (shirgur, hila-chefer, MIT).

    int(t n) pixels at t = .1 .. .9. Removed pixels are 0 in [0, 1] BEFORE normalisation, black: (0 - mean) / std.
    Positive removes the most relevant (lower is better), negative the top of the negated map (higher is better). Top-1 accuracy
    against target="predicted" or the annotation. top-k: undefined on ties, first index first here.
    The code prints the accuracies. The published number is, in the authors' words, the trapezoid over t from 0, the clean
    accuracy (1 for "predicted"), to .9, on the axis 0, .1, .2 ... whatever int(t n) is, and not divided by .9: a flat curve of 1
    has .9, or 90 where accuracies are in percent.
    """
    if len(mean) != len(std):
        bad_value("agf", "std", f"to hold {len(mean)} numbers, as mean does", len(std))
    if min(std, default=1) <= 0:
        bad_value("agf", "std", "> 0", min(std))
    black = Constant([-m / s for m, s in zip(mean, std, strict=True)])
    schedule = GivenFractions((0.0, *_TENTHS))
    return [metric(black, schedule, score="accuracy", ties="index", area="tenths") for metric in (MoRF, LeRF)]


def srg(*, infill: Infill, segments: int = 25) -> list[ModelMetric]:
    """Symmetric relevance gain on superpixels (bluecher31/pixel-flipping, LGPL-2.1; written independently).

    SLIC superpixels, compactness 1, about 25 (also 75, 500, 5000), ranked by the mean of the map. 15 counts spaced in the
    logarithm, none and all included. Probability. Published infill: an imputer averaged over 5 draws (draws=5 of the infill).
    AUC: trapezoid over the share of superpixels; value LeRF - MoRF, higher is better (PixelFlipper.jl has the other sign).
    Not reproduced: ties, random and keyed here; how it rounds its counts is not known, ours is that of `LogSpaced`.
    """
    from ..segmentation import slic
    from .symmetric_relevance_gain import SymmetricRelevanceGain

    return [SymmetricRelevanceGain(infill, segmenter=partial(slic, segments=segments, compactness=1.0))]


PRESETS: Mapping[str, Callable[..., list[ModelMetric]]] = {
    function.__name__: function
    for function in (
        default,
        rise,
        torchcam,
        xplique,
        quantus,
        quantus_srg,
        gupta2022,
        gupta2022_signature,
        gupta2022_reverse,
        gupta2022_mass,
        fpa,
        road,
        gradcam_road,
        agf,
        srg,
    )
}


def preset(name: str, **options: Any) -> list[ModelMetric]:
    """The metrics of a named preset, for `evaluate`.

    Args:
        name: one of `PRESETS`, whose functions say every choice, its source, and what is not reproduced.
        options: of that function.

    Raises:
        ValueError: unknown name. TypeError: an option is missing or unknown.

    Example:
        >>> [metric.info.name for metric in preset("rise", pixels_per_step=16)]
        ['deletion', 'insertion']
        >>> preset("torchcam")[0].parameters["schedule"]
        'FixedSteps(steps=20)'
    """
    require_choice("preset", "name", name, tuple(PRESETS))
    known = inspect.signature(PRESETS[name]).parameters
    required = {option for option, parameter in known.items() if parameter.default is inspect.Parameter.empty}
    if not required <= set(options) <= set(known):
        wanted = ", ".join(f"{option} (required)" if option in required else option for option in known) or "none"
        bad_type("preset", f"options of {name!r}", f"to be {wanted}", ", ".join(options) or "none")
    return PRESETS[name](**options)
