"""Modes are restored, outputs unwrapped, targets checked."""

from types import SimpleNamespace

import pytest
import torch

from saliency_ext.models import evaluation_mode, logits_of, resolve_target


def make_model():
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Dropout())


def test_mode_is_restored_per_module_also_after_an_exception():
    model = make_model()
    model[2].eval()
    before = [module.training for module in model.modules()]
    with (
        pytest.warns(RuntimeWarning, match="training mode; it is run in eval mode and restored"),
        pytest.raises(KeyError),
        evaluation_mode(model),
    ):
        assert not any(module.training for module in model.modules())
        assert not torch.is_grad_enabled()
        raise KeyError
    assert [module.training for module in model.modules()] == before
    assert torch.is_grad_enabled()


def test_batch_statistics_stay(recwarn):
    model = make_model()
    running = model[1].running_mean.clone()
    with evaluation_mode(model):
        model(torch.rand(2, 1, 5, 5))
    assert torch.equal(model[1].running_mean, running)


def test_a_plain_callable_and_an_eval_model_pass_silently(recwarn):
    with evaluation_mode(lambda x: x), evaluation_mode(make_model().eval()):
        pass
    assert len(recwarn) == 0


@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: (t, 1), lambda t: {"logits": t}, lambda t: SimpleNamespace(logits=t)])
def test_logits_are_found(wrap):
    logits = torch.rand(2, 5)
    assert logits_of(wrap(logits), 2) is logits


def test_unfit_outputs_are_refused_by_name():
    with pytest.raises(TypeError, match=r"forward: expected its result to be logits .* got dict with keys \['scores'\]"):
        logits_of({"scores": torch.rand(2, 5)}, 2)
    with pytest.raises(ValueError, match=r"of shape \(N, K\) with N = 2, got \(5,\); add the batch dimension"):
        logits_of(torch.rand(5), 2)
    with pytest.raises(ValueError, match=r"with N = 2, got \(3, 5\)"):
        logits_of(torch.rand(3, 5), 2)


def test_targets():
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 1.0, 0.0]])
    assert resolve_target("predicted", logits).tolist() == [1, 0]
    assert resolve_target(2, logits).tolist() == [2, 2]
    assert resolve_target(torch.tensor([0, 2], dtype=torch.int32), logits).tolist() == [0, 2]
    with pytest.raises(ValueError, match=r"expected target in \[0, 3\), got 3 at index 1"):
        resolve_target(torch.tensor([0, 3]), logits)
    with pytest.raises(ValueError, match=r"got -1 at index 0"):
        resolve_target(-1, logits)
    with pytest.raises(ValueError, match=r"of shape \(N,\) = \(2,\), got \(3,\)"):
        resolve_target(torch.tensor([0, 1, 2]), logits)
    assert resolve_target("top-2", logits).tolist() == [[1, 2], [0, 1]]
    assert resolve_target(torch.tensor([[0, 1], [2, 2]]), logits).tolist() == [[0, 1], [2, 2]]
    for unknown in ("true", "top-0", "top-k", "top-"):
        with pytest.raises(ValueError, match=f"'top-k' with a number for k, got '{unknown}'"):
            resolve_target(unknown, logits)
    with pytest.raises(ValueError, match=r"'top-k' with k in \[1, 3\], got 'top-4'"):
        resolve_target("top-4", logits)
    with pytest.raises(ValueError, match=r"got 3 at index \(0, 1\)"):
        resolve_target(torch.tensor([[0, 3], [1, 1]]), logits)
    with pytest.raises(TypeError, match="got float"):
        resolve_target(1.0, logits)
