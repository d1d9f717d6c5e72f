"""What tests of several packages share: random tensors, and the smallest convolutional nets."""

import torch
from torch import Tensor, nn


def tensors(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32, low: float = 0.0) -> Tensor:
    """Uniform in [low, low + 1), the same for the same seed."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) + low


def conv_net(
    features: int,
    classes: int = 6,
    *,
    channels: int = 3,
    padding: int = 0,
    batch_norm: bool = False,
    pooled: bool = False,
    dtype: torch.dtype = torch.float32,
) -> nn.Sequential:
    """One convolution of four filters, rectified, and a linear read-out of so many features, in eval mode; always the same.

    Args:
        features: 4 height width of what the convolution leaves; 16 where it is pooled to 2 x 2.
    """
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(channels, 4, 3, padding=padding)]
    layers += [nn.BatchNorm2d(4)] if batch_norm else []
    layers += [nn.ReLU(), *([nn.AdaptiveAvgPool2d(2)] if pooled else []), nn.Flatten(), nn.Linear(features, classes)]
    return nn.Sequential(*layers).to(dtype).eval()
