"""Two small nets for the scenes: a residual CNN and a vision transformer. No part is used twice, so every hook sees one call.

Both take model input space, (image / 255 - MEAN) / STD of `scenes`, shape (N, 3, 64, 64), and give logits (N, 14).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..checks import require_choice, require_integer
from .scenes import CLASSES


class ResidualBlock(nn.Module):
    """relu(norm(conv(relu(norm(conv(x))))) + shortcut(x)); the shortcut is a 1x1 convolution where the shape changes."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        changes = stride != 1 or width_in != width
        self.shortcut = (
            nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width)) if changes else nn.Identity()
        )
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, width, H / stride, W / stride)."""
        inner = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(x)))))
        return self.relu2(inner + self.shortcut(x))  # type: ignore[no-any-return]


class ResidualNet(nn.Module):
    """Residual CNN with BatchNorm, about 224k parameters: stem, four blocks, global average pooling, linear head.

    `blocks[-1]` is the last layer with places, (N, 96, 8, 8): as only a mean and `head` follow, the class activation map
    head.weight[k] . features is exact.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 28, 5, 2, padding=2, bias=False), nn.BatchNorm2d(28), nn.ReLU())
        widths = ((28, 28, 1), (28, 48, 2), (48, 48, 1), (48, 96, 2))
        self.blocks = nn.Sequential(*(ResidualBlock(*width) for width in widths))
        self.head = nn.Linear(96, len(CLASSES))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, 14) of inputs (N, 3, H, W) in model input space; trained at 64 x 64."""
        return self.head(self.blocks(self.stem(inputs)).mean((2, 3)))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Multi-head self-attention; `softmax` is a module of its own, so that a hook sees the weights (N, heads, T, T)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.softmax = nn.Softmax(-1)
        self.project = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T, D) to (N, T, D)."""
        split = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (3, N, heads, T, D / heads)
        query, key, value = split[0], split[1], split[2]
        weights = self.softmax(query @ key.mT / query.shape[-1] ** 0.5)
        return self.project((weights @ value).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T, D) to (N, T, D)."""
        tokens = tokens + self.attention(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))  # type: ignore[no-any-return]


class VisionTransformer(nn.Module):
    """Vision transformer, about 178k parameters: a class token in front of 8 x 8 tokens of 8 x 8 pixels; the head reads it.

    Tokens are (N, 65, 64): the class token, then the patches row by row; `grid` is their shape. They are cut by three
    convolutions of stride 2 [Xiao 2021] instead of one of stride 8, without which so small a net learns nothing from these
    scenes: a token sees 15 x 15 pixels about its patch.

    References:
        Dosovitskiy et al. An Image is Worth 16x16 Words. ICLR 2021. Xiao et al. Early Convolutions Help Transformers See Better.
        NeurIPS 2021.
    """

    grid = (8, 8)

    def __init__(self) -> None:
        super().__init__()
        width = 64
        self.stem = nn.Sequential(
            nn.Conv2d(3, 24, 3, 2, padding=1, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Conv2d(24, 48, 3, 2, padding=1, bias=False),
            nn.BatchNorm2d(48),
            nn.ReLU(),
        )
        self.patches = nn.Conv2d(48, width, 3, 2, padding=1)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(0.02 * torch.randn(1, 1 + self.grid[0] * self.grid[1], width))
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads=4, hidden=2 * width) for _ in range(4)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, len(CLASSES))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, 14) of inputs (N, 3, 64, 64) in model input space."""
        patches = self.patches(self.stem(inputs)).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(patches), -1, -1), patches], 1) + self.position
        return self.head(self.norm(self.blocks(tokens))[:, 0])  # type: ignore[no-any-return]


NETS: dict[str, Callable[[], nn.Module]] = {"residual": ResidualNet, "transformer": VisionTransformer}


def make_net(name: str = "residual", *, seed: int = 0) -> nn.Module:
    """A net with random weights, in eval mode: the control whose maps must not look like the trained net's.

    Args:
        name: "residual" or "transformer".
        seed: of the weights, in [0, 2^63).

    Returns:
        The module. Equal seeds give equal weights; the global generator is left as it was.

    Raises:
        ValueError: an unknown name.

    Example:
        >>> net = make_net("residual", seed=1)
        >>> sum(parameter.numel() for parameter in net.parameters()), net.training
        (223466, False)
    """
    require_choice("make_net", "name", name, tuple(NETS))
    require_integer("make_net", "seed", seed, 0, 2**63 - 1)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return NETS[name]().eval()
