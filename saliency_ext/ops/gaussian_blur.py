"""Gaussian blur as two matrix products: the same time for every sigma."""

import math
from functools import lru_cache

import torch
from torch import Tensor

from ..checks import bad_type, bad_value, require_choice, require_dtype, require_ndim, require_tensor
from ._arguments import COMPUTE_DTYPES

_BORDERS = ("reflect", "zero", "replicate", "renormalise")
_TRUNCATE = 4.0  # kernel radius in sigmas


def gaussian_blur(inputs: Tensor, sigma: float, *, border: str = "reflect") -> Tensor:
    """Images blurred by a separable Gaussian: G_h X G_w^T with banded matrices that hold the border rule.

    Kernel: exp(-d^2 / (2 sigma^2)) for |d| <= floor(4 sigma + 1/2), divided by its sum. Outside the image lies
        "reflect"      the mirrored image, the border pixel not repeated (repeatedly, where the kernel is wider than the image)
        "zero"         zero
        "replicate"    the border pixel
        "renormalise"  nothing: weights inside are divided by their sum (no darkening)

    Args:
        inputs: (N, C, H, W) float32 or float64. Any strides.
        sigma: standard deviation in pixels, >= 0; 0 returns a copy.
        border: one of the above.

    Returns:
        (N, C, H, W), dtype of the inputs, contiguous.

    Raises:
        TypeError: inputs are not float32 or float64; sigma is not a number. ValueError: inputs are not 4-D; sigma < 0 or not
        finite; unknown border.

    Note:
        Two dense matrix products of H x H and W x W per plane: the time does not depend on sigma. In the inputs' precision
        also under autocast. The matrices are cached (8 of them). Differentiable, any order. As deterministic as torch.matmul;
        a batch equals its rows to rounding. Memory: one intermediate of the inputs' size.
        Reference: `saliency_ext.reference.gaussian_blur`.

    Example:
        >>> import torch
        >>> blurred = gaussian_blur(torch.ones(1, 3, 8, 8), 2.0)
        >>> bool(torch.allclose(blurred, torch.ones(1, 3, 8, 8)))
        True
    """
    function = "gaussian_blur"
    require_tensor(function, "inputs", inputs)
    require_dtype(function, "inputs", inputs, COMPUTE_DTYPES)
    require_ndim(function, "inputs", inputs, "(N, C, H, W)")
    if isinstance(sigma, bool) or not isinstance(sigma, int | float):
        bad_type(function, "sigma", "to be a number", type(sigma).__name__)
    if not 0 <= sigma < math.inf:
        bad_value(function, "sigma", ">= 0 and finite", sigma)
    require_choice(function, "border", border, _BORDERS)
    if sigma == 0 or inputs.numel() == 0:
        return inputs.clone(memory_format=torch.contiguous_format)
    down = _band_for(inputs, inputs.shape[2], float(sigma), border)
    across = _band_for(inputs, inputs.shape[3], float(sigma), border)
    device = inputs.device.type
    if not torch.amp.is_autocast_available(device):
        return down @ (inputs @ across.T)
    with torch.autocast(device, enabled=False):  # a blur in half precision is not the blur asked for
        return down @ (inputs @ across.T)


def _band_for(inputs: Tensor, size: int, sigma: float, border: str) -> Tensor:
    """The matrix for these inputs; cached as a plain tensor: not while tracing, and not as an inference tensor."""
    if torch.compiler.is_compiling() or type(inputs) is not Tensor:
        return _band(size, sigma, border, inputs.dtype, inputs.device)
    with torch.inference_mode(False):
        return _cached_band(size, sigma, border, inputs.dtype, inputs.device)


def _band(size: int, sigma: float, border: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(size, size): row i holds the weights of output i. Built in float64."""
    radius = int(_TRUNCATE * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    source = torch.arange(size).view(-1, 1) + torch.arange(-radius, radius + 1)
    inside = (source >= 0) & (source < size)
    if border == "reflect":
        period = max(2 * (size - 1), 1)
        source = source.remainder(period)
        source = torch.where(source >= size, period - source, source)
    weights = kernel.expand(size, -1)
    if border in ("zero", "renormalise"):
        weights = weights * inside
    matrix = torch.zeros(size, size, dtype=torch.float64).scatter_add_(1, source.clamp(0, size - 1), weights)
    if border == "renormalise":
        matrix /= matrix.sum(1, keepdim=True)
    return matrix.to(device=device, dtype=dtype)


_cached_band = lru_cache(maxsize=8)(_band)
