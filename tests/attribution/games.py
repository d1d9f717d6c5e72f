"""Cooperative games as models: one pixel per player, kept = its value, removed = 0, logits looked up in a table."""

import itertools
from functools import partial

import torch

from saliency_ext.infill import Constant
from tests.helpers import tensors as random_tensor

NOTHING = Constant(0.0)


tensors = partial(random_tensor, dtype=torch.float64, low=-0.4)


def game_model(table):
    """Logits (B, T) = rows of a table (2^K, T): row number sum over kept pixels j of 2^j. Counts its calls."""

    def model(images):
        model.calls += 1
        bits = (images.flatten(1) > 0.5).long()
        return table[(bits << torch.arange(bits.shape[1])).sum(1)]

    model.calls = 0
    return model


def players(count, images=1):
    return torch.ones(images, 1, 1, count, dtype=torch.float64)


def pixels(inputs):
    """Every pixel is a segment."""
    return torch.arange(inputs.shape[2] * inputs.shape[3]).view(1, *inputs.shape[2:]).expand(len(inputs), -1, -1)


def shapley(table):
    """Mean over all orders of what a player adds when it comes: (K, T), by brute force."""
    count = (len(table) - 1).bit_length()
    orders = torch.tensor(list(itertools.permutations(range(count))))
    values, before = torch.zeros(count, table.shape[1], dtype=table.dtype), torch.zeros(len(orders), dtype=torch.int64)
    for player in orders.T:
        after = before | 1 << player
        values.index_add_(0, player, table[after] - table[before])
        before = after
    return values / len(orders)


def painted_labels(inputs):
    """A segmentation that depends on the image: channel 0 holds the labels."""
    return inputs[:, 0].round().long()


def images_with_labels(labels, seed=0):
    """(N, 2, H, W) float64: channel 0 the labels (N, H, W), channel 1 values."""
    return torch.stack([labels.double(), tensors(*labels.shape, seed=seed)], 1)


MIXED = torch.tensor(
    [
        [[0, 0, 1], [2, 2, 1]],  # 3 segments
        [[0, 0, 0], [0, 0, 0]],  # 1
        [[-1, -1, -1], [-1, -1, -1]],  # none
        [[7, 3, -1], [900, 3, 3]],  # 3, with gaps and uncovered pixels
        [[0, 1, 2], [3, 4, 5]],  # 6
    ]
)


def smooth_model(images):
    """(B, 3) logits of the values in channel 1, with interactions."""
    values = images[:, 1].flatten(1)
    mixed = values @ torch.linspace(-1, 1, 4 * values.shape[1], dtype=values.dtype).view(-1, 4)
    return torch.cat([mixed.tanh(), values.prod(1, keepdim=True)], 1)[:, 1:4]
