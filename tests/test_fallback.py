"""Devices without a kernel of ours run the reference, with one warning; a missing library is one clear error."""

import sys
import warnings

import pytest
import torch

from saliency_ext import _load, ops
from saliency_ext.ops import native

KEY = torch._C.DispatchKey.MPS


def run_as_foreign_device(name, *arguments):
    """The kernel that the dispatcher would run on another device, on CPU tensors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return getattr(torch.ops.saliency_ext, name).default._op_dk(KEY, *arguments)


def test_every_op_has_a_fallback():
    for name in native.op_names():
        assert native.has_kernel(f"saliency_ext::{name}", "MPS"), name
        assert native.has_kernel(f"saliency_ext::{name}", "CUDA"), name


def test_functional_ops_agree_with_the_native_kernels():
    saliency = torch.rand(2, 5, 7)
    assert torch.equal(run_as_foreign_device("rank", saliency, None, 0), ops.rank(saliency))
    counts = torch.tensor([0, 3, 35])
    assert torch.equal(run_as_foreign_device("topk_mask", saliency, counts, None, 0), ops.topk_mask(saliency, counts))
    ids = torch.tensor([4, 9])
    noise = run_as_foreign_device("noise", ids, 2, 3, 5, False, 1, 2)
    assert torch.equal(noise, ops.philox_uniform((2, 3, 5), ids, seed=1, stream=2))
    mask = torch.rand(2, 1, 4, 6)
    sums, gradient = run_as_foreign_device("total_variation_with_grad", mask, torch.ones(2, 1), 1, 1.0, 0.0)
    expected = ops.total_variation_with_grad(mask, torch.ones(2, 1), kind="isotropic")
    torch.testing.assert_close((sums, gradient), expected)


def test_renderers_write_their_output():
    inputs, infill = torch.rand(2, 3, 4, 5), torch.zeros(2, 3, 4, 5)
    ranks = ops.rank(torch.rand(2, 4, 5))
    counts = torch.tensor([0, 7, 20])
    out = torch.full((3, 2, 3, 4, 5), 9.0)
    run_as_foreign_device("blend_rank", inputs, infill, ranks, counts, False, None, None, out)
    assert torch.equal(out, ops.blend_rank(inputs, infill, ranks, counts, keep="tail"))
    canvas = inputs.clone()
    run_as_foreign_device("blend_rank_update", canvas, infill, ranks, torch.tensor([2]), torch.tensor([9]))
    assert torch.equal(canvas, ops.blend_rank_(inputs.clone(), infill, ranks, 2, 9))


def test_the_warning_comes_once_and_names_the_op():
    run = native._warned_once("rank", "MPS", lambda value: value)
    with pytest.warns(RuntimeWarning, match="rank: no native kernel for MPS tensors; the slow reference runs instead"):
        assert run(3) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(4) == 4


def test_a_missing_library_says_how_to_rebuild(monkeypatch):
    monkeypatch.setitem(sys.modules, "saliency_ext._C", None)  # makes the import fail
    with pytest.raises(ImportError, match=r"saliency_ext: expected its native library to load under torch .*rebuild it with"):
        _load.load_native()
