"""A ranking by several processes, and after a kill: the same to the bit, and no finished round twice."""

import json
import re
import shutil
import signal

import pytest
import torch

from saliency_ext import _atomic_io
from saliency_ext.study._process_group import ProcessGroup
from tests.ranking import rankings
from tests.ranking.rankings import ROUND, ROUNDS, breaking, plain, ranked
from tests.study.studies import PROBED, SmallNet, children
from tests.study.test_distributed import ended, start

KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def alone():
    """What one process finds in one go, and how often it asks the net."""
    net = SmallNet()
    return plain(ranked(net)), net.calls


@pytest.fixture(scope="module")
def whole(tmp_path_factory, alone):
    """A folder with all rounds."""
    out = tmp_path_factory.mktemp("whole")
    assert plain(ranked(out=out)) == alone[0], "to keep rounds changes nothing"
    return out


def group(target, tmp_path, world, *args, **kwargs):
    """Exit codes of a group, and what each process wrote, None where it died."""
    context, meet = children(), tmp_path / "meet"
    codes = ended([start(context, target, meet, rank, world, *args, **kwargs) for rank in range(world)])
    files = [meet.with_name(f"meet.{rank}") for rank in range(world)]
    return codes, [file.read_text() if file.exists() else None for file in files]


def kept(out):
    return sorted(path.name for path in (out / "rounds").glob("*.json"))


def test_what_one_process_finds_has_something_to_say(alone):
    result = json.loads(alone[0])
    assert result["images"] == 43 and result["left_out"] == 9 and len({pair["images"] for pair in result["pairs"]}) == 4


def test_several_processes_find_what_one_does(tmp_path, alone):
    """Rounds of 8 in pieces of 3: the fourth process has nothing to do, and nobody but the first in the last round."""
    codes, result = group(rankings.of_group, tmp_path, 4, out=tmp_path / "out")
    assert codes == [0] * 4 and set(result) == {alone[0]}
    net = SmallNet()
    assert plain(ranked(net, out=tmp_path / "out")) == alone[0] and net.calls == PROBED  # what they kept is what one keeps


def test_the_budget_ends_it_in_the_same_round(tmp_path):
    codes, result = group(rankings.of_group, tmp_path, 2, budget=300)
    one = plain(ranked(budget=300))
    assert codes == [0, 0] and set(result) == {one} and json.loads(one)["stopped"] == "budget"


def test_killed_in_each_round_and_resumed(tmp_path, alone):
    context, out = children(), tmp_path / "out"
    for rounds in range(1, ROUNDS - 2):
        assert ended([start(context, rankings.kill, out, 27)]) == [KILLED]  # a round takes more than 13 forwards and less than 27
        assert len(kept(out)) == rounds
    net = SmallNet()
    assert plain(ranked(net, out=out)) == alone[0]
    assert 0 < net.calls <= alone[1] / 2, "finished rounds are not forwarded again"
    assert len(kept(out)) == ROUNDS and not list(out.rglob("*.tmp"))
    again = SmallNet()
    assert plain(ranked(again, out=out)) == alone[0] and again.calls == PROBED


def test_killed_at_every_step_of_writing(tmp_path, alone):
    """run.json, then a file per round; the disk is waited for before and after a file gets its name."""
    context = children()
    for syncs in (1, 2, 3, 8):
        out = tmp_path / str(syncs)
        assert ended([start(context, rankings.kill_while_writing, out, syncs)]) == [KILLED]
        assert len(kept(out)) == syncs // 2 - (syncs > 1)
        assert plain(ranked(out=out)) == alone[0] and len(kept(out)) == ROUNDS and not list(out.rglob("*.tmp"))


def test_a_killed_process_ends_its_group_and_one_alone_goes_on(tmp_path, alone):
    codes, result = group(rankings.kill_one, tmp_path, 2, 20, out=tmp_path / "out")
    assert codes[1] == KILLED and result[0].startswith("OtherProcessFailed: rank_methods: another process is gone: ")
    assert 0 < len(kept(tmp_path / "out")) < ROUNDS
    net = SmallNet()
    assert plain(ranked(net, out=tmp_path / "out")) == alone[0] and net.calls < alone[1]


def test_an_error_in_one_process_stops_all(tmp_path, alone):
    codes, result = group(rankings.break_one, tmp_path, 2, 20, out=tmp_path / "out")
    assert codes == [0, 0]
    assert result == [
        "OtherProcessFailed: rank_methods: process 1 of 2 failed, and says why; this one stopped with it",
        "ZeroDivisionError: broken net",
    ]
    assert plain(ranked(out=tmp_path / "out")) == alone[0]


def test_a_full_disk_stops_all(tmp_path, alone):
    codes, result = group(rankings.fill_the_disk, tmp_path, 2, out=tmp_path / "out")
    assert codes == [0, 0] and re.fullmatch(
        r"OSError: \[Errno 28\] cannot write .*000001.json: No space left on device", result[0]
    )
    assert result[1].startswith("OtherProcessFailed: rank_methods: process 0 of 2 failed") and len(kept(tmp_path / "out")) == 1
    assert plain(ranked(out=tmp_path / "out")) == alone[0]


def test_processes_with_other_arguments_are_refused(tmp_path):
    codes, result = group(rankings.disagree, tmp_path, 2)
    assert codes == [0, 0] and len(set(result)) == 1
    assert result[0].startswith(
        "ValueError: rank_methods: expected arguments to be the same in every process, got different ones"
    )


def test_an_error_of_one_process_keeps_what_is_finished(tmp_path, alone):
    with pytest.raises(ZeroDivisionError):
        ranked(breaking(60), out=tmp_path)
    finished = kept(tmp_path)
    assert 0 < len(finished) < ROUNDS
    times = {name: (tmp_path / "rounds" / name).stat().st_mtime_ns for name in finished}
    assert plain(ranked(out=tmp_path)) == alone[0]
    assert times == {name: (tmp_path / "rounds" / name).stat().st_mtime_ns for name in finished}


def test_another_budget_goes_on_and_is_what_a_fresh_run_finds(tmp_path, alone):
    small = ranked(out=tmp_path, budget=200)
    assert small.stopped == "budget" and len(kept(tmp_path)) < ROUNDS
    assert plain(ranked(out=tmp_path)) == alone[0]
    net = SmallNet()
    assert ranked(net, out=tmp_path, budget=200) == small and net.calls == PROBED


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"seed": 1}, "options.seed: was 0, now 1"),
        ({"alpha": 0.1}, "options.alpha: was 0.05, now 0.1"),
        ({"margin": 0.1}, "options.margin: was 0.0, now 0.1"),
        ({"round_size": 9}, "options.round_size: was 8, now 9"),
        ({"chunk": 4}, "options.chunk: was 3, now 4"),
        ({"bounds": (-0.5, 0.5)}, "options.bounds"),
        ({"maps": {"a": torch.zeros(43, 6, 5), "b": torch.ones(43, 6, 5)}}, "maps.b: was absent"),
        ({"sample_ids": torch.arange(1, 44)}, "inputs.sample_ids"),
        ({"model": SmallNet(seed=1)}, "model.weights"),
    ],
)
def test_another_run_is_refused(whole, changed, what):
    with pytest.raises(
        ValueError, match="rank_methods: expected out a folder with this run or none, got .* with another run"
    ) as caught:
        ranked(**changed, out=whole)
    assert what in str(caught.value) and "give another folder, or what it was" in str(caught.value)


@pytest.mark.parametrize("what", ["no json", "a digit", "another run"])
def test_a_round_that_is_damaged_or_of_another_run_is_named_and_scored_again(tmp_path, whole, alone, what):
    out = shutil.copytree(whole, tmp_path / "out")
    path = out / "rounds" / "000003.json"
    text = path.read_text()
    if what == "another run":
        _atomic_io.write_record(path, _atomic_io.read_record(path) | {"run": "another"})
    else:
        path.write_text("no json" if what == "no json" else text.replace("0.1", "0.2", 1))
    net = SmallNet()
    with pytest.warns(RuntimeWarning, match="rank_methods: .*000003.json is no round of this run, or damaged"):
        assert plain(ranked(net, out=out)) == alone[0]
    assert path.read_text() == text and PROBED < net.calls < alone[1]


def test_a_damaged_run_json_is_refused_unless_the_rounds_are_known(tmp_path, whole, alone):
    out = shutil.copytree(whole, tmp_path / "out")
    (out / "run.json").write_text((out / "run.json").read_text().replace("a", "b", 1))
    with pytest.warns(RuntimeWarning, match="run.json was damaged; it is written anew"):
        assert plain(ranked(out=out)) == alone[0]
    (out / "run.json").write_text("{")
    with pytest.raises(ValueError, match="rank_methods: expected out with run.json as rank_methods writes it"):
        ranked(out=out, seed=1)


def test_a_round_of_other_maps_is_refused(tmp_path, whole):
    out = shutil.copytree(whole, tmp_path / "out")
    path = out / "rounds" / "000001.json"
    _atomic_io.write_record(path, _atomic_io.read_record(path) | {"maps": {}})
    with pytest.raises(ValueError, match="with a round of gradient, red, broken, steep, got another under number 1; remove it"):
        ranked(out=out)


def test_a_round_that_is_missing_is_found_out_again(tmp_path, whole, alone):
    out = shutil.copytree(whole, tmp_path / "out")
    (out / "rounds" / f"00000{ROUNDS - 1}.json").unlink()
    net = SmallNet()
    assert plain(ranked(net, out=out)) == alone[0] and 0 < net.calls < alone[1] / 3


def test_the_pieces_of_a_round_are_as_large_as_the_engine_at_most():
    requested = []

    def method(images, target):
        requested.append(len(images))
        return images[:, 0]

    ranked(maps={"a": method, "b": -torch.ones(43, 6, 5)}, round_size=16, chunk=None, budget=32)
    assert requested == [8, 8]


def test_a_team_of_one():
    process_group = ProcessGroup("test")
    assert (process_group.rank, process_group.world, process_group.first) == (0, 1, True) and ROUND == 8
    process_group.agree("anything")
