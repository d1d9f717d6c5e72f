"""Masks of a Segment Anything model as a partition: the model is the user's, from local weights, and is only called."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..checks import bad_type, bad_value, require_dtype, require_integer, require_ndim, require_number, require_tensor
from ..models.eval_mode import evaluation_mode
from ..segmentation import atoms
from .segments import MAX_SEGMENTS, Partition, mask_partition

# What its images were normalised by in training, RGB in [0, 1].
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_OFFSET = 1.0  # of the logits, for stability


class SegmentAnything:
    """A segmenter: all masks that a Segment Anything model finds from a grid of points [Kirillov 2023], as disjoint atoms.

    Each point of a grid is a prompt, for which the model proposes three masks with a predicted intersection over union. Kept are
    those with predicted IoU >= least_iou and stability >= least_stability, where stability = |logits > 1| / |logits > -1|; of two
    whose bounding boxes overlap by more than most_overlap (IoU), the one predicted to be better.

    Args:
        model: duck-typed after `transformers.SamModel`: `config.vision_config.image_size`, `get_image_embeddings(pixels)` and a
            call with `input_points` (1, P, 1, 2) and `image_embeddings` that returns `pred_masks` (1, P, 3, h, w), logits, and
            `iou_scores` (1, P, 3). For example `SamModel.from_pretrained(folder, local_files_only=True)`.
        mean, std: how the inputs were normalised: RGB in [0, 1] is inputs * std + mean. A number or three.
        points: per side of the grid, >= 1.
        least_iou, least_stability, most_overlap: in [0, 1]. All as published.
        max_batch: points per pass of the mask decoder.

    Call:
        inputs (N, 3, H, W) -> labels (N, H, W) int64, atoms of the masks; pixels of no mask are one atom. `partition` bounds
        their number, as `mask_partition` does: pass its result as `segments` to a `PairFinder`.

    Note:
        Cost: one pass of the image encoder per image, and points^2 / max_batch of the decoder. Images are taken one by one, so
        batch mates change nothing. As deterministic as the model. Memory: 3 max_batch masks in the encoder's size. The model is
        run in eval mode, without gradients, on its own device, and given back as it was.
        Published in the pair test and not done here: a second layer of crops, and removal of islands and holes below 100 pixels
        (`min_pixels` of `partition` leaves out small atoms).

    Raises:
        TypeError, ValueError: not such a model, numbers out of range, inputs that are no RGB images.

    Example:
        >>> import torch
        >>> from types import SimpleNamespace
        >>> class LeftHalf:  # stands for a model: whatever the point, the left half
        ...     config = SimpleNamespace(vision_config=SimpleNamespace(image_size=8))
        ...     def get_image_embeddings(self, pixels): return pixels
        ...     def __call__(self, input_points, image_embeddings):
        ...         logits = torch.where(torch.arange(4) < 2, 9.0, -9.0).expand(1, len(input_points[0]), 3, 4, 4)
        ...         return SimpleNamespace(pred_masks=logits, iou_scores=torch.ones(1, 1, 3))
        >>> SegmentAnything(LeftHalf(), points=1)(torch.zeros(1, 3, 2, 4))
        tensor([[[1, 1, 0, 0],
                 [1, 1, 0, 0]]])

    References:
        Kirillov et al. Segment Anything. ICCV 2023.
    """

    def __init__(
        self,
        model: Any,
        *,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        points: int = 32,
        least_iou: float = 0.86,
        least_stability: float = 0.92,
        most_overlap: float = 0.7,
        max_batch: int = 64,
    ) -> None:
        name = type(self).__name__
        size = getattr(getattr(getattr(model, "config", None), "vision_config", None), "image_size", None)
        if not callable(model) or not hasattr(model, "get_image_embeddings") or not isinstance(size, int):
            remedy = "see transformers.SamModel.from_pretrained(folder, local_files_only=True)"
            bad_type(name, "model", "to be a Segment Anything model", type(model).__name__, remedy)
        require_integer(name, "points", points, 1, 1 << 10)
        require_integer(name, "max_batch", max_batch, 1, 2**31 - 1)
        shares = {"least_iou": least_iou, "least_stability": least_stability, "most_overlap": most_overlap}
        for argument, share in shares.items():
            if require_number(name, argument, share) > 1:
                bad_value(name, argument, "in [0, 1]", share)
        self.model, self.size, self.points, self.max_batch = model, size, points, max_batch
        self.least_iou, self.least_stability, self.most_overlap = least_iou, least_stability, most_overlap
        self.mean, self.std = _three(name, "mean", mean), _three(name, "std", std)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Labels (N, H, W) int64."""
        return atoms(self.masks(inputs))

    def partition(self, inputs: Tensor, *, max_segments: int = MAX_SEGMENTS, min_pixels: int = 1) -> Partition:
        """At most `most` atoms per image, see `mask_partition`."""
        return mask_partition(self.masks(inputs), max_segments=max_segments, min_pixels=min_pixels)

    def masks(self, inputs: Tensor) -> Tensor:
        """The masks (N, M, H, W) bool, best first; images with fewer than M of them have empty ones."""
        name = type(self).__name__
        require_ndim(name, "inputs", require_tensor(name, "inputs", inputs), "(N, C, H, W)")
        require_dtype(name, "inputs", inputs, (torch.float32, torch.float64), "convert with .float() and normalise")
        if inputs.shape[1] != 3:
            bad_value(name, "inputs", "of 3 channels, RGB", inputs.shape[1])
        with evaluation_mode(self.model):
            result = [self._found(image) for image in inputs.detach()]
        masks = inputs.new_zeros((len(result), max(map(len, result), default=0), *inputs.shape[2:]), dtype=torch.bool)
        for row, own in zip(masks, result, strict=True):
            row[: len(own)] = own.to(inputs.device)
        return masks

    def _found(self, image: Tensor) -> Tensor:
        """The masks (M, H, W) of one image (3, H, W)."""
        pixels, fitted = self._prepared(image)
        embeddings = self.model.get_image_embeddings(pixels)
        at = (torch.arange(self.points, dtype=torch.float64) + 0.5) / self.points
        grid = torch.stack([at.repeat(self.points) * fitted[1], at.repeat_interleave(self.points) * fitted[0]], 1)  # x, y
        kept, scores = [], []
        for part in torch.split(grid.to(pixels), self.max_batch):
            answer = self.model(input_points=part[None, :, None], image_embeddings=embeddings)
            logits, predicted = answer.pred_masks.flatten(0, 2).float(), answer.iou_scores.flatten().float()
            inner, outer = ((logits > edge).flatten(1).sum(1) for edge in (_OFFSET, -_OFFSET))
            good = (predicted >= self.least_iou) & (inner >= self.least_stability * outer) & (inner > 0)
            kept.append(self._masks(logits[good], fitted, image.shape[1:]))
            scores.append(predicted[good])
        return _without_doubles(torch.cat(kept), torch.cat(scores), self.most_overlap)

    def _prepared(self, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """What the encoder reads (1, 3, S, S): the longer side S, the rest zero; and the size of the picture in it."""
        place = next(self.model.parameters(), image) if isinstance(self.model, torch.nn.Module) else image
        rgb = (image * self.std.to(image) + self.mean.to(image)).clamp(0, 1)
        factor = self.size / max(*image.shape[1:], 1)
        fitted = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[2] * factor)))
        resized = functional.interpolate(rgb[None].float(), fitted, mode="bilinear", antialias=True)
        normalised = (resized - resized.new_tensor(_MEAN).view(3, 1, 1)) / resized.new_tensor(_STD).view(3, 1, 1)
        padded = functional.pad(normalised, (0, self.size - fitted[1], 0, self.size - fitted[0]))
        return padded.to(place.device, place.dtype), fitted

    def _masks(self, logits: Tensor, fitted: tuple[int, int], size: Sequence[int]) -> Tensor:
        """Masks (m, H, W) of logits (m, h, w) over the padded picture."""
        if len(logits) == 0:
            return torch.zeros(0, *size, dtype=torch.bool, device=logits.device)
        whole = functional.interpolate(logits[:, None], (self.size, self.size), mode="bilinear")
        inside = whole[:, :, : fitted[0], : fitted[1]]
        return functional.interpolate(inside, tuple(size), mode="bilinear")[:, 0] > 0


def _without_doubles(masks: Tensor, scores: Tensor, most_overlap: float) -> Tensor:
    """Masks by decreasing score (ties: the earlier), without those whose box overlaps that of a better one too much."""
    order = (-scores).argsort(stable=True)
    ordered = masks[order]
    ordered = ordered[ordered.flatten(1).any(1)]
    boxes = _boxes(ordered)
    low, high = torch.max(boxes[:, None, :2], boxes[None, :, :2]), torch.min(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    double = shared > most_overlap * (areas[:, None] + areas[None] - shared)
    stays = torch.ones(len(ordered), dtype=torch.bool)
    for number, row in enumerate(double.cpu()):
        if stays[number]:
            stays[number + 1 :] &= ~row[number + 1 :]
    return ordered[stays.to(ordered.device)]


def _boxes(masks: Tensor) -> Tensor:
    """Top, left, bottom, right (m, 4) float of masks that are not empty; ends are exclusive."""
    sides = []
    for dim in (2, 1):  # rows with a pixel, then columns
        present = masks.any(dim).byte()
        sides.append((present.argmax(1), present.shape[1] - present.flip(1).argmax(1)))
    return torch.stack([sides[0][0], sides[1][0], sides[0][1], sides[1][1]], 1).double()


def _three(function: str, argument: str, value: float | Sequence[float]) -> Tensor:
    numbers = [value] * 3 if isinstance(value, int | float) else list(value)
    if len(numbers) != 3:
        bad_value(function, argument, "a number, or three", len(numbers))
    return torch.tensor(numbers, dtype=torch.float64).view(3, 1, 1)
