"""Faults and bad inputs: each is refused by name, marked, or survived; none crashes, corrupts or lies."""

import math
import warnings
from functools import partial

import pytest
import torch

from saliency_ext.attribution import Gradient
from saliency_ext.evaluation import evaluate
from saliency_ext.infill import Constant
from saliency_ext.metrics import Deletion, Fidelity, MaxSensitivity, Soundness
from saliency_ext.perturbation import Engine, EqualFractions, GivenCounts
from tests.helpers import conv_net, tensors

GREY = Constant(0.5)
FEW = EqualFractions(4)


make_model = partial(conv_net, 96, batch_norm=True)


IMAGES, SALIENCY = tensors(4, 3, 8, 6), tensors(4, 8, 6, seed=1)


def run(model, inputs=IMAGES, target=0, maps=SALIENCY, metrics=None, **options):
    return evaluate(model, inputs, target, maps, metrics or [Deletion(GREY, FEW)], **options)


def test_a_failing_method_marks_its_samples_and_the_others_finish():
    model = make_model()
    method = Gradient(model, channels="abs_sum")

    def fragile(inputs, target):
        if (inputs == inputs.new_tensor(float(IMAGES[2, 0, 0, 0]))).any():
            raise ArithmeticError("singular")
        return method(inputs, target)

    expected = run(model, maps={"m": method})["m", "deletion"]
    with pytest.warns(RuntimeWarning, match=r"method 'm' failed for sample\(s\) \[2\], .*ArithmeticError: singular"):
        results = run(model, maps={"m": fragile, "n": SALIENCY}, chunk=3)
    with_status = results["m", "deletion"]
    assert with_status.status == ["ok", "ok", "method_failed", "ok"] and math.isnan(with_status.values[2])
    assert torch.equal(with_status.values[[0, 1, 3]], expected.values[[0, 1, 3]])
    assert results["n", "deletion"].valid.all() and results.summary("m", "deletion").left_out == 1
    with pytest.raises(ArithmeticError, match="singular"):
        run(model, maps={"m": fragile}, on_bad="raise")


def test_a_method_that_fails_on_other_inputs_only_costs_its_sample():
    model = make_model()
    method, calls = Gradient(model, channels="abs_sum"), 0

    def fragile(inputs, target):
        nonlocal calls
        calls += 1
        if (calls > 1 and len(inputs) > 1) or calls == 4:  # its second batch, and then the second image of it
            raise ArithmeticError("singular")
        return method(inputs, target)

    with pytest.warns(RuntimeWarning, match=r"failed for sample\(s\) \[1\]"):
        result = run(model, maps={"m": fragile}, metrics=[MaxSensitivity(draws=1)])["m", "max_sensitivity"]
    assert result.valid.tolist() == [True, False, True, True]


def test_a_method_that_answers_nonsense_is_refused_not_marked():
    with pytest.raises(ValueError, match=r"expected maps\['m'\] of shape .*got \(4, 3, 8, 6\); say channels"):
        run(make_model(), maps={"m": lambda inputs, target: inputs})
    with pytest.raises(TypeError, match=r"expected maps\['m'\] to be a torch.Tensor, got list"):
        run(make_model(), maps={"m": lambda inputs, target: inputs[:, 0].tolist()})
    results = run(make_model(), maps={"m": lambda inputs, target: inputs[:, 0] * math.nan})
    assert results["m", "deletion"].status == ["nonfinite_map"] * 4


def test_a_model_that_couples_its_batch_is_named():
    model = make_model()
    with pytest.warns(RuntimeWarning, match="couples the images of a batch: other batch mates change its logits by"):
        run(lambda x: model(x - x.mean(0)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(model)
        run(lambda x: model(x - x.mean(0)), check_model=False)


def test_a_stochastic_model_is_named():
    model = make_model()
    with pytest.warns(RuntimeWarning, match="the model is stochastic: the same batch twice changes its logits by"):
        run(lambda x: model(x + 0.1 * torch.randn_like(x)))


def test_probabilities_for_logits_are_named():
    model = make_model()
    with pytest.warns(RuntimeWarning, match="the rows of the logits sum to 1: the forward seems to return probabilities"):
        run(lambda x: model(x).softmax(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(lambda x: model(x).softmax(1), metrics=[Deletion(GREY, FEW, score="logit")])


def test_a_saturated_softmax_is_a_flat_curve():
    model = make_model()
    hard = run(lambda x: torch.nn.functional.one_hot(model(x).argmax(1) * 0, 6) * 1e6)["map", "deletion"]
    assert hard.status == ["flat_curve"] * 4 and hard.values.tolist() == [1.0] * 4 and hard.valid.all()
    accuracy = run(lambda x: model(x) * 0 + torch.arange(6.0), target=5, metrics=[Deletion(GREY, FEW, score="accuracy")])
    assert accuracy["map", "deletion"].status == ["ok"] * 4


@pytest.mark.parametrize("wrap", [lambda y: {"logits": y}, lambda y: (y, "aux"), lambda y: [y]])
def test_wrapped_logits_are_found(wrap):
    model = make_model()
    assert torch.equal(run(lambda x: wrap(model(x)))["map", "deletion"].values, run(model)["map", "deletion"].values)


def test_logits_without_a_batch_are_refused():
    with pytest.raises(ValueError, match=r"forward: expected its logits of shape \(N, K\) .*add the batch dimension"):
        run(lambda x: x.sum((0, 2, 3)))
    with pytest.raises(TypeError, match="dict with keys \\['scores'\\]"):
        run(lambda x: {"scores": x})


@pytest.mark.parametrize("steps", [1, 47, 48, 1000])
def test_more_steps_than_pixels_are_all_pixels(steps):
    result = run(make_model(), metrics=[Deletion(GREY, EqualFractions(steps))])["map", "deletion"]
    assert result.fractions[0] == 0 and result.fractions[-1] == 1 and len(result.fractions) == min(steps, 48) + 1


def test_steps_and_counts_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"EqualFractions: expected steps in \[1, "):
        EqualFractions(0)
    with pytest.raises(ValueError, match=r"GivenCounts: expected given in \[0, 48\], got 49"):
        run(make_model(), metrics=[Deletion(GREY, GivenCounts((0, 49)))])


def test_views_of_any_layout_give_the_same_numbers():
    model = make_model()
    expected = run(model)["map", "deletion"].values
    wide = torch.zeros(4, 3, 8, 12)
    wide[..., ::2] = IMAGES
    maps = torch.zeros(8, 6, 4)
    maps.copy_(SALIENCY.permute(1, 2, 0))
    for inputs in (wide[..., ::2], IMAGES.contiguous(memory_format=torch.channels_last)):
        assert torch.equal(run(model, inputs, maps=maps.permute(2, 0, 1))["map", "deletion"].values, expected)
    one = IMAGES[:1].expand(4, -1, -1, -1)
    assert torch.equal(run(model, one)["map", "deletion"].values, run(model, one.clone())["map", "deletion"].values)


def test_works_inside_no_grad_inference_mode_and_autocast():
    model = make_model()
    expected = run(model, maps={"g": Gradient(model)})["g", "deletion"].values
    with torch.no_grad():
        assert torch.equal(run(model, maps={"g": Gradient(model)})["g", "deletion"].values, expected)
    with torch.inference_mode():
        assert torch.equal(run(model, maps={"g": Gradient(model)})["g", "deletion"].values, expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):  # the model runs in bfloat16, what is made of its answers in float64
        loose = run(model, maps={"g": Gradient(model)})["g", "deletion"].values
    torch.testing.assert_close(loose, expected, rtol=0.1, atol=0.02)


def test_everything_is_as_it_was_after_an_exception():
    model, calls = make_model().train(), 0
    hooked = model[0].register_forward_hook(lambda *_: None)

    def breaks(module, inputs):
        nonlocal calls
        calls += 1
        if calls > 6:
            raise RuntimeError("broken half-way")

    model[4].register_forward_pre_hook(breaks)
    before, hooks = {name: value.clone() for name, value in model.state_dict().items()}, len(model[0]._forward_hooks)
    images, state = IMAGES.clone().requires_grad_(), torch.get_rng_state()
    with pytest.warns(RuntimeWarning, match="training mode"), pytest.raises(RuntimeError, match="broken half-way"):
        run(model, images, engine=Engine(model, max_batch=2))
    assert all(module.training for module in model.modules()) and len(model[0]._forward_hooks) == hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert images.requires_grad and images.grad is None and torch.equal(torch.get_rng_state(), state) and torch.is_grad_enabled()
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    hooked.remove()


def test_running_out_of_memory_halves_the_batch_and_changes_no_number():
    model = make_model()

    def tight(x):
        if len(x) > 3:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:123] DefaultCPUAllocator: can't allocate memory: you tried")
        return model(x)

    engine = Engine(tight, max_batch=8)
    values = run(tight, engine=engine)["map", "deletion"].values
    torch.testing.assert_close(values, run(model)["map", "deletion"].values, rtol=1e-6, atol=1e-7)
    assert engine.max_batch == 2 and engine.counters.out_of_memory == 2


def test_an_image_with_no_room_alone_is_marked():
    model, poison = make_model(), 0.123

    def tight(x):
        if (x[:, 0, 0, 0] == poison).any():
            raise torch.OutOfMemoryError("no room")
        return model(x)

    images, saliency = IMAGES.clone(), SALIENCY.clone()
    saliency[1, 0, 0] = 2.0  # removed first: the clean image passes only
    infill = Constant((poison, 0.5, 0.5))
    result = run(tight, images, maps=saliency, metrics=[Deletion(infill, FEW)], engine=Engine(tight, max_batch=4))
    status = result["map", "deletion"].status
    assert status == ["out_of_memory"] * 4 and result["map", "deletion"].values.isnan().all()
    with pytest.raises(torch.OutOfMemoryError):
        run(lambda x: tight(x * 0 + poison), images)


def test_a_half_precision_model_is_given_half_precision():
    model = make_model().to(torch.bfloat16)
    result = run(model)["map", "deletion"]
    torch.testing.assert_close(result.values, run(make_model())["map", "deletion"].values, rtol=0.1, atol=0.02)
    assert torch.equal(result.values, run(model, engine=Engine(model, dtype=torch.bfloat16))["map", "deletion"].values)
    with pytest.raises(ValueError, match=r"that of the model's parameters, bfloat16, got float32; .*\.to\(torch.float32\)"):
        run(model, engine=Engine(model, dtype=torch.float32))


def test_wrong_device_is_refused_with_the_fix():
    model = make_model().to("meta")
    with pytest.raises(
        ValueError, match=r"expected inputs on the device of the model \(meta\), got cpu; move them with .to\('meta'\)"
    ):
        run(model)


def test_a_class_out_of_range_is_refused_before_any_probe():
    engine = Engine(model := make_model(), max_batch=4)
    with pytest.raises(ValueError, match=r"expected target in \[0, 6\), got 6 at index 3"):
        run(model, target=torch.tensor([0, 1, 2, 6]), engine=engine)
    assert engine.counters.forwards == 0
    with pytest.raises(TypeError, match="expected target class indices"):
        run(model, target=None)


def test_negative_zero_and_subnormals_are_ordered_as_numbers():
    model = make_model()
    saliency = SALIENCY.clone()
    saliency[:, :2], saliency[:, 2:4] = 0.0, 1e-40
    other = saliency.clone()
    other[:, :2] = -0.0
    metrics = [Fidelity(GREY, FEW)]
    assert torch.equal(
        run(model, maps=other, metrics=metrics)["map", "fidelity"].values,
        run(model, maps=saliency, metrics=metrics)["map", "fidelity"].values,
    )


def test_nothing_grows_in_ten_thousand_small_calls_of_the_engine():
    """Objects alive, which no allocator blurs: a leak of one per call would be thousands."""
    import gc

    model, metrics = make_model(), [Deletion(GREY, EqualFractions(1)), Soundness(GREY, EqualFractions(1), labels=(0, 1))]
    engine = Engine(model, max_batch=4)

    def call(count):
        for _ in range(count):
            run(model, IMAGES[:1], maps=SALIENCY[:1], metrics=metrics, engine=engine, check_model=False)
        gc.collect()
        return len(gc.get_objects())

    call(20)
    before = call(20)
    assert call(200) - before < 100
