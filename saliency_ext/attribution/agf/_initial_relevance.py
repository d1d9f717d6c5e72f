"""Initial relevance and gradient: a soft competition between the target and the classes whose logits are near its own."""

import torch
from torch import Tensor


def competition(logits: Tensor, classes: Tensor) -> Tensor:
    """Share (N,) of the target in a softmax that is centred on it [Gur 2021, official code].

    s_t with s = softmax_j( y_t exp(-d_j^2 / (2 sigma^2)) ), d_j = y_j - y_t, sigma = max_j |d_j|.

    The kernel lies in [exp(-1/2), 1], so only classes with a logit near y_t compete. y_t multiplies it: the share is not
    invariant to a constant added to all logits, and where y_t < 0 the target has the smallest share of all. All logits equal
    (sigma = 0): the kernel is 1.

    Args:
        logits: (N, K).
        classes: (N,) int64.
    """
    own = logits.gather(1, classes[:, None])
    distance = logits - own
    sigma = distance.abs().max(1, keepdim=True).values
    sigma = torch.where(sigma == 0, torch.ones_like(sigma), sigma)
    kernel = torch.exp(-0.5 * (distance / sigma) ** 2)
    return (own * kernel).softmax(1).gather(1, classes[:, None])[:, 0]


def logit_gradient(logits: Tensor, classes: Tensor) -> Tensor:
    """d s_t / d logits, (N, K)."""
    with torch.enable_grad():
        leaf = logits.detach().requires_grad_()
        return torch.autograd.grad(competition(leaf, classes).sum(), leaf)[0]
