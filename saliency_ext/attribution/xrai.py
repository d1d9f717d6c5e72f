"""XRAI: region growing by the attribution of segments."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ..checks import bad_value, require_integer, require_number
from ..infill.image_extreme import ImageExtreme
from ..nonfinite import finite_rows, with_zeros
from ..protocols import Explainer, Forward, MethodInfo
from ..segmentation import felzenszwalb
from ._region_growing import dilated_segments, grow_regions
from .adapters import as_method
from .base import Method
from .integrated_gradients import IntegratedGradients

PUBLISHED_SCALES = (50.0, 100.0, 150.0, 250.0, 500.0, 1200.0)


class XRAI(Method):
    """Mean pixel attribution of regions, grown greedily from overlapping segments [Kapishnikov 2019].

    Felzenszwalb segments of several scales are dilated by a disc. Again and again the segment whose newly covered pixels have the
    highest mean attribution is taken, and those pixels get that mean; segments that would add fewer than min_gain pixels are
    passed over. When none is left, the uncovered pixels get their own mean.

    Each pixel is in one region, and a region has its mean: the map sums to the pixel attribution (up to rounding, always).

    Args:
        model: callable (B, C, H, W) -> logits (B, K), differentiable unless pixel_attribution is given.
        pixel_attribution: any method, or what `as_method` takes: (inputs (N, C, H, W), classes (N,)) -> (N, H, W), signed as
            published. None: integrated gradients of the logit, mean over two constant baselines (each image's
            smallest and largest value), signed maximum over channels.
        scales: of `felzenszwalb`, for images on [-1, 1] as published (the segmenter, on [0, 1], gets half).
        sigma: smoothing before the segmentation, pixels.
        min_size: smallest segment before dilation, pixels.
        dilation: radius of the disc, pixels; below 1 nothing is dilated, and segments of one scale are disjoint.
        min_gain: a segment that would add fewer pixels is passed over.
        scale_aware: True: the numbers above are those of an image of 224 x 224; lengths and scales are multiplied by
            sqrt(H W) / 224, areas by its square. False: they are used as they are.
        max_batch: images per forward and backward.

    Signed. Unit: that of the pixel attribution. Cost: 2 x 50 forwards and backwards per target by default; segmentations of all
    scales, once per image for all targets, on the host. Memory: H W bytes per segment of an image. Deterministic. Traps: without
    scale_aware the published numbers cover small images by one segment; the uncovered rest may have a higher mean than regions
    taken; the order of regions follows the mean, so a large good region loses to a small better one.

    Raises:
        TypeError, ValueError: an option out of range; a pixel attribution of another shape. A map whose image or pixel
            attribution is not finite is NaN, and leaves the others alone.

    Example:
        >>> import torch
        >>> halves = torch.zeros(1, 1, 32, 32)
        >>> halves[..., 16:] = 1.0
        >>> xrai = XRAI(lambda x: x.flatten(1), pixel_attribution=lambda x, classes: x[:, 0] * 2, dilation=0.0)
        >>> xrai(halves, 0)[0, 0, ::8]
        tensor([0., 0., 2., 2.])

    References:
        Kapishnikov, Bolukbasi, Viégas, Terry. XRAI: Better Attributions Through Regions. ICCV 2019.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="xrai",
        family="gradient",
        signed=True,
        cost="100 (F + B)",
        reference="Kapishnikov 2019",
        summary="regions, grown in the order of the gradients they hold",
    )

    def __init__(
        self,
        model: Forward,
        *,
        pixel_attribution: Explainer | None = None,
        scales: Sequence[float] = PUBLISHED_SCALES,
        sigma: float = 0.8,
        min_size: int = 150,
        dilation: float = 5.0,
        min_gain: int = 50,
        scale_aware: bool = True,
        max_batch: int = 64,
    ) -> None:
        super().__init__(model, max_batch=max_batch)
        if pixel_attribution is None:
            baselines = (ImageExtreme("min"), ImageExtreme("max"))
            pixel_attribution = IntegratedGradients(model, baselines=baselines, channels="max", max_batch=max_batch)
        if len(scales) == 0:
            bad_value("XRAI", "scales", "to hold at least one", "none")
        self.pixel_attribution = as_method(pixel_attribution)
        self.scales = tuple(require_number("XRAI", "scales", scale) for scale in scales)
        self.sigma = require_number("XRAI", "sigma", sigma)
        self.dilation = require_number("XRAI", "dilation", dilation)
        self.min_size = require_integer("XRAI", "min_size", min_size, 0, 2**31 - 1)
        self.min_gain = require_integer("XRAI", "min_gain", min_gain, 1, 2**31 - 1)
        self.scale_aware = scale_aware

    def _explain(self, inputs: Tensor, classes: Tensor, sample_ids: Tensor) -> Tensor:
        side = math.sqrt(inputs.shape[2] * inputs.shape[3]) / 224 if self.scale_aware else 1.0
        min_size, min_gain = round(self.min_size * side**2), max(1, round(self.min_gain * side**2))
        pixels = self.pixel_attribution(inputs, classes, sample_ids=sample_ids).detach().cpu().double()
        images = inputs.cpu()
        readable = finite_rows(images)
        images, good = with_zeros(images, readable), readable[:, None] & pixels.flatten(2).isfinite().all(2)
        levels = [felzenszwalb(images, scale / 2 * side, self.sigma * side, min_size) for scale in self.scales]
        maps = torch.empty_like(pixels)
        for n, labels in enumerate(zip(*levels, strict=True)):
            masks = torch.cat([dilated_segments(level, self.dilation * side) for level in labels])
            for t, attribution in enumerate(pixels[n]):
                maps[n, t] = grow_regions(attribution, masks, min_gain)[0] if good[n, t] else torch.nan
        return maps.to(inputs.device, inputs.dtype)
