"""Whatever stops a study, what it finished is kept, and resuming gives the bytes of a run that was never stopped."""

import errno
import os
import random
import signal
import time

import pytest

from saliency_ext import _atomic_io
from tests.helpers import tensors
from tests.study.studies import PROBED, SmallNet, children, make_study, result_bytes, run, run_and_die_while_writing, run_and_tell

MANY = {"inputs": tensors(40, 3, 6, 5, seed=1), "chunk": 1}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken")
    run(out)
    return result_bytes(out)


def finished(out):
    return sorted(path.name for path in (out / "shards").glob("*.parquet"))


def test_killed_at_twenty_random_moments(tmp_path):
    """Each process lives for none or one of 40 chunks and a random part of one more, however fast the machine."""
    run(tmp_path / "unbroken", **MANY)
    draw, context, out, kept = random.Random(0), children(), tmp_path / "killed", {}
    for _ in range(20):
        begun = context.Event()
        process = context.Process(target=run_and_tell, args=(out, begun, 0.03), kwargs=MANY)
        process.start()
        assert begun.wait(60)
        goal = len(kept) + draw.choice((0, 1))
        while len(finished(out)) < goal and process.is_alive():
            time.sleep(0.01)
        time.sleep(draw.uniform(0.0, 0.3))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL and not (out / "results.parquet").exists()
        now = {name: (out / "shards" / name).stat().st_mtime_ns for name in finished(out)}
        assert now.items() >= kept.items()  # none is lost, none is made again
        kept = now
    assert 5 < len(kept) < 40
    model = SmallNet()
    make_study(out, model, **MANY).resume()
    assert result_bytes(out) == result_bytes(tmp_path / "unbroken")
    assert kept.items() <= {name: (out / "shards" / name).stat().st_mtime_ns for name in finished(out)}.items()
    assert not list(out.rglob("*.tmp"))


def test_killed_at_every_step_of_writing(tmp_path, unbroken):
    """run.json; for each chunk its note, then its rows; the summary; the result. Each waits for the disk before and after it
    gets its name: killed at the third wait, a process finishes nothing, at the fourth one chunk, or all."""
    context, out = children(), tmp_path / "out"
    for syncs in [1, 2, 5, 6, 7, 8, *[3, 4] * 4]:
        process = context.Process(target=run_and_die_while_writing, args=(out, syncs))
        process.start()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
    assert process.exitcode == 0 and result_bytes(out) == unbroken and not list(out.rglob("*.tmp"))


def interrupted_after(forwards):
    """A net that gets the signal of Ctrl-C in a forward."""
    model = SmallNet()

    def hook(*_):
        if model.calls == forwards:
            os.kill(os.getpid(), signal.SIGINT)

    model.register_forward_pre_hook(hook)
    return model


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(tmp_path, unbroken):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are started deaf to it
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            make_study(tmp_path, interrupted_after(40)).run()
    finally:
        signal.signal(signal.SIGINT, before)
    kept = finished(tmp_path)
    assert 0 < len(kept) < 6 and not list(tmp_path.rglob("*.tmp"))
    message = str(caught.value)
    assert message.startswith(
        f"Study.run: interrupted. {len(kept)} of 6 chunks are finished and kept in {tmp_path}; to go on, call"
    )
    assert "resume() on the same study" in message
    model = SmallNet()
    make_study(tmp_path, model).resume()
    assert result_bytes(tmp_path) == unbroken
    make_study(tmp_path / "again", whole := SmallNet()).run()
    assert model.calls < whole.calls * (6 - len(kept)) / 6 + 5


def test_a_full_disk_keeps_what_is_finished_and_says_how_to_go_on(tmp_path, unbroken, monkeypatch):
    for rooms in (1, 4, 7, 13, 14):  # files that find room: run.json, two for each chunk, summary.json
        room, synced = [2 * rooms], os.fsync

        def full(descriptor, room=room, synced=synced):
            room[0] -= 1
            if room[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            synced(descriptor)

        monkeypatch.setattr(_atomic_io.os, "fsync", full)
        out = tmp_path / str(rooms)
        with pytest.raises(OSError, match="Study.run: no room to write to") as caught:
            make_study(out).run()
        kept = len(finished(out))
        assert caught.value.errno == errno.ENOSPC and not list(out.rglob("*.tmp"))
        assert f"{kept} of 6 chunks are finished" in str(caught.value) and "free some, then call resume()" in str(caught.value)
        assert kept == min((rooms - 1) // 2, 6)
        monkeypatch.undo()
        make_study(out).resume()
        assert result_bytes(out) == unbroken


def test_what_fails_otherwise_says_so_too(tmp_path, unbroken):
    with pytest.raises(ZeroDivisionError) as caught:
        make_study(tmp_path, progress=lambda done, *_: 1 // (done < 4)).run()
    assert "2 of 6 chunks are finished and kept" in caught.value.__notes__[0]
    assert "to go on, mend what failed, then call resume()" in caught.value.__notes__[0]
    unwritable = OSError(errno.EIO, "Input/output error")
    with pytest.raises(OSError, match="Input/output error") as caught, pytest.MonkeyPatch.context() as patch:
        patch.setattr(_atomic_io.os, "fsync", lambda _: (_ for _ in ()).throw(unwritable))
        make_study(tmp_path).run()
    assert "2 of 6 chunks are finished and kept" in caught.value.__notes__[0]
    make_study(tmp_path).run()
    assert result_bytes(tmp_path) == unbroken


def test_finished_chunks_are_never_evaluated_again(tmp_path, unbroken):
    make_study(tmp_path).run()
    model = SmallNet()
    results = make_study(tmp_path, model).resume()
    assert model.calls == PROBED and results["gradient", "deletion"].valid.all()
    (tmp_path / "shards" / "000002.parquet").unlink()
    make_study(tmp_path, model).resume()  # the final file has it
    assert model.calls == 2 * PROBED
    for chunk in (0, 4):
        (tmp_path / "shards" / f"00000{chunk}.parquet").unlink()
    (tmp_path / "results.parquet").unlink()
    read = []

    class Watched(list):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index)

    make_study(tmp_path, inputs=Watched(tensors(11, 3, 6, 5, seed=1))).resume()
    assert result_bytes(tmp_path) == unbroken and sorted(read[12:]) == [0, 1, 4, 5, 8, 9]  # after the first and the digests
