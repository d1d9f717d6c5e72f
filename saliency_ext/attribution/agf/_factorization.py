"""The rank-2 factorisation of a map into what lies under positive and under negative relevance."""

import torch
from torch import Tensor

from ._rules import sdiv, unit_maximum

SLOPE = 10.0  # of the soft step
RIDGE = 1.0  # lambda


def factor(values: Tensor, guide: Tensor) -> Tensor:
    """Q_pos - Q_neg, (N, 1, H, W): similarity of each position to those of positive, minus that to those of negative relevance.

    soft = sigmoid(10 T / max T), as C x HW; rep = [rep_neg, rep_pos], C x 2: the means of soft over the places where the guide
    is negative and positive; Q = relu( (rep^T rep + lambda I)^-1 rep^T soft ), 2 x HW, lambda = 1 [Gur 2021, official code].

    No place of one sign: its mean is 0 and so is its row of Q. No positive value in T: it is divided by max |T| (see
    `unit_maximum`).

    Args:
        values: (N, C, H, W), T: the activations or their gradient.
        guide: (N, 1, H, W), of which only the sign matters.
    """
    height, width = values.shape[2:]
    soft = unit_maximum(values).mul_(SLOPE).sigmoid_().flatten(2)
    return difference(soft, guide).view(-1, 1, height, width)


def difference(soft: Tensor, guide: Tensor) -> Tensor:
    """`factor` from the soft map (N, C, HW), as (N, 1, HW). The 2 x 2 system is solved by its closed form, on any device."""
    signs = torch.stack([guide.flatten(1) < 0, guide.flatten(1) > 0], 2).to(soft.dtype)  # (N, HW, 2)
    rep = sdiv(soft @ signs, signs.sum(1, keepdim=True))  # (N, C, 2)
    gram = rep.transpose(1, 2) @ rep
    moments = rep.transpose(1, 2) @ soft  # (N, 2, HW)
    neg, pos, cross = gram[:, 0, 0] + RIDGE, gram[:, 1, 1] + RIDGE, gram[:, 0, 1]
    determinant = neg * pos - cross * cross  # >= lambda^2 + lambda (|rep_neg|^2 + |rep_pos|^2)
    inverse = torch.stack([torch.stack([pos, -cross], 1), torch.stack([-cross, neg], 1)], 1) / determinant[:, None, None]
    q = torch.relu(inverse @ moments)
    return q[:, 1:] - q[:, :1]
