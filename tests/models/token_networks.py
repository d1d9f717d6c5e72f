"""Tiny networks whose activations look like feature maps of the image and are none, or the other way round."""

import torch
import torch.nn.functional as F
from torch import nn

from tests.models.networks import Block, ViT, randomised


class Keys(nn.Module):
    """Attention of `queries` to tokens (N, L, d), whose queries and keys (N, heads, L, d / heads) pass modules of their own."""

    def __init__(self, width, heads=2):
        super().__init__()
        self.heads, self.q, self.kv = heads, nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.q_norm, self.k_norm = nn.LayerNorm(width // heads), nn.LayerNorm(width // heads)

    def forward(self, queries, tokens):
        def split(x):
            return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        k, v = self.kv(tokens).chunk(2, -1)
        mixed = F.scaled_dot_product_attention(self.q_norm(split(self.q(queries))), self.k_norm(split(k)), split(v))
        return mixed.transpose(1, 2).flatten(2)


class AttentionPool(nn.Module):
    """A vision transformer whose head asks the tokens with one learned query, as SigLIP's: 8 x 8 cells, and keys 64 x 64."""

    def __init__(self, width=128, patch=8, size=64, classes=5):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, width, patch, stride=patch)
        self.position = nn.Parameter(torch.zeros(1, (size // patch) ** 2, width))
        self.blocks, self.norm = nn.Sequential(Block(width), Block(width)), nn.LayerNorm(width)
        self.latent, self.pool, self.head = nn.Parameter(torch.zeros(1, 1, width)), Keys(width), nn.Linear(width, classes)

    def forward(self, x):
        tokens = self.norm(self.blocks(self.patch_embed(x).flatten(2).transpose(1, 2) + self.position))
        return self.head(self.pool(self.latent.expand(len(x), -1, -1), tokens)[:, 0])


class Latents(nn.Module):
    """Blocks of 16 latent tokens that have read the image once, as Perceiver's: 4 x 4 only in number."""

    def __init__(self, width=8, classes=5):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, width, 2, stride=2)
        self.latent, self.reads = nn.Parameter(torch.zeros(1, 16, width)), Keys(width)
        self.blocks, self.head = nn.ModuleList([Block(width), Block(width)]), nn.Linear(width, classes)

    def forward(self, x):
        tokens = self.reads(self.latent.expand(len(x), -1, -1), self.patch_embed(x).flatten(2).transpose(1, 2))
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(tokens.mean(1))


class PooledStages(nn.Module):
    """Stages that return feature maps beside a class token, which alone is read, as PiT's."""

    class Stage(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.blocks = nn.Sequential(Block(width), Block(width))

        def forward(self, pair):
            maps, lead = pair
            n, c, h, w = maps.shape
            tokens = self.blocks(torch.cat([lead, maps.flatten(2).transpose(1, 2)], 1))
            return tokens[:, 1:].transpose(1, 2).reshape(n, c, h, w), tokens[:, :1]

    def __init__(self, width=8, size=16, classes=5):
        super().__init__()
        self.patch_embed, self.lead = nn.Conv2d(3, width, 4, stride=4), nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.zeros(1, width, size // 4, size // 4))
        self.stages = nn.Sequential(self.Stage(width), self.Stage(width))
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        maps = self.patch_embed(x) + self.position
        return self.head(self.stages((maps, self.lead.expand(len(x), -1, -1)))[1][:, 0])


class Unfolded(nn.Module):
    """Convolutions with a transformer over pixels of one place in each 2 x 2 patch, as MobileViT's: 4 rows of tokens an image."""

    def __init__(self, width=6, classes=5):
        super().__init__()
        self.stem, self.blocks = nn.Conv2d(3, width, 3, 2, 1), nn.Sequential(Block(width), Block(width))
        self.fuse, self.head = nn.Conv2d(2 * width, width, 3, padding=1), nn.Linear(width, classes)

    def forward(self, x):
        maps = self.stem(x)
        n, c, h, w = maps.shape
        tokens = maps.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 2, 4, 1).reshape(n * 4, h * w // 4, c)
        tokens = self.blocks(tokens).reshape(n, 2, 2, h // 2, w // 2, c).permute(0, 5, 3, 1, 4, 2).reshape(n, c, h, w)
        return self.head(self.fuse(torch.cat([maps, tokens], 1)).mean((2, 3)))


class Resized(nn.Module):
    """Scales every image to the one size that its network takes."""

    def __init__(self, network, size):
        super().__init__()
        self.network, self.size = network, size

    def forward(self, x):
        return self.network(F.interpolate(x, self.size))


class Shrinking(nn.Module):
    """Reduces its windows for good to the smallest image it has seen, and keeps what it has computed for a size."""

    def __init__(self, width=4, classes=5):
        super().__init__()
        self.conv, self.head, self.window = nn.Conv2d(3, width, 3, padding=1), nn.Linear(width, classes), 8
        self.seen, self.place = {}, None

    def forward(self, x):
        self.window = min(self.window, *x.shape[2:])
        self.seen[tuple(x.shape[2:])] = self.place = torch.ones(x.shape[2:])
        return self.head(F.avg_pool2d(self.conv(x) * self.place, self.window).amax((2, 3)))


class Picky(ViT):
    """Takes one size, and says so in a way of its own."""

    def forward(self, x):
        if x.shape[2:] != (16, 16):
            raise KeyError(tuple(x.shape))
        return super().forward(x)


def without_head(model, head="head"):
    """The model with a last layer of zeros."""
    layer = model.get_submodule(head)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return model


NETWORKS = {kind.__name__: kind for kind in (AttentionPool, Latents, PooledStages, Unfolded, Picky, Shrinking)}


def made(name, **options):
    return randomised(NETWORKS[name](**options))
