"""What a bench case is, and the helpers that cases are made with."""

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .timing import Mismatch, Run

HEIGHT = WIDTH = 224
PIXELS = HEIGHT * WIDTH
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # the usual normalisation of photographs
BF16_STEP = 2.0**-6  # spacing of bfloat16 in [2, 4): tolerance for results that were rounded to it by another route


@dataclass(frozen=True)
class Setup:
    """Where the cases run and how large they are."""

    device: str = "cpu"
    quick: bool = False

    def size(self, cpu: int, cuda: int, quick: int) -> int:
        """A size for this run: quick runs are a smoke test on small sizes."""
        return quick if self.quick else cuda if self.device == "cuda" else cpu

    def normal(self, *shape: int, seed: int = 0) -> Tensor:
        """Standard normal values, the same for every device."""
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(self.device)

    def distinct(self, *shape: int, seed: int = 0) -> Tensor:
        """Maps (N, H, W) without equal values: normal quantiles in random order, another order for each map."""
        generator, count = torch.Generator().manual_seed(seed), math.prod(shape[1:])
        quantiles = torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count).float()
        orders = [torch.randperm(count, generator=generator) for _ in range(shape[0])]
        maps: Tensor = quantiles[torch.stack(orders)].view(shape).to(self.device)
        return maps

    def integers(self, low: int, high: int, *shape: int, seed: int = 0) -> Tensor:
        """Integers in [low, high), the same for every device."""
        return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed)).to(self.device)


@dataclass(frozen=True)
class Baseline:
    """What a user would run instead; or, with `cpu_budget`, nothing but an aim: seconds of one thread for one run of ours."""

    name: str
    run: Run | None
    target: float | None = None  # ratio aimed for
    tolerance: float | None = 0.0  # max difference to our result; None: not the same values (say why in the note)
    note: str = ""  # how its regime or definition differs
    skipped: str = ""  # why it does not run here
    cpu_budget: float | None = None
    peak: bool = False  # its peak memory is measured, too


@dataclass(frozen=True)
class Task:
    """A prepared case: inputs exist, nothing has been timed."""

    ours: Run
    baselines: Sequence[Baseline]
    traffic: int  # compulsory bytes of one call
    formula: str
    check: Callable[[Any], float]  # result -> max error against the reference
    tolerance: float
    ceiling: str = "copy"  # which measured ceiling bounds it: copy, write or gemm
    flops: int = 0
    calls: int = 1  # steps in one run: times are divided by it
    memory_budget: int | None = None  # bytes that one run may hold at most beside its inputs


@dataclass(frozen=True)
class Case:
    """One row group of the table."""

    op: str
    name: str
    regime: str
    prepare: Callable[[], Task]
    main: bool = False  # the op's headline case: in quick runs and under pytest-benchmark


def native() -> Any:
    """The native module: counters and build information."""
    return importlib.import_module("saliency_ext._C")


def max_difference(a: Any, b: Any) -> float:
    """Largest absolute difference of two results: tensors, numpy arrays, or tuples of them. Strides may differ, shapes not."""
    if isinstance(a, tuple | list):
        if len(a) != len(b):
            raise Mismatch(f"{len(a)} results against {len(b)}")
        return max((max_difference(x, y) for x, y in zip(a, b, strict=True)), default=0.0)
    a, b = (torch.as_tensor(x).detach() for x in (a, b))
    if a.shape != b.shape:
        raise Mismatch(f"shape {tuple(a.shape)} against {tuple(b.shape)}")
    if a.numel() == 0:
        return 0.0
    if a.ndim > 2:  # in pieces: no float64 copy of a whole result
        return max(max_difference(x, y) for x, y in zip(a, b, strict=True))
    return float((a.double() - b.to(a.device).double()).abs().max())


def compiled(
    name: str, function: Callable[..., Any], *args: Any, setup: Setup, then: Callable[[Any], Any] | None = None, **options: Any
) -> Baseline:
    """A baseline under torch.compile (inductor, static shapes), `then` follows uncompiled; quick runs leave it out."""
    if setup.quick:
        return Baseline(name, None, skipped="torch.compile is left out of quick runs")
    torch._dynamo.reset()
    fast = torch.compile(function, fullgraph=True, dynamic=False)
    return Baseline(name, (lambda: fast(*args)) if then is None else (lambda: then(fast(*args))), **options)


def host_only(name: str, run: Run, setup: Setup, **options: Any) -> Baseline:
    """A baseline of a library that works in host memory: left out on accelerators."""
    on_host = setup.device == "cpu"
    return Baseline(name, run, **options) if on_host else Baseline(name, None, skipped="works in host memory only")


def missing(name: str, library: str, error: Exception) -> Baseline:
    """A baseline whose library is not installed."""
    return Baseline(name, None, skipped=f"{library} cannot be imported: {type(error).__name__}: {error}")


def optional_import(library: str) -> tuple[Any, Exception | None]:
    """The module, or why there is none."""
    try:
        return importlib.import_module(library), None
    except Exception as error:  # a broken install is as good as none
        return None, error
