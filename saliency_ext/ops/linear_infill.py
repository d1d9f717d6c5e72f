"""Removed pixels as weighted means of their neighbours: the imputation of ROAD, and the harmonic one."""

from collections.abc import Sequence
from typing import Literal, overload

import torch
from torch import Tensor

from .. import reference, rng_streams
from ..checks import (
    bad_value,
    require_choice,
    require_device,
    require_dtype,
    require_integer,
    require_ndim,
    require_number,
    require_sample_ids,
    require_shape,
    require_tensor,
)
from ._arguments import COMPUTE_DTYPES, refuse_derivative
from .native import Definition, call, define
from .noise import philox_normal

_STENCILS = ("road", "harmonic")


@overload
def linear_infill(
    inputs: Tensor,
    remove: Tensor,
    *,
    stencil: str = ...,
    tolerance: float = ...,
    noise_std: float | Sequence[float] = ...,
    seed: int = ...,
    sample_ids: Tensor | None = ...,
    draw: int = ...,
    with_residual: Literal[False] = ...,
) -> Tensor: ...


@overload
def linear_infill(
    inputs: Tensor,
    remove: Tensor,
    *,
    stencil: str = ...,
    tolerance: float = ...,
    noise_std: float | Sequence[float] = ...,
    seed: int = ...,
    sample_ids: Tensor | None = ...,
    draw: int = ...,
    with_residual: Literal[True],
) -> tuple[Tensor, Tensor]: ...


def linear_infill(
    inputs: Tensor,
    remove: Tensor,
    *,
    stencil: str = "road",
    tolerance: float = 1e-3,
    noise_std: float | Sequence[float] = 0.01,
    seed: int = 0,
    sample_ids: Tensor | None = None,
    draw: int = 0,
    with_residual: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Images whose removed pixels are weighted means of their neighbours, removed or not, plus a little noise.

    For each removed pixel u:  x(u) = sum over neighbours v inside the image of w(u, v) x(v) / sum of these w(u, v),
    x the image where it is kept. Weights: stencil="road" 1/6 for the 4 direct and 1/12 for the 4 diagonal neighbours
    [Rong 2022, Sec. 4.2]; stencil="harmonic" 1/4 for the 4 direct ones, the discrete Laplace equation. A neighbour outside the
    image is left out. Then filled = x + noise_std z where removed, z standard normal.
    One sparse system per (step, image), which the channels share, solved by conjugate gradients with a multigrid preconditioner.

    Args:
        inputs: (N, C, H, W) float32 or float64, any strides. What removed pixels hold is not looked at.
        remove: (S, N, H, W) bool, True = removed: S masks per image.
        stencil: "road" or "harmonic".
        tolerance: > 0, largest error of a pixel, in units of the inputs, before noise. Cost grows with its logarithm. Below
            1e-5 of the range of an image, times the square of its long side by its short one, the work is done in float64;
            float32 results are rounded after that.
        noise_std: >= 0, one number or one per channel, in units of the inputs. Published: 0.01 of a range of [0, 1], which is
            0.01 / std of a channel after normalisation.
        seed: of the noise, in [0, 2^63).
        sample_ids: (N,) int64 in [0, 2^48), whose noise; 0 .. N - 1 if not given.
        draw: in [0, 2^27), which independent draw of the noise.
        with_residual: also return how well the equations hold.

    Returns:
        filled (S, N, C, H, W) contiguous, dtype and device of the inputs; kept pixels have the bits of the inputs. With
        `with_residual` also (S, N, C) float32: the largest |weighted mean - x(u)| over removed pixels, before noise.

    Raises:
        TypeError: inputs not float32 or float64; remove not bool; a number or an int is none.
        ValueError: wrong shape or device, unknown stencil, tolerance <= 0, noise_std < 0 or not finite, seed, ids or draw out
            of range. RuntimeError: inputs require grad.

    Note:
        Nothing removed: the inputs. Everything removed: 0 plus noise, the smallest solution of a system that says nothing; 0 is
        the mean colour of normalised inputs. A channel whose kept pixels hold a NaN or an infinity: NaN where removed, residual
        NaN. Without noise no value leaves the range of the kept pixels, and a constant is met exactly. A linear ramp is met
        except next to the border, where left-out neighbours bend it.
        Deterministic: the noise of a pixel depends on (seed, sample id, draw, channel, pixel), not on step, mask or batch.
        Memory: the output, about 12 planes per thread, the noise. Not differentiable.
        Reference: `saliency_ext.reference.linear_infill`.

    Example:
        >>> import torch
        >>> line = torch.tensor([[[[1.0, 9.0, 9.0, 4.0]]]])
        >>> filled = linear_infill(line, torch.tensor([[[[False, True, True, False]]]]), noise_std=0.0, tolerance=1e-6)
        >>> filled.flatten()
        tensor([1., 2., 3., 4.])

    References:
        Rong et al., A Consistent and Efficient Evaluation Strategy for Attribution Methods, ICML 2022.
    """
    function = "linear_infill"
    require_tensor(function, "inputs", inputs)
    require_dtype(function, "inputs", inputs, COMPUTE_DTYPES, "convert with .float()")
    require_ndim(function, "inputs", inputs, "(N, C, H, W)")
    require_tensor(function, "remove", remove)
    require_dtype(function, "remove", remove, (torch.bool,), "compare with a threshold: remove > 0")
    require_ndim(function, "remove", remove, "(S, N, H, W)")
    require_shape(function, "remove", remove, "(S, N, H, W)", (remove.shape[0], inputs.shape[0], *inputs.shape[2:]))
    require_device(function, "remove", remove, inputs, "inputs")
    code = require_choice(function, "stencil", stencil, _STENCILS)
    goal = require_number(function, "tolerance", tolerance, above=0.0)
    deviations = [
        require_number(function, "noise_std", v) for v in (noise_std if isinstance(noise_std, Sequence) else [noise_std])
    ]
    if isinstance(noise_std, Sequence) and len(deviations) != inputs.shape[1]:
        bad_value(function, "noise_std", f"to be one number, or C = {inputs.shape[1]} of them", len(deviations))
    require_integer(function, "seed", seed, 0, 2**63 - 1)
    require_integer(function, "draw", draw, 0, 2**27 - 1)
    if sample_ids is not None:
        require_sample_ids(function, sample_ids)
        require_shape(function, "sample_ids", sample_ids, "(N,)", inputs.shape[:1])
        require_device(function, "sample_ids", sample_ids, inputs, "inputs")
    remedy = "it is not differentiable: pass inputs.detach(), or call it under torch.no_grad()"
    refuse_derivative(function, "inputs", remedy, inputs)
    noise = None
    if any(deviation > 0 for deviation in deviations):
        ids = torch.arange(inputs.shape[0], device=inputs.device) if sample_ids is None else sample_ids
        noise = philox_normal(inputs.shape[1:], ids, seed=seed, stream=rng_streams.IMPUTATION + draw)
        for channel, deviation in enumerate(deviations if len(deviations) > 1 else ()):
            noise[:, channel].mul_(deviation)
    filled, residual = call("linear_infill", inputs, remove, noise, code, goal, deviations[0] if len(deviations) == 1 else 1.0)
    return (filled, residual) if with_residual else filled


def _fake(
    inputs: Tensor, remove: Tensor, noise: Tensor | None, stencil: int, tolerance: float, noise_std: float
) -> tuple[Tensor, Tensor]:
    steps, (n, c, h, w) = remove.shape[0], inputs.shape
    return inputs.new_empty((steps, n, c, h, w)), inputs.new_empty((steps, n, c), dtype=torch.float32)


def _reference(
    inputs: Tensor, remove: Tensor, noise: Tensor | None, stencil: int, tolerance: float, noise_std: float
) -> tuple[Tensor, Tensor]:
    filled, residual = reference.linear_infill(inputs, remove, _STENCILS[stencil], noise, noise_std)
    return filled.contiguous(), residual


define("linear_infill", Definition(fake=_fake, reference=_reference))
