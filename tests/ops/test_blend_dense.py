from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from saliency_ext.ops import blend_dense
from tests.backends import Backend, close, generator, same_bits
from tests.ops.cases import Arguments, Fault, Shape, moved
from tests.ops.contract import DifferentiableContract
from tests.ops.renderer import RendererContract


class TestBlendDense(RendererContract, DifferentiableContract):
    name = "blend_dense"
    native = ("blend_dense", "blend_dense_backward")
    per_step = ("mask",)
    chooses = False
    leaves = ("inputs", "infill", "mask")

    def mask(self, shape: Shape, dtype: torch.dtype, rng: torch.Generator) -> Arguments:
        mask = torch.rand((4, *shape[2:]), generator=rng, dtype=dtype)
        mask[1:2], mask[2:3] = 0, 1
        mask[3:] = 3 * mask[3:] - 1  # not clamped
        return {"mask": mask}

    def weights(self, arguments: Arguments) -> Tensor:
        return arguments["mask"]

    def faults(self) -> dict[str, Fault]:
        return super().faults() | {
            "type": Fault(lambda a: {"mask": 0.5}, TypeError, "mask to be a torch.Tensor, got float"),
            "dtype": Fault(lambda a: {"mask": a["mask"].double()}, TypeError, "mask of dtype float32, got float64; the mask has"),
            "bool": Fault(lambda a: {"mask": a["mask"] > 0.5}, TypeError, "mask of dtype float32, got bool"),
            "ndim": Fault(lambda a: {"mask": a["mask"][0]}, ValueError, "mask of shape (S, H, W) or (N, S, H, W), got (6, 10)"),
            "size": Fault(lambda a: {"mask": a["mask"].mT}, ValueError, "mask of shape (..., H, W) = (4, 6, 10), got (4, 10, 6)"),
            "images": Fault(
                lambda a: {"mask": torch.zeros(2, 4, 6, 10)}, ValueError, "(N, S, H, W) with N = 3, got (2, 4, 6, 10)"
            ),
            "device": Fault(lambda a: {"mask": a["mask"].to("meta")}, ValueError, "mask on the device of inputs (cpu), got meta"),
            "out_grad": Fault(
                lambda a: {"mask": a["mask"].requires_grad_(), "out": self.out_for(a)},
                ValueError,
                "out None where a gradient is needed, got a tensor; call it under torch.no_grad()",
            ),
        }

    def gradient_cases(self) -> dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]]:
        rng = generator()

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=rng, dtype=torch.float64)

        images = draw(2, 2, 2, 3), draw(2, 2, 2, 3)
        statistics = {"mean": [0.1, 0.2], "std": [0.5, 2.0]}
        last = {"memory_format": torch.channels_last}
        return {
            "shared": (blend_dense, (*images, draw(2, 2, 3))),
            "per_image": (blend_dense, (*images, draw(2, 3, 2, 3))),
            "normalised": (lambda x, b, m: blend_dense(x, b, m, **statistics), (*images, draw(2, 2, 3))),
            "channels_last": (lambda x, b, m: blend_dense(x, b, m, **statistics, **last), (*images, draw(2, 1, 2, 3))),
            "one_colour": (blend_dense, (images[0], draw(1, 2, 1, 1), draw(2, 2, 3))),
            "one_number": (lambda x, m: blend_dense(x, 0.5, m), (images[0], draw(1, 2, 3))),
            "expanded": (
                lambda x, m: blend_dense(x.expand(2, 2, 2, 3), 0.5, m.expand(3, 2, 3)),
                (draw(1, 2, 1, 3), draw(1, 2, 3)),
            ),
            "no_steps": (blend_dense, (*images, draw(0, 2, 3))),
        }

    @pytest.mark.parametrize("per_image", [False, True])
    def test_gradients_equal_autograd_of_the_formula(self, backend: Backend, dtype: torch.dtype, per_image: bool) -> None:
        """At a size of several tiles and blocks, with a gradient in another layout."""
        rng = generator()
        shape = (2, 3, 33, 65)
        inputs, infill, mean, std = (torch.randn(size, generator=rng, dtype=dtype) for size in (shape, shape, (3,), (3,)))
        mask = torch.rand((2, 4, 33, 65) if per_image else (4, 33, 65), generator=rng, dtype=dtype)
        std = std.abs() + 0.1
        upstream = torch.randn((4, 2, 33, 65, 3), generator=rng, dtype=dtype).permute(0, 1, 4, 2, 3)
        leaves = [value.to(backend.device).requires_grad_() for value in (inputs, infill, mask)]
        out = blend_dense(*leaves, mean=mean.to(backend.device), std=std.to(backend.device))
        actual = torch.autograd.grad(out, leaves, upstream.to(backend.device))
        leaves = [value.double().requires_grad_() for value in (inputs, infill, mask)]
        keep = (leaves[2] if per_image else leaves[2][None]).transpose(0, 1)[:, :, None]
        expected = (keep * leaves[0] + (1 - keep) * leaves[1] - mean.view(3, 1, 1)) / std.view(3, 1, 1)
        for a, b in zip(actual, torch.autograd.grad(expected, leaves, upstream.double()), strict=True):
            # Sums of up to 24 terms that may cancel: absolute where the terms are of size 10.
            torch.testing.assert_close(a.cpu(), b.to(dtype), rtol=1e-5, atol=2e-5 if dtype == torch.float32 else 1e-12)

    def test_gradient_through_a_narrow_output(self, backend: Backend) -> None:
        arguments = moved(self.arguments((2, 3, 3, 4), torch.float32, generator()), backend)
        wide, narrow = (self.gradients(arguments, dtype) for dtype in (torch.float32, torch.bfloat16))
        for a, b in zip(narrow, wide, strict=True):
            same_bits(a, b)  # the upstream gradient, ones, is exact in both

    def gradients(self, arguments: Arguments, dtype: torch.dtype) -> tuple[Tensor, ...]:
        leaves = {name: arguments[name].detach().clone().requires_grad_() for name in self.leaves}
        return torch.autograd.grad(blend_dense(**leaves, dtype=dtype).sum(), list(leaves.values()))

    def test_gradients_do_not_depend_on_batch_or_threads(self, backend: Backend) -> None:
        arguments: dict[str, Any] = moved(self.arguments((3, 2, 40, 41), torch.float32, generator()), backend)
        together = self.gradients(arguments, torch.float32)
        alone = self.gradients(self.row(arguments, 1), torch.float32)
        for a, b in zip(alone[:2], together[:2], strict=True):
            same_bits(a[0], b[1])
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        again = self.gradients(arguments, torch.float32)
        torch.set_num_threads(threads)
        for a, b in zip(again, together, strict=True):
            same_bits(a, b)


def test_example(backend: Backend) -> None:
    # 0.25 * 8 + 0.75 * 4 = 5; mask 1 shows the image, mask 0 the infill, mask 2 extrapolates: 2 * 8 - 1 * 4 = 12.
    mask = torch.tensor([[[0.25, 1.0, 0.0, 2.0]]], device=backend.device, requires_grad=True)
    inputs = torch.full((1, 1, 1, 4), 8.0, device=backend.device, requires_grad=True)
    infill = torch.full((1, 1, 1, 4), 4.0, device=backend.device, requires_grad=True)
    out = blend_dense(inputs, infill, mask)
    assert out.flatten().tolist() == [5.0, 8.0, 4.0, 12.0]
    # d out / d mask = 8 - 4; d out / d inputs = mask; d out / d infill = 1 - mask.
    out.sum().backward()
    assert mask.grad.flatten().tolist() == [4.0] * 4
    assert inputs.grad.flatten().tolist() == [0.25, 1.0, 0.0, 2.0]
    assert infill.grad.flatten().tolist() == [0.75, 0.0, 1.0, -1.0]


def test_the_opposite_mask_swaps_the_images(backend: Backend) -> None:
    rng = generator("properties")
    inputs, infill = torch.randn(2, 1, 3, 6, 10, generator=rng).to(backend.device)
    mask = (torch.randint(0, 65, (3, 6, 10), generator=rng) / 64).to(backend.device)  # 1 - mask is exact
    close(blend_dense(inputs, infill, mask), blend_dense(infill, inputs, 1 - mask))
