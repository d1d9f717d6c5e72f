"""The models of the benches: residual nets of the published shapes with random weights, and one that costs nothing."""

import torch
from torch import Tensor, nn

_STAGES = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}


def _convolution(before: int, after: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(after)]


class _Block(nn.Module):
    """Two 3 x 3 convolutions, or 1 x 1, 3 x 3, 1 x 1 (four times as wide at the end), and a shortcut."""

    def __init__(self, before: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        after = 4 * width if bottleneck else width
        relu = nn.ReLU(inplace=True)
        if bottleneck:
            layers = [*_convolution(before, width, 1), relu, *_convolution(width, width, 3, stride), relu]
            layers += _convolution(width, after, 1)
        else:
            layers = [*_convolution(before, width, 3, stride), relu, *_convolution(width, width, 3)]
        self.layers = nn.Sequential(*layers)
        same = stride == 1 and before == after
        self.shortcut = nn.Identity() if same else nn.Sequential(*_convolution(before, after, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layers(x) + self.shortcut(x))


def residual_net(depth: int = 18) -> nn.Module:
    """The layers of an 18-layer (11.7 million weights) or a 50-layer residual net (25.6 million), random weights."""
    torch.manual_seed(0)
    layers = [*_convolution(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    before, bottleneck = 64, depth >= 50
    for stage, count in enumerate(_STAGES[depth]):
        for block in range(count):
            width = 64 * 2**stage
            layers.append(_Block(before, width, 2 if stage > 0 and block == 0 else 1, bottleneck))
            before = 4 * width if bottleneck else width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 1000)).eval()


def corner(images: Tensor) -> Tensor:
    """A model that costs nothing."""
    return images[:, :, 0, 0]
