"""The samples of a study, read one chunk at a time; one that cannot be read is a problem of that sample, not of the study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from .._digests import digest
from ..checks import bad_type, bad_value, dtype_name, require_dtype, require_ndim, require_shape, require_tensor
from ..evaluation._input_chunks import IMAGE_KEYS, LABEL_KEYS, first_of
from ..fingerprinting import tensor_digest, without_addresses

_DTYPES = (torch.float32, torch.float64)
_TRUTH = ("truth", "mask")
_UNREADABLE = "unreadable"  # in place of a digest
_LONGEST = 500  # characters of a reason
_PATIENCE = 20  # samples read before the share of unreadable ones counts


@runtime_checkable
class Samples(Protocol):
    """What a study reads: a tensor (N, C, H, W), a dataset, a list. Anything with a length and items by number.

    An item is an image (C, H, W) float32 or float64 in model input space; (image, label); or a mapping with "image" (also
    "inputs", "pixel_values") and, if known, "label" ("labels", "target"), "truth" ("mask", (H, W) bool) and "name". All images
    have one shape. The same number gives the same item each time: no random augmentation. An item that raises an Exception is
    recorded as unreadable.
    """

    def __len__(self) -> int:
        """Number of samples."""

    def __getitem__(self, index: int) -> Any:
        """Sample number `index`, from 0."""


@dataclass(frozen=True)
class Sample:
    """One item, unpacked."""

    image: Tensor
    label: int | None
    truth: Tensor | None
    name: str

    def digest(self) -> str:
        """Digest of all of it."""
        truth = "" if self.truth is None else tensor_digest(self.truth)
        return digest(tensor_digest(self.image), repr(self.label), truth, self.name)


@dataclass(frozen=True)
class SampleBatch:
    """Samples. Where a sample could not be read, its image is NaN, its label None, its truth empty.

    Attributes:
        inputs: (n, C, H, W). labels: n. truth: (n, H, W) bool, None if no sample has one.
        problems: n reasons, "" for a sample that was read.
    """

    inputs: Tensor
    labels: list[int | None]
    truth: Tensor | None
    names: list[str]
    problems: list[str]


class SampleReader:
    """Reads samples, and knows their one shape and dtype from the first that can be read.

    Args:
        function: named in errors.
        samples: the data.
        max_unreadable: share of unreadable samples, in [0, 1], above which reading is given up, from 20 samples on.
    """

    def __init__(self, function: str, samples: Any, max_unreadable: float = 0.5) -> None:
        self._function = function
        if isinstance(samples, str | bytes) or not (hasattr(samples, "__len__") and hasattr(samples, "__getitem__")):
            remedy = "pass a tensor, a list or a map-style dataset; a loader's own is loader.dataset"
            bad_type(self._function, "inputs", "to have a length and items by number", type(samples).__name__, remedy)
        if isinstance(samples, Tensor):
            require_ndim(self._function, "inputs", samples, "(N, C, H, W)")
        self._samples = samples
        self._max_unreadable = max_unreadable
        self._problems: dict[int, str] = {}  # number of a sample -> why it could not be read, or ""
        self._digests: list[str] | None = None
        self._like: Sample | None = None
        for index in range(len(samples)):
            if (sample := self._get(index)) is not None:
                self._like = sample
                break
        else:
            if len(samples):
                bad_value(self._function, "inputs", "with a sample that can be read", f"none; of the first: {self._problems[0]}")

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def example(self) -> Tensor | None:
        """The first image that can be read, (1, C, H, W); None where there are no samples."""
        return None if self._like is None else self._like.image[None]

    @property
    def has_truth(self) -> bool:
        """Whether the samples bring a truth of their own."""
        return self._like is not None and self._like.truth is not None

    def digests(self) -> list[str]:
        """A digest per sample, "unreadable" where there is none; reads everything once, and holds later reads against it."""
        if self._digests is None:
            result = [self._get(index) for index in range(len(self))]
            self._digests = [_UNREADABLE if sample is None else sample.digest() for sample in result]
        return self._digests

    def read(self, start: int, stop: int) -> SampleBatch:
        """Samples start .. stop - 1."""
        return self.read_places(range(start, stop))

    def read_places(self, places: Sequence[int]) -> SampleBatch:
        """The samples of these numbers."""
        like = self._like
        if like is None:
            bad_value(self._function, "inputs", "with samples", "none")
        known = self._digests or []
        result = [self._get(index) if known[index : index + 1] != [_UNREADABLE] else None for index in places]
        for index, sample in zip(places, result, strict=True):
            if sample is not None and known and sample.digest() != known[index]:
                remedy = "switch random augmentation off, and leave the data alone while a study runs"
                bad_value(self._function, f"inputs[{index}]", "to be the same each time it is read", "other content", remedy)
        empty = torch.full_like(like.image, torch.nan)
        unknown = None if like.truth is None else torch.zeros_like(like.truth)
        truths = [unknown if sample is None else sample.truth for sample in result]
        return SampleBatch(
            torch.stack([empty if sample is None else sample.image for sample in result]),
            [None if sample is None else sample.label for sample in result],
            None if unknown is None else torch.stack([unknown if truth is None else truth for truth in truths]),
            ["" if sample is None else sample.name for sample in result],
            [self._problems[index] for index in places],
        )

    def _get(self, index: int) -> Sample | None:
        """A sample; None, with the reason in `_problems`, if its item raises or has another layout than the first."""
        try:
            item = self._samples[index]
        except MemoryError:
            raise
        except Exception as error:
            self._unreadable(index, error)
            return None
        try:
            sample = _unpacked(self._function, item, index)
            if self._like is not None:
                _check_same_layout(self._function, sample, self._like, index)
        except (TypeError, ValueError) as error:
            if self._like is None:  # the first defines the layout: if it is wrong, all are
                raise
            self._unreadable(index, error)
            return None
        self._problems[index] = ""
        return sample

    def _unreadable(self, index: int, error: Exception) -> None:
        reason = without_addresses(" ".join(f"{type(error).__name__}: {error}".split()))[:_LONGEST]
        self._problems[index] = reason
        bad = sum(reason != "" for reason in self._problems.values())
        if len(self._problems) >= _PATIENCE and bad > self._max_unreadable * len(self._problems):
            expected = f"with at most {self._max_unreadable:.0%} unreadable samples"
            got = f"{bad} of the {len(self._problems)} read, the last (sample {index}): {reason}"
            bad_value(self._function, "inputs", expected, got, "repair the data, or allow more with max_unreadable")


def _unpacked(function: str, item: Any, index: int) -> Sample:
    """Image, label, truth and name of an item."""
    what = f"inputs[{index}]"
    label = truth = None
    image, name = item, ""
    if isinstance(item, Mapping):
        image, label, truth = (first_of(item, keys) for keys in (IMAGE_KEYS, LABEL_KEYS, _TRUTH))
        name = str(item.get("name", ""))
        if image is None:
            bad_type(function, what, f"with one of the keys {IMAGE_KEYS}", f"a mapping with {sorted(map(str, item))}")
    elif isinstance(item, Sequence) and not isinstance(item, str | bytes) and item:
        image, label = item[0], item[1] if len(item) > 1 else None
    if not isinstance(image, Tensor):
        expected = "to be an image tensor (C, H, W), (image, label), or a mapping with 'image'"
        remedy = "turn pictures into tensors in the dataset: scaled, sized and normalised as the model wants them"
        bad_type(function, what, expected, type(image).__name__, remedy)
    require_tensor(function, what, image)
    require_dtype(function, what, image, _DTYPES, "convert with .float() / 255 and normalise")
    require_ndim(function, what, image, "(C, H, W)")
    if truth is not None:
        name_of_truth = f"truth of {what}"
        require_dtype(function, name_of_truth, require_tensor(function, name_of_truth, truth), (torch.bool,))
        require_shape(function, name_of_truth, truth, "(H, W)", image.shape[1:])
    return Sample(image.detach(), None if label is None else int(label), truth, name)


def _check_same_layout(function: str, sample: Sample, like: Sample, index: int) -> None:
    """Refuses an image of another shape or dtype than the first, and a truth that is missing."""
    expected, got = ((tuple(item.image.shape), dtype_name(item.image.dtype)) for item in (like, sample))
    if got != expected:
        bad_value(function, f"inputs[{index}]", f"of shape {expected[0]} and dtype {expected[1]}", f"{got[0]} and {got[1]}")
    if (sample.truth is None) != (like.truth is None):
        bad_value(function, f"inputs[{index}]", "with a truth, as the first has", "none")
