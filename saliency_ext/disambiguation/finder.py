"""`PairFinder`: for every pair of a model's top labels, segments that prove distinct or shared evidence."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..attribution import as_method
from ..attribution.integrated_gradients import IntegratedGradients
from ..checks import (
    bad_type,
    bad_value,
    require_dtype,
    require_integer,
    require_ndim,
    require_sample_ids,
    require_shape,
    require_tensor,
)
from ..infill.base import require_infill
from ..infill.image_extreme import ImageExtreme
from ..models.targets import Target, check_classes, requested_classes
from ..nonfinite import finite_rows, with_zeros
from ..perturbation import Counters, Engine
from ..protocols import Explainer, Forward, Infill
from ..segmentation import Segmenter, segment_sizes, segment_sums
from ._pair_evidence import find_evidence
from ._redaction import Centred, Redactions, clean_scores
from .pair import PairResult, PairTable
from .proof import fingerprint_of
from .rules import Rules
from .segments import MAX_SEGMENTS, Partition, partition


class PairFinder:
    """Proves for pairs of labels whether the model bases them on distinct or on shared evidence [Mummani 2024].

    Retention: r_c(S) = 100 p_c(image with segments S redacted) / p_c(image). Segments are ordered, for each label, by their mean
    attribution (the order that XRAI's greedy growth gives to disjoint segments).

    "distinct": U1 lowers c1 to r <= 100 - delta and keeps c2 at r >= delta, U2 the other way round.
        prefix_difference: S_c is the shortest prefix of c's order that lowers c and keeps the other; U1 = S1 \\ S2,
        U2 = S2 \\ S1, and all four inequalities are checked by new forwards. The published second algorithm, and our default.
        ownership: a segment is c1's if its gain, as a share of c1's best, is the larger one; U1 is the shortest prefix of c1's
        own segments that lowers c1 and keeps c2. The published first algorithm; it may go on to segments of the other label
        (`past_own`), ours stops.
    "shared": S_c is the shortest prefix of c's order after which both have fallen; D = S1 n S2, checked by new forwards, lowers
        both. Published. Ours also excludes two entities that are removed at once (`Rules.inseparable`), and tries a second
        proposal where the first fails (`Rules.fallback`).
    "both", "undecided": both rules hold, or none. Ours tries an undecided pair again with weaker thresholds (`Rules.weaker`), and
        calls nothing proven by redacting more than half of the image (`Rules.area_limit`).

    Args:
        model: callable (B, C, H, W) -> logits (B, K). An nn.Module is run in eval mode and given back as it was.
        infill: what redacted pixels become, of `saliency_ext.infill`. There is no default, because the result can depend on it.
        segmenter: inputs to labels, see `partition`.
        attribution: a method, or (inputs, classes) -> maps (N, H, W), signed. None: as published, integrated gradients of the
            logit, 50 points, mean over each image's smallest and largest value as baselines, signed maximum over channels.
        rules: thresholds and algorithm; `preset_rules` has the published ones.
        others: further infills under which each proof is checked; one that holds under any of them is robust.
        minimise: prune the sets of each proof; they go on to hold under all infills they held under.
        max_segments, min_pixels: of `partition`.
        max_batch: masked inputs per forward.

    Cost in masked inputs: with `prefix_difference` one per segment and label, for all pairs of T labels together. Then at most
    four per pair and threshold, and per pair whose common set is questioned (`Rules.inseparable`) two per segment of the largest
    such set of the call; a further threshold costs that only for the sets it changes. A proof costs one per set and infill,
    pruned twice that and one per segment of it and infill, also one that proves too large. `ownership` needs two further traces
    per pair that pairs do not share. Attribution comes on top. Memory: a square of the number of segments in bits per image and
    label.

    Deterministic. A result depends on its image, labels and sample id alone; that of a pair not on the other pairs.
    Swapping two labels swaps U1 and U2 and nothing else (not with ties="first").

    Traps: removing one label's evidence raises the probability of all others, so r_2 >= delta says little: the informative half
    is r_1. With two classes nothing can be "shared"; with K, both can fall to 20 % only if K > 10 or other classes take over.
    "undecided" does not mean one entity. A proof speaks of this model, infill, threshold and partition.

    Raises:
        TypeError, ValueError: which argument, what was expected and what was got; from calls also identical labels and
        classes out of range.

    Example:
        >>> import torch
        >>> from functools import partial
        >>> from saliency_ext.infill import Constant
        >>> from saliency_ext.segmentation import grid
        >>> def model(x):  # class 0 sees the left half, class 1 the right one
        ...     left, right = x[..., :2].amax((1, 2, 3)), x[..., 2:].amax((1, 2, 3))
        ...     return torch.stack([4 * left, 4 * right, 0 * left, 0 * left], 1)
        >>> finder = PairFinder(model, Constant(0.0), partial(grid, cells=(1, 2)))
        >>> image = (torch.arange(16) > 3).view(1, 1, 4, 4).float()
        >>> pair = finder(image, torch.tensor([[0, 1]]))[0][0]
        >>> pair.verdict, [mask[0].tolist() for mask in pair.proofs[0].masks]
        ('distinct', [[True, True, False, False], [False, False, True, True]])

    References:
        Mummani, Ketha, Ramaswamy. Peter Parker or Spiderman? Disambiguating Multiple Class Labels. arXiv 2410.19479.
    """

    def __init__(
        self,
        model: Forward,
        infill: Infill,
        segmenter: Segmenter,
        *,
        attribution: Explainer | None = None,
        rules: Rules | None = None,
        others: Sequence[Infill] = (),
        minimise: bool = True,
        max_segments: int = MAX_SEGMENTS,
        min_pixels: int = 1,
        max_batch: int = 64,
    ) -> None:
        name = "PairFinder"
        if not callable(model):
            bad_type(name, "model", "to be callable", type(model).__name__, "pass a module or a function of inputs (N, C, H, W)")
        for each in (infill, *others):
            require_infill(name, each, "infill and others")
        if rules is not None and not isinstance(rules, Rules):
            bad_type(name, "rules", "to be Rules", type(rules).__name__, "preset_rules(name)['rules'] has the published ones")
        require_integer(name, "max_batch", max_batch, 1, 2**31 - 1)
        if attribution is None:
            baselines = (ImageExtreme("min"), ImageExtreme("max"))
            attribution = IntegratedGradients(model, baselines, steps=50, rule="trapezoid", channels="max", max_batch=max_batch)
        self.model, self.infill, self.segmenter = model, infill, segmenter
        self.attribution = as_method(attribution)
        self.rules = rules or Rules()
        self.others, self.minimise, self.max_segments, self.min_pixels = tuple(others), minimise, max_segments, min_pixels
        self._engine = Engine(Centred(model), max_batch=max_batch)

    @property
    def counters(self) -> Counters:
        """Forwards so far; those of the attribution are not among them."""
        return self._engine.counters

    @property
    def masked_inputs(self) -> int:
        """Images forwarded so far, redacted or clean; without padding and those of the attribution."""
        return self.counters.images_forwarded - self.counters.images_padded

    def __call__(
        self,
        inputs: Tensor,
        labels: Target = "top-5",
        *,
        segments: Partition | None = None,
        sample_ids: Tensor | None = None,
    ) -> list[list[PairResult]]:
        """Every pair of labels of every image.

        Args:
            inputs: (N, C, H, W) float32 or float64, in model input space. Not modified.
            labels: (N, T) classes, different within an image, or "top-5" for any number >= 2.
            segments: instead of the segmenter's, for example of `mask_partition`. Labels, segments and sample_ids may be on any
                device: they are moved to that of the inputs.
            sample_ids: (N,) int64 identities that key random infills; 0 .. N-1 if not given.

        Returns:
            For each image the pairs (0, 1), (0, 2), ... of its labels, T (T - 1) / 2.
        """
        name = "PairFinder"
        images = require_tensor(name, "inputs", inputs).detach()
        require_dtype(name, "inputs", images, (torch.float32, torch.float64), "convert with .float() and normalise")
        require_ndim(name, "inputs", images, "(N, C, H, W)")
        ids = torch.arange(len(images)) if sample_ids is None else sample_ids
        require_sample_ids(name, ids)
        require_shape(name, "sample_ids", ids, "(N,)", images.shape[:1])
        ids = ids.to(images.device)
        if len(images) == 0:
            return []
        good = finite_rows(images)
        images = with_zeros(images, good)
        logits = self._engine.logits(images)
        classes = _checked_labels(requested_classes(labels, len(images), lambda: logits).to(images.device), logits.shape[1])
        if segments is None:
            segments = partition(images, self.segmenter, max_segments=self.max_segments, min_pixels=self.min_pixels)
        require_shape(name, "segments.labels", segments.labels, "(N, H, W)", (len(images), *images.shape[2:]))
        clean = clean_scores(logits, classes)
        redactions = Redactions(self._engine, images, classes, ids, segments.labels.to(images.device), self.infill, clean)
        table = PairTable(self.rules, classes.cpu(), clean, good.cpu())
        gains = self._gains(redactions, table.needed(), segments.counts)
        table.check_gains(gains)
        infills = [redactions, *(redactions.under(other) for other in self.others)]
        result = find_evidence(
            self.rules,
            infills,
            gains,
            table.judged(),
            absent=torch.arange(gains.shape[2]) >= segments.counts.cpu()[:, None],
            spared=torch.tensor(segments.spared) > 0,
            shares=segment_sizes(segments.labels, gains.shape[2]).double() / max(segments.labels[0].numel(), 1),
            minimise=self.minimise,
        )
        return table.results(result, infills, segments, fingerprint_of(self.model))

    def _gains(self, redactions: Redactions, needed: Tensor, counts: Tensor) -> Tensor:
        """Mean attribution of each segment for each label (N, T, M) float64; 0 for segments that an image does not have."""
        numbers = max(int(counts.max()), 1)
        gains = torch.zeros((*redactions.classes.shape, numbers), dtype=torch.float64)
        rows = needed.nonzero().flatten()
        if len(rows):
            at = rows.to(redactions.inputs.device)
            maps = self.attribution(redactions.inputs[at], redactions.classes[at], sample_ids=redactions.sample_ids[at])
            labels = redactions.segments[at]
            gains[rows] = segment_sums(maps, labels, numbers) / segment_sizes(labels, numbers).clamp(min=1)[:, None]
        return gains


def _checked_labels(classes: Tensor, count: int) -> Tensor:
    function = "PairFinder"
    if classes.ndim != 2 or classes.shape[1] < 2:
        bad_value(
            function, "labels", "of shape (N, T) with T >= 2", tuple(classes.shape), "for a pair (a, b): torch.tensor([[a, b]])"
        )
    check_classes(function, classes, count, argument="labels")
    ordered = classes.sort(1).values
    same = (ordered[:, 1:] == ordered[:, :-1]).any(1)
    if same.any():
        image = int(same.nonzero()[0])
        bad_value(function, "labels", "to be different within an image", f"{classes[image].tolist()} for image {image}")
    return classes
