"""The k most relevant pixels of a map, as masks."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import reference
from ._arguments import step_counts
from .native import Definition, call, define
from .rank import checked_saliency, tie_ids


def topk_mask(
    saliency: Tensor,
    k: int | Sequence[int] | Tensor,
    *,
    ties: str = "index",
    seed: int = 0,
    sample_ids: Tensor | None = None,
    nan: str = "raise",
) -> Tensor:
    """Masks that are True exactly on the k most relevant pixels of each map, for one or several k.

    mask[j] = rank(saliency) < k[j], in the same total order and with the same tie rule as `rank`, but without a full sort: a
    radix select finds the pixel at place k.

    Args:
        saliency: (N, H, W) float32 or float64 (float16 and bfloat16 are widened exactly). Any strides.
        k: counts in [0, H W], one or K of them: an int, a sequence, or an integer tensor (K,).
        ties, seed, sample_ids, nan: as in `rank`.

    Returns:
        (K, N, H, W) bool, contiguous; K = 1 for an int. Exactly k[j] pixels of each map are True.

    Raises:
        TypeError: saliency is not a floating tensor; k is not integral.
        ValueError: k out of [0, H W] (checked where k is on the host); otherwise as `rank`.

    Note:
        Deterministic, the same masks on CPU and CUDA, and as `rank`. k on an accelerator is not read back: a count below 0 acts
        as 0, one above H W as H W. Not differentiable. Reference: `saliency_ext.reference.topk_mask`.

    Example:
        >>> import torch
        >>> topk_mask(torch.tensor([[[0.5, 2.0], [0.5, -1.0]]]), 2)
        tensor([[[[ True,  True],
                  [False, False]]]])
    """
    values = checked_saliency("topk_mask", saliency, nan)
    ids = tie_ids("topk_mask", values, ties, seed, sample_ids)
    counts = step_counts("topk_mask", "k", [k] if isinstance(k, int) else k, values, ndims=(1,))
    return call("topk_mask", values, counts, ids, seed)  # type: ignore[no-any-return]


def _fake(saliency: Tensor, counts: Tensor, sample_ids: Tensor | None, seed: int) -> Tensor:
    return saliency.new_empty((counts.shape[0], *saliency.shape), dtype=torch.bool)


define("topk_mask", Definition(fake=_fake, reference=reference.topk_mask))
