"""Studies that stop when a rule says so: the shortest row of chunks, whoever worked on what, whoever was killed."""

import json
import signal
import warnings

import pytest
import torch

from saliency_ext.evaluation._input_chunks import random_order
from saliency_ext.metrics import Deletion, Fidelity, GeometryGap, PointingGame
from saliency_ext.perturbation import AdaptiveSteps, EqualFractions, StratifiedSteps
from saliency_ext.study import StopReport, StopRule, read_results, read_run, read_summary, read_table
from saliency_ext.study._distributed import ChunkClaims
from tests.helpers import tensors
from tests.ranking.rankings import IMAGES, breaking, ranked, steep
from tests.study.studies import GREY, PROBED, SmallNet, children, make_study, result_bytes, run, run_together
from tests.study.test_distributed import ended, start

DATA = tensors(IMAGES, 3, 6, 5, seed=1)
CURVE = EqualFractions(3)
METRIC = Fidelity(GREY, CURVE)
MAPS = {"steep": steep(DATA), "red": DATA[:, 0]}
RULE = StopRule("fidelity", bounds=(-0.4, 0.4))
SMALL = {"inputs": DATA, "maps": MAPS, "metrics": [METRIC], "target": 0, "controls": False, "chunk": 4, "stop": RULE}
ORDER = random_order(torch.arange(IMAGES), 0).tolist()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A folder in which one process did it."""
    out = tmp_path_factory.mktemp("alone")
    run(out, **SMALL)
    return out


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """All images, as they come."""
    return run(tmp_path_factory.mktemp("full"), **(SMALL | {"stop": None}))


def killed(out, at):
    """A study whose process is killed in the middle of a forward."""
    make_study(out, breaking(at, kill=True), **SMALL).run()


def notes(out):
    return [json.loads(path.read_text()) for path in sorted((out / "shards").glob("*.json"))]


def test_it_stops_where_a_ranking_does_and_says_the_same(alone):
    result, other = read_results(alone).stopped, ranked(maps=MAPS, round_size=4, chunk=4)
    assert result.why == "separated" and result.early and other.stopped == "decided"
    assert result.pairs == other.pairs and result.images == other.images == 4 * result.chunks < IMAGES
    assert result.pairs[0].better == "steep" and result.population == IMAGES


def test_the_values_are_those_of_a_full_run_on_a_random_sample(alone, full):
    table = read_table(alone)
    samples = table["sample"].to_pylist()[:: len(MAPS)]
    assert samples == ORDER[: len(samples)] and 4 < len(samples) < IMAGES
    for name in MAPS:
        assert torch.equal(read_results(alone)[name, "fidelity"].values, full[name, "fidelity"].values[samples])


def test_chunks_before_the_last_did_not_decide(alone):
    result = read_results(alone).stopped
    shorter = ranked(maps=MAPS, round_size=4, chunk=4, budget=sum(note["counters"]["unique"] * 4 for note in notes(alone)[:-1]))
    assert shorter.images == result.images - 4 and shorter.pairs[0].better is None


def test_what_it_took_is_recorded(alone):
    summary = read_summary(alone)
    result = StopReport.read(summary["stopped"])
    assert result == read_results(alone).stopped and read_run(alone)["fingerprint"]["options"]["stop"]["separated"] == "fidelity"
    assert (
        result.masked_inputs
        == summary["masked_inputs"]["run"]
        == sum(n["samples"] * n["counters"]["unique"] for n in notes(alone))
    )
    assert result.full == round(result.masked_inputs * IMAGES / result.images)
    assert result.full_seconds == pytest.approx(summary["seconds"] * IMAGES / result.images)
    text = str(read_results(alone))
    assert f"Stopped after {result.images} of {IMAGES} images: every pair is decided under fidelity." in text
    assert "steep - red: +" in text and "all verdicts on these pairs are correct for the mean over all 43 images" in text
    assert (
        "after data-dependent stopping they undercover slightly" in text
        and f"masked inputs instead of about {result.full:,}" in text
    )


@pytest.mark.parametrize("world", [2, 3])
def test_several_processes_give_the_bytes_of_one(tmp_path, alone, world):
    context = children()
    barrier = context.Barrier(world)
    processes = [start(context, run_together, tmp_path, barrier, rank=rank, world=world, **SMALL) for rank in range(world)]
    assert ended(processes) == [0] * world
    assert result_bytes(tmp_path) == result_bytes(alone)
    there, said = (read_results(out).stopped for out in (tmp_path, alone))
    assert (there.pairs, there.masked_inputs, there.full) == (said.pairs, said.masked_inputs, said.full)
    assert len(notes(tmp_path)) <= there.chunks + world - 1, "no process runs far ahead of the decision"


def test_a_finished_chunk_behind_the_last_is_left_out(tmp_path, alone):
    run(tmp_path, **SMALL)
    extra = read_results(tmp_path).stopped.chunks
    (tmp_path / "results.parquet").unlink()
    shards = tmp_path / "shards"
    for ending in ("parquet", "json"):  # as another process might have finished it meanwhile
        (shards / f"{extra:06d}.{ending}").write_bytes((shards / f"{extra - 1:06d}.{ending}").read_bytes())
    net = SmallNet()
    make_study(tmp_path, net, **SMALL).resume()
    assert result_bytes(tmp_path) == result_bytes(alone) and net.calls == PROBED


def hold(folder, chunk, begun, release):
    """A process that is in the middle of writing a chunk that nobody needs any more."""
    with ChunkClaims(folder / "claims") as claims, claims.claim(chunk) as mine:
        begun.put(mine)
        release.wait()


def test_what_another_process_is_writing_is_left_alone(tmp_path, alone):
    shards = tmp_path / "shards"
    shards.mkdir()
    dead, alive = shards / "000001.parquet.dead.tmp", shards / "000010.parquet.alive.tmp"
    for path in (dead, alive):
        path.write_bytes(b"half")
    context = children()
    begun, release = context.Queue(), context.Event()
    process = start(context, hold, tmp_path, 10, begun, release)
    assert begun.get(timeout=60) is True
    run(tmp_path, **SMALL)
    assert result_bytes(tmp_path) == result_bytes(alone) and alive.exists() and not dead.exists()
    release.set()
    assert ended([process]) == [0]


def test_killed_and_resumed_it_has_the_same_bytes(tmp_path, alone):
    context, out = children(), tmp_path / "out"
    for finished in (1, 2, 3):
        assert ended([start(context, killed, out, 11)]) == [-signal.SIGKILL]  # 3 forwards to look at the net, 5 for each chunk
        assert len(notes(out)) == finished and not (out / "results.parquet").exists()
    (out / "shards" / "000001.parquet").unlink()  # a gap: what is behind it says nothing yet
    make_study(out, **SMALL).resume()
    assert result_bytes(out) == result_bytes(alone)
    net = SmallNet()
    again = make_study(out, net, **SMALL).resume()
    assert net.calls == PROBED and again.stopped.images == read_results(alone).stopped.images


@pytest.mark.parametrize("more", [0, 1])
def test_a_budget_is_spent_to_the_chunk(tmp_path, alone, more):
    """Three chunks spend exactly so much; one masked input more takes a fourth."""
    three = sum(note["samples"] * note["counters"]["unique"] for note in notes(alone)[:3])
    result = run(tmp_path, **SMALL | {"stop": StopRule(budget=three + more)}).stopped
    assert (result.why, result.chunks, result.images, result.pairs) == ("budget", 3 + more, 12 + 4 * more, ())
    assert result.masked_inputs >= three + more and "drawn independently of the values" in result.guarantee
    assert len(notes(tmp_path)) == result.chunks, "nothing more was evaluated"


def test_single_images_that_adaptive_steps_ask_are_spent_too(tmp_path):
    adaptive = {"metrics": [Fidelity(GREY, AdaptiveSteps(1e-3, 12, first=1))]}
    run(tmp_path / "all", **SMALL | adaptive | {"stop": StopRule(budget=10**6)})
    first, *rest = (note["counters"] for note in notes(tmp_path / "all"))
    assert first["refined"] > 0 and rest
    taken = 4 * first["unique"] + first["refined"]
    for budget, chunks in ((taken, 1), (taken + 1, 2)):
        result = run(tmp_path / str(budget), **SMALL | adaptive | {"stop": StopRule(budget=budget)}).stopped
        assert result.chunks == chunks and (chunks > 1 or result.masked_inputs == taken)


def test_the_smallest_budget_and_one_that_is_never_spent(tmp_path, full):
    assert run(tmp_path / "small", **SMALL | {"stop": StopRule(budget=8)}).stopped.chunks == 1
    whole = run(tmp_path / "large", **SMALL | {"stop": StopRule(budget=10**6)})
    assert (whole.stopped.why, whole.stopped.images, whole.stopped.early) == ("all images", IMAGES, False)
    back = torch.tensor(ORDER).argsort()
    assert torch.equal(whole["red", "fidelity"].values[back], full["red", "fidelity"].values)
    assert str(whole.stopped).startswith("All 43 images were evaluated. Cost: ")


def test_time_is_that_of_the_recorded_chunks(tmp_path):
    result = run(tmp_path, **SMALL | {"stop": StopRule(seconds=1e-9)}).stopped
    assert (result.why, result.chunks) == ("time", 1) and "the time limit is reached" in str(result)
    net = SmallNet()
    assert (
        make_study(tmp_path, net, **SMALL | {"stop": StopRule(seconds=1e-9)}).resume().stopped == result and net.calls == PROBED
    )


def test_the_first_that_holds_counts_and_open_pairs_are_told(tmp_path):
    result = run(tmp_path, **SMALL | {"stop": StopRule("fidelity", bounds=(-0.4, 0.4), budget=8)}).stopped
    assert result.why == "budget" and "1 of 1 pairs are undecided under fidelity" in result.reason
    assert "With probability" not in str(result), "there is no verdict that it could be about"


def test_methods_meet_controls_but_controls_do_not_meet(tmp_path):
    rule = StopRule("fidelity", budget=8)
    result = run(tmp_path, **SMALL | {"stop": rule, "controls": True}).stopped
    names = {(pair.first, pair.second) for pair in result.pairs}
    controls = ("random", "centre", "edge", "grey_level")
    assert names == {("steep", "red"), *((name, control) for name in MAPS for control in controls)}


def test_within_the_margin_is_decided(tmp_path):
    result = run(tmp_path, **SMALL | {"stop": StopRule("fidelity", bounds=(-0.4, 0.4), margin=0.7)}).stopped
    assert result.why == "separated" and result.pairs[0].equivalent and result.images < IMAGES


def test_target_truth_names_and_ids_follow_their_images(tmp_path):
    truth = MAPS["steep"] == MAPS["steep"].amax((1, 2), keepdim=True)
    choices = {
        "target": torch.arange(IMAGES) % 5,
        "truth": truth,
        "names": [f"image {index}" for index in range(IMAGES)],
        "sample_ids": torch.arange(IMAGES) + 100,
        "metrics": [METRIC, PointingGame()],
    }
    whole = run(tmp_path / "whole", **SMALL | choices | {"stop": None})
    part = run(tmp_path / "part", **SMALL | choices | {"stop": StopRule(budget=100)})
    table = read_table(tmp_path / "part")
    places = [sample - 100 for sample in table["sample"].to_pylist()[::4]]
    assert part.stopped.early and places == random_order(torch.arange(IMAGES) + 100, 0).tolist()[: len(places)] != sorted(places)
    assert table["name"].to_pylist()[::4] == [f"image {place}" for place in places]
    assert table["target"].to_pylist()[::4] == [place % 5 for place in places]
    for pair in part:
        assert torch.equal(part[pair].values, whole[pair].values[places])


def test_faults_name_their_images(tmp_path):
    broken = [DATA[index] for index in range(IMAGES)]
    second, third = ORDER[1], ORDER[2]
    broken[second] = "no tensor"

    def method(images, target):
        if (images == DATA[third]).flatten(1).all(1).any():
            raise ArithmeticError("not this one")
        return images[:, 0]

    study = make_study(tmp_path, **SMALL | {"inputs": broken, "maps": {**MAPS, "method": method}, "stop": StopRule(budget=8)})
    with pytest.warns(RuntimeWarning, match=rf"failed for sample\(s\) \[{third}\]"):
        results = study.run()
    assert results["method", "fidelity"].status[:3] == ["ok", "unreadable_sample", "method_failed"]
    assert read_table(tmp_path)["message"].to_pylist()[3].startswith(f"TypeError: Study: expected inputs[{second}]")


def test_without_a_value_is_no_difference_and_counted(tmp_path):
    maps = {"steep": MAPS["steep"], "none": torch.full_like(MAPS["red"], torch.nan)}
    result = run(tmp_path, **SMALL | {"maps": maps}).stopped
    assert result.left_out == IMAGES and not result.early and result.pairs[0].better is None


def test_no_images(tmp_path):
    empty = {"inputs": DATA[:0], "maps": {"a": DATA[:0, 0], "b": DATA[:0, 1]}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = make_study(tmp_path, **SMALL | empty).run().stopped
    assert (result.why, result.images, result.chunks, result.early) == ("all images", 0, 0, False)


def test_another_rule_is_another_run(tmp_path):
    run(tmp_path, **SMALL | {"stop": StopRule(budget=8)})
    with pytest.raises(ValueError, match=r"Study: expected out a folder with this run .*options.stop.budget: was 8, now 9"):
        run(tmp_path, **SMALL | {"stop": StopRule(budget=9)})
    with pytest.raises(ValueError, match=r"options.stop: was a saliency_ext.study.stopping.StopRule, now None"):
        run(tmp_path, **SMALL | {"stop": None})


def test_the_chunk_is_no_larger_than_the_rule_looks(tmp_path):
    run(tmp_path, **SMALL | {"chunk": None, "engine": {"max_batch": 40}, "stop": StopRule(budget=32)})
    assert read_run(tmp_path)["layout"]["chunk"] == 16 and notes(tmp_path)[0]["samples"] == 16


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({}, ValueError, "StopRule: expected separated, budget or seconds at least one, got none"),
        ({"separated": "fidelity", "alpha": 0.0}, ValueError, r"expected alpha in \(0, 1\), got 0"),
        ({"separated": "fidelity", "alpha": 1.0}, ValueError, r"expected alpha in \(0, 1\), got 1"),
        ({"separated": "fidelity", "margin": -0.1}, ValueError, "StopRule: expected margin >= 0"),
        ({"budget": 0}, ValueError, "StopRule: expected budget in"),
        ({"budget": 1.5}, TypeError, "StopRule: expected budget to be an int"),
        ({"seconds": 0.0}, ValueError, "StopRule: expected seconds > 0"),
    ],
)
def test_rules_that_cannot_be(arguments, error, text):
    with pytest.raises(error, match=text):
        StopRule(**arguments)


@pytest.mark.parametrize(
    ("changed", "error", "text"),
    [
        ({"stop": StopRule("deletion")}, ValueError, "StopRule: expected separated to be one of fidelity, got 'deletion'"),
        (
            {"maps": {"one": DATA[:, 0]}, "controls": True},
            ValueError,
            "expected separated at least two methods to distinguish, got 1",
        ),
        (
            {"metrics": [Fidelity(GREY, CURVE, score="logit")], "stop": StopRule("fidelity")},
            ValueError,
            r"pass bounds=\(low, high\)",
        ),
        *(
            (
                {"metrics": [Fidelity(GREY, steps)]},
                ValueError,
                f"StopRule: expected separated a metric whose value of an image is not random, got {type(steps).__name__}",
            )
            for steps in (StratifiedSteps(2, 8), AdaptiveSteps(0.1, 8))
        ),
        (
            {"metrics": [GeometryGap(GREY)], "stop": StopRule("geometry_gap")},
            ValueError,
            "StopRule: expected metric one of which higher or lower is better",
        ),
        (
            {"stop": StopRule(budget=7)},
            ValueError,
            "expected budget at least 8, both ends of a curve for each of the 4 images of a chunk, got 7; allow more, or make",
        ),
        (
            {"stop": StopRule(budget=7), "metrics": [PointingGame()], "truth": torch.ones(IMAGES, 6, 5, dtype=torch.bool)},
            ValueError,
            "StopRule: expected budget none where no metric masks inputs, got 7; stop after seconds",
        ),
        ({"stop": {"budget": 7}}, TypeError, "Study: expected stop to be a StopRule, got dict"),
        (
            {"stop": StopRule("fidelity", bounds=(0.0, 0.001))},
            ValueError,
            r"StopRule: expected maps\['steep'\] to score in \[0, 0.001\], got .*pass the bounds of the metric as",
        ),
    ],
)
def test_what_a_study_refuses(tmp_path, changed, error, text):
    with pytest.raises(error, match=text):
        make_study(tmp_path, **SMALL | changed).run()


def test_lower_is_better_where_the_metric_says_so(tmp_path):
    result = run(
        tmp_path, **SMALL | {"metrics": [Deletion(GREY, CURVE)], "stop": StopRule("deletion", bounds=(0.0, 0.6))}
    ).stopped
    assert result.pairs[0].better == "steep" and result.pairs[0].mean < 0
