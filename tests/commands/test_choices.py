"""Infills, methods and metrics of a run from their names."""

import pytest
import torch

from saliency_ext.attribution.registry import METHODS
from saliency_ext.commands._choices import DEFAULT_METRICS, TRUTH_METRICS, chosen_metrics, infill_by_name
from saliency_ext.commands._command_result import CommandError
from saliency_ext.commands._data import Data
from saliency_ext.commands._methods import Sampling, chosen_methods, default_methods
from saliency_ext.commands._models import CommandModel
from saliency_ext.commands._shared_options import SharedOptions
from saliency_ext.infill import Constant
from saliency_ext.infill.registry import infill_summaries
from saliency_ext.metrics.presets import PRESETS
from saliency_ext.models import PreprocessSpec

PREPARED = PreprocessSpec((0.5, 0.4, 0.3), (0.2, 0.25, 0.5), (16, 16), shorter=16)
SHARED = SharedOptions(Constant(0.0), 5, "logit", 7, 4)
PICTURES = Data([], [], "predicted", False, None, None, "")
SCENES = Data([], [], "given", True, torch.ones(2, 16, 16, dtype=torch.bool), None, "")


def model():
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 3)]
    return CommandModel("python:x:y", torch.nn.Sequential(*layers).eval(), PREPARED, None)


def test_infills_are_in_model_input_space():
    images, ids = torch.rand(2, 3, 16, 16), torch.arange(2)
    fills = {name: infill_by_name(name, PREPARED, 3).fill(images, ids) for name in infill_summaries()}
    assert fills["black"].flatten().tolist() == pytest.approx([-2.5, -1.6, -0.6])
    assert fills["white"].flatten().tolist() == pytest.approx([2.5, 2.4, 1.4])
    assert fills["dataset_mean"].flatten().tolist() == [0.0]
    assert fills["grey"].flatten().tolist() == pytest.approx([0.0, 0.4, 0.4])
    assert not torch.equal(fills["gaussian_noise"], infill_by_name("gaussian_noise", PREPARED, 4).fill(images, ids)), (
        "the seed arrives"
    )
    with pytest.raises(CommandError, match="there is no 'gray'; did you mean grey"):
        infill_by_name("gray", PREPARED, 0)


def test_controls_take_part_and_one_method_on_random_weights():
    made = chosen_methods(["gradient", "grad_cam", "gradient"], model(), SHARED, controls=True)
    assert list(made) == ["gradient", "grad_cam", "gradient_random_weights", "random", "centre", "edge", "grey_level"]
    assert made["random"].seed == 7 and made["gradient"].max_batch == 4
    assert list(chosen_methods(["gradient"], model(), SHARED, controls=False)) == ["gradient"]
    assert list(chosen_methods(["random", "edge"], model(), SHARED, controls=True)) == ["random", "edge", "centre", "grey_level"]
    for names, control in ((["grad_cam", "gradient", "agf"], "gradient"), (["layer_cam", "grad_cam"], "layer_cam")):
        redrawn = [name for name in chosen_methods(names, model(), SHARED, controls=True) if name.endswith("_random_weights")]
        assert redrawn == [f"{control}_random_weights"], "maps cut off at 0 may be 0 everywhere there"
    own = chosen_methods(["grad_cam_random_weights", "random"], model(), SHARED, controls=True)
    assert list(own) == ["grad_cam_random_weights", "random", "centre", "edge", "grey_level"]


def test_every_name_that_is_listed_can_be_asked_for():
    reference_images = torch.rand(4, 3, 16, 16)
    sampling = Sampling(3, lambda: reference_images)
    made = chosen_methods(["all"], model(), SHARED, controls=True, sampling=sampling)
    assert set(METHODS.summaries()) == {name for name in made if not name.endswith("_random_weights")}
    assert (made["rise"].masks, made["lime"].samples, made["smooth_grad"].samples) == (3, 3, 3)
    assert (
        made["rise"].seed == 7
        and (made["kernel_shap"].samples, made["kernel_shap"].max_batch) == (4, 4)
        and made["expected_gradients"].samples == 3
    )
    whole = chosen_methods(["rise", "smooth_grad"], model(), SHARED, controls=False, sampling=Sampling(10**6))
    assert (whole["rise"].masks, whole["smooth_grad"].samples) == (4000, 50), "never more than a method's own number"
    images, ids = torch.rand(2, 3, 16, 16), torch.arange(2)
    for name in ("gradient", "input_x_gradient"):
        size = made[f"{name}_abs"](images, 1, sample_ids=ids)
        assert (size >= made[name](images, 1, sample_ids=ids).abs() - 1e-6).all() and size.min() >= 0
    redrawn = chosen_methods(["gradient_abs_random_weights"], model(), SHARED, controls=False)["gradient_abs_random_weights"]
    assert redrawn.info.family == "control" and redrawn.method.channels == "abs_sum"


def test_all_leaves_out_what_cannot_be_used():
    plain = CommandModel("python:x:y", lambda inputs: inputs.mean((2, 3)), PREPARED, None)
    with pytest.warns(RuntimeWarning) as caught:
        made = chosen_methods(["all"], plain, SHARED, controls=False)
    said = [str(each.message) for each in caught]
    assert any(text.startswith("--methods: without agf, which cannot be used on this model: AGF: ") for text in said)
    assert {"gradient", "rise"} <= set(made) and not {"agf", "expected_gradients"} & set(made)


def test_truth_stands_for_every_metric_with_a_truth():
    names = [metric.info.name for metric in chosen_metrics(["truth", "fidelity"], SCENES, PREPARED, SHARED)]
    assert names[-1] == "fidelity" and {*TRUTH_METRICS, "mask_agreement", "mask_agreement_target_minus_distractor"} < set(names)


def test_the_usual_methods_and_metrics_exist():
    assert set(default_methods()) <= set(chosen_methods(default_methods(), model(), SHARED, controls=True))
    names = [metric.info.name for metric in chosen_metrics(None, PICTURES, PREPARED, SHARED)]
    assert names == list(DEFAULT_METRICS)
    assert [metric.info.name for metric in chosen_metrics(None, SCENES, PREPARED, SHARED)] == [*DEFAULT_METRICS, *TRUTH_METRICS]


def test_choices_reach_the_metrics():
    (fidelity,) = chosen_metrics(["fidelity"], PICTURES, PREPARED, SHARED)
    assert (fidelity.schedule.steps, fidelity.score, fidelity.seed, fidelity.infill) == (5, "logit", 7, Constant(0.0))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_asked_for(name):
    result = chosen_metrics([f"preset:{name}", "deletion"], PICTURES, PREPARED, SHARED)
    assert len(result) >= 2 and all(hasattr(metric, "info") for metric in result)


def test_a_preset_gets_what_it_needs():
    (*_, last) = chosen_metrics(["preset:agf"], PICTURES, PREPARED, SHARED)
    assert last.infill == Constant([-2.5, -1.6, -0.6])
    assert chosen_metrics(["preset:default"], PICTURES, PREPARED, SHARED)[0].infill == Constant(0.0)


def test_what_is_refused():
    with pytest.raises(CommandError, match="--methods: there is no 'gradcam'; did you mean grad_cam"):
        chosen_methods(["gradcam"], model(), SHARED, controls=True)
    with pytest.raises(CommandError, match="--metrics: there is no 'fidelty'; did you mean fidelity"):
        chosen_metrics(["fidelty"], PICTURES, PREPARED, SHARED)
    with pytest.raises(CommandError, match="--metrics preset: there is no 'ris'; did you mean rise"):
        chosen_metrics(["preset:ris"], PICTURES, PREPARED, SHARED)
    with pytest.raises(CommandError, match="pointing_game_target_minus_distractor compares maps with a known truth"):
        chosen_metrics(["pointing_game_target_minus_distractor"], PICTURES, PREPARED, SHARED)
    with pytest.raises(CommandError, match="'fidelity_target_minus_distractor'.* to be one of .*'pointing_game'"):
        chosen_metrics(["fidelity_target_minus_distractor"], SCENES, PREPARED, SHARED)
    plain = CommandModel("python:x:y", lambda inputs: inputs.mean((2, 3)), PREPARED, None)
    with pytest.raises(CommandError, match="--methods: agf cannot be used on this model: "):
        chosen_methods(["agf"], plain, SHARED, controls=False)
    with pytest.raises(CommandError, match="expected_gradients cannot be used on this model: .*reference_images"):
        chosen_methods(["expected_gradients"], model(), SHARED, controls=False)
