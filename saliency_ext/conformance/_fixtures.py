"""Small models and images of the conformance checks, and the state that must be preserved."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .. import ops

CLASSES, CHANNELS, SIDE = 5, 3, 12
_SEED = 20


def images(count: int = 3, height: int = SIDE, width: int = SIDE) -> Tensor:
    """(N, 3, H, W) standard normal."""
    return ops.philox_normal((CHANNELS, height, width), torch.arange(count), seed=_SEED)


def classes(count: int = 3) -> Tensor:
    """(N,) different classes."""
    return torch.arange(count) % CLASSES


def network() -> nn.Sequential:
    """Two convolutions, a pool and a linear layer, with drawn weights, in eval mode."""
    layers = [nn.Conv2d(CHANNELS, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    with torch.random.fork_rng(devices=[]):
        model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, CLASSES))
    for index, weight in enumerate(model.parameters()):
        drawn = ops.philox_normal((1, 1, weight.numel()), torch.tensor([index]), seed=_SEED + 1)
        weight.data = (drawn * (2 / max(weight[0].numel(), 1)) ** 0.5).view(weight.shape)
    return model.eval()


class LinearNet(nn.Module):
    """Class 0: a weighted sum of all values; the other classes: 0. Its contributions are known: weight times value."""

    def __init__(self, height: int = SIDE, width: int = SIDE) -> None:
        super().__init__()
        drawn = ops.philox_normal((CHANNELS, height, width), torch.tensor([99]), seed=_SEED)[0]
        self.weight = nn.Parameter(drawn * (1.5 / (CHANNELS * height * width) ** 0.5), requires_grad=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, 5)."""
        return nn.functional.pad((inputs * self.weight.to(inputs)).sum((1, 2, 3))[:, None], (0, CLASSES - 1))

    def contributions(self, inputs: Tensor) -> Tensor:
        """(N, H, W), of a baseline 0."""
        return (inputs * self.weight).sum(1)


def constant(inputs: Tensor) -> Tensor:
    """Logits that do not depend on the image."""
    return torch.arange(float(CLASSES)).expand(len(inputs), -1).to(inputs)


def state_of(model: nn.Module) -> dict[str, Any]:
    """What must not change: modes, weights, gradients, flags, hooks, and the generator's state."""
    result: dict[str, Any] = {"random state": torch.get_rng_state()}
    for name, module in model.named_modules():
        result[f"mode of {name or 'the model'}"] = module.training
        hooks = [len(getattr(module, each)) for each in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")]
        result[f"hooks of {name or 'the model'}"] = hooks
    for name, weight in model.named_parameters():
        result[f"weight {name}"] = weight.detach().clone()
        result[f"requires_grad of {name}"] = weight.requires_grad
        result[f".grad of {name}"] = None if weight.grad is None else weight.grad.clone()
    return result


def changed(before: dict[str, Any], after: dict[str, Any]) -> str:
    """The names of what is not as it was."""
    different = []
    for name, value in before.items():
        now = after.get(name)
        same = torch.equal(value, now) if isinstance(value, Tensor) and isinstance(now, Tensor) else type(value) is type(now)
        if not same or (not isinstance(value, Tensor) and value != now):
            different.append(name)
    return f"changed: {', '.join(different[:4])}" if different else ""


def distance(first: Tensor, second: Tensor, tolerance: float = 1e-4) -> str:
    """What differs between two results, relative to the larger of them, if it is more than the tolerance."""
    if first.shape != second.shape:
        return f"shapes {tuple(first.shape)} and {tuple(second.shape)}"
    if first.numel() == 0:
        return ""
    a, b = first.detach().double(), second.detach().double()
    gap = float((a - b).abs().max() / torch.maximum(a.abs().max(), b.abs().max()).clamp(min=1e-12))
    return "" if gap <= tolerance else f"values differ by {gap:.2g} of the largest"


def refused(call: Callable[[], Any]) -> str:
    """Whether a call with a bad argument raises something a caller can read: a ValueError, TypeError or IndexError."""
    try:
        call()
    except (ValueError, TypeError, IndexError):
        return ""
    except Exception as error:
        return f"raises {type(error).__name__}, which does not name the argument"
    return "a result came back"
