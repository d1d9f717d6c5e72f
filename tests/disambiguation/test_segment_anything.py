"""Masks of a Segment Anything model: a stand-in whose every mask is known, and, where transformers is there, a real tiny one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from saliency_ext.disambiguation import PairFinder, SegmentAnything
from saliency_ext.disambiguation.segment_anything import _without_doubles
from saliency_ext.infill import Constant
from saliency_ext.segmentation import atoms
from tests.disambiguation.tiny_sam import tiny_model

SIDE = 16


class Halves(nn.Module):
    """Per point: the half (left or right) that it lies in, a badly predicted mask and an unstable one, each of some rows."""

    def __init__(self, iou: float = 0.9, edge: float = 9.0) -> None:
        super().__init__()
        self.config = SimpleNamespace(vision_config=SimpleNamespace(image_size=SIDE))
        self.weight = nn.Parameter(torch.zeros(1))
        self.iou, self.edge = iou, edge
        self.training = False
        self.seen: list[Tensor] = []
        self.requested: list[Tensor] = []

    def get_image_embeddings(self, pixels: Tensor) -> Tensor:
        self.seen.append(pixels)
        return pixels

    def forward(self, input_points: Tensor, image_embeddings: Tensor) -> SimpleNamespace:
        self.requested.append(input_points[0, :, 0])
        left = input_points[0, :, 0, 0] < SIDE / 2
        columns = torch.arange(SIDE) < SIDE // 2
        half = torch.where(left[:, None] == columns, self.edge, -self.edge)[:, None].expand(-1, SIDE, -1)
        rows = torch.where(torch.arange(SIDE) < 2, 9.0, -9.0)[:, None].expand(len(left), SIDE, SIDE)
        wavering = torch.where(torch.arange(SIDE) < 4, 9.0, -0.5)[:, None].expand(len(left), SIDE, SIDE)
        scores = torch.tensor([self.iou, 0.85, 0.99]).expand(1, len(left), 3)
        return SimpleNamespace(pred_masks=torch.stack([half, rows, wavering], 1)[None], iou_scores=scores + self.weight)


def left_half(height: int, width: int) -> Tensor:
    return (torch.arange(width) < width // 2).expand(height, width)


@pytest.mark.parametrize("size", [(4, 8), (8, 4), (16, 16), (24, 48)])
def test_masks_land_where_the_picture_is(size):
    """The picture fills a part of the encoder's square. Wide or square: the halves are its halves. High: all of it is left."""
    result = SegmentAnything(Halves(), points=4)(torch.zeros(1, 3, *size))[0]
    high = size[0] > size[1]
    assert torch.equal(result == result[0, 0], torch.ones(size, dtype=torch.bool) if high else left_half(*size))


def test_points_are_a_grid_over_the_picture():
    model = Halves()
    SegmentAnything(model, points=2, max_batch=3)(torch.zeros(1, 3, 4, 8))
    assert [len(part) for part in model.requested] == [3, 1]
    assert torch.cat(model.requested).tolist() == [[4.0, 2.0], [12.0, 2.0], [4.0, 6.0], [12.0, 6.0]]


def test_the_model_sees_the_picture_as_it_wants_it():
    """Inputs normalised by the user's numbers, back to RGB, to the encoder's own; below the picture zeros."""
    rgb, model = torch.tensor([0.2, 0.5, 1.0]).view(1, 3, 1, 1).expand(1, 3, 8, 16), Halves()
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
    inputs = (rgb - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    SegmentAnything(model, mean=mean, std=std, points=1)(inputs.double())
    seen = model.seen[0]
    wanted = [(0.2 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (1.0 - 0.406) / 0.225]
    assert seen.shape == (1, 3, SIDE, SIDE) and seen.dtype == torch.float32
    assert torch.allclose(seen[0, :, :8].mean((1, 2)), torch.tensor(wanted), atol=1e-5)
    assert (seen[0, :, 8:] == 0).all() and (seen[0, :, 7] != 0).all()


def test_badly_predicted_and_unstable_masks_are_left_out():
    """Rows have a predicted IoU of 0.85; the wavering mask is 4 rows above 1, all 16 above -1: stability 0.25."""
    image = torch.zeros(1, 3, SIDE, SIDE)
    choices = [{}, {"least_iou": 0.85}, {"least_stability": 0.25}, {"least_iou": 0.9}, {"least_iou": 0.91}]
    counts = [SegmentAnything(Halves(), points=2, **each).masks(image).shape[1] for each in choices]
    assert counts == [2, 3, 3, 2, 0]
    nothing = SegmentAnything(Halves(iou=0.1), points=2)
    assert nothing(image).unique().tolist() == [0] and nothing.partition(image).counts.tolist() == [1]
    assert SegmentAnything(Halves(edge=0.5), points=2).masks(image).shape[1] == 0, "no pixel above 1 is no mask"


def test_of_doubles_the_better_one_stays():
    """Boxes of 10 and 7 pixels in a row overlap by 0.7, of 10 and 8 by 0.8."""
    at = torch.arange(10)
    ten, eight, seven, apart = ((at >= low) & (at < high) for low, high in ((0, 10), (0, 8), (0, 7), (8, 9)))
    masks = torch.stack([ten, eight, seven, apart, at < 0])[:, None]
    for scores, kept in (
        ((5, 4, 3, 2, 9), [ten, seven, apart]),
        ((4, 5, 3, 2, 9), [eight, apart]),
        ((4, 3, 5, 2, 9), [seven, ten, apart]),
        ((1, 1, 1, 1, 1), [ten, seven, apart]),
    ):
        result = _without_doubles(masks, torch.tensor(scores).float(), 0.7)
        assert result[:, 0].tolist() == [each.tolist() for each in kept], scores
    assert _without_doubles(masks[:0], torch.zeros(0), 0.7).shape == (0, 1, 10)


def test_batch_mates_empty_batches_and_the_callers_model():
    model = Halves().train()
    search = SegmentAnything(model, points=2)
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with pytest.warns(RuntimeWarning, match="training mode"):
        together = search(images)
    assert model.training and model.weight.grad is None and not any(each.requires_grad for each in model.seen)
    model.eval()
    with torch.inference_mode():
        assert torch.equal(search(images[1:2])[0], together[1])
    assert search(images[:0]).shape == (0, 8, 8) and search.masks(images[:0]).shape == (0, 0, 8, 8)
    assert torch.equal(search(images.to(memory_format=torch.channels_last)), together)


def test_pairs_of_the_parts_that_were_found():
    """Class 0 sees the left half, class 1 the right one; the map says nothing, the masks do."""

    def net(x: Tensor) -> Tensor:
        left, right = x[..., :4].mean((1, 2, 3)), x[..., 4:].mean((1, 2, 3))
        return torch.stack([4 * left, 4 * right, 0 * left, 0 * left], 1)

    image, masks = torch.ones(1, 3, 8, 8), SegmentAnything(Halves(), points=2)
    finder = PairFinder(
        net, Constant(0.0), masks, attribution=lambda x, c: torch.where((c == 0)[:, None, None] == left_half(8, 8), 1.0, 0.0)
    )
    by_call, by_partition = (
        finder(image, torch.tensor([[0, 1]]), segments=each)[0][0] for each in (None, masks.partition(image))
    )
    for pair in (by_call, by_partition):
        assert pair.verdict == "distinct" and torch.equal(pair.proofs[0].masks[0], left_half(8, 8))


def test_refusals():
    for options, said in (({"points": 0}, r"points in \[1, "), ({"least_iou": 1.5}, r"least_iou in \[0, 1\], got 1.5"),
                          ({"mean": (0.0, 0.0)}, "mean a number, or three, got 2"),
                          ({"max_batch": 0}, r"max_batch in \[1, ")):  # fmt: skip
        with pytest.raises(ValueError, match=f"SegmentAnything: expected {said}"):
            SegmentAnything(Halves(), **options)
    with pytest.raises(TypeError, match="SegmentAnything: expected model to be a Segment Anything model, got Linear; see"):
        SegmentAnything(nn.Linear(1, 1))
    with pytest.raises(ValueError, match="SegmentAnything: expected inputs of 3 channels, RGB, got 1"):
        SegmentAnything(Halves())(torch.zeros(1, 1, 4, 4))
    with pytest.raises(TypeError, match="SegmentAnything: expected inputs of dtype float32 or float64, got uint8"):
        SegmentAnything(Halves())(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))


def test_a_real_model_of_random_weights():
    """The calls and shapes are those of `transformers.SamModel`; what random weights find has no meaning."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    model = tiny_model(transformers)
    images = torch.rand(2, 3, 24, 32, generator=torch.Generator().manual_seed(1))
    search = SegmentAnything(model, points=3, least_iou=0.0, least_stability=0.0, max_batch=4)
    masks = search.masks(images)
    assert masks.dtype == torch.bool and masks.shape[2:] == (24, 32) and masks.shape[1] >= 1
    assert torch.equal(search(images), atoms(masks)) and torch.equal(search.masks(images), masks)
    assert search.partition(images, max_segments=5).counts.max() <= 5
