"""One rule per kind of layer: how relevance and gradient pass from its output to its input. Pure functions of tensors.

rel: relevance, in the shape of the activation; g: gradient of the start score with respect to it. Every reduction is per
sample. Relevance that meets a zero denominator has nowhere to go and is dropped [Gur 2021, official code].
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ._operations import Conv

EPSILON = 1e-9


def sdiv(a: Tensor, b: Tensor) -> Tensor:
    """a / (b + eps sign(b)), and 0 where b is 0.

    The official code adds +eps to negative denominators too, which has a pole at -eps; elsewhere the two agree to eps / |b|.
    """
    denominator = torch.copysign(b.new_tensor(EPSILON), b).add_(b)
    return (a / denominator).mul_(torch.sign(b, out=denominator).abs_())


def nonzero(t: Tensor) -> Tensor:
    """nz: 1 where t is not 0, else 0, in the dtype of t. Arithmetic on it is several times as fast as on a mask of bool."""
    return t.sign().abs_()


def sample_maximum(t: Tensor) -> Tensor:
    """max1: maximum over everything but the first dimension, which is kept for broadcasting."""
    return t.amax(tuple(range(1, t.ndim)), keepdim=True)


def unit_maximum(t: Tensor) -> Tensor:
    """t divided by its sample's maximum.

    Where the maximum is not positive the official code flips signs or explodes. Here such a sample is divided by max |t|, which
    keeps its signs; all zeros stay zeros.
    """
    top = sample_maximum(t)
    return sdiv(t, torch.where(top > 0, top, sample_maximum(t.abs())))


def shift(base: Tensor, residual: Tensor) -> Tensor:
    """base + residual - nz(base) sum(residual) / count(nz(base)): a residual that is 0 where base is, made to sum to 0."""
    support, dims = nonzero(base), tuple(range(1, base.ndim))
    mean = sdiv(residual.sum(dims, keepdim=True), support.sum(dims, keepdim=True))
    return support.mul_(mean).neg_().add_(residual).add_(base)


def relu_rule(y: Tensor, stream: Tensor) -> Tensor:
    """Either stream passes where the output y is not 0: X 1[X > 0] rel / y for relevance, the derivative for the gradient."""
    return y.sign().mul_(stream)


def pool_rule(function: Callable[[Tensor], Tensor], x: Tensor, rel: Tensor, g: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """rel <- X (df/dX)^T sdiv(rel, f(X)): each input gets its share of the mean, or all if it is the maximum."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        z = function(leaf)
        share = torch.autograd.grad(z, leaf, sdiv(rel, z.detach()), retain_graph=g is not None)[0]
        back = None if g is None else torch.autograd.grad(z, leaf, g)[0]
    return x * share, back


def add_rule(x1: Tensor, x2: Tensor, rel: Tensor) -> tuple[Tensor, Tensor]:
    """rel_i <- x_i sdiv(rel, x1 + x2). Signed: where the two nearly cancel, both shares are large."""
    share = sdiv(rel, x1 + x2)
    return x1 * share, x2 * share


def split_rule(x: Tensor, rels: list[Tensor]) -> Tensor:
    """What several readers of one map sent back: their sum where X is not 0."""
    total = rels[0]
    for rel in rels[1:]:
        total = total + rel
    return nonzero(x).mul_(total) if len(rels) > 1 else total


def abs_rule(magnitude: Tensor, z: Tensor, rel: Tensor, transpose: Callable[[Tensor], Tensor]) -> Tensor:
    """B = |X| transpose_|w|( sdiv(rel, Z) ), Z = |w| |X| without bias.

    Args:
        magnitude: |X|.
        z: Z.
        rel: in the shape of Z.
        transpose: of the map |w|.
    """
    return transpose(sdiv(rel, z)).mul_(magnitude)


def flattened_rule(base: Tensor, x: Tensor, g: Tensor, shape: torch.Size) -> Tensor:
    """Linear layer on a flattened map: shift(B, M), M = relu(mean_c(X g)) over all channels, where B is not 0, over its maximum.

    Args:
        base: (N, D), B.
        x: (N, D).
        g: (N, D), gradient with respect to x.
        shape: (N, C, H, W) of the map before it was flattened.
    """
    mean = torch.relu((x * g).view(shape).mean(1, keepdim=True)).expand(shape).reshape(base.shape)
    return shift(base, unit_maximum(mean * nonzero(base)))


def zbox_rule(conv: Conv, x: Tensor, rel: Tensor) -> Tensor:
    """First convolution: relevance over a box of possible inputs, lo and hi the sample's own minimum and maximum.

    Za = conv(X - lo, w+) + conv(X - hi, w-); S = sdiv(rel, Za); rel <- (X - lo) conv^T(S, w+) + (X - hi) conv^T(S, w-).
    The usual form conv(X, w) - conv(lo, w+) - conv(hi, w-), regrouped: each term is >= 0, so rel >= 0 stays so, and a constant
    image gives exactly 0 rather than rounding noise.
    """
    low = x - x.amin((1, 2, 3), keepdim=True)
    high = x - sample_maximum(x)
    positive, negative = conv.weight.clamp(min=0), conv.weight.clamp(max=0)
    s = sdiv(rel, conv.apply(low, positive) + conv.apply(high, negative))
    return conv.transpose(s, positive, x).mul_(low).add_(conv.transpose(s, negative, x).mul_(high))
