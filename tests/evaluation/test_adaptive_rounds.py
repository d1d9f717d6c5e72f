"""Adaptive steps on a model: what simulation says, in full batches, the same in any company, and shared by all who ask."""

import pytest
import torch

from saliency_ext import evaluate
from saliency_ext.attribution import GradCAM
from saliency_ext.infill import Blur, Constant, DatasetMean, NoisyLinear, UniformNoise
from saliency_ext.metrics import ROAD, Deletion, Fidelity, GeometryGap, Insertion, LeRF, MaskDetectability, MoRF, Soundness
from saliency_ext.metrics import SymmetricRelevanceGain as Gain
from saliency_ext.metrics.result import MetricResult
from saliency_ext.ops import philox_uniform, rank
from saliency_ext.perturbation import AdaptiveSteps, CurvePoints, Engine, EqualFractions, Ranked
from saliency_ext.protocols import MetricInfo
from saliency_ext.report import write_report
from saliency_ext.study.reader import read_summary
from saliency_ext.study.study import Study
from saliency_ext.testbed.load import load_net
from saliency_ext.testbed.scenes import make_scenes
from tests.study.studies import SmallNet

GREY, FINE = Constant(0.5), AdaptiveSteps(0.01, grid=30, first=2)
CURVES = [Deletion, Insertion, MoRF, LeRF, Fidelity]
IMAGES = philox_uniform((3, 6, 5), torch.arange(7), seed=1)
MAPS = philox_uniform((1, 6, 5), torch.arange(7), seed=2)[:, 0]


class Net(SmallNet):
    """Logits that are far enough apart for curves to move."""

    def forward(self, images):
        return 20 * super().forward(images)


def run(metrics, images=IMAGES, maps=MAPS, model=None, **options):
    model = (options["engine"].forward if "engine" in options else Net()) if model is None else model
    return evaluate(model, images, 1, maps, metrics, check_model=False, **options)


def same(result: MetricResult, other: MetricResult, rows=slice(None)):
    """Every number of an image, to the bit."""
    assert torch.equal(result.values, other.values[rows])
    for name, extra in result.extras.items():
        assert torch.equal(extra, other.extras[name][rows]), name
    for name, curve in result.curves.items():
        assert torch.equal(curve, other.curves[name][rows]), name


@pytest.mark.parametrize("metric", CURVES)
@pytest.mark.parametrize("options", [{}, {"score": "logit"}, {"unit": "channel_value"}, {"score": "accuracy"}])
def test_the_engine_asks_what_simulation_says(metric, options):
    """Also for channel values, of which there are more than pixels; 28 steps of 30 pixels or 90 values are not all alike."""
    steps = AdaptiveSteps(0.4 if options.get("score") == "logit" else 0.01, grid=28, first=2)
    engine = Engine(Net(), max_batch=8)
    name = metric.info.name
    whole = run([metric(GREY, EqualFractions(28), **options)], engine=engine)["map", name]
    result = run([metric(GREY, steps, **options)], engine=engine)["map", name]
    names = [curve for curve in whole.curves if curve != "artifact"]
    simulated = steps.simulate(torch.stack([whole.curves[curve] for curve in names], 1), whole.fractions)
    for place, curve in enumerate(names):
        torch.testing.assert_close(result.curves[curve], simulated.curves[:, place], rtol=1e-6, atol=1e-9)
    assert torch.equal(result.extras["evaluated"], simulated.evaluated.double())
    assert torch.equal(result.extras["certified"], simulated.certified.double())
    torch.testing.assert_close(result.extras["bound"], simulated.bound, rtol=1e-6, atol=1e-9)
    areas = simulated.areas[:, 0] if len(names) == 1 else simulated.areas[:, 1] - simulated.areas[:, 0]
    torch.testing.assert_close(result.values, areas, rtol=1e-6, atol=1e-9)
    assert torch.equal(result.fractions, whole.fractions) and result.parameters["schedule"] == repr(steps)
    assert (result.extras["bound"] <= steps.tolerance).all() and result.extras["evaluated"].sum() < 29 * len(names) * 7


def test_the_testbed_agrees_with_simulation():
    net, scenes = load_net("residual"), make_scenes("test", torch.arange(2))
    maps, grey, steps = GradCAM(net)(scenes.inputs, scenes.labels), DatasetMean(), AdaptiveSteps(0.02, grid=24)
    engine, other = Engine(net, max_batch=8), Engine(net, max_batch=8)
    metrics = [metric(grey, EqualFractions(24)) for metric in (Fidelity, Insertion)]
    whole = evaluate(net, scenes.inputs, scenes.labels, maps, metrics, engine=engine)
    metrics = [metric(grey, steps) for metric in (Fidelity, Insertion)]
    result = evaluate(net, scenes.inputs, scenes.labels, maps, metrics, engine=other)
    for name, names in (("fidelity", ("mif", "lif")), ("insertion", ("insertion",))):
        simulated = steps.simulate(
            torch.stack([whole["map", name].curves[curve] for curve in names], 1), result["map", name].fractions
        )
        assert torch.equal(result["map", name].extras["evaluated"], simulated.evaluated.double())
        torch.testing.assert_close(result["map", name].extras["bound"], simulated.bound, rtol=1e-5, atol=1e-7)
        values = simulated.areas[:, -1] - (simulated.areas[:, 0] if len(names) == 2 else 0)
        torch.testing.assert_close(result["map", name].values, values, rtol=1e-5, atol=1e-7)
    assert other.counters.images_forwarded < 0.7 * engine.counters.images_forwarded


def test_an_image_has_its_value_in_any_company():
    """Chunks, other images, other maps, other metrics that ask for points of the same curve."""
    fidelity = Fidelity(GREY, FINE)
    expected = run([fidelity], engine=Engine(Net(), max_batch=4), chunk=7)["map", "fidelity"]
    for chunk in (1, 3, 4):
        same(run([fidelity], engine=Engine(Net(), max_batch=4), chunk=chunk)["map", "fidelity"], expected)
    for index in (0, 5):
        part, ids = slice(index, index + 1), torch.tensor([index])
        alone = run([fidelity], IMAGES[part], MAPS[part], engine=Engine(Net(), max_batch=4), sample_ids=ids)
        same(alone["map", "fidelity"], expected, part)
    maps = {"other": -MAPS, "map": MAPS, "same": MAPS * 2}
    metrics = [Deletion(GREY, AdaptiveSteps(1e-3, grid=30)), LeRF(GREY, FINE), fidelity, Deletion(GREY, EqualFractions(30))]
    crowd = run(metrics, maps=maps, engine=Engine(Net(), max_batch=4))
    same(crowd["map", "fidelity"], expected)
    same(crowd["same", "fidelity"], expected)


def test_batches_are_full_but_for_the_last_of_a_round():
    shapes, model = [], Net()
    engine = Engine(lambda x: shapes.append(x.shape[0]) or model(x), max_batch=4)
    result = run([Fidelity(GREY, FINE)], engine=engine, chunk=7)["map", "fidelity"]
    refined = int(result.extras["evaluated"].sum()) - 7 * 2 * 3  # of both curves, both ends and the middle are no refinement
    counters = engine.counters
    assert counters.refined == refined and set(shapes) == {4}
    assert counters.images_forwarded - counters.images_padded == 7 * (2 + 2) + refined
    first = Engine(Net(), max_batch=4)
    run([Fidelity(GREY, EqualFractions(2))], engine=first, chunk=7)
    rounds, requested = [], torch.zeros(7, 2, 31, dtype=torch.bool)
    requested[..., [0, 15, 30]] = True
    whole = run([Fidelity(GREY, EqualFractions(30))])["map", "fidelity"]
    curves = torch.stack([whole.curves["mif"], whole.curves["lif"]], 1)
    while (more := FINE.next_points(curves, requested, result.fractions)).any():
        rounds.append(int(more.sum()))
        requested |= more
    assert len(rounds) > 2 and sum(rounds) == refined
    assert counters.images_padded == first.counters.images_padded + sum(-size % 4 for size in rounds)


def test_progress_counts_what_each_round_asks():
    seen = []
    run([Deletion(GREY, FINE)], engine=Engine(Net(), max_batch=4, progress=lambda *place: seen.append(place)), chunk=7)
    assert all(0 < done <= requested for done, requested in seen) and seen[-1][0] == seen[-1][1]
    assert sum(done == requested for done, requested in seen) > 3  # the first pass, and each round


def test_what_one_asked_the_others_know():
    def refined(*metrics, maps=MAPS):
        engine = Engine(Net(), max_batch=16)
        run(metrics, maps=maps, engine=engine)
        return engine.counters.refined

    one = refined(Deletion(GREY, FINE))
    assert refined(Deletion(GREY, FINE), MoRF(GREY, FINE)) == one > 0
    assert refined(Deletion(GREY, FINE), maps={"map": MAPS, "scaled": 3 * MAPS}) == one
    backwards = refined(LeRF(GREY, FINE))
    assert refined(LeRF(GREY, FINE), Insertion(GREY, FINE)) == backwards  # insertion, read backwards
    assert refined(Deletion(GREY, FINE), LeRF(GREY, FINE)) == one + backwards
    coarse = refined(Deletion(GREY, AdaptiveSteps(0.04, grid=30, first=2)))
    assert coarse < one == refined(Deletion(GREY, AdaptiveSteps(0.04, grid=30, first=2)), Deletion(GREY, FINE))


def test_the_first_points_are_probes_like_all_others():
    steps = AdaptiveSteps(100.0, grid=30, first=3)
    engine = Engine(Net(), max_batch=8)
    run([Deletion(GREY, EqualFractions(3)), Deletion(GREY, steps), Insertion(GREY, steps)], engine=engine)
    assert engine.counters.unique == 2 + 2 + 2 and engine.counters.refined == 0  # ends, and two of either side


@pytest.mark.parametrize("infill", [UniformNoise(0.0, 1.0, 0, draws=3), NoisyLinear(draws=2), Blur(1.0)])
def test_draws_are_averaged_and_infills_made_from_the_pixels_around_serve(infill):
    engine = Engine(Net(), max_batch=8)
    whole = run([Insertion(infill, EqualFractions(30))], engine=engine)["map", "insertion"]
    result = run([Insertion(infill, FINE)], engine=engine)["map", "insertion"]
    simulated = FINE.simulate(whole.curves["insertion"])
    assert torch.equal(result.extras["evaluated"], simulated.evaluated.double())
    torch.testing.assert_close(result.curves["insertion"], simulated.curves[:, 0], rtol=1e-6, atol=1e-9)


def test_another_number_of_draws_is_another_curve():
    few, many = (Deletion(UniformNoise(0.0, 1.0, 0, draws=draws), FINE) for draws in (1, 3))
    both = run([few, many])
    same(both["map", "deletion"], run([few])["map", "deletion"])
    same(both["map", "deletion_2"], run([many])["map", "deletion"])


def test_a_relative_fidelity_has_its_tolerance_in_its_own_unit():
    steps = AdaptiveSteps(0.05, grid=30)
    relative = Fidelity(GREY, steps, score="logit", relative=True)
    result = run([relative])["map", "fidelity"]
    whole = run([Fidelity(GREY, EqualFractions(30), score="logit", relative=True)])["map", "fidelity"]
    assert result.status == whole.status and set(whole.status) == {"ok", "undefined"}
    ok = result.valid
    simulated = steps.simulate(torch.stack([whole.curves["mif"], whole.curves["lif"]], 1)[ok])
    torch.testing.assert_close(result.values[ok], simulated.areas[:, 1] - simulated.areas[:, 0], rtol=1e-6, atol=1e-9)
    assert torch.equal(result.extras["evaluated"][ok], simulated.evaluated.double())
    assert result.extras["bound"][~ok].isnan().all()


def test_images_without_a_value_are_marked_and_change_no_other():
    model, maps, images = Net(), MAPS.clone(), IMAGES.clone()
    maps[1, 0, 0] = torch.nan
    images[2, 0, 0, 0] = torch.inf
    expected = run([Fidelity(GREY, FINE)], engine=Engine(Net(), max_batch=4))["map", "fidelity"]

    def broken(x):  # half of the image grey is no image for it
        half = (x[:, 0].flatten(1) == 0.5).sum(1, keepdim=True) == 15
        return torch.where(half & (x[:, 2, 5, 4] == IMAGES[4, 2, 5, 4])[:, None], torch.nan, model(x))

    maps[4, 5, 4] = 2.0  # removed first, so that one order alone is broken: the other keeps the pixel that tells the image
    result = run([Fidelity(GREY, FINE)], images, maps, engine=Engine(broken, max_batch=4))["map", "fidelity"]
    assert result.status == ["ok", "nonfinite_map", "nonfinite_input", "ok", "nonfinite_score", "ok", "ok"]
    for row in (0, 3, 5, 6):
        assert result.values[row] == expected.values[row] and result.extras["evaluated"][row] == expected.extras["evaluated"][row]
    assert result.extras["evaluated"][[1, 2, 4]].isnan().all()


def test_an_image_with_no_room_alone_is_marked():
    model, poison = Net(), 0.123
    saliency = MAPS.clone()
    saliency[:, 0, 0] = -1.0  # removed last
    saliency[5, 0, 0] = 0.6  # removed on the way

    def tight(x):
        if ((x[:, 0, 0, 0] == poison) & (x[:, 0, 5, 4] == IMAGES[5, 0, 5, 4])).any():
            raise torch.OutOfMemoryError("no room")
        return model(x)

    saliency[5, 5, 4] = -2.0  # the image is known by a pixel that stays
    infill = Constant((poison, 0.5, 0.5))
    steps = AdaptiveSteps(1e-5, grid=30, first=1)
    engine = Engine(tight, max_batch=4)
    result = run([Deletion(infill, steps)], maps=saliency, engine=engine, chunk=7)["map", "deletion"]
    expected = run([Deletion(infill, steps)], maps=saliency)["map", "deletion"]
    assert result.status == ["ok"] * 5 + ["out_of_memory", "ok"]
    good = [0, 1, 2, 3, 4, 6]
    # Forwards of 4 images and of 32: the model's own rounding, on any processor.
    torch.testing.assert_close(result.values[good], expected.values[good], rtol=1e-5, atol=1e-5)
    assert engine.counters.images_failed > 0


def test_nothing_of_the_caller_changes_and_any_layout_gives_the_same():
    model = Net().train()
    expected = run([Fidelity(GREY, FINE)])["map", "fidelity"]
    kept, state = IMAGES.clone(), torch.get_rng_state()
    with torch.inference_mode(), pytest.warns(RuntimeWarning, match="training mode"):
        same(run([Fidelity(GREY, FINE)], model=model)["map", "fidelity"], expected)
    assert model.training and torch.equal(IMAGES, kept) and torch.equal(torch.get_rng_state(), state)
    wide = torch.stack([IMAGES, IMAGES], 4).flatten(3)[..., ::2]
    same(run([Fidelity(GREY, FINE)], wide, torch.stack([MAPS, MAPS], 1)[:, 0])["map", "fidelity"], expected)
    turned = run([Fidelity(GREY, FINE)], IMAGES.contiguous(memory_format=torch.channels_last))["map", "fidelity"]
    torch.testing.assert_close(turned.values, expected.values, rtol=1e-6, atol=1e-7)
    none = run([Fidelity(GREY, FINE)], IMAGES[:0], MAPS[:0])["map", "fidelity"]
    assert none.values.shape == none.extras["bound"].shape == (0,) and none.curves["mif"].shape == (0, 31)


def test_a_flat_curve_takes_the_first_points_alone():
    result = run([Fidelity(GREY, FINE)], model=lambda x: x.new_tensor([0.0, 1.0]).expand(len(x), 2))["map", "fidelity"]
    assert result.status == ["flat_curve"] * 7 and result.values.tolist() == [0.0] * 7
    assert result.extras["evaluated"].tolist() == [6.0] * 7 and result.extras["certified"].tolist() == [1.0] * 7


def test_a_metric_of_ones_own_may_refine():
    """It asks one point more of each image: as many pixels removed as its number says."""

    class OnePoint:
        info = MetricInfo("one_point", "none", "logit", "a point", "this test")
        parameters = property(lambda self: {})

        def request(self, context):
            return {"points": CurvePoints(Ranked(rank(context.saliency)), tuple(range(31)), "tail", GREY), "rounds": 0}

        def refine(self, outputs, requested):
            requested["rounds"] += 1
            wanted = torch.eye(31, dtype=torch.bool)[: len(outputs.classes)]
            return [(requested["points"], wanted)] if requested["rounds"] == 1 else []

        def compute(self, outputs, requested):
            scores = outputs.point_scores(requested["points"], "logit")
            assert torch.equal(outputs.known_points(requested["points"]), torch.eye(31, dtype=torch.bool)[: len(scores)])
            assert scores.isnan().sum() == scores.numel() - len(scores)
            return MetricResult(self.info, scores.diagonal().clone(), {})

    model = Net()
    result = run([OnePoint()], model=model, chunk=7)["map", "one_point"].values
    ranks = rank(MAPS)
    for index in range(7):
        masked = torch.where(ranks[index] < index, 0.5, IMAGES[index])[None]
        torch.testing.assert_close(result[index], model(masked)[0, 1].double(), rtol=1e-5, atol=1e-5)


def test_results_study_and_report_need_to_know_nothing(tmp_path):
    pytest.importorskip("pyarrow")
    metrics = [Deletion(GREY, FINE), Fidelity(GREY, FINE)]
    model = Net()
    result = evaluate(model, IMAGES, 1, {"map": MAPS, "opposite": -MAPS}, metrics, check_model=False)
    assert {row["schedule"] for row in result.rows()} == {repr(FINE)} and len(result.rows()) == 28
    assert len(result.to_dict()["map"]["fidelity"]["curves"]["mif"][0]) == 31
    write_report(result, tmp_path / "page")
    study = Study(model, IMAGES, 1, {"map": lambda x, t: x.mean(1)}, metrics, out=tmp_path / "study", controls=False)
    saved = study.run()["map", "fidelity"]
    expected = evaluate(model, IMAGES, 1, IMAGES.mean(1), metrics, check_model=False)["map", "fidelity"]
    torch.testing.assert_close(saved.values, expected.values)
    assert torch.equal(saved.extras["evaluated"], expected.extras["evaluated"]) and saved.curves["mif"].shape == (7, 31)
    took = read_summary(tmp_path / "study")
    assert took["masked_inputs"]["run"] == took["counters"]["images_forwarded"] - took["counters"]["images_padded"]
    assert took["counters"]["refined"] > 0


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: ROAD(schedule=FINE), TypeError, "ROAD: expected schedule to give counts that do not depend on scores"),
        (lambda: GeometryGap(GREY, FINE), TypeError, "GeometryGap: .*got AdaptiveSteps; use a schedule such as EqualFractions"),
        (lambda: Soundness(GREY, FINE), TypeError, "Soundness: expected schedule"),
        (lambda: MaskDetectability(GREY, schedule=FINE), TypeError, "to give the same counts to all images"),
        (lambda: Gain(GREY, segmenter=lambda x: x[:, 0].long(), schedule=FINE), TypeError, "the same counts to all images"),
        (lambda: Deletion(GREY, FINE, area="even"), ValueError, "'trapezoid' where steps are adaptive, got 'even'"),
        (lambda: MoRF(GREY, FINE, summary="aopc"), ValueError, "MoRF: expected summary 'auc' where steps are adaptive"),
        (lambda: Fidelity(GREY, FINE, references=2), ValueError, "references 0 where steps are adaptive, got 2; use a schedule"),
    ],
)
def test_what_cannot_be_is_refused(make, kind, text):
    with pytest.raises(kind, match=text):
        make()
