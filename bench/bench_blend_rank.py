"""`blend_rank` against torch.where, plain and after a careful user's rewriting."""

from collections.abc import Callable

import torch
from torch import Tensor

from saliency_ext import ops, reference

from .common import BF16_STEP, MEAN, PIXELS, STD, Baseline, Case, Setup, Task, compiled, max_difference


def eager(inputs: Tensor, infill: Tensor, ranks: Tensor, counts: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """As the equation reads: choose, normalise, cast, change the layout."""
    keep = (ranks[None] < counts.view(-1, 1, 1, 1))[:, :, None]
    chosen = (torch.where(keep, inputs, infill) - mean) / std
    images = chosen.to(torch.bfloat16).flatten(0, 1).contiguous(memory_format=torch.channels_last)
    return images.view(chosen.shape)


def normalised_first(inputs: Tensor, infill: Tensor, ranks: Tensor, counts: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """A careful user's way: normalise, cast and lay out the 2 N images once, then choose. The same bits."""
    image, other = (
        ((x - mean) / std).to(torch.bfloat16).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2) for x in (inputs, infill)
    )
    keep = (ranks[None] < counts.view(-1, 1, 1, 1))[:, :, None]
    return torch.where(keep, image, other)


def step_by_step(inputs: Tensor, infill: Tensor, ranks: Tensor, counts: Tensor, mean: Tensor, std: Tensor, out: Tensor) -> Tensor:
    """A loop over steps: temporaries of one step only."""
    for step in range(counts.shape[0]):
        out[step] = (torch.where((ranks < counts[step])[:, None], inputs, infill) - mean) / std
    return out


def _plain(inputs: Tensor, infill: Tensor, ranks: Tensor, counts: Tensor) -> Tensor:
    return torch.where((ranks[None] < counts.view(-1, 1, 1, 1))[:, :, None], inputs, infill)


def cases(setup: Setup) -> list[Case]:
    """Insertion curves of 20 steps: to bfloat16 channels_last with normalisation, and to float32 as it is."""
    images, steps = setup.size(16, 64, 2), setup.size(20, 20, 4)
    shape = f"{steps} steps of ({images}, 3, 224, 224)"
    small = f"{steps} steps of (1, 3, 224, 224)"
    return [
        Case(
            "blend_rank",
            f"{shape}, normalised, to bf16 channels_last",
            "a new output in each call, ours and theirs; infill is an image",
            lambda: _normalised(setup, images, steps, given=False),
            main=True,
        ),
        Case(
            "blend_rank",
            f"{shape}, normalised, to bf16 channels_last, out=",
            "all write to an output that exists",
            lambda: _normalised(setup, images, steps, given=True),
        ),
        Case(
            "blend_rank",
            f"{small}, normalised, to bf16 channels_last",
            "one image: fits in cache",
            lambda: _normalised(setup, 1, steps, given=False, targets=False),
        ),
        Case(
            "blend_rank",
            f"{shape}, float32 contiguous, out=",
            "no normalisation; ours writes to an output that exists",
            lambda: _float32(setup, images, steps, given=True),
        ),
        Case(
            "blend_rank",
            f"{shape}, float32 contiguous",
            "no normalisation; a new output in each call",
            lambda: _float32(setup, images, steps, given=False),
        ),
    ]


def _arguments(setup: Setup, images: int, steps: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    inputs, infill = (torch.sigmoid(setup.normal(images, 3, 224, 224, seed=seed)) for seed in (1, 2))
    ranks = ops.rank(setup.normal(images, 224, 224, seed=3))
    return inputs, infill, ranks, torch.linspace(0, PIXELS, steps, device=setup.device).long()


def check_steps(result: Tensor, expected_step: Callable[[int], Tensor]) -> float:
    """Error against the reference, one step at a time (its temporaries are several outputs large)."""
    return max(max_difference(result[step], expected_step(step)) for step in range(result.shape[0]))


def empty_channels_last(steps: int, images: int, setup: Setup) -> Tensor:
    """An output (S, N, 3, H, W) in bfloat16 whose images are channels_last."""
    return torch.empty(steps, images, 224, 224, 3, dtype=torch.bfloat16, device=setup.device).permute(0, 1, 4, 2, 3)


def _normalised(setup: Setup, images: int, steps: int, *, given: bool, targets: bool = True) -> Task:
    args = inputs, infill, ranks, counts = _arguments(setup, images, steps)
    mean, std = (torch.tensor(values, device=setup.device) for values in (MEAN, STD))
    full = (*args, mean.view(-1, 1, 1), std.view(-1, 1, 1))
    ours_out, their_out = (empty_channels_last(steps, images, setup) for _ in range(2))
    options = {"mean": mean, "std": std, "dtype": torch.bfloat16, "memory_format": torch.channels_last}

    def expected(step: int) -> Tensor:
        weights = reference.rank_weights(ranks, counts[step : step + 1], head=True)
        return reference.blend(inputs, infill, weights, mean, std)[0].bfloat16()

    target = (lambda value: value) if targets else (lambda value: None)
    if given:
        baselines = [
            Baseline("eager, copy_ into out", lambda: their_out.copy_(eager(*full)), target(25.0)),
            compiled("torch.compile: eager, copy_ into out", lambda *a: their_out.copy_(eager(*a)), *full, setup=setup,
                     target=target(10.0), tolerance=BF16_STEP),
            Baseline("eager, a loop over steps into out", lambda: step_by_step(*full, their_out)),
            Baseline("eager, normalised first, torch.where(out=)", lambda: _where_out(*full, their_out)),
        ]  # fmt: skip
    else:
        baselines = [
            Baseline("eager", lambda: eager(*full), target(25.0)),
            compiled("torch.compile: eager", eager, *full, setup=setup, target=target(10.0), tolerance=BF16_STEP),
            Baseline("eager, normalised first", lambda: normalised_first(*full)),
            compiled("torch.compile: normalised first", normalised_first, *full, setup=setup, tolerance=BF16_STEP),
        ]
    baselines += floors(their_out, setup, given=given)
    return Task(
        ours=lambda: ops.blend_rank(*args, out=ours_out if given else None, **options),  # type: ignore[arg-type]
        baselines=baselines,
        traffic=images * PIXELS * (3 * 4 * 2 + 4 + steps * 3 * 2),
        formula=f"images * {PIXELS} * (3 * 4 image + 3 * 4 infill + 4 ranks + {steps} steps * 3 * 2 written)",
        check=lambda result: check_steps(result, expected),
        tolerance=0.0,
        ceiling="write",
    )


def _where_out(inputs: Tensor, infill: Tensor, ranks: Tensor, counts: Tensor, mean: Tensor, std: Tensor, out: Tensor) -> Tensor:
    image, other = (
        ((x - mean) / std).to(torch.bfloat16).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2) for x in (inputs, infill)
    )
    return torch.where((ranks[None] < counts.view(-1, 1, 1, 1))[:, :, None], image, other, out=out)


def floors(out: Tensor, setup: Setup, *, given: bool) -> list[Baseline]:
    """The least that any renderer can do: write its output once, and first get the memory for it where it is new."""
    note = "not a renderer: it writes as many bytes, so the ratio is our share of a plain write"
    target = 0.9 if setup.device == "cuda" else None
    old = Baseline("floor: fill_ of an output that exists", lambda: out.fill_(1.0), target, tolerance=None, note=note)
    new = Baseline("floor: empty_like, then fill_", lambda: torch.empty_like(out).fill_(1.0), tolerance=None, note=note)
    return [old] if given else [new, old]


def _float32(setup: Setup, images: int, steps: int, *, given: bool) -> Task:
    args = inputs, infill, ranks, counts = _arguments(setup, images, steps)
    ours_out, their_out = (torch.empty(steps, images, 3, 224, 224, device=setup.device) for _ in range(2))

    def where_out(inputs: Tensor, infill: Tensor, ranks: Tensor, counts: Tensor) -> Tensor:
        return torch.where((ranks[None] < counts.view(-1, 1, 1, 1))[:, :, None], inputs, infill, out=their_out)

    def expected(step: int) -> Tensor:
        return reference.blend(inputs, infill, reference.rank_weights(ranks, counts[step : step + 1], head=True))[0]

    baselines = [
        Baseline("eager torch.where", lambda: _plain(*args), 4.0 if given else None, note="a new output in each call"),
        compiled("torch.compile: torch.where", _plain, *args, setup=setup, note="a new output in each call"),
        *floors(their_out, setup, given=given),
    ]
    if given:
        baselines[1:1] = [
            Baseline("eager torch.where(out=)", lambda: where_out(*args), 4.0),
            compiled("torch.compile: copy_ into out", lambda *a: their_out.copy_(_plain(*a)), *args, setup=setup),
        ]
    return Task(
        ours=lambda: ops.blend_rank(*args, out=ours_out if given else None),
        baselines=baselines,
        traffic=images * PIXELS * (3 * 4 * 2 + 4 + steps * 3 * 4),
        formula=f"images * {PIXELS} * (3 * 4 image + 3 * 4 infill + 4 ranks + {steps} steps * 3 * 4 written)",
        check=lambda result: check_steps(result, expected),
        tolerance=0.0,
        ceiling="write",
    )
