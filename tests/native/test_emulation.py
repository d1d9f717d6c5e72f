"""The host emulation runs correct kernels correctly, and each of its safety nets catches a planted bug.

Every planted kernel has a corrected twin, which must pass under the same net.
"""

from __future__ import annotations

import ctypes
import functools
import random
import re
import sys
import threading
from itertools import accumulate
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import toolchain
from toolchain import Variant

PLANTED = Path(__file__).parent / "planted"
THREADS = 256
COUNT = 4 * THREADS  # values of a planted kernel
POISON = -0x32323233  # 0xcdcdcdcd as an int
SCHEDULES = [(seed, workers) for seed in (0, 1, 2, 77) for workers in (1, 2, 5)]


def library_path(name: str, variant: Variant = "plain") -> Path:
    return toolchain.build_shared(f"planted_{name}", [PLANTED / f"{name}.cu"], variant=variant)


@functools.cache
def load(name: str) -> ctypes.CDLL:
    library = ctypes.CDLL(str(library_path(name)))
    library.sim_last_error.restype = ctypes.c_char_p
    library.sim_launch_count.restype = ctypes.c_uint64
    return library


def schedule(library: ctypes.CDLL, seed: int = 0, workers: int = 0) -> None:
    library.sim_set_seed(ctypes.c_uint64(seed))
    library.sim_set_workers(workers)


def run_planted(library: ctypes.CDLL, name: str, fixed: bool) -> tuple[int, list[int]]:
    values = (ctypes.c_int * COUNT)(*range(COUNT))
    results = (ctypes.c_int * COUNT)(*([-1] * COUNT))
    status = getattr(library, f"run_{name}")(int(fixed), values, results)
    return status, list(results)


# ---- correct kernels


@pytest.mark.parametrize(("seed", "workers"), SCHEDULES)
@pytest.mark.parametrize("columns", [1, 31, 257, 1000])
def test_block_sum(seed: int, workers: int, columns: int) -> None:
    library = load("correct")
    schedule(library, seed, workers)
    rows = 9
    generator = random.Random(columns)
    values = [generator.randrange(-(10**12), 10**12) for _ in range(rows * columns)]
    sums = (ctypes.c_int64 * rows)()
    data = (ctypes.c_int64 * len(values))(*values)
    status = library.sum_rows_int64(data, ctypes.c_int64(rows), ctypes.c_int64(columns), sums)
    assert status == 0
    assert list(sums) == [sum(values[row * columns : (row + 1) * columns]) for row in range(rows)]


def test_float_sum_has_the_same_bits_in_every_schedule() -> None:
    library = load("correct")
    generator = random.Random(3)
    data = (ctypes.c_float * 4096)(*[generator.random() for _ in range(4096)])
    seen = set()
    for seed, workers in SCHEDULES:
        schedule(library, seed, workers)
        sums = (ctypes.c_float * 2)()
        assert library.sum_rows_float(data, ctypes.c_int64(2), ctypes.c_int64(2048), sums) == 0
        seen.add(bytes(sums))
        assert sums[0] == pytest.approx(sum(data[:2048]), rel=1e-5)
    assert len(seen) == 1


@pytest.mark.parametrize(("seed", "workers"), SCHEDULES)
def test_block_exclusive_scan(seed: int, workers: int) -> None:
    library = load("correct")
    schedule(library, seed, workers)
    rows = 5
    generator = random.Random(seed)
    values = [generator.randrange(-9, 10) for _ in range(rows * THREADS)]
    before = (ctypes.c_int * (2 * len(values)))()
    totals = (ctypes.c_int * len(values))()
    data = (ctypes.c_int * len(values))(*values)
    assert library.scan_rows_int(data, ctypes.c_int64(rows), before, totals) == 0
    for row in range(rows):
        part = slice(row * THREADS, (row + 1) * THREADS)
        once = [0, *accumulate(values[part])]
        twice = [0, *accumulate(once[:-1])]
        assert list(before)[0::2][part] == once[:-1]
        assert list(before)[1::2][part] == twice[:-1]
        assert list(totals)[part] == [once[-1]] * THREADS


@pytest.mark.parametrize(("seed", "workers"), SCHEDULES)
def test_histogram_over_many_blocks(seed: int, workers: int) -> None:
    library = load("correct")
    schedule(library, seed, workers)
    blocks = 40
    generator = random.Random(seed)
    values = [generator.randrange(10) for _ in range(blocks * THREADS)]
    counts = (ctypes.c_uint * 10)()
    assert library.run_histogram((ctypes.c_uint * len(values))(*values), ctypes.c_int64(blocks), counts) == 0
    assert list(counts) == [values.count(value) for value in range(10)]


@pytest.mark.parametrize(("seed", "workers"), SCHEDULES)
def test_warp_operations(seed: int, workers: int) -> None:
    library = load("correct")
    schedule(library, seed, workers)
    n = 64
    v = [(5 * t * t + 3) % 41 for t in range(n)]
    flat = (ctypes.c_int64 * (10 * n))()
    assert library.run_warp_operations((ctypes.c_int64 * n)(*v), flat) == 0
    warps = [range(t // 32 * 32, t // 32 * 32 + 32) for t in range(n)]
    expected = [
        [v[t // 8 * 8 + 5] for t in range(n)],
        [v[t - 3] if t % 16 >= 3 else v[t] for t in range(n)],
        [v[t + 3] if t % 16 < 13 else v[t] for t in range(n)],
        [v[t ^ 9] for t in range(n)],
        [sum(1 << (s % 32) for s in warps[t] if v[s] % 3 == 0) for t in range(n)],
        [sum(1 << (s % 32) for s in warps[t] if v[s] % 4 == v[t] % 4) for t in range(n)],
        [sum(v[s] for s in warps[t] if s < t) for t in range(n)],
        [v[t // 32 * 32 + 7] for t in range(n)],
        [2 * any(v[s] == 3 for s in warps[t]) + all(v[s] < 40 for s in warps[t]) for t in range(n)],
        [v[t ^ 1] if t % 32 < 16 else -v[t ^ 1] for t in range(n)],
    ]
    assert [list(flat)[row * n : (row + 1) * n] for row in range(10)] == expected


def test_launches_from_several_host_threads() -> None:
    library = load("correct")
    schedule(library, 5, 3)
    blocks = 50
    data = (ctypes.c_int * (blocks * THREADS))(*range(blocks * THREADS))
    count = library.sim_launch_count()
    outcomes: list[tuple[int, list[int]]] = []

    def work() -> None:
        reversed_ = (ctypes.c_int * (blocks * THREADS))()
        status = library.run_reverse(data, ctypes.c_int64(blocks), reversed_)
        outcomes.append((status, list(reversed_)))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [b * THREADS + THREADS - 1 - t for b in range(blocks) for t in range(THREADS)]
    assert outcomes == [(0, expected)] * 6
    assert library.sim_launch_count() == count + 6


# ---- faults that the emulator itself reports

FAULTS = [
    (
        "barriers",
        "divergent_barrier",
        r"block \(\d,0,0\), thread \(\d+,0,0\): divergent barrier: waits at barriers.cu:",
    ),
    ("barriers", "exit_before_barrier", r"barrier not reached by all threads: .* thread \(200,0,0\) has exited"),
    ("barriers", "exit_in_one_block", r"block \(999,0,0\), .* thread \(7,0,0\) has exited"),
    ("warps", "differing_masks", r"names a different mask, 0x"),
    ("warps", "subset_of_mask", r"mask 0xffffffff: lane [0-7] has exited"),
    ("warps", "mask_without_own_lane", r"with mask 0xfffffffe: its own lane is not in the mask"),
    ("warps", "exited_lane", r"lane 9 has exited"),
    ("warps", "lane_at_barrier", r"lane 9 waits at the barrier at warps.cu:"),
    ("warps", "different_operations", r"is at a different warp operation, at warps.cu:"),
    ("memory", "shared_write_after", r"out-of-bounds shared write: bytes beside 'tile'"),
    ("memory", "shared_write_before", r"out-of-bounds shared write: bytes beside 'tile'"),
    ("memory", "shared_index", r"out-of-bounds shared write: bytes beside 'tile'"),
]


def expected_results(library_name: str) -> list[int]:
    if library_name == "warps":
        return [i ^ 1 for i in range(COUNT)]
    if library_name == "memory":
        return list(range(COUNT))
    return [i // THREADS * THREADS + THREADS - 1 - i % THREADS for i in range(COUNT)]


@pytest.mark.parametrize(("seed", "workers"), [(0, 1), (0, 2), (9, 1), (10, 3)])
@pytest.mark.parametrize(("library_name", "name", "message"), FAULTS, ids=[name for _, name, _ in FAULTS])
def test_fault(library_name: str, name: str, message: str, seed: int, workers: int) -> None:
    library = load(library_name)
    schedule(library, seed, workers)
    for _ in range(2):  # the launch after a fault is like any other
        status, _ = run_planted(library, name, fixed=False)
        assert status != 0
        error = library.sim_last_error().decode()
        assert re.search(message, error), error
        assert error.startswith(f"kernel '{name}<false>': block (")
        assert run_planted(library, name, fixed=True) == (0, expected_results(library_name))


@pytest.mark.parametrize("name", ["missing_barrier", "missing_second_barrier"])
def test_shuffled_threads_show_a_missing_barrier(name: str) -> None:
    library = load("barriers")
    seen: dict[bool, set[tuple[int, ...]]] = {True: set(), False: set()}
    for seed in range(8):
        schedule(library, seed)
        for fixed in (True, False):
            status, results = run_planted(library, name, fixed)
            assert status == 0
            seen[fixed].add(tuple(results))
    assert seen[True] == {tuple(expected_results("barriers"))}
    assert len(seen[False]) > 1


def test_uninitialised_shared_memory_is_poison() -> None:
    library = load("memory")
    for seed in range(4):
        schedule(library, seed)
        right = list(range(COUNT))
        assert run_planted(library, "uninitialised_shared", fixed=True) == (0, right)
        wrong = [POISON if i % THREADS == 100 else value for i, value in enumerate(right)]
        assert run_planted(library, "uninitialised_shared", fixed=False) == (0, wrong)


def test_invalid_block_size_is_refused() -> None:
    library = load("correct")
    buffer = (ctypes.c_int * THREADS)()
    assert library.run_too_many_threads(buffer, buffer) != 0
    assert b"kernel 'reverse_blocks': invalid grid or block size" in library.sim_last_error()
    assert library.run_reverse(buffer, ctypes.c_int64(0), buffer) != 0
    assert library.run_reverse(buffer, ctypes.c_int64(1), buffer) == 0


# ---- faults that a sanitizer reports, in a process of their own

SCRIPT = """
import ctypes, sys
path, name, fixed = sys.argv[1:]
count = 4 * 256
library = ctypes.CDLL(path)
values = (ctypes.c_int * count)(*range(count))
for seed in (0, 4):
    library.sim_set_seed(ctypes.c_uint64(seed))
    results = (ctypes.c_int * count)()
    status = getattr(library, "run_" + name)(int(fixed), values, results)
    print("status", status, "sum", sum(results))
"""


@pytest.mark.parametrize(
    ("variant", "library_name", "name", "message"),
    [
        ("address", "memory", "shared_write_after", "heap-buffer-overflow"),
        ("address", "memory", "shared_write_before", "heap-buffer-overflow"),
        ("address", "memory", "shared_read_after", "heap-buffer-overflow"),
        ("address", "memory", "shared_index", "index 256 out of bounds for type 'int [256]'"),
        ("address", "memory", "signed_overflow", "signed integer overflow"),
        ("address", "memory", "global_write_after", "heap-buffer-overflow"),
        ("thread", "barriers", "missing_barrier", "WARNING: ThreadSanitizer: data race"),
        ("thread", "barriers", "missing_second_barrier", "WARNING: ThreadSanitizer: data race"),
        ("thread", "warps", "shuffle_as_fence", "WARNING: ThreadSanitizer: data race"),
    ],
)
def test_sanitizer(variant: Variant, library_name: str, name: str, message: str) -> None:
    path = str(library_path(library_name, variant))
    right = toolchain.run_python(variant, "-c", SCRIPT, path, name, "1")
    assert (right.returncode, right.stdout) == (0, f"status 0 sum {sum(range(COUNT))}\n" * 2)
    wrong = toolchain.run_python(variant, "-c", SCRIPT, path, name, "0")
    assert wrong.returncode != 0
    assert message in wrong.stdout
    assert f"{name}<false>" in wrong.stdout


@pytest.mark.parametrize("variant", ["address", "thread"])
def test_correct_kernels_are_silent_under_the_sanitizer(variant: Variant) -> None:
    script = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
count = 8 * 256
values = (ctypes.c_int * count)(*([1] * count))
wide = (ctypes.c_int64 * count)(*([1] * count))
results = (ctypes.c_int64 * (2 * count))()
rows, columns = ctypes.c_int64(8), ctypes.c_int64(256)
for seed in (0, 1):
    library.sim_set_seed(ctypes.c_uint64(seed))
    for workers in (1, 3):
        library.sim_set_workers(workers)
        assert library.sum_rows_int64(wide, rows, columns, results) == 0
        assert list(results)[:8] == [256] * 8
        assert library.scan_rows_int(values, rows, results, wide) == 0
        wide = (ctypes.c_int64 * count)(*([1] * count))
        assert library.run_histogram(values, rows, results) == 0
        assert library.run_reverse(values, rows, results) == 0
        assert library.run_warp_operations(wide, results) == 0
print("done")
"""
    done = toolchain.run_python(variant, "-c", script, str(library_path("correct", variant)))
    assert (done.returncode, done.stdout) == (0, "done\n")


@pytest.mark.parametrize("variant", ["address", "thread"])
def test_a_fault_leaves_nothing_for_the_sanitizer_to_report(variant: Variant) -> None:
    script = SCRIPT + "print([getattr(library, 'run_' + name)(fixed, values, results) == 0 for fixed in (0, 1, 0, 1, 1)])"
    path = str(library_path("barriers", variant))
    done = toolchain.run_python(variant, "-c", script, path, "exit_before_barrier", "1")
    assert done.returncode == 0
    assert done.stdout.splitlines()[2:] == ["[False, True, False, True, True]"]


@pytest.mark.parametrize("variant", ["plain", "address", "thread"])
def test_program_without_python(variant: Variant) -> None:
    sources = [PLANTED / f"{name}.cu" for name in ("program", "barriers", "warps")]
    program = toolchain.build_program("planted_program", sources, variant=variant)
    done = toolchain.run_program(variant, program)
    assert (done.returncode, done.stdout) == (0, "")


# ---- the device compiler accepts the same sources


@pytest.mark.parametrize("source", sorted(PLANTED.glob("*.cu")), ids=lambda path: path.stem)
def test_compiles_for_the_device(source: Path) -> None:
    nvcc = toolchain.find_nvcc()
    if nvcc is None:
        pytest.skip("no CUDA toolkit")
    assert toolchain.compile_for_device(source, nvcc).stat().st_size > 0
