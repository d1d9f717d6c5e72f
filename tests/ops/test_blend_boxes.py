from __future__ import annotations

import torch
from torch import Tensor

from saliency_ext import reference
from saliency_ext.ops import blend_boxes
from tests.backends import Backend
from tests.ops.cases import Arguments, Change, Fault, Shape
from tests.ops.renderer import RendererContract


class TestBlendBoxes(RendererContract):
    name = "blend_boxes"
    native = ("blend_boxes",)
    per_step = ("boxes",)

    def mask(self, shape: Shape, dtype: torch.dtype, rng: torch.Generator) -> Arguments:
        h, w = shape[2:]
        inside = [h // 3, w // 4, h // 3 + 2, w // 4 + 3]
        return {"boxes": torch.tensor([inside, [0, 0, h, w], [-2, -1, 1, 2], [1, 1, 1, 3], [h - 1, w - 1, h + 9, w + 9]])}

    def weights(self, arguments: Arguments) -> Tensor:
        return reference.box_weights(arguments["boxes"], *arguments["inputs"].shape[2:])

    def mask_variants(self) -> dict[str, Change]:
        return {
            "int32": lambda given: {"boxes": given["boxes"].int()},
            "far": lambda given: {
                "boxes": torch.tensor([[-(2**40), -(2**40), 2**40, 2**40], [2**33, 0, 2**34, 5], [0, 0, 1, 2**32]])
            },
            "reversed": lambda given: {"boxes": torch.tensor([[3, 3, 1, 1], [0, 5, 9, 2]])},
        }

    def faults(self) -> dict[str, Fault]:
        return super().faults() | {
            "type": Fault(lambda a: {"boxes": [[0, 0, 1, 1]]}, TypeError, "boxes to be a torch.Tensor, got list"),
            "dtype": Fault(lambda a: {"boxes": torch.zeros(1, 4)}, TypeError, "boxes of dtype int32 or int64, got float32"),
            "bool": Fault(lambda a: {"boxes": torch.ones(1, 4).bool()}, TypeError, "boxes of dtype int32 or int64, got bool"),
            "edges": Fault(
                lambda a: {"boxes": torch.zeros(2, 5).long()}, ValueError, "boxes of shape (S, 4) or (N, S, 4), got (2, 5)"
            ),
            "ndim": Fault(lambda a: {"boxes": torch.zeros(4).long()}, ValueError, "boxes of shape (S, 4) or (N, S, 4), got (4,)"),
            "images": Fault(
                lambda a: {"boxes": torch.zeros(2, 1, 4).long()}, ValueError, "boxes of shape (N, S, 4) with N = 3, got"
            ),
            "device": Fault(
                lambda a: {"boxes": a["boxes"].to("meta")}, ValueError, "boxes on the device of inputs (cpu), got meta"
            ),
        }


def test_example(backend: Backend) -> None:
    # Rows 0..1, columns 0..2. The box [0, 1, 1, 3) removes row 0, columns 1 and 2; (1, -5, 7, 1) is clipped to pixel (1, 0);
    # an empty box (top = bottom) removes nothing.
    inputs = torch.tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]], device=backend.device)
    boxes = torch.tensor([[0, 1, 1, 3], [1, -5, 7, 1], [1, 0, 1, 3]], device=backend.device)
    out = blend_boxes(inputs, -1.0, boxes)
    assert out.flatten(1).tolist() == [[1, -1, -1, 4, 5, 6], [1, 2, 3, -1, 5, 6], [1, 2, 3, 4, 5, 6]]


def test_windows_that_tile_the_image_remove_each_pixel_once(backend: Backend) -> None:
    boxes = torch.tensor([[y, x, y + 3, x + 4] for y in range(0, 7, 3) for x in range(0, 10, 4)], device=backend.device)
    removed = blend_boxes(torch.zeros(1, 1, 7, 10, device=backend.device), 1.0, boxes)
    assert (removed.sum(0) == 1).all()
