"""Order of the pixels of a saliency map: which is removed first."""

import torch
from torch import Tensor

from .. import reference
from ..checks import (
    bad_value,
    holds_values,
    require_choice,
    require_device,
    require_dtype,
    require_integer,
    require_ndim,
    require_sample_ids,
    require_shape,
    require_tensor,
)
from ._arguments import refuse_vmap
from .native import Definition, call, define

_TIES = ("index", "random")
_NAN = ("raise", "last")


def rank(
    saliency: Tensor,
    *,
    ties: str = "index",
    seed: int = 0,
    sample_ids: Tensor | None = None,
    nan: str = "raise",
) -> Tensor:
    """Place of each pixel in the order of its map: 0 = most relevant.

    rank(p) = #{q : saliency(q) > saliency(p)} + #{q : saliency(q) = saliency(p) and q comes first by the tie rule}, a total
    order with -0 = +0. Two maps that differ by a strictly increasing function have equal ranks.

    Args:
        saliency: (N, H, W) float32 or float64 (float16 and bfloat16 are widened exactly); larger = more relevant. Any strides.
        ties: "index": equal values in row-major order. "random": in an order drawn per map from (seed, sample id, pixel), so
            that flat areas do not become raster bands; the same map under the same id gets the same order in any batch.
        seed: in [0, 2^63), read where ties="random".
        sample_ids: (N,) int64 in [0, 2^48), the identity of each map; 0 .. N-1 if not given.
        nan: "raise": refuse a map with NaN. "last": rank NaN after everything else.

    Returns:
        (N, H, W) int32 contiguous, a permutation of 0 .. H W - 1 in each map.

    Raises:
        TypeError: saliency is not a floating tensor; sample_ids is not int64.
        ValueError: wrong shape or device, unknown ties or nan, seed out of range, NaN with nan="raise".

    Note:
        Deterministic, the same integers on CPU and CUDA. Stable radix sort: time linear in pixels; extra memory 16 bytes per
        pixel, 24 for float64 (CPU: of one map per thread; CUDA: of all maps). nan="raise" reads one flag back from an
        accelerator; pass nan="last" inside a CUDA graph. Not differentiable. Reference: `saliency_ext.reference.rank`.

    Example:
        >>> import torch
        >>> rank(torch.tensor([[[0.5, 2.0], [0.5, -1.0]]]))
        tensor([[[1, 0],
                 [2, 3]]], dtype=torch.int32)
    """
    values = checked_saliency("rank", saliency, nan)
    ids = tie_ids("rank", values, ties, seed, sample_ids)
    return call("rank", values, ids, seed)  # type: ignore[no-any-return]


def checked_saliency(function: str, saliency: Tensor, nan: str) -> Tensor:
    """The map in a dtype that the kernels order, after the checks shared by `rank` and `topk_mask`."""
    require_tensor(function, "saliency", saliency)
    require_dtype(function, "saliency", saliency, (torch.float32, torch.float64, torch.float16, torch.bfloat16))
    require_ndim(function, "saliency", saliency, "(N, H, W)")
    values = saliency.detach()
    if values.dtype in (torch.float16, torch.bfloat16):
        values = values.float()
    # amin carries NaN: one pass, no temporary.
    if require_choice(function, "nan", nan, _NAN) == 0 and values.numel() > 0:
        refuse_vmap(function, values)
        if not holds_values(values):
            return values
        lowest = values.flatten(1).amin(1).isnan()
        if lowest.any():
            maps = lowest.nonzero().flatten().tolist()
            bad_value(function, "saliency", "without NaN", f"NaN in map(s) {maps}", "repair them, or pass nan='last'")
    return values


def tie_ids(function: str, values: Tensor, ties: str, seed: int, sample_ids: Tensor | None) -> Tensor | None:
    """Sample ids for ties at random, None for ties by index."""
    require_integer(function, "seed", seed, 0, 2**63 - 1)
    random = require_choice(function, "ties", ties, _TIES) == 1
    if sample_ids is not None:
        require_sample_ids(function, sample_ids)
        require_shape(function, "sample_ids", sample_ids, "(N,)", values.shape[:1])
        require_device(function, "sample_ids", sample_ids, values, "saliency")
    if not random:
        return None
    return torch.arange(values.shape[0], device=values.device) if sample_ids is None else sample_ids


def _fake(saliency: Tensor, sample_ids: Tensor | None, seed: int) -> Tensor:
    return saliency.new_empty(saliency.shape, dtype=torch.int32)


define("rank", Definition(fake=_fake, reference=reference.rank))
