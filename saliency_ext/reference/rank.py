"""Reference of `rank` and `topk_mask`: two stable sorts."""

import torch
from torch import Tensor

from .noise import philox_words

TIE_BREAK_STREAM = 0x80000001


def rank(saliency: Tensor, sample_ids: Tensor | None = None, seed: int = 0) -> Tensor:
    """Ranks (N, H, W) int32, 0 = most relevant. Ties by index, or at random by (seed, sample id, pixel) where ids are given."""
    values = saliency.flatten(1)
    values = torch.where(values == 0, torch.zeros_like(values), values)  # -0 = +0
    order = torch.arange(values.shape[1], device=values.device).expand_as(values)
    if sample_ids is not None:
        words = philox_words(sample_ids, 1, *saliency.shape[1:], seed=seed, stream=TIE_BREAK_STREAM).flatten(1)
        order = torch.sort(words, dim=1, stable=True).indices
    # NaN goes last: sort first by value, then (stable) by whether it is NaN.
    for key, descending in ((values.nan_to_num(0.0, torch.inf, -torch.inf), True), (values.isnan().int(), False)):
        order = order.gather(1, torch.sort(key.gather(1, order), dim=1, stable=True, descending=descending).indices)
    ranks = torch.empty_like(order)
    ranks.scatter_(1, order, torch.arange(order.shape[1], device=order.device).expand_as(order))
    return ranks.reshape(saliency.shape).to(torch.int32)


def topk_mask(saliency: Tensor, counts: Tensor, sample_ids: Tensor | None = None, seed: int = 0) -> Tensor:
    """Masks (K, N, H, W): True where rank < count."""
    return rank(saliency, sample_ids, seed)[None] < counts.reshape(-1, 1, 1, 1)
