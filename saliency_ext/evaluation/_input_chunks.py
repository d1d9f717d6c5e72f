"""Images in chunks, from tensors or from a loader, never more than one chunk at a time."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor

from ..checks import bad_type, bad_value, require_device, require_dtype, require_mask, require_ndim, require_shape, require_tensor
from ..models.targets import Target, plain_target
from ..ops import philox_uniform
from ..rng_streams import IMAGE_ORDER

GIVEN = "given"

# Keys of images and labels in batches and items that are mappings.
IMAGE_KEYS = ("image", "inputs", "pixel_values", "images")
LABEL_KEYS = ("label", "labels", "target")

_FUNCTION = "evaluate"


@dataclass(frozen=True)
class Chunk:
    """A chunk of the images of an evaluation; consecutive ones where `picked` is None.

    Attributes:
        start: index of the first among all images.
        inputs: (N, C, H, W).
        target: what `models.resolve_target` takes, for these images.
        sample_ids: (N,) int64.
        truth: (N, H, W) bool, or None.
        picked: indices of the images among all, where they are not start, start + 1, ...
    """

    start: int
    inputs: Tensor
    target: Target
    sample_ids: Tensor
    truth: Tensor | None
    picked: Sequence[int] | None = None

    @property
    def images(self) -> slice | list[int]:
        """Indices of these images among all."""
        return slice(self.start, self.start + len(self.inputs)) if self.picked is None else list(self.picked)

    def place(self, index: int) -> int:
        """The index among all images of one of these."""
        return self.start + index if self.picked is None else self.picked[index]


def chunks(
    inputs: Tensor | Iterable[Any],
    target: Target,
    sample_ids: Tensor | None,
    truth: Tensor | None,
    size: int | Callable[[Tensor], int],
    lengths: Mapping[str, int] | None = None,
) -> Iterator[Chunk]:
    """Chunks of at most `size` images (or `size(images)`); a tensor of no images gives one empty chunk.

    `lengths` has the number of images of each further argument: more or fewer images are refused.
    """
    target = plain_target(target)  # a tensor is cut with the images
    expected = dict(lengths or {}) | {
        name: len(given)
        for name, given in (("target", target), ("sample_ids", sample_ids), ("truth", truth))
        if isinstance(given, Tensor) and given.ndim > 0
    }
    start = 0
    for images, own_target in _batches(inputs, target):
        check_images(images)
        _require_as_many(expected, start + len(images), more=True)
        limit = size if isinstance(size, int) else size(images)
        for at in range(0, max(len(images), 1 if isinstance(inputs, Tensor) else 0), limit):
            part = images[at : at + limit]
            place = slice(start, start + len(part))
            one = own_target[at : at + limit] if isinstance(own_target, Tensor) else own_target
            ids = torch.arange(place.start, place.stop) if sample_ids is None else sample_ids[place]
            if len(ids) != len(part):
                bad_value(_FUNCTION, "sample_ids", f"one for each image, at least {place.stop}", len(ids) + place.start)
            yield Chunk(start, part, one, ids.to(part.device), None if truth is None else _truth(truth, place, part))
            start += len(part)
    _require_as_many(expected, start, more=False)


def _require_as_many(expected: Mapping[str, int], images: int, *, more: bool) -> None:
    for name, count in expected.items():
        if (count < images) if more else (count > images):
            words = f"{images} or more" if more else f"{images}"
            remedy = f"there are {'more' if more else 'fewer'} images than {name} has entries"
            bad_value(_FUNCTION, name, f"with one entry for each of the images, which are {words}", count, remedy)


def check_images(inputs: object) -> Tensor:
    """The images, if they are (N, C, H, W) float32 or float64."""
    images = require_tensor(_FUNCTION, "inputs", inputs)
    if images.ndim == 3:
        remedy = "one image: add the batch dimension with [None]; a list of images: torch.stack(images)"
        bad_value(_FUNCTION, "inputs", "of shape (N, C, H, W)", tuple(images.shape), remedy)
    require_dtype(_FUNCTION, "inputs", images, (torch.float32, torch.float64), "convert with .float() / 255 and normalise")
    require_ndim(_FUNCTION, "inputs", images, "(N, C, H, W)")
    return images


def _batches(inputs: Tensor | Iterable[Any], target: Target) -> Iterator[tuple[Tensor, Target]]:
    if isinstance(inputs, Tensor):
        if isinstance(target, str) and target == GIVEN:
            bad_value(
                _FUNCTION, "target", "class indices where inputs are a tensor", repr(target), "'given' reads a loader's own"
            )
        if isinstance(target, Tensor):
            require_shape(_FUNCTION, "target", target, "(N,)", inputs.shape[:1])
        yield inputs, target
        return
    if isinstance(inputs, str | numpy.ndarray) or not isinstance(inputs, Iterable):
        remedy = "convert it with torch.as_tensor" if isinstance(inputs, numpy.ndarray) else ""
        bad_type(_FUNCTION, "inputs", "to be a tensor or an iterable of batches", type(inputs).__name__, remedy)
    start = 0
    for item in inputs:
        images, own = _unpacked(item)
        if isinstance(target, Tensor):
            own = target[start : start + len(images)]
        elif target != GIVEN:
            own = target
        elif own is None:
            bad_value(_FUNCTION, "inputs", "batches with a target where target='given'", type(item).__name__)
        else:
            own = torch.as_tensor(own)
        start += len(images)
        yield images, own
    if start == 0:
        bad_value(_FUNCTION, "inputs", "with at least one image", "a loader that yields none")


def _unpacked(item: Any) -> tuple[Tensor, Any]:
    """Images and target of a loader's batch: a tensor, (inputs, target, ...), or a mapping with those names."""
    if isinstance(item, Tensor):
        return item, None
    if isinstance(item, Mapping) and (image := first_of(item, IMAGE_KEYS)) is not None:
        return image, first_of(item, LABEL_KEYS)
    if isinstance(item, tuple | list) and item and isinstance(item[0], Tensor):
        return item[0], item[1] if len(item) > 1 else None
    expected = f"batches that are a tensor, (inputs, target) or a mapping with one of the keys {IMAGE_KEYS}"
    got = f"a mapping with {sorted(map(str, item))}" if isinstance(item, Mapping) else type(item).__name__
    remedy = "convert arrays with torch.as_tensor" if isinstance(item, numpy.ndarray) or _has_arrays(item) else ""
    bad_type(_FUNCTION, "inputs", expected, got, remedy)


def _has_arrays(item: Any) -> bool:
    return isinstance(item, tuple | list) and len(item) > 0 and isinstance(item[0], numpy.ndarray)


def first_of(item: Mapping[Any, Any], keys: Sequence[str]) -> Any:
    """The value of the first of these keys that exists; None if none does."""
    return next((item[key] for key in keys if key in item), None)


def _truth(truth: Tensor, place: slice, images: Tensor) -> Tensor:
    own = truth[place]
    like = images[:, 0]
    require_device(_FUNCTION, "truth", own.to(images.device), images, "inputs")
    return require_mask(_FUNCTION, "truth", own.to(images.device), like, "inputs")


def random_order(sample_ids: Tensor, seed: int) -> Tensor:
    """(N,) indices of the images in random order, keyed by (seed, sample id)."""
    return philox_uniform((1, 1, 1), sample_ids, seed=seed, stream=IMAGE_ORDER).flatten().argsort(stable=True)
