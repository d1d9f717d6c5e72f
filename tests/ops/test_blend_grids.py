from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from saliency_ext import reference
from saliency_ext.ops import blend_grids
from tests.backends import Backend, close, generator, same_bits
from tests.ops.cases import Arguments, Change, Fault, Shape
from tests.ops.renderer import RendererContract


class TestBlendGrids(RendererContract):
    name = "blend_grids"
    native = ("blend_grids",)
    per_step = ("grids", "shifts")
    chooses = False

    def mask(self, shape: Shape, dtype: torch.dtype, rng: torch.Generator) -> Arguments:
        h, w = shape[2:]
        rows, columns, steps = 3, 4, 5
        most = [max(math.ceil(h / rows), 1), max(math.ceil(w / columns), 1)]
        shifts = torch.stack([torch.randint(0, high, (steps,), generator=rng) for high in most], -1)
        shifts[-1] = torch.tensor(most) - 1
        return {"grids": torch.rand((steps, rows, columns), generator=rng) < 0.5, "shifts": shifts}

    def weights(self, arguments: Arguments) -> Tensor:
        mirror = arguments.get("border", "mirror") == "mirror"
        return reference.grid_weights(arguments["grids"], arguments["shifts"], *arguments["inputs"].shape[2:], mirror)

    def mask_variants(self) -> dict[str, Change]:
        return {
            "clamp": lambda given: {"border": "clamp"},
            "int32": lambda given: {"shifts": given["shifts"].int()},
            "one_cell": lambda given: {"grids": given["grids"][:, :1, :1], "shifts": given["shifts"] * 0},
            "fine": lambda given: {"grids": given["grids"].repeat(1, 4, 90), "shifts": given["shifts"] * 0},
        }

    def compare(self, actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], what: str) -> None:
        close(actual[0], expected[0], what, torch.float32 if actual[0].dtype == torch.float64 else None)  # weights are float32

    def faults(self) -> dict[str, Fault]:
        def shift(y: int, x: int) -> Arguments:
            return {"shifts": torch.tensor([[y, x]]), "grids": torch.ones(1, 3, 4).bool()}

        return super().faults() | {
            "type": Fault(lambda a: {"grids": [[1]]}, TypeError, "grids to be a torch.Tensor, got list"),
            "dtype": Fault(lambda a: {"grids": a["grids"].float()}, TypeError, "grids of dtype bool, got float32"),
            "ndim": Fault(lambda a: {"grids": a["grids"][0]}, ValueError, "grids of shape (S, h, w) or (N, S, h, w), got (3, 4)"),
            "images": Fault(
                lambda a: {"grids": a["grids"].expand(2, 5, 3, 4)}, ValueError, "(N, S, h, w) with N = 3, got (2, 5, 3, 4)"
            ),
            "empty": Fault(lambda a: {"grids": a["grids"][:, :0]}, ValueError, "grids of at least one cell, got (5, 0, 4)"),
            "device": Fault(
                lambda a: {"grids": a["grids"].to("meta")}, ValueError, "grids on the device of inputs (cpu), got meta"
            ),
            "border": Fault(lambda a: {"border": "wrap"}, ValueError, "border to be one of 'mirror', 'clamp', got 'wrap'"),
            "shifts_dtype": Fault(
                lambda a: {"shifts": a["shifts"].float()}, TypeError, "shifts of dtype int32 or int64, got float32"
            ),
            "shifts_count": Fault(
                lambda a: {"shifts": a["shifts"][:2]}, ValueError, "shifts of shape (5, 2) to match grids, got (2, 2)"
            ),
            "shifts_per_image": Fault(
                lambda a: {"shifts": a["shifts"].expand(3, 5, 2)}, ValueError, "to match grids, got (3, 5, 2)"
            ),
            "shifts_device": Fault(
                lambda a: {"shifts": a["shifts"].to("meta")}, ValueError, "shifts on the device of inputs (cpu)"
            ),
            "shift_y": Fault(lambda a: shift(2, 0), ValueError, "shifts in [0, 1], got 2"),  # ceil(6 / 3) = 2
            "shift_x": Fault(lambda a: shift(0, 3), ValueError, "shifts in [0, 2], got 3"),  # ceil(10 / 4) = 3
            "shift_low": Fault(lambda a: shift(-1, 0), ValueError, "shifts in [0, 1], got -1"),
        }


def weights_of(backend: Backend, grids: Tensor, shifts: Tensor, height: int, width: int, border: str) -> Tensor:
    """The masks themselves: what a white image shows over black."""
    white = torch.ones(1, 1, height, width, device=backend.device)
    return blend_grids(white, 0.0, grids.to(backend.device), shifts.to(backend.device), border=border)[:, 0, 0].cpu()


def test_example(backend: Backend) -> None:
    # Cells 1 0 over 4 pixels: cells are 2 wide, so the mask is upsampled to 3 * 2 = 6, at scale 2 / 6. Pixel x reads the grid at
    # (x + 1/2) / 3 - 1/2 = -1/3, 0, 1/3, 2/3, 1, 4/3: between the cells 1 - u, so 1, 2/3, 1/3, 0 in the middle. Outside:
    # clamp repeats the cell: 1 and 0; mirror reads the neighbour: at -1/3, 2/3 * 1 + 1/3 * 0, at 4/3, 2/3 * 0 + 1/3 * 1.
    grid, still, moved = torch.tensor([[[True, False]]]), torch.tensor([[0, 0]]), torch.tensor([[0, 1]])
    third = 1 / 3
    close(weights_of(backend, grid, still, 1, 4, "clamp"), torch.tensor([[[1, 1, 2 * third, third]]]))
    close(weights_of(backend, grid, still, 1, 4, "mirror"), torch.tensor([[[2 * third, 1, 2 * third, third]]]))
    close(weights_of(backend, grid, moved, 1, 4, "clamp"), torch.tensor([[[1, 2 * third, third, 0]]]))


def test_true_keeps(backend: Backend) -> None:
    inputs, shifts = (
        torch.full((1, 1, 4, 4), 5.0, device=backend.device),
        torch.zeros(1, 2, dtype=torch.int64, device=backend.device),
    )
    for kept, value in ((True, 5.0), (False, -3.0)):
        grid = torch.full((1, 2, 2), kept, device=backend.device)
        assert (blend_grids(inputs, -3.0, grid, shifts) == value).all()


SIZES = [(7, 7, 224, 224), (3, 5, 20, 33), (2, 2, 8, 8), (4, 3, 5, 17), (1, 6, 9, 12)]


def drawn(rows: int, columns: int, height: int, width: int) -> tuple[Tensor, Tensor, tuple[int, int]]:
    rng = generator("properties")
    cell = math.ceil(height / rows), math.ceil(width / columns)
    shifts = torch.tensor([[0, 0], [cell[0] - 1, cell[1] - 1], [cell[0] // 2, cell[1] // 3]])
    return torch.rand((3, rows, columns), generator=rng) < 0.5, shifts, ((rows + 1) * cell[0], (columns + 1) * cell[1])


def cropped(upsampled: Tensor, shifts: Tensor, height: int, width: int) -> Tensor:
    return torch.stack([m[y : y + height, x : x + width] for m, (y, x) in zip(upsampled, shifts.tolist(), strict=True)])


@pytest.mark.parametrize(("rows", "columns", "height", "width"), SIZES)
def test_clamp_is_what_torch_calls_bilinear(backend: Backend, rows: int, columns: int, height: int, width: int) -> None:
    grids, shifts, size = drawn(rows, columns, height, width)
    big = torch.nn.functional.interpolate(grids[:, None].double(), size, mode="bilinear", align_corners=False)[:, 0]
    weights = weights_of(backend, grids, shifts, height, width, "clamp")
    torch.testing.assert_close(
        weights.double(), cropped(big, shifts, height, width), rtol=0, atol=5e-6
    )  # float32 places up to 256


@pytest.mark.parametrize(("rows", "columns", "height", "width"), SIZES)
def test_mirror_is_the_rule_of_the_published_masks(backend: Backend, rows: int, columns: int, height: int, width: int) -> None:
    """The published code resizes with scikit-image, order 1, mode "reflect", without anti-aliasing."""
    transform = pytest.importorskip("skimage.transform")
    grids, shifts, size = drawn(rows, columns, height, width)
    resized = [transform.resize(g.double().numpy(), size, order=1, mode="reflect", anti_aliasing=False) for g in grids]
    weights = weights_of(backend, grids, shifts, height, width, "mirror")
    expected = cropped(torch.stack([torch.from_numpy(mask) for mask in resized]), shifts, height, width)
    torch.testing.assert_close(weights.double(), expected, rtol=0, atol=5e-6)


def test_swapping_the_grid_swaps_the_images(backend: Backend) -> None:
    grids, shifts, _ = drawn(3, 4, 6, 10)
    inputs, infill = torch.randn(2, 1, 3, 6, 10, generator=generator()).to(backend.device)
    given = blend_grids(inputs, infill, grids.to(backend.device), shifts.to(backend.device))
    swapped = blend_grids(infill, inputs, ~grids.to(backend.device), shifts.to(backend.device))
    torch.testing.assert_close(given, swapped, rtol=0, atol=2e-6)  # 1 - (1 - w) rounds
    assert not torch.allclose(given, blend_grids(infill, inputs, grids.to(backend.device), shifts.to(backend.device)))
    same_bits(given, blend_grids(inputs, infill, grids.to(backend.device), shifts.to(backend.device)))


@pytest.mark.backends("cpu", "cuda")  # the CPU kernel keeps rows of cells for some steps at a time, here for 1, 21 and 87
@pytest.mark.parametrize(("rows", "width"), [(40, 2000), (7, 437), (3, 250)])
def test_many_steps_are_the_single_ones(backend: Backend, rows: int, width: int) -> None:
    rng, steps = generator(), 100 if rows < 40 else 4
    grids = (torch.rand((2, steps, rows, 5), generator=rng) < 0.5).to(backend.device)
    shifts = torch.randint(0, 1, (2, steps, 2), generator=rng).to(backend.device)
    shifts[..., 1] = torch.randint(0, math.ceil(width / 5), (2, steps), generator=rng).to(backend.device)
    inputs, infill = torch.randn(2, 2, 1, 9, width, generator=rng).to(backend.device)
    shared = blend_grids(inputs, infill, grids[0], shifts[0])
    own = blend_grids(inputs, infill, grids, shifts)
    for step in range(steps):
        one = slice(step, step + 1)
        same_bits(shared[one], blend_grids(inputs, infill, grids[0, one], shifts[0, one]))
        same_bits(own[one, 1:], blend_grids(inputs[1:], infill[1:], grids[1, one], shifts[1, one]))
