"""Headline case of each op under pytest-benchmark: `pytest bench --benchmark-only --benchmark-json=FILE`."""

import time
from typing import Any

import pytest
import torch

import saliency_ext  # noqa: F401  (registers the ops)

from .common import Case, Setup
from .run import cases
from .timing import against_budget, bootstrap, paired

MAIN = [case for case in cases(Setup(), []) if case.main]


@pytest.mark.parametrize("case", MAIN, ids=lambda case: case.op)
def test_op(benchmark: Any, case: Case) -> None:
    """Times our side only; ratios to baselines come from `python -m bench`."""
    task = case.prepare()
    error = task.check(task.ours())
    assert error <= task.tolerance
    benchmark.extra_info |= {"case": case.name, "max_error": error, "bytes": task.traffic, "calls_per_run": task.calls}
    benchmark(task.ours)


def test_each_op_has_one_main_case() -> None:
    """So that a quick run and a pytest-benchmark run cover every op."""
    ops = {case.op for case in cases(Setup(), [])}
    assert sorted(case.op for case in MAIN) == sorted(ops)


def test_a_function_is_as_fast_as_itself() -> None:
    """The timing rule on equal sides: the interval is ordered and around 1."""

    def work() -> int:
        return sum(range(2000))

    pair = paired(work, work, rounds=15, check=lambda a, b: abs(a - b))
    assert pair.low <= pair.ratio <= pair.high
    assert 0.5 < pair.ratio < 2  # wide: a machine may be busy


def test_bootstrap_is_reproducible() -> None:
    """Fixed seed, and an interval that holds the median."""
    assert bootstrap([1.0, 2.0, 3.0, 4.0, 5.0]) == bootstrap([1.0, 2.0, 3.0, 4.0, 5.0])
    low, high = bootstrap([1.0, 2.0, 3.0, 4.0, 5.0])
    assert low <= 3.0 <= high


def test_a_budget_is_of_processor_time() -> None:
    """Sleeping costs nothing, working does; and the number of threads is that of before."""
    threads = torch.get_num_threads()
    asleep = against_budget(lambda: time.sleep(0.01), 0.005, rounds=5)
    awake = against_budget(lambda: sum(range(300_000)), 1e-6, rounds=5)
    assert asleep.ratio > 1 > awake.ratio
    assert torch.get_num_threads() == threads
