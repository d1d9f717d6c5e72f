"""Several processes on one study: the bytes of one process, whoever does what, whoever dies."""

import errno
import fcntl
import json
import signal
import time

import pytest
import torch

from saliency_ext.study._distributed import ChunkClaims, rank_and_world, visiting_order
from saliency_ext.study.reader import read_summary
from tests.study.studies import children, make_study, result_bytes, run, run_and_die, run_in_group, run_together


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    out = tmp_path_factory.mktemp("alone")
    run(out)
    return result_bytes(out)


def start(context, target, /, *args, **kwargs):
    process = context.Process(target=target, args=args, kwargs=kwargs)
    process.start()
    return process


def ended(processes, seconds=90):
    """Exit codes; a process that does not end is a deadlock."""
    deadline = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    stuck = [process for process in processes if process.exitcode is None]
    for process in stuck:
        process.kill()
    assert not stuck, "deadlock"
    return [process.exitcode for process in processes]


@pytest.mark.parametrize("world", [2, 4])
def test_several_processes_give_the_bytes_of_one(tmp_path, alone, world):
    context = children()
    barrier = context.Barrier(world)
    processes = [start(context, run_together, tmp_path, barrier, rank=rank, world=world) for rank in range(world)]
    assert ended(processes) == [0] * world
    assert result_bytes(tmp_path) == alone
    notes = [json.loads(path.read_text()) for path in (tmp_path / "shards").glob("*.json")]
    assert sum(note["samples"] for note in notes) == 11 and len(notes) == 6
    summary = read_summary(tmp_path)
    assert len(summary["ranks"]) == summary["processes"] > 1 and summary["samples"] == 11


def test_processes_need_not_know_of_each_other(tmp_path, alone):
    context = children()
    assert ended([start(context, run, tmp_path, seconds=0.01) for _ in range(3)]) == [0] * 3
    assert result_bytes(tmp_path) == alone


def test_more_processes_than_chunks(tmp_path, alone):
    context = children()
    everything = {"chunk": 11, "world": 3}
    assert ended([start(context, run, tmp_path / "out", rank=rank, **everything) for rank in range(3)]) == [0] * 3
    assert result_bytes(tmp_path / "out") == alone and len(list((tmp_path / "out" / "shards").glob("*.parquet"))) == 1
    nothing = {"inputs": torch.zeros(0, 3, 6, 5), "world": 2}
    assert ended([start(context, run, tmp_path / "none", rank=rank, **nothing) for rank in range(2)]) == [0] * 2


def test_ranks_of_a_torch_distributed_group(tmp_path, alone):
    context = children()
    group = [start(context, run_in_group, tmp_path / "out", tmp_path / "meet", rank, 2, seconds=0.02) for rank in range(2)]
    assert ended(group) == [0, 0]
    assert result_bytes(tmp_path / "out") == alone and read_summary(tmp_path / "out")["ranks"] == [0, 1]


def test_the_work_of_a_killed_process_is_taken_over(tmp_path, alone):
    context = children()
    first = start(context, run_and_die, tmp_path, 1, rank=0, world=2)
    second = start(context, run, tmp_path, seconds=0.03, rank=1, world=2)
    assert ended([first, second]) == [-signal.SIGKILL, 0]
    assert result_bytes(tmp_path) == alone


def test_the_work_of_processes_that_all_died_is_resumed(tmp_path, alone):
    context = children()
    dead = [start(context, run_and_die, tmp_path, 1, rank=rank, world=2) for rank in range(2)]
    assert ended(dead) == [-signal.SIGKILL] * 2 and not (tmp_path / "results.parquet").exists()
    make_study(tmp_path).resume()
    assert result_bytes(tmp_path) == alone


def test_a_file_system_without_locks_costs_work_but_no_result(tmp_path, alone, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", unsupported)
    make_study(tmp_path).run()
    assert result_bytes(tmp_path) == alone


def hold(path, number, taken, release):
    with ChunkClaims(path) as claims, claims.claim(number) as mine:
        taken.put(mine)
        release.wait()


def test_a_claim_is_exclusive_until_its_process_ends(tmp_path):
    context = children()
    taken, release = context.Queue(), context.Event()
    process = start(context, hold, tmp_path / "claims", 7, taken, release)
    assert taken.get(timeout=60) is True
    with ChunkClaims(tmp_path / "claims") as claims:
        with claims.claim(7) as mine:
            assert not mine
        with claims.claim(8) as mine:
            assert mine
        process.kill()
        process.join()
        with claims.claim(7, wait=True) as mine:
            assert mine
    assert (tmp_path / "claims").stat().st_size == 0


def test_a_claim_is_let_go_at_the_end_of_its_block(tmp_path):
    context = children()
    with ChunkClaims(tmp_path / "claims") as claims:
        with pytest.raises(ZeroDivisionError), claims.claim(3):
            raise ZeroDivisionError
        taken, release = context.Queue(), context.Event()
        release.set()
        process = start(context, hold, tmp_path / "claims", 3, taken, release)
        assert taken.get(timeout=60) is True
        process.join()


def test_other_errors_of_locks_are_raised(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "lockf", broken)
    with ChunkClaims(tmp_path / "claims") as claims, pytest.raises(OSError, match="Input/output error"), claims.claim(0):
        pass


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_every_rank_visits_every_chunk_its_own_first(world):
    for rank in range(world):
        order = visiting_order(range(10), rank, world)
        own = [chunk for chunk in range(10) if chunk % world == rank]
        assert sorted(order) == list(range(10)) and order[: len(own)] == own


def test_alone_is_rank_0_of_1():
    assert rank_and_world() == (0, 1)
