"""How a function is timed, and how two functions are compared."""

import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

Run = Callable[[], Any]


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
    """Seconds per call with the device's work inside the timed region; on CUDA the L2 cache is flushed before every call.

    `clock` is read on the CPU: wall time, or the processor time of all threads.
    """

    def __init__(self, device: str = "cpu", flush_l2: bool = True, clock: Callable[[], float] = time.perf_counter):
        self.device = device
        self._clock = clock
        self._flush: Tensor | None = None
        if device == "cuda" and flush_l2:
            l2 = torch.cuda.get_device_properties(0).L2_cache_size
            self._flush = torch.empty(2 * max(l2, 2**25), dtype=torch.uint8, device=device)

    def __call__(self, function: Run, inner: int = 1) -> float:
        """Mean seconds of `inner` calls in a row."""
        if self.device == "cuda":
            return self._events(function, inner)
        start = self._clock()
        for _ in range(inner):
            function()
        return (self._clock() - start) / inner

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


def against_budget(run: Run, budget: float, *, rounds: int = 40, min_rounds: int = 5, seconds: float = 2.0) -> Pair:
    """Ratio budget / processor time of a run on one thread: 1 and more is within the budget. Median and interval as `paired`.

    Processor time leaves out what other processes take, but not that they share caches and memory with us.
    """
    timer, threads = Timer(clock=time.process_time), torch.get_num_threads()
    torch.set_num_threads(1)
    gc.collect()
    gc.disable()
    try:
        timer(run)
        count = max(min_rounds, min(rounds, int(seconds / max(timer(run), 1e-9))))
        times = [timer(run) for _ in range(count)]
    finally:
        gc.enable()
        torch.set_num_threads(threads)
    ratios = [budget / spent for spent in times]
    low, high = bootstrap(ratios)
    return Pair(statistics.median(ratios), low, high, statistics.median(times), budget, count, math.nan, ratios)


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
