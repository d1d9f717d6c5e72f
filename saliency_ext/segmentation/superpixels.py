"""Superpixels of scikit-image (SLIC, Felzenszwalb, quickshift): imported lazily, run on the host, image by image."""

import warnings
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from ..checks import bad_value, require_dtype, require_integer, require_ndim, require_number, require_tensor
from .labels import given
from .sums import segment_counts

_COMPACTNESS, _MOST_COMPACT = 10.0, 10.0 * 2**10


def slic(inputs: Tensor, segments: int = 50, compactness: float | None = None) -> Tensor:
    """Superpixels: k-means of colour and place, made connected [Achanta 2012].

    Each image is scaled to [0, 1] (minimum and maximum over its channels together). Three channels are read as RGB, one as
    grey, and compared in Lab; any other number is compared on 0 .. 100, so that compactness has the same weight.

    Args:
        inputs: (N, C, H, W) float32 or float64, finite.
        segments: how many are aimed at, >= 1. The number found differs: up to twice as many on small images.
        compactness: > 0; weight of place against colour: small follows edges, large gives squares. None: by the contrast of each
            image: 10, doubled until at least half of the segments aimed at are found.

    Returns:
        (N, H, W) int64 labels.

    Raises:
        TypeError, ValueError: wrong dtype or shape, a value that is not finite, an option out of range.

    Note:
        scikit-image, on the host, image by image. Trap: where the image varies more than compactness allows, as foliage, gravel
        or noise do, no cluster is connected, and merging the pieces can leave one segment: with 25 segments and a compactness
        of 1 one photograph in seven has three segments or fewer. `bench/results/photographs.json` has the numbers.

    Example:
        >>> import torch
        >>> halves = torch.zeros(1, 3, 8, 8)
        >>> halves[..., 4:] = 1.0
        >>> slic(halves, segments=4)[0, 0]
        tensor([0, 0, 0, 0, 1, 1, 1, 1])

    References:
        Achanta, Shaji, Smith, Lucchi, Fua, Süsstrunk. SLIC Superpixels. TPAMI 2012.
    """
    require_integer("slic", "segments", segments, 1, 2**31 - 1)
    if compactness is not None:
        require_number("slic", "compactness", compactness, above=0.0)
    weight = 1.0 if _colours("slic", inputs) else 0.01  # it scales images to [0, 1] itself
    options = {"n_segments": segments, "start_label": 0}

    def with_compactness(images: Tensor, value: float) -> Tensor:
        return _by_image("slic", images, {**options, "compactness": weight * value}, lab=True)

    if compactness is not None:
        return with_compactness(inputs, compactness)
    value, labels = _COMPACTNESS, with_compactness(inputs, _COMPACTNESS)
    aimed = min(segments, inputs.shape[2] * inputs.shape[3])
    while value < _MOST_COMPACT and len(few := (segment_counts(labels) < (aimed + 1) // 2).nonzero().flatten()):
        value *= 2
        labels[few] = with_compactness(inputs[few], value)
    return labels


def felzenszwalb(inputs: Tensor, scale: float = 100.0, sigma: float = 0.8, min_size: int = 20) -> Tensor:
    """Segments from a minimum spanning tree: two merge where the edge between is weak against those inside [Felzenszwalb 2004].

    Each image is scaled to [0, 1]; all channels count in the Euclidean distance of colours.

    Args:
        inputs: (N, C, H, W) float32 or float64, finite.
        scale: >= 0, for colours of 0 .. 255; larger gives larger segments. An image scaled to [-1, 1] needs twice the scale.
        sigma: >= 0, standard deviation of the Gaussian smoothing before, pixels.
        min_size: >= 0, smallest segment, pixels.

    Returns, Raises: as `slic`.

    Example:
        >>> import torch
        >>> halves = torch.zeros(1, 3, 8, 8)
        >>> halves[..., 4:] = 1.0
        >>> felzenszwalb(halves, sigma=0.0)[0, 0]
        tensor([0, 0, 0, 0, 1, 1, 1, 1])

    References:
        Felzenszwalb, Huttenlocher. Efficient Graph-Based Image Segmentation. IJCV 2004.
    """
    require_number("felzenszwalb", "scale", scale)
    require_number("felzenszwalb", "sigma", sigma)
    require_integer("felzenszwalb", "min_size", min_size, 0, 2**31 - 1)
    return _by_image("felzenszwalb", inputs, {"scale": scale, "sigma": sigma, "min_size": min_size})


def quickshift(inputs: Tensor, kernel_size: float = 4.0, max_dist: float = 200.0, ratio: float = 0.2) -> Tensor:
    """Segments that climb to the same mode of the density of colour and place [Vedaldi 2008]; the defaults are LIME's.

    Each image is scaled to [0, 1] and compared as in `slic`.

    Args:
        inputs: (N, C, H, W) float32 or float64, finite.
        kernel_size: >= 1, width of the density's Gaussian, pixels; larger gives fewer segments.
        max_dist: > 0, longest link; larger gives fewer segments.
        ratio: in [0, 1], weight of colour against place.

    Returns, Raises: as `slic`. Note: ties are broken by noise with a fixed seed. About 0.5 s per image of 224 x 224.

    Example:
        >>> import torch
        >>> quickshift(torch.zeros(2, 1, 4, 4)).amax((1, 2))
        tensor([0, 0])

    References:
        Vedaldi, Soatto. Quick Shift and Kernel Methods for Mode Seeking. ECCV 2008.
    """
    require_number("quickshift", "kernel_size", kernel_size, low=1.0)
    require_number("quickshift", "max_dist", max_dist, above=0.0)
    if require_number("quickshift", "ratio", ratio) > 1:
        bad_value("quickshift", "ratio", "in [0, 1]", ratio)
    options = {"kernel_size": kernel_size, "max_dist": max_dist, "ratio": ratio, "rng": 0}
    return _by_image("quickshift", inputs, options, lab=True)


def _colours(function: str, inputs: Tensor) -> bool:
    """Whether the images, checked, are grey or RGB."""
    require_tensor(function, "inputs", inputs)
    require_dtype(function, "inputs", inputs, (torch.float32, torch.float64), "convert with .float()")
    require_ndim(function, "inputs", inputs, "(N, C, H, W)")
    return inputs.shape[1] in (1, 3)


def _by_image(function: str, images: Tensor, options: dict[str, Any], *, lab: bool = False) -> Tensor:
    """Labels from the function of that name in skimage.segmentation. `lab`: it compares colours in Lab where there are any."""
    colours = _colours(function, images)
    labels = torch.zeros(len(images), *images.shape[2:], dtype=torch.int64)
    if images.numel() == 0:
        return labels.to(images.device)
    scaled = _scaled(function, images.detach().cpu().double())
    segment = getattr(import_module("skimage.segmentation"), function)
    if lab:
        options["convert2lab"] = colours
        scaled = scaled.expand(-1, 3, -1, -1) if images.shape[1] == 1 else scaled if colours else scaled * 100
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Got image with third dimension")  # more than three channels are meant
        for image, label in zip(scaled, labels, strict=True):
            result = segment(image.permute(1, 2, 0).contiguous().numpy(), channel_axis=-1, **options)
            label.copy_(torch.from_numpy(result))
    return given(labels).to(images.device)


def _scaled(function: str, images: Tensor) -> Tensor:
    """Each image on [0, 1]; one of a single value becomes 0."""
    low, high = torch.aminmax(images.flatten(1), dim=1, keepdim=True)
    finite = (high - low).isfinite()[:, 0]
    if not finite.all():
        bad_value(function, "inputs", "finite", f"infinite or NaN in image(s) {(~finite).nonzero().flatten().tolist()}")
    spread = torch.where(high > low, high - low, 1.0)
    return ((images.flatten(1) - low) / spread).view_as(images)
