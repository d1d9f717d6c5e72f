"""The studies of fewer forwards, on curves whose answers are known: what they count is counted right."""

import numpy as np
import pytest
import torch

from bench.studies import adaptive, full_curves, proxies, ranking, stratified
from bench.studies.full_curves import GRID, PILOT, Curves
from saliency_ext import evaluate
from saliency_ext.infill import Constant
from saliency_ext.metrics import Deletion
from saliency_ext.perturbation import EqualFractions, StratifiedSteps
from saliency_ext.ranking import rank_methods

IMAGES = 64
AT = torch.linspace(0, 1, GRID + 1, dtype=torch.float64)


@pytest.fixture(scope="module")
def curves():
    """Two methods with monotone curves: the good one falls early and late, the bad one in the same way both times."""
    rate = 2 + 4 * torch.rand(IMAGES + PILOT, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fall, slow = (-rate * AT).exp(), 1 - AT**rate
    middle = (fall + slow) / 2
    return {"good": Curves(fall, slow), "bad": Curves(middle, middle + 0.02 * rate * AT * (1 - AT))}


def test_drawn_steps(curves, monkeypatch):
    monkeypatch.setattr(stratified, "IMAGES", 20)
    result = stratified.measured(curves, reseeds=40, coverage_reseeds=60)
    assert result["masked_inputs"] == {"grid": 200, "stratified": 18} and len(result["rows"]) == 2 * 2 * 3
    rows = {(row["strata"], row["method"], row["curve"]): row for row in result["rows"]}
    for key, row in rows.items():
        assert row["noise_ratio"] >= 1 and 0.8 <= row["coverage"] <= 1, key
        error = (row["noise_ratio"] ** 2 - 1) ** 0.5 / 40**0.5  # of the mean over reseeds, in standard errors
        assert abs(row["bias_in_standard_errors"]) < 5 * error + 1e-9, key
    for method in curves:
        sums = [rows["learned", method, side]["noise_ratio"] for side in ("mif", "lif")]
        assert sum(sums) <= sum(rows["equal", method, side]["noise_ratio"] for side in ("mif", "lif")) + 1e-6
    fall = curves["good"].mif[:IMAGES]
    coarse = (torch.trapezoid(fall[:, ::10], AT[::10]) - torch.trapezoid(fall, AT)).mean()
    assert rows["equal", "good", "mif"]["coarse_bias"] == pytest.approx(float(coarse), rel=0.05) and coarse > 0


def test_adaptive_steps_keep_their_bound_on_monotone_curves(curves):
    for row in adaptive.measured({"good": curves["good"]}):
        assert row["monotone"] == row["certified"] == 1.0 and row["violated"] == row["violated_certified"] == 0.0
        assert row["violated_not_monotone"] is None and row["largest_error"] <= row["tolerance"]
        assert 5 <= row["points_per_curve"] < 60 and row["times_fewer"] == pytest.approx(101 / row["points_per_curve"])
    bumpy = Curves(curves["good"].mif + 0.2 * torch.sin(200 * AT), curves["good"].lif)
    rows = adaptive.measured({"bumpy": bumpy})
    assert rows[0]["monotone"] == 0.0 and rows[0]["violated"] == rows[0]["violated_not_monotone"] > 0


def test_rankings(curves, monkeypatch):
    monkeypatch.setattr(ranking, "ROUND", 4)
    result = ranking.measured(curves, orders=30)
    clear, *_ = [row for row in result["pairs"] if row["metric"] == "fidelity" and row["scheme"] == "grid"]
    assert clear["gap"] > 0.3 and clear["wrong"] == 0.0 and clear["distinguishable"] == 1.0
    fewer = IMAGES / clear["images_median"]
    assert clear["images_median"] % 4 == 0 and clear["times_fewer_masked_inputs"] == pytest.approx(fewer)
    drawn = next(row for row in result["pairs"] if row["metric"] == "fidelity" and row["scheme"] == "drawn")
    assert drawn["times_fewer_masked_inputs"] == pytest.approx(IMAGES * 398 / (drawn["images_median"] * 34))
    together = result["tournaments"][0]
    assert together["any_wrong"] == 0.0 and together["times_fewer_masked_inputs"] == pytest.approx(fewer)
    assert all(row["distinguishable"] <= 0.2 for row in result["equal"])


def test_the_simulation_of_a_ranking_is_the_ranking():
    """On a model: the values that `rank_methods` sees lead to the look at which the study says it is decided."""
    generator = torch.Generator().manual_seed(2)
    inputs = torch.rand(80, 1, 10, 10, generator=generator)
    maps = {"best": inputs[:, 0], "noise": torch.rand(80, 10, 10, generator=generator)}
    model = lambda x: torch.stack([x.sum((1, 2, 3)) / 20, torch.zeros(len(x))], 1)  # noqa: E731
    metric = Deletion(Constant(0.0), EqualFractions(8))
    values = {name: evaluate(model, inputs, 0, {name: own}, [metric])[name, "deletion"].values for name, own in maps.items()}
    result = rank_methods(model, inputs, 0, maps, metric, seed=3, round_size=1)
    order = ranking.random_order(torch.arange(80), 3)
    observations = type("Looks", (), {"width": 1.0, "population": 80})
    simulated = ranking.decided((values["best"] - values["noise"])[order][None], observations, 0.05)
    assert result.stopped == "decided" and result.images == int(torch.minimum(simulated["above"], simulated["below"])) < 80


def test_what_is_decided_is_let_go():
    """A small, steady difference is within a wide margin long before it is above 0, and then nobody looks any more."""
    observations = type("Looks", (), {"width": 1.0, "population": None})
    steady = torch.full((2, 2000), 0.05)
    free, margin = (ranking.decided(steady, observations, 0.05, margin=wide) for wide in (0.0, 0.5))
    assert (margin["alike"] < free["above"]).all() and (free["above"] < ranking.NEVER).all()
    assert (margin["above"] == ranking.NEVER).all() and (margin["below"] == ranking.NEVER).all()


def test_proxies(curves, monkeypatch):
    monkeypatch.setattr(proxies, "IMAGES", 32)
    monkeypatch.setattr(proxies, "RESEEDS", 30)
    for row in proxies.measured({"good": curves["good"]}):
        assert row["gain"] > 1 and abs(row["correlation"]) > 0.5 and 0.7 <= row["coverage"] <= 1
        steps = int(row["proxy"].split()[0]) - 1
        assert row["masked_inputs"] == 32 * 200 + IMAGES * 2 * (steps - 1)


def test_curves_are_kept_and_read(tmp_path):
    for start in (0, 250):
        np.savez(tmp_path / f"grad_cam_{start:06d}.npz", mif=np.full((250, 3), start), lif=np.full((250, 3), start + 1))
    result = full_curves.read(tmp_path, "grad_cam", 300)
    assert result.mif.shape == (300, 3) and result.mif[249, 0] == 0 and result.mif[250, 0] == 250
    assert torch.equal(result.fidelity, torch.ones(300, 3))


def test_what_is_collected_is_what_evaluate_finds(tmp_path, monkeypatch):
    """Two scenes, at the fine grid; drawn steps read from it are those of the engine."""
    monkeypatch.setattr(full_curves, "GRID", 10)
    full_curves.collect(tmp_path, ["grad_cam"], 2)
    kept = full_curves.read(tmp_path, "grad_cam", 2)
    net, scenes = full_curves.load_net("residual").eval(), full_curves.make_scenes("test", torch.arange(2))
    steps = StratifiedSteps(3, 10)
    metric = full_curves.Fidelity(full_curves.DatasetMean(), steps)
    result = evaluate(net, scenes.inputs, scenes.labels, {"grad_cam": full_curves.GradCAM(net)}, [metric])["grad_cam", "fidelity"]
    places = torch.searchsorted(torch.tensor(EqualFractions(10).counts(4096)), steps.drawn(4096, torch.arange(2)))
    torch.testing.assert_close(result.values, steps.area(kept.fidelity.gather(1, places), 4096), rtol=0, atol=1e-5)
    (place,) = tmp_path.iterdir()
    stamp = place.stat().st_mtime_ns
    full_curves.collect(tmp_path, ["grad_cam"], 2)
    assert place.stat().st_mtime_ns == stamp
