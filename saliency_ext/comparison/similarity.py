"""Pairwise similarity of saliency maps, with two references: another seed, and an unrelated image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from ..checks import bad_type, bad_value, require_choice, require_dtype, require_integer, require_ndim, require_tensor
from ..evaluation.maps import RESAMPLE, resampled
from ..metrics._levels import constant_rows
from ..metrics.result import DEGENERATE_MAP, NONFINITE_MAP, OK
from ..nonfinite import finite_rows, with_zeros
from ..stats.intervals import Summary, summarise
from ._hog import BLOCK, CELL
from ._ssim import usual_window
from .measures import MEASURES, Options, Stack, all_pairs, each_pair, features

DEFAULT_MEASURES = tuple(name for name in MEASURES if name != "ssim_abs")
_FUNCTION = "pairwise_similarity"
_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_PIXELS, _MAPS = 2**20, 256  # of a chunk: a dozen float64 copies of its values are alive at a time, and kendall's 19,110 per map


@dataclass(frozen=True)
class Similarities:
    """The result of `pairwise_similarity`. All values float64, NaN where one of the two maps is constant or not finite.

    Attributes:
        names: M maps.
        values: measure -> (M, M, N), symmetric.
        noise_floor: measure -> (M, N), each map with the same settings under another seed; NaN where none was given.
        chance: measure -> (M, N), each map with the same method's map of the next image; NaN for a single image.
        status: per map N statuses: "ok", "degenerate_map" (constant) or "nonfinite_map".
    """

    names: tuple[str, ...]
    values: dict[str, Tensor]
    noise_floor: dict[str, Tensor]
    chance: dict[str, Tensor]
    status: list[list[str]]

    def matrix(self, measure: str) -> Tensor:
        """(M, M) mean over the images that have a value."""
        return self.values[measure].nanmean(2)

    def summary(self, measure: str, pairs: Sequence[tuple[str, str]] | None = None) -> Summary:
        """Mean over pairs of maps, all if none are named, with an interval over images; images with every pair count."""
        chosen = list(combinations(self.names, 2)) if pairs is None else list(pairs)
        places = [tuple(self._place(name) for name in pair) for pair in chosen]
        values = torch.stack([self.values[measure][place] for place in places]).mean(0)
        return summarise(values[values.isfinite()], len(values))

    def reference(self, measure: str, kind: str, names: Sequence[str] | None = None) -> Summary:
        """Mean over maps of "noise_floor" or "chance", over those that have one if no maps are named."""
        require_choice("Similarities.reference", "kind", kind, ("noise_floor", "chance"))
        values = (self.noise_floor if kind == "noise_floor" else self.chance)[measure]
        places = range(len(self.names)) if names is None else [self._place(name) for name in names]
        rows = [values[place] for place in places if names is not None or bool(values[place].isfinite().any())]
        mean = torch.stack(rows).mean(0) if rows else values[0]
        return summarise(mean[mean.isfinite()], len(mean))

    def _place(self, name: str) -> int:
        require_choice("Similarities", "name", name, self.names)
        return self.names.index(name)


def pairwise_similarity(
    maps: Mapping[str, Tensor],
    *,
    again: Mapping[str, Tensor] | None = None,
    measures: Sequence[str] = DEFAULT_MEASURES,
    resample: str | None = None,
    window: int | None = None,
    cell: int = CELL,
    grid: int = 14,
) -> Similarities:
    """Similarity of every two maps, image by image, with two references: the noise floor of the seed, and chance.

    spearman, pearson, cosine and kendall (tau-b, on means over a grid) compare values or ranks as they are; ssim [Wang 2004] and
    hog [Dalal 2005] compare maps scaled to [0, 1], as both know an absolute size; iou compares the highest 5, 10 or 25 % of the
    pixels, pixels that tie at the edge belonging in equal parts; centre_distance is a distance: lower is more similar.

    Args:
        maps: name -> (N, H, W) floating, any sign, larger = more relevant; at least two. Any device; computed on the host.
        again: name -> the map of the same settings with another seed, for those that have a seed.
        measures: of `comparison.MEASURES`; by default all but "ssim_abs".
        resample: "nearest", "bilinear" or "area": maps of another resolution are brought to that of the first. None: refused.
        window: side of ssim's windows, odd. None: 7 for a side below 128 pixels, else 11.
        cell: pixels along a side of hog's cells; a block has 3 x 3 cells.
        grid: cells along a side of kendall's grid; fewer where the map has fewer pixels.

    Returns:
        `Similarities`.

    Raises:
        TypeError, ValueError: one map only; which map has what wrong; maps of different sizes without `resample`; maps smaller
            than a window of ssim or a block of hog.

    Note:
        Deterministic; an image's values do not depend on the other images, but for `chance`. A constant map has no value, not 0
        or 1. Nothing is modified. ssim and hog equal those of scikit-image (uniform window, sample covariance; 9 orientations,
        L2-Hys) up to rounding. Memory: bounded by chunks of images, besides the results.
        Trap: a correlation below 1 says little without the noise floor, and one above 0 little without chance, which is high
        where all maps of a method are similar.

    Example:
        >>> import torch
        >>> first = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
        >>> result = pairwise_similarity({"a": first, "b": -first, "flat": torch.ones(1, 2, 2)}, measures=["spearman", "iou_25"])
        >>> result.values["spearman"][0, :, 0], result.values["iou_25"][0, :, 0], result.status[2]
        (tensor([ 1., -1., nan], dtype=torch.float64), tensor([1., 0., nan], dtype=torch.float64), ['degenerate_map'])

    References:
        Wang, Bovik, Sheikh, Simoncelli. Image Quality Assessment. 2004. Dalal, Triggs. Histograms of Oriented Gradients. 2005.
    """
    for measure in measures:
        require_choice(_FUNCTION, "measures", measure, tuple(MEASURES))
    if not isinstance(maps, Mapping):
        bad_type(_FUNCTION, "maps", "to be a mapping of names to maps (N, H, W)", type(maps).__name__)
    if len(maps) < 2:
        bad_value(_FUNCTION, "maps", "at least two maps to compare", len(maps))
    names = tuple(maps)
    size = _checked("maps", maps, next(iter(maps.values())), resample)
    options = _options(size, measures, window, cell, grid)
    repeated = dict(again or {})
    for name in repeated:
        if name not in maps:
            bad_value(_FUNCTION, "again", f"to name maps among {', '.join(names)}", repr(name))
    _checked("again", repeated, next(iter(maps.values())), resample)

    count, several = len(maps[names[0]]), len(names)
    values = {measure: torch.full((several, several, count), torch.nan, dtype=torch.float64) for measure in measures}
    floor = {measure: torch.full((several, count), torch.nan, dtype=torch.float64) for measure in measures}
    chance = {measure: torch.full((several, count), torch.nan, dtype=torch.float64) for measure in measures}
    known = torch.zeros(several, count, dtype=torch.int64)
    seeded = [name for name in names if name in repeated]
    rows = torch.tensor([names.index(name) for name in seeded], dtype=torch.int64)[:, None]
    step = max(1, min(_PIXELS // max(1, size[0] * size[1]), _MAPS) // several)
    for start in range(0, count, step):
        part = torch.arange(start, min(start + step, count))
        here, more = len(part), torch.cat([part, (part[-1:] + 1) % count])  # and the next image, for chance
        stack, good, code = _stack(maps, names, more, size, resample, options)
        known[:, part] = code[:, :here]
        mine, mine_good, _ = _stack(maps, seeded, part, size, resample, options)
        other, other_good, _ = _stack(repeated, seeded, part, size, resample, options)
        for measure in measures:
            made = features(measure, stack)
            now, following = tuple(each[:here] for each in made), tuple(each[1:] for each in made)
            both = good[:here, :, None] & good[:here, None, :]
            values[measure][:, :, part] = all_pairs(measure, now, options).masked_fill(~both, torch.nan).permute(1, 2, 0)
            if count > 1:
                result = each_pair(measure, now, following, options)
                chance[measure][:, part] = result.masked_fill(~(good[:-1] & good[1:]), torch.nan).T
            if seeded:
                result = each_pair(measure, features(measure, mine), features(measure, other), options)
                floor[measure][rows, part] = result.masked_fill(~(mine_good & other_good), torch.nan).T
    labels = (OK, DEGENERATE_MAP, NONFINITE_MAP)
    return Similarities(names, values, floor, chance, [[labels[code] for code in row] for row in known.tolist()])


def _checked(argument: str, maps: Mapping[str, Tensor], like: Tensor, resample: str | None) -> tuple[int, int]:
    """(H, W) of the first map; the others have it too, or may be resampled."""
    if resample is not None:
        require_choice(_FUNCTION, "resample", resample, RESAMPLE)
    for name, values in maps.items():
        what = f"{argument}[{name!r}]"
        require_dtype(_FUNCTION, what, require_tensor(_FUNCTION, what, values), _DTYPES)
        require_ndim(_FUNCTION, what, values, "(N, H, W)")
        expected = f"of shape (N, H, W) = {tuple(like.shape)}"
        if len(values) != len(like):
            bad_value(_FUNCTION, what, expected, tuple(values.shape), "one map for each image")
        if values.shape != like.shape and resample is None:
            remedy = "say resample='nearest', 'bilinear' or 'area' to bring it to the resolution of the first"
            bad_value(_FUNCTION, what, expected, tuple(values.shape), remedy)
    return int(like.shape[-2]), int(like.shape[-1])


def _options(size: tuple[int, int], measures: Sequence[str], window: int | None, cell: int, grid: int) -> Options:
    require_integer(_FUNCTION, "cell", cell, 1, 2**15)
    require_integer(_FUNCTION, "grid", grid, 2, 2**10)
    side = usual_window(*size) if window is None else require_integer(_FUNCTION, "window", window, 3, 2**15 - 1)
    if side % 2 == 0:
        bad_value(_FUNCTION, "window", "to be odd", side)
    smallest = min(size)
    if any(name.startswith("ssim") for name in measures) and smallest < side:
        remedy = "give a smaller window, or leave ssim out of measures"
        bad_value(_FUNCTION, "maps", f"of at least {side} pixels a side, for ssim", f"{size[0]} x {size[1]}", remedy)
    if "hog" in measures and smallest < BLOCK * cell:
        remedy = "give a smaller cell, or leave hog out of measures"
        bad_value(_FUNCTION, "maps", f"of at least {BLOCK * cell} pixels a side, for hog", f"{size[0]} x {size[1]}", remedy)
    return Options(side, cell, grid)


def _stack(
    maps: Mapping[str, Tensor], names: Sequence[str], part: Tensor, size: tuple[int, int], resample: str | None, options: Options
) -> tuple[Stack, Tensor, Tensor]:
    """Maps of some images; which can be compared (n, M); and 0, 1 or 2 (M, n) for fine, constant, not finite."""
    result = []
    for name in names:
        values = maps[name].detach()[part.to(maps[name].device)].cpu()
        result.append(resampled(values, size, str(resample)).double() if values.shape[1:] != size else values.double())
    whole = torch.stack(result, 1) if result else torch.zeros(len(part), 0, *size, dtype=torch.float64)
    flat = whole.flatten(0, 1)
    finite = finite_rows(flat)
    safe = with_zeros(flat, finite)
    constant = constant_rows(safe.float()) if flat.numel() else torch.zeros(len(flat), dtype=torch.bool)
    code = torch.where(finite, constant.long(), 2).view(whole.shape[:2])
    return Stack(safe.view(whole.shape), options), code == 0, code.T
