"""Timing rules of all benches: what a case is, and how two functions are compared."""

import gc
import importlib
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

HEIGHT = WIDTH = 224
PIXELS = HEIGHT * WIDTH
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # the usual normalisation of photographs
BF16_STEP = 2.0**-6  # spacing of bfloat16 in [2, 4): tolerance for results that were rounded to it by another route

Run = Callable[[], Any]


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
    """What a user would run instead."""

    name: str
    run: Run | None
    target: float | None = None  # ratio aimed for
    tolerance: float | None = 0.0  # max difference to our result; None: not the same values (say why in the note)
    note: str = ""  # how its regime or definition differs
    skipped: str = ""  # why it does not run here


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


@dataclass(frozen=True)
class Case:
    """One row group of the table."""

    op: str
    name: str
    regime: str
    prepare: Callable[[], Task]
    main: bool = False  # the op's headline case: in quick runs and under pytest-benchmark


@dataclass(frozen=True)
class Pair:
    """Result of `paired`: seconds per call, and ratios b / a."""

    ratio: float
    low: float
    high: float
    a_seconds: float
    b_seconds: float
    rounds: int
    error: float
    ratios: list[float] = field(repr=False)


class Timer:
    """Seconds per call with the device's work inside the timed region; on CUDA the L2 cache is flushed before every call."""

    def __init__(self, device: str = "cpu", flush_l2: bool = True):
        self.device = device
        self._flush: Tensor | None = None
        if device == "cuda" and flush_l2:
            l2 = torch.cuda.get_device_properties(0).L2_cache_size
            self._flush = torch.empty(2 * max(l2, 2**25), dtype=torch.uint8, device=device)

    def __call__(self, function: Run, inner: int = 1) -> float:
        """Mean seconds of `inner` calls in a row."""
        if self.device == "cuda":
            return self._events(function, inner)
        start = time.perf_counter()
        for _ in range(inner):
            function()
        return (time.perf_counter() - start) / inner

    def _events(self, function: Run, inner: int) -> float:
        torch.cuda.synchronize()
        event: Any = torch.cuda.Event
        marks = []
        for _ in range(inner):
            if self._flush is not None:
                self._flush.zero_()
            start, end = event(enable_timing=True), event(enable_timing=True)
            start.record()
            function()
            end.record()
            marks.append((start, end))
        torch.cuda.synchronize()
        return float(sum(start.elapsed_time(end) for start, end in marks)) / inner / 1e3


def paired(
    a: Run,
    b: Run,
    *,
    rounds: int = 40,
    min_rounds: int = 5,
    seconds: float = 2.0,
    warmup: int = 2,
    region: float = 1e-3,
    check: Callable[[Any, Any], float] | None = None,
    tolerance: float = 0.0,
    timer: Timer | None = None,
) -> Pair:
    """Ratio time(b) / time(a), from rounds of A B B A in one process.

    A round's ratio is (b1 + b2) / (a1 + a2): drift that is linear over the round cancels. The result is the median over rounds,
    with a bootstrap interval of 95 % (10,000 resamples of the rounds, fixed seed). Each timed region lasts `region` seconds at
    least. `check(result of a, result of b)` must return an error <= tolerance before anything is timed.
    """
    timer = timer or Timer()
    error = checked(check, a, b, tolerance) if check is not None else math.nan
    for function in (a, b):
        timer(function, warmup)
    a_inner, b_inner = (max(1, math.ceil(region / max(timer(f), 1e-9))) for f in (a, b))
    one_round = 2 * (a_inner * timer(a, a_inner) + b_inner * timer(b, b_inner))
    count = max(min_rounds, min(rounds, int(seconds / max(one_round, 1e-9))))
    a_times, b_times, ratios = [], [], []
    gc.collect()
    gc.disable()
    try:
        for _ in range(count):
            a1, b1, b2, a2 = timer(a, a_inner), timer(b, b_inner), timer(b, b_inner), timer(a, a_inner)
            a_times += [a1, a2]
            b_times += [b1, b2]
            ratios.append((b1 + b2) / (a1 + a2))
    finally:
        gc.enable()
    low, high = bootstrap(ratios)
    ratio, a_seconds, b_seconds = map(statistics.median, (ratios, a_times, b_times))
    return Pair(ratio, low, high, a_seconds, b_seconds, count, error, ratios)


def bootstrap(values: Sequence[float], resamples: int = 10_000, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of the median."""
    sample = np.asarray(values)
    index = np.random.default_rng(0).integers(0, len(sample), (resamples, len(sample)))
    medians = np.median(sample[index], axis=1)
    low, high = np.quantile(medians, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


class Mismatch(Exception):
    """A result is not what it must be: nothing is timed."""


def checked(check: Callable[[Any, Any], float], a: Run, b: Run, tolerance: float) -> float:
    """The error of two results, if it is within the tolerance."""
    error = check(a(), b())
    if not error <= tolerance:  # also where it is NaN
        raise Mismatch(f"max error {error:.3g} > tolerance {tolerance:.3g}")
    return error


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
