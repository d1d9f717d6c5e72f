"""The study runner: it says what `evaluate` says, on any kind of data, and a sample that cannot be read is a row."""

import functools
import inspect
import json
import math

import numpy
import pytest
import torch

from saliency_ext.attribution import Centre, Gradient, InputXGradient, RandomControl, RandomWeights
from saliency_ext.evaluation import Proxy, TargetMaps, controlled_means, evaluate
from saliency_ext.metrics import Deletion, Fidelity, PointingGame, Soundness
from saliency_ext.perturbation import Engine, EqualFractions
from saliency_ext.ranking import rank_methods
from saliency_ext.study.reader import read_run, read_summary, read_table
from saliency_ext.study.study import Study
from tests.helpers import tensors
from tests.study.studies import GREY, SmallNet, make_study, result_bytes

IMAGES = tensors(11, 3, 6, 5, seed=1)
FEW = EqualFractions(3)
CONTROLS = ["random", "centre", "edge", "grey_level"]


class Items:
    """A data set of given items; those that are exceptions are raised. It notes what was read."""

    def __init__(self, items):
        self.items, self.read = list(items), []

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        self.read.append(index)
        item = self.items[index]
        if isinstance(item, Exception):
            raise item
        return item() if callable(item) else item


def same(first, second):
    """Bit-equal values, curves and extras."""
    named = [(first.curves, second.curves), (first.extras, second.extras)]
    pairs = [(first.values, second.values), *((a[name], b[name]) for a, b in named for name in a)]
    return all(a.keys() == b.keys() for a, b in named) and all(torch.equal(a.nan_to_num(9), b.nan_to_num(9)) for a, b in pairs)


def test_a_study_says_what_evaluate_says(tmp_path):
    model = SmallNet()
    methods = {"gradient": Gradient(model, channels="abs_sum"), "brightness": lambda inputs, target: inputs.mean(1)}
    metrics = [Deletion(GREY, FEW), Fidelity(GREY, FEW, references=1)]
    results = make_study(tmp_path, model, maps=methods, metrics=metrics, chunk=8, seed=4).run()
    maps = {**methods, "random": RandomControl(4), "centre": Centre()}
    expected = evaluate(model, IMAGES, "predicted", maps, metrics, engine=Engine(model, max_batch=8), chunk=8)
    for pair in expected:
        assert same(results[pair], expected[pair]) and results[pair].info == expected[pair].info
        assert results[pair].parameters == expected[pair].parameters and results[pair].status == ["ok"] * 11
        assert torch.equal(results[pair].fractions, expected[pair].fractions)
        assert results.summary(*pair) == expected.summary(*pair)
    assert [method for method, metric in results if metric == "deletion"] == [*methods, *CONTROLS]  # no class, no random weights


def test_controls_are_ordinary_methods(tmp_path):
    model = SmallNet()
    results = make_study(tmp_path / "all", model).run()
    assert [method for method, metric in results if metric == "fidelity"][2:] == [*CONTROLS, "gradient_random_weights"]
    rows = read_table(tmp_path / "all").to_pylist()
    families = {row["method"]: row["family"] for row in rows}
    assert {name for name, family in families.items() if family == "control"} == {*CONTROLS, "gradient_random_weights"}
    control = RandomWeights(lambda m: Gradient(m), model, 0)
    chosen = make_study(tmp_path / "chosen", model, random_weights=["signed"]).run()
    expected = evaluate(model, IMAGES, "predicted", control, [Deletion(GREY, FEW)], engine=Engine(model, max_batch=8), chunk=2)
    assert same(chosen["signed_random_weights", "deletion"], expected["map", "deletion"])
    assert "gradient_random_weights" not in [method for method, _ in chosen]
    bare = make_study(tmp_path / "bare", model, controls=False).run()
    assert [method for method, _ in bare] == ["gradient", "gradient", "signed", "signed"]
    own = make_study(tmp_path / "own", model, maps={"random": RandomControl(9)}).run()
    assert [method for method, metric in own if metric == "fidelity"] == CONTROLS
    assert not same(own["random", "deletion"], results["random", "deletion"])


def test_a_sequence_of_methods_is_named_by_them(tmp_path):
    results = make_study(tmp_path, maps=[Gradient, InputXGradient(SmallNet())], controls=False).run()
    assert [method for method, metric in results if metric == "deletion"] == ["gradient", "input_x_gradient"]


def test_data_of_every_kind_is_the_same_data(tmp_path):
    labels, truth = torch.arange(11) % 5, IMAGES[:, 0] > 0.5
    metrics = [Deletion(GREY, FEW), PointingGame()]
    kinds = {
        "tensor": (IMAGES, {"target": labels, "truth": truth}),
        "strided": (
            tensors(11, 6, 5, 3).copy_(IMAGES.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
            {"target": labels, "truth": truth},
        ),
        "list": (list(IMAGES), {"target": labels, "truth": truth}),
        "pairs": (list(zip(IMAGES, labels, strict=True)), {"target": "given", "truth": truth}),
        "mappings": (
            Items({"pixel_values": i, "label": int(c), "truth": t} for i, c, t in zip(IMAGES, labels, truth, strict=True)),
            {"target": "given"},
        ),
    }
    result = {}
    for kind, (data, options) in kinds.items():
        result[kind] = make_study(tmp_path / kind, inputs=data, metrics=metrics, **options).run()
    for kind, results in result.items():
        assert all(same(results[pair], result["tensor"][pair]) for pair in results), kind
    rows = read_table(tmp_path / "mappings").to_pylist()
    assert [row["target"] for row in rows if row["method"] == "edge" and row["metric"] == "deletion"] == labels.tolist()


def test_targets(tmp_path):
    model = SmallNet()
    predicted = make_study(tmp_path / "p", model).run()
    classes = model(IMAGES).argmax(1)
    by_index = make_study(tmp_path / "i", model, target=classes).run()
    assert all(same(predicted[pair], by_index[pair]) for pair in predicted) and len(set(classes.tolist())) > 1
    three = make_study(tmp_path / "3", model, target=3).run()
    assert same(
        three["signed", "deletion"], make_study(tmp_path / "t", model, target=torch.full((11,), 3)).run()["signed", "deletion"]
    )
    with pytest.raises(ValueError, match=r"Study: expected inputs\[0\] with a label where target='given', got none"):
        make_study(tmp_path / "g", model, target="given").run()


def test_given_maps_take_part(tmp_path):
    maps, labels = tensors(11, 2, 6, 5, seed=3), torch.tensor([0, 2])
    methods = {"given": maps[:, 0], "each": TargetMaps(maps, labels)}
    metrics = [Deletion(GREY, FEW), Soundness(GREY, FEW)]
    model, data = SmallNet(), Items([*IMAGES[:5], OSError("lost"), *IMAGES[6:]])
    results = make_study(tmp_path, model, inputs=data, maps=methods, metrics=metrics, target=0, controls=False).run()
    expected = evaluate(model, IMAGES, 0, methods, metrics, engine=Engine(model, max_batch=8), chunk=2)
    kept = [index for index in range(11) if index != 5]
    for pair in expected:
        assert torch.equal(results[pair].values[kept], expected[pair].values[kept])
    assert {row["family"] for row in read_table(tmp_path).to_pylist()} == {"given"}
    with pytest.raises(ValueError, match="one map for each image"):
        make_study(tmp_path / "short", maps={"given": maps[:10, 0]}).run()


def test_a_sample_that_cannot_be_read_is_a_row(tmp_path):
    clean = make_study(tmp_path / "clean", inputs=list(IMAGES)).run()
    wrong = {3: OSError("truncated <file at 0x7f31ab>\n in byte 17"), 4: ValueError("bad"), 5: IMAGES[5, :1], 8: "text"}
    items = [wrong.get(index, image) for index, image in enumerate(IMAGES)]
    results = make_study(tmp_path / "holes", inputs=Items(items)).run()
    for pair in results:
        result, whole = results[pair], clean[pair]
        assert [i for i, status in enumerate(result.status) if status == "unreadable_sample"] == sorted(wrong)
        assert result.values[sorted(wrong)].isnan().all() and results.summary(*pair).left_out == 4
        kept = [index for index in range(11) if index not in wrong]
        assert torch.equal(result.values[kept], whole.values[kept])
        assert all(torch.equal(curve[kept], whole.curves[name][kept]) for name, curve in result.curves.items())
    rows = [row for row in read_table(tmp_path / "holes").to_pylist() if row["status"] == "unreadable_sample"]
    assert len(rows) == 4 * len(results) and all(row["target"] is None and math.isnan(row["value"]) for row in rows)
    messages = {row["sample"]: row["message"] for row in rows}
    assert messages[3] == "OSError: truncated <file at 0x> in byte 17" and messages[4] == "ValueError: bad"
    assert "of shape (3, 6, 5) and dtype float32, got (1, 6, 5)" in messages[5] and "got str" in messages[8]
    assert read_summary(tmp_path / "holes")["statuses"] == {"ok": 7 * len(results), "unreadable_sample": 4 * len(results)}


def test_too_many_unreadable_samples_stop_the_study(tmp_path):
    items = [IMAGES[0] if index % 5 == 0 else OSError(f"no {index}") for index in range(40)]
    expected = r"at most 50% unreadable samples, got 16 of the 20 read, the last \(sample 19\): OSError: no 19; .*max_unreadable"
    with pytest.raises(ValueError, match=expected):
        make_study(tmp_path / "a", inputs=Items(items)).run()
    with pytest.raises(ValueError, match=expected) as caught:  # found while it works, not before
        make_study(tmp_path / "b", inputs=Items(items), identity="v1").run()
    assert "9 of 20 chunks are finished and kept" in caught.value.__notes__[0] and "resume()" in caught.value.__notes__[0]
    again = Items(items)
    results = make_study(tmp_path / "b", inputs=again, identity="v1", max_unreadable=0.9).resume()
    assert sorted(again.read) == [0, *range(18, 40)]
    assert results["random", "deletion"].valid.sum() == 8
    assert make_study(tmp_path / "c", inputs=Items(items[:19])).run()["random", "deletion"].valid.sum() == 4  # too few to tell


def test_data_that_is_wrong_from_the_start_is_refused(tmp_path):
    cases = [
        (IMAGES.mul(255).byte(), TypeError, r"expected inputs\[0\] of dtype float32 or float64, got uint8; convert"),
        (IMAGES[0], ValueError, r"expected inputs of shape \(N, C, H, W\), got \(3, 6, 5\); add the batch dimension"),
        (list(IMAGES[:, 0]), ValueError, r"expected inputs\[0\] of shape \(C, H, W\), got \(6, 5\)"),
        (["a.png"], TypeError, r"expected inputs\[0\] to be an image tensor \(C, H, W\), .*got str; turn pictures into tensors"),
        (
            [{"file": 1}],
            TypeError,
            r"expected inputs\[0\] with one of the keys .*'pixel_values'.*, got a mapping with",
        ),
        (iter(IMAGES), TypeError, "expected inputs to have a length and items by number, got .*; pass a tensor"),
        ("folder", TypeError, "expected inputs to have a length and items by number, got str"),
        (
            Items([OSError("lost")] * 3),
            ValueError,
            "expected inputs with a sample that can be read, got none; .*first: OSError: lost",
        ),
        ([{"image": IMAGES[0], "truth": IMAGES[0, 0]}], TypeError, r"expected truth of inputs\[0\] of dtype bool"),
    ]
    for data, error, text in cases:
        with pytest.raises(error, match=f"Study: {text}"):
            make_study(tmp_path, inputs=data).run()
    assert not list(tmp_path.iterdir())


def test_data_that_changes_while_it_is_read_is_refused(tmp_path):
    drawn = torch.Generator().manual_seed(0)
    items = Items([*IMAGES[:4], lambda: torch.rand(3, 6, 5, generator=drawn)])
    with pytest.raises(ValueError, match=r"expected inputs\[4\] to be the same each time it is read, .*random augmentation off"):
        make_study(tmp_path, inputs=items).run()


def test_a_sample_that_is_unreadable_once_stays_so(tmp_path):
    tries = []

    def flaky():
        tries.append(1)
        if len(tries) == 1:
            raise OSError("busy")
        return IMAGES[4]

    results = make_study(tmp_path, inputs=Items([*IMAGES[:4], flaky, *IMAGES[5:]])).run()
    assert results["edge", "deletion"].status == ["ok"] * 4 + ["unreadable_sample"] + ["ok"] * 6


def test_one_chunk_of_images_is_read_at_a_time(tmp_path):
    data, seen = Items(IMAGES), []
    study = make_study(
        tmp_path, inputs=data, identity="v1", progress=lambda done, *_: seen.append((done, max(data.read, default=0)))
    )
    study.run()
    assert seen[-1] == (11, 10) and all(read <= done + 1 for done, read in seen)
    assert sorted(data.read) == [0, *range(11)]  # once, and the first to see what they look like


def test_progress_counts_samples_and_forwards(tmp_path):
    told = []
    make_study(tmp_path, progress=lambda *what: told.append(what)).run()
    done, total, forwards, seconds = zip(*told, strict=True)
    assert done[0] == 0 and done[-1] == 11 and set(total) == {11} and sorted(done) == list(done)
    assert forwards[-1] == read_summary(tmp_path)["counters"]["forwards"] and len(set(forwards)) > 12
    assert list(forwards) == sorted(forwards) and list(seconds) == sorted(seconds)


def test_the_summary_counts_what_was_asked_run_and_saved(tmp_path):
    model = SmallNet()
    engine, maps = Engine(model, max_batch=8), {"a": Gradient(model), "random": RandomControl(0)}
    evaluate(model, IMAGES, 1, maps, [Deletion(GREY, FEW), Fidelity(GREY, FEW)], engine=engine, chunk=11)
    metrics = [Deletion(GREY, FEW), Fidelity(GREY, FEW)]
    make_study(tmp_path, model, maps={**maps}, metrics=metrics, target=1, controls=False, chunk=11).run()
    counted = read_summary(tmp_path)
    assert (
        counted["counters"]["requested"] == engine.counters.requested and counted["counters"]["unique"] == engine.counters.unique
    )
    assert counted["masked_inputs"] == {
        "requested": 11 * engine.counters.requested,
        "run": 11 * engine.counters.unique,
        "saved": 11 * (engine.counters.requested - engine.counters.unique),
    }
    assert counted["samples"] == 11 and counted["chunks"] == 1 and counted["ranks"] == [0] and counted["seconds"] > 0


def test_text_from_outside_is_kept_as_text_and_names_no_file(tmp_path):
    names = ["<script>alert(1)</script>", "../../../etc/passwd", *[f"n{index}" for index in range(9)]]
    methods = {"../../evil": RandomControl(1), "</table>": Centre()}
    out = tmp_path / "deep" / "out"
    make_study(out, names=names, maps=methods, class_names=["<b>cat</b>"] * 5).run()
    rows = read_table(out).to_pylist()
    assert rows[0]["name"] == names[0] and {row["method"] for row in rows} > set(methods)
    assert read_run(out)["about"]["class_names"][0] == "<b>cat</b>"
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    shards = {f"deep/out/shards/00000{index}.{kind}" for index in range(6) for kind in ("json", "parquet")}
    assert files == shards | {f"deep/out/{name}" for name in ("run.json", "results.parquet", "summary.json", "claims")}


def test_nothing_of_the_callers_changes(tmp_path):
    model, images = SmallNet().train(), IMAGES.clone().requires_grad_()
    before, state = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    with pytest.warns(RuntimeWarning, match="training mode"):
        make_study(tmp_path / "a", model, inputs=images).run()
    with pytest.warns(RuntimeWarning, match="training mode"), pytest.raises(ZeroDivisionError):
        make_study(tmp_path / "b", model, inputs=images, progress=lambda done, *_: 1 // (done < 4)).run()
    assert all(module.training for module in model.modules()) and torch.equal(torch.get_rng_state(), state)
    assert images.grad is None and torch.is_grad_enabled() and torch.equal(images.detach(), IMAGES)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with torch.inference_mode():
        make_study(tmp_path / "c", model.eval()).run()
    assert result_bytes(tmp_path / "c") == result_bytes(tmp_path / "a")


def test_no_samples_are_no_rows(tmp_path):
    assert len(make_study(tmp_path / "a", inputs=IMAGES[:0]).run()) == 0
    assert len(make_study(tmp_path / "b", inputs=[]).run()) == 0 and read_table(tmp_path / "b").num_rows == 0


def test_arguments_are_refused_by_name(tmp_path):
    cases = [
        ({"chunk": 0}, ValueError, r"expected chunk in \[1, "),
        ({"engine": Engine(SmallNet())}, ValueError, "expected engine to run the given model, got an engine on another callable"),
        ({"engine": 32}, TypeError, "expected engine to be an Engine or a mapping of options of one, got int"),
        ({"engine": {"progress": print}}, ValueError, "expected engine without 'progress'"),
        ({"max_unreadable": 1.5}, ValueError, r"expected max_unreadable in \[0, 1\], got 1.5"),
        ({"rank": 1}, ValueError, "expected rank and world both, or neither, got 1 and None"),
        ({"rank": 2, "world": 2}, ValueError, r"expected rank in \[0, 1\], got 2"),
        ({"seed": -1}, ValueError, r"expected seed in \[0, "),
        ({"names": ["a"]}, ValueError, "expected names of length N = 11, got 1"),
        ({"target": torch.zeros(3, dtype=torch.int64)}, ValueError, r"expected target of shape \(N,\) = \(11,\), got \(3,\)"),
        ({"sample_ids": torch.zeros(11, dtype=torch.int64)}, ValueError, "expected sample_ids to be distinct"),
        ({"truth": numpy.zeros((11, 6, 5), dtype=bool)}, TypeError, "expected truth to be a torch.Tensor, got ndarray; "),
        ({"truth": torch.zeros(11, 5, 6, dtype=torch.bool)}, ValueError, r"expected truth of shape \(N, H, W\) = \(11, 6, 5\)"),
        ({"maps": "gradient"}, TypeError, "expected maps to be name -> map, a sequence"),
        ({"maps": [Gradient, Gradient]}, ValueError, "expected maps with different names, got 'gradient' twice"),
        ({"maps": [len]}, TypeError, "expected maps to hold methods with an info"),
        ({"random_weights": ["edge"]}, ValueError, r"expected random_weights to be among \['gradient', 'signed'\], got 'edge'"),
    ]
    for options, error, text in cases:
        with pytest.raises(error, match=f"Study: {text}"):
            make_study(tmp_path, **options).run()
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="expected truth .* bool for metric 'pointing_game', got None"):
        make_study(tmp_path, metrics=[PointingGame()]).run()


def test_a_missing_pyarrow_is_named_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"Study: .*pyarrow.*; its results are Parquet: pip install 'saliency_ext\[study\]'"
    ):
        Study(SmallNet(), IMAGES, "predicted", [Gradient], [Deletion(GREY)], out=tmp_path)


def test_parameters_are_json(tmp_path):
    make_study(tmp_path).run()
    row = read_table(tmp_path).to_pylist()[0]
    assert json.loads(row["parameters"])["infill_value"] == 0.5 and row["unit"] and row["direction"] == "lower"


@pytest.mark.parametrize("engine", [None, {"max_batch": 8}, "an engine"])
def test_an_engine_or_its_options_are_taken_alike_everywhere(tmp_path, engine):
    model, maps, metric = SmallNet(), {"red": IMAGES[:, 0], "green": IMAGES[:, 1]}, Deletion(GREY, FEW)
    engine = Engine(model, max_batch=8) if engine == "an engine" else engine
    arguments = (model, IMAGES, "predicted", maps)
    study = Study(*arguments, [metric], out=tmp_path, engine=engine, controls=False).run()
    expected = evaluate(*arguments, [metric], engine=engine)
    for pair in expected:
        assert same(study[pair], expected[pair])
    assert rank_methods(*arguments, metric, engine=engine).names == ("red", "green")
    means = controlled_means(*arguments, metric, Proxy(shrink=1, dtype=torch.float32), engine=engine, images=4)
    assert means.keys() == maps.keys()


def test_evaluate_study_rank_methods_and_controlled_means_share_their_arguments():
    signatures = [inspect.signature(function).parameters for function in (evaluate, Study, rank_methods, controlled_means)]
    for parameters in signatures:
        assert list(parameters)[:4] == ["model", "inputs", "target", "maps"] and list(parameters)[4] in ("metrics", "metric")
        assert {"engine", "sample_ids", "chunk"} <= parameters.keys()
    methods = [Gradient, functools.partial(InputXGradient, channels="sum")]
    arguments = (SmallNet(), IMAGES, 0, methods)
    names = {"gradient", "input_x_gradient"}
    assert {name for name, _ in evaluate(*arguments, [Deletion(GREY, FEW)])} == names
    assert set(rank_methods(*arguments, Deletion(GREY, FEW)).names) == names
    assert controlled_means(*arguments, Deletion(GREY, FEW), Proxy(Deletion(GREY)), images=4).keys() == names
