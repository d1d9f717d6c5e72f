from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from saliency_ext import reference, rng_streams
from saliency_ext.ops import linear_infill, philox_normal, rank
from tests.backends import Backend, generator, same_bits
from tests.ops.cases import Arguments, Change, Fault, Shape
from tests.ops.contract import OpContract

FINE = 1e-6


class TestLinearInfill(OpContract):
    name = "linear_infill"
    native = ("linear_infill", "noise")
    batched = ("inputs", "sample_ids")
    batch_dim = 1

    def arguments(self, shape: Shape, dtype: torch.dtype, rng: torch.Generator) -> Arguments:
        n, _, h, w = shape
        shares = torch.tensor([0.3, 0.8]).view(2, 1, 1, 1)
        return {
            "inputs": torch.randn(shape, generator=rng, dtype=dtype),
            "remove": torch.rand(2, n, h, w, generator=rng) < shares,
            "tolerance": FINE,
            "sample_ids": torch.randint(0, 2**48, (n,), generator=rng),
            "seed": 2**40 + 17,
            "with_residual": True,
        }

    def variants(self, dtype: torch.dtype) -> dict[str, Change]:
        def left_half(given: Arguments) -> Arguments:
            remove = torch.zeros_like(given["remove"])
            remove[..., : (remove.shape[-1] + 1) // 2] = True
            return {"remove": remove, "stencil": "harmonic"}

        def broken(given: Arguments) -> Arguments:
            inputs = given["inputs"].clone()
            inputs[..., -1:] = torch.nan
            return {"inputs": inputs}

        return {
            "harmonic": lambda given: {"stencil": "harmonic", "noise_std": 0},
            "left_half": left_half,
            "nothing": lambda given: {"remove": torch.zeros_like(given["remove"])},
            "everything": lambda given: {"remove": torch.ones_like(given["remove"]), "draw": 2**27 - 1},
            "broken": broken,
            "no_steps": lambda given: {"remove": given["remove"][:0]},
        }

    def reference(self, **arguments: Any) -> tuple[Tensor, ...]:
        inputs, deviation = arguments["inputs"], arguments.get("noise_std", 0.01)
        stream = rng_streams.IMPUTATION + arguments.get("draw", 0)
        noise = reference.philox_normal(arguments["sample_ids"], *inputs.shape[1:], seed=arguments["seed"], stream=stream)
        return reference.linear_infill(inputs, arguments["remove"], arguments.get("stencil", "road"), noise, deviation)

    def compare(self, actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], what: str) -> None:
        """The tolerance asked for, plus the rounding of float32 and of the noise's reference."""
        for a, b in zip(actual, expected, strict=True):
            assert a.dtype == b.dtype, what
            words = lambda text: f"{what}: {text}"  # noqa: E731
            torch.testing.assert_close(a.cpu(), b, rtol=3e-7, atol=1.1 * FINE, equal_nan=True, msg=words)

    def compare_backends(self, actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], what: str) -> None:
        """Sums run in another order on the device: equal to the tolerance."""
        self.compare(actual, tuple(value.cpu() for value in expected), what)

    def row(self, arguments: Arguments, n: int) -> Arguments:
        return super().row(arguments, n) | {"remove": arguments["remove"][:, n : n + 1]}

    def faults(self) -> dict[str, Fault]:
        no = float("nan")
        return {
            "type": Fault(lambda a: {"inputs": [1.0]}, TypeError, "inputs to be a torch.Tensor, got list"),
            "dtype": Fault(
                lambda a: {"inputs": a["inputs"].half()}, TypeError, "inputs of dtype float32 or float64, got float16"
            ),
            "ndim": Fault(lambda a: {"inputs": a["inputs"][0]}, ValueError, "inputs of shape (N, C, H, W), got (3, 6, 10); add"),
            "mask_type": Fault(lambda a: {"remove": 3}, TypeError, "remove to be a torch.Tensor, got int"),
            "mask_dtype": Fault(lambda a: {"remove": a["remove"].byte()}, TypeError, "remove of dtype bool, got uint8; compare"),
            "mask_ndim": Fault(lambda a: {"remove": a["remove"][0]}, ValueError, "remove of shape (S, N, H, W), got (3, 6, 10)"),
            "mask_shape": Fault(
                lambda a: {"remove": a["remove"].mT},
                ValueError,
                "remove of shape (S, N, H, W) = (2, 3, 6, 10), got (2, 3, 10, 6)",
            ),
            "stencil": Fault(lambda a: {"stencil": "cross"}, ValueError, "stencil to be one of 'road', 'harmonic', got 'cross'"),
            "tolerance": Fault(lambda a: {"tolerance": 0}, ValueError, "tolerance > 0 and finite, got 0"),
            "tolerance_nan": Fault(lambda a: {"tolerance": no}, ValueError, "tolerance > 0 and finite, got nan"),
            "tolerance_text": Fault(lambda a: {"tolerance": "fine"}, TypeError, "tolerance to be a number, got str"),
            "noise_low": Fault(lambda a: {"noise_std": -0.01}, ValueError, "noise_std >= 0 and finite, got -0.01"),
            "noise_channels": Fault(
                lambda a: {"noise_std": [0.1, 0.2]}, ValueError, "noise_std to be one number, or C = 3 of them, got 2"
            ),
            "noise_nan": Fault(lambda a: {"noise_std": no}, ValueError, "noise_std >= 0 and finite, got nan"),
            "noise_infinite": Fault(lambda a: {"noise_std": float("inf")}, ValueError, "noise_std >= 0 and finite, got inf"),
            "seed": Fault(lambda a: {"seed": -1}, ValueError, "seed in [0, 9223372036854775807], got -1"),
            "draw": Fault(lambda a: {"draw": 2**27}, ValueError, "draw in [0, 134217727], got 134217728"),
            "ids_shape": Fault(
                lambda a: {"sample_ids": torch.arange(2)}, ValueError, "sample_ids of shape (N,) = (3,), got (2,)"
            ),
            "gradient": Fault(
                lambda a: {"inputs": a["inputs"].requires_grad_()}, RuntimeError, "that need no gradient, got requires_grad=True"
            ),
        }


def fill(backend: Backend, image: Tensor, remove: Tensor, **options: Any) -> Tensor:
    """One plane (H, W) under one mask, without noise unless asked for."""
    given = {"noise_std": 0.0} | options
    return linear_infill(image.to(backend.device)[None, None], remove.to(backend.device)[None, None], **given)[0, 0, 0].cpu()


def smooth(h: int, w: int) -> Tensor:
    """Waves and some noise, in about [-2, 2]."""
    y, x = torch.arange(h).view(-1, 1), torch.arange(w)
    return torch.sin(y / 5 + x / 9) + torch.cos(x * y / 150) + 0.1 * torch.randn(h, w, generator=generator())


def blob(h: int, w: int, share: float) -> Tensor:
    """The inside of an ellipse off the centre, of about this share of the pixels."""
    y, x = torch.arange(h).view(-1, 1) - 0.4 * h, torch.arange(w) - 0.55 * w
    return rank(-((y / h) ** 2 + (x / w) ** 2)[None].float())[0] < share * h * w


def scattered(h: int, w: int, share: float) -> Tensor:
    return torch.rand(h, w, generator=generator("rows")) < share


def one(h: int, w: int) -> Tensor:
    mask = torch.zeros(h, w, dtype=torch.bool)
    mask[h // 3, w // 4] = True
    return mask


MASKS: dict[str, Callable[[int, int], Tensor]] = {
    **{f"scattered_{share}": lambda h, w, s=share: scattered(h, w, s) for share in (0.1, 0.5, 0.9, 0.99)},
    **{f"nested_{share}": lambda h, w, s=share: blob(h, w, s) for share in (0.1, 0.5, 0.9)},
    "outside": lambda h, w: ~blob(h, w, 0.1),
    "one_pixel": one,
    "all_but_one": lambda h, w: ~one(h, w),
    "stripes": lambda h, w: (torch.arange(w) % 4 != 0).expand(h, w),
    "half": lambda h, w: (torch.arange(w) < w // 2).expand(h, w),
}


def direct(image: Tensor, remove: Tensor, stencil: str) -> Tensor:
    """The equations one by one, solved by a sparse factorisation in float64."""
    sparse, linalg = pytest.importorskip("scipy.sparse"), pytest.importorskip("scipy.sparse.linalg")
    (h, w), values, mask = image.shape, image.double().numpy(), remove.numpy()
    number = np.cumsum(mask.ravel()).reshape(h, w) - 1
    matrix, right = sparse.lil_matrix((int(mask.sum()),) * 2), np.zeros(int(mask.sum()))
    for y, x in zip(*np.nonzero(mask), strict=True):
        inside = [(y + i, x + j, abs(i) + abs(j)) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]
        inside = [place for place in inside if 0 <= place[0] < h and 0 <= place[1] < w]
        weights = [{"road": {1: 1 / 6, 2: 1 / 12}, "harmonic": {1: 1 / 4, 2: 0.0}}[stencil][place[2]] for place in inside]
        matrix[number[y, x], number[y, x]] = 1.0
        for (v, u, _), weight in zip(inside, weights, strict=True):
            share = weight / sum(weights)
            if mask[v, u]:
                matrix[number[y, x], number[v, u]] = -share
            else:
                right[number[y, x]] += share * values[v, u]
    solved = values.copy()
    solved[mask] = linalg.spsolve(matrix.tocsc(), right)
    return torch.from_numpy(solved)


def test_example(backend: Backend) -> None:
    # 3 x 3, only the centre removed: (2 (2 + 4 + 6 + 8) + 1 + 3 + 7 + 9) / 12 = 5 with road, (2 + 4 + 6 + 100) / 4 = 28 harmonic.
    image = torch.tensor([[1.0, 2.0, 3.0], [4.0, -7.0, 6.0], [7.0, 8.0, 9.0]])
    centre = torch.zeros(3, 3, dtype=torch.bool)
    centre[1, 1] = True
    assert fill(backend, image, centre, tolerance=FINE)[1, 1] == pytest.approx(5, abs=2e-6)
    image[2, 1] = 100.0
    assert fill(backend, image, centre, tolerance=FINE, stencil="harmonic")[1, 1] == pytest.approx(28, abs=1e-5)
    # A corner has 2 direct neighbours and 1 diagonal one: (2 * 2 + 2 * 4 - 7) / 5 = 1.
    corner = torch.zeros(3, 3, dtype=torch.bool)
    corner[0, 0] = True
    assert fill(backend, image, corner, tolerance=FINE)[0, 0] == pytest.approx(1, abs=2e-6)


@pytest.mark.parametrize("stencil", ["road", "harmonic"])
@pytest.mark.parametrize("mask", MASKS)
def test_equals_a_direct_solve(backend: Backend, mask: str, stencil: str) -> None:
    h, w = (45, 58) if backend.name == "cpu" else (14, 19)  # the emulation is slow
    image, remove = smooth(h, w), MASKS[mask](h, w)
    expected = direct(image, remove, stencil)
    for tolerance in (1e-3, FINE):
        filled = fill(backend, image, remove, stencil=stencil, tolerance=tolerance)
        assert (filled.double() - expected).abs().max() <= tolerance, tolerance
        same_bits(filled[~remove], image[~remove])
        known = image[~remove]
        assert known.min() <= filled.min() and filled.max() <= known.max()  # discrete maximum principle


def islands(h: int, w: int) -> Tensor:
    """Small holes far apart, also in the corners, so that a row has several stretches of removed pixels."""
    y, x = torch.arange(h).view(-1, 1), torch.arange(w)
    return (y % 9 < 3) & ((x % 37 < 4) | (x > w - 3))


SIZES = [(1, 40), (40, 1), (2, 2), (3, 2), (7, 9), (8, 16), (15, 17), (16, 32), (17, 33), (5, 81)]  # around blocks of 8 and 16


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_any_size(backend: Backend, size: tuple[int, int]) -> None:
    image = smooth(*size)
    for remove in (islands(*size), scattered(*size, 0.6), ~one(*size)):
        for stencil in ("road", "harmonic"):
            filled = fill(backend, image, remove, stencil=stencil, tolerance=FINE)
            if remove.any() and not remove.all():
                assert (filled.double() - direct(image, remove, stencil)).abs().max() <= 1.1 * FINE, stencil


def test_a_mask_leaves_nothing_behind_for_the_next(backend: Backend) -> None:
    """Masks that follow each other share memory; each is filled as if it were alone."""
    images = torch.stack([smooth(20, 70), 3 * smooth(20, 70)])[None].to(backend.device)
    masks = [blob(20, 70, 0.8), islands(20, 70), ~one(20, 70), one(20, 70), scattered(20, 70, 0.5), blob(20, 70, 0.2)]
    remove = torch.stack(masks)[:, None].to(backend.device)
    for tolerance in (1e-3, FINE):
        together = linear_infill(images, remove, tolerance=tolerance, noise_std=0.0)
        for step, mask in enumerate(remove):
            same_bits(linear_infill(images, mask[None], tolerance=tolerance, noise_std=0.0)[0], together[step])


@pytest.mark.backends("cpu", "cuda")
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_equals_a_direct_solve_at_full_size(backend: Backend, share: float) -> None:
    image = 100 * smooth(150, 150)  # a large range: the tolerance is absolute
    for remove in (blob(150, 150, share), scattered(150, 150, share)):
        filled = fill(backend, image.double(), remove)
        assert (filled - direct(image, remove, "road")).abs().max() <= 1e-3
        single = fill(backend, image, remove, tolerance=1e-2)
        assert (single - filled).abs().max() <= 1.1e-2


@pytest.mark.backends("cpu", "cuda")
def test_few_known_pixels_cost_no_digits(backend: Backend) -> None:
    """Rounding of the first residual would be carried over the whole plane and add up: 25 times the tolerance, once."""
    noise = [torch.randn(1, 1, side, side, generator=rng) for side, rng in ((20, generator()), (5, generator("rows")))]
    field, picture = (torch.nn.functional.interpolate(x, (224, 224), mode="bicubic")[0, 0] for x in noise)
    remove = rank(field[None])[0] < 50_126  # 50 are left, in a few heaps
    exact = fill(backend, picture.double(), remove, tolerance=1e-10)
    assert (fill(backend, picture, remove, tolerance=1e-5).double() - exact).abs().max() <= 1e-5
    assert (fill(backend, picture, remove).double() - exact).abs().max() <= 1e-3


def test_residual(backend: Backend) -> None:
    image, remove = smooth(20, 31).to(backend.device)[None, None], blob(20, 31, 0.6).to(backend.device)[None, None]
    before = 1.0
    for tolerance in (1e-1, 1e-3, 1e-5):
        filled, residual = linear_infill(image, remove, tolerance=tolerance, noise_std=0.5, with_residual=True)
        assert residual.shape == (1, 1, 1) and residual.dtype == torch.float32
        assert 0 < residual < min(before, tolerance)
        before = float(residual)
        assert (filled - image)[0, 0, 0][remove[0, 0]].abs().max() > 0.5  # the noise is no part of it


def test_constants_and_ramps(backend: Backend) -> None:
    remove = blob(24, 24, 0.4)
    same_bits(fill(backend, torch.full((24, 24), 0.3), remove), torch.full((24, 24), 0.3))
    ramp = 0.1 * torch.arange(24.0).view(-1, 1) - 0.05 * torch.arange(24.0)
    for stencil in ("road", "harmonic"):
        filled = fill(backend, ramp, remove, stencil=stencil, tolerance=FINE)
        assert not remove[[0, -1]].any() and not remove[:, [0, -1]].any()  # else the border would bend it
        assert (filled - ramp).abs().max() <= FINE
        bent = fill(backend, ramp, torch.arange(24).view(-1, 1).expand(24, 24) < 5, stencil=stencil, tolerance=FINE)
        assert (bent - ramp).abs().max() > 0.1


def test_everything_and_nothing_removed(backend: Backend) -> None:
    image = smooth(6, 7)
    same_bits(fill(backend, image, torch.zeros(6, 7, dtype=torch.bool), noise_std=1.0), image)
    same_bits(fill(backend, image, torch.ones(6, 7, dtype=torch.bool)), torch.zeros(6, 7))


def test_numbers_that_are_none(backend: Backend) -> None:
    """In a kept pixel they spoil their channel alone; in removed ones they are not looked at."""
    images = torch.stack([smooth(6, 8)] * 3)[None]
    remove = torch.zeros(1, 1, 6, 8, dtype=torch.bool)
    remove[..., 2:4, 3:6] = True
    expected = linear_infill(images, remove)
    images[0, 1, 0, 0], images[0, 2, 2, 3] = torch.inf, torch.nan
    filled, residual = linear_infill(images.to(backend.device), remove.to(backend.device), with_residual=True)
    same_bits(filled[0, 0, [0, 2]], expected[0, 0, [0, 2]])
    assert filled[0, 0, 1][remove[0, 0]].isnan().all() and filled[0, 0, 1].isnan().sum() == remove.sum()
    assert residual[0, 0].isnan().tolist() == [False, True, False]


def test_noise_belongs_to_the_pixel(backend: Backend) -> None:
    """Whatever the step, the mask and the batch: filled - solution = noise_std z, with z keyed by the sample."""
    images = torch.stack([smooth(9, 11)] * 3)[:, None].to(backend.device)
    remove = torch.stack([torch.stack([blob(9, 11, share)] * 3) for share in (0.3, 0.6)]).to(backend.device)
    ids = torch.tensor([7, 2**40, 7], device=backend.device)
    filled = linear_infill(images, remove, noise_std=0.5, seed=3, sample_ids=ids, draw=2)
    noise = 0.5 * philox_normal((1, 9, 11), ids, seed=3, stream=rng_streams.IMPUTATION + 2)
    added = filled - linear_infill(images, remove, noise_std=0.0)
    wanted = torch.where(remove[:, :, None], noise, 0.0)
    torch.testing.assert_close(added, wanted, rtol=0, atol=1e-6)
    same_bits(filled[:, 0], filled[:, 2])
    alone = linear_infill(images[1:2], remove[1:, 1:2], noise_std=0.5, seed=3, sample_ids=ids[1:2], draw=2)
    same_bits(alone[0], filled[1, 1:2])
    assert not torch.equal(filled, linear_infill(images, remove, noise_std=0.5, seed=3, sample_ids=ids, draw=1))


def test_noise_per_channel(backend: Backend) -> None:
    images, remove = (
        torch.zeros(1, 3, 5, 6, device=backend.device),
        torch.ones(1, 1, 5, 6, dtype=torch.bool, device=backend.device),
    )
    filled = linear_infill(images, remove, noise_std=[0.0, 0.5, 2.0])
    unit = linear_infill(images, remove, noise_std=1.0)
    same_bits(filled, unit * torch.tensor([0.0, 0.5, 2.0], device=backend.device).view(3, 1, 1) + 0.0)


def test_channels_do_not_mix(backend: Backend) -> None:
    images = torch.randn(1, 3, 8, 9, generator=generator()).to(backend.device)
    remove = blob(8, 9, 0.5)[None, None].to(backend.device)
    together = linear_infill(images, remove, noise_std=0.0)
    for channel in range(3):
        same_bits(linear_infill(images[:, channel : channel + 1], remove, noise_std=0.0)[:, :, 0], together[:, :, channel])
