"""Tiny networks with the traits that hooks and layer choice must cope with."""

import torch
from torch import nn


def images(count=3, channels=3, height=16, width=16, seed=0, dtype=torch.float32):
    return torch.randn(count, channels, height, width, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def randomised(model, seed=0):
    """The model in eval mode with weights, biases and running statistics drawn from a seed."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]:
            tensor.copy_(torch.rand(tensor.shape, generator=draw) - (0.5 if tensor.ndim > 1 else -0.1))
    return model.eval()


def vgg_like(classes=5):
    """Pooling at the end of the features, in-place rectifiers, a head of two linear layers."""
    features = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    features += [nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    head = [nn.Flatten(), nn.Linear(6 * 16, 8), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(8, classes)]
    return randomised(nn.Sequential(nn.Sequential(*features), nn.AdaptiveAvgPool2d(4), nn.Sequential(*head)))


class Residual(nn.Module):
    """One rectifier module for both uses, the second after a sum written in place."""

    def __init__(self, width):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.norm(self.conv2(self.relu(self.conv1(x))))
        y += x
        return self.relu(y)


class ResNet(nn.Module):
    """Residual blocks, global average pooling, one linear layer: a pooled-linear head."""

    def __init__(self, width=4, classes=5, bias=True):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(Residual(width), Residual(width))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout()
        self.fc = nn.Linear(width, classes, bias=bias)

    def forward(self, x):
        return self.fc(self.drop(self.pool(self.blocks(self.stem(x))).flatten(1)))


def resnet(**options):
    return randomised(ResNet(**options))


class Block(nn.Module):
    """A transformer block: attention and two linear layers, each with a shortcut."""

    def __init__(self, width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.weights = nn.Softmax(-1)  # returns (N, 1, L, L)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x):
        q, k, v = self.qkv(self.norm1(x)).chunk(3, -1)
        attention = self.weights((q @ k.transpose(1, 2) / q.shape[-1] ** 0.5)[:, None])[:, 0]
        x = x + self.proj(attention @ v)
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Patches of `patch` pixels after `leading` tokens; the head reads the first token, or with none the mean."""

    def __init__(self, leading=1, depth=3, width=8, patch=4, classes=5, size=(16, 16), tuples=False):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, width, patch, stride=patch)
        self.lead = nn.Parameter(torch.zeros(1, leading, width))
        self.position = nn.Parameter(torch.zeros(1, leading + (size[0] // patch) * (size[1] // patch), width))
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)
        self.leading = leading

    def forward(self, x):
        patches = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.lead.expand(len(x), -1, -1), patches], 1) + self.position
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.head(x[:, 0] if self.leading else x.mean(1))


def vit(**options):
    return randomised(ViT(**options))


class Swin(nn.Module):
    """Channels last, (N, h, w, C), merged once; windows inside the blocks; mean over cells and one linear layer."""

    class Stage(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.norm, self.window, self.mlp = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)

        def forward(self, x):
            n, h, w, c = x.shape
            windows = self.norm(x).view(n, h // 2, 2, w // 2, 2, c).transpose(2, 3).reshape(-1, 4, c)
            mixed = self.window(windows).view(n, h // 2, w // 2, 2, 2, c).transpose(2, 3).reshape(n, h, w, c)
            return x + self.mlp(nn.functional.gelu(mixed))

    def __init__(self, width=6, classes=5):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, width, 2, stride=2)
        self.stages = nn.Sequential(self.Stage(width), self.Stage(width))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x):
        return self.head(self.norm(self.stages(self.patch_embed(x).permute(0, 2, 3, 1))).mean((1, 2)))


def swin():
    return randomised(Swin())


def hooks_of(model):
    """Number of hooks of any kind on all modules."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)
