"""The maps under evaluation: tensors, one map per class, or attribution methods."""

import functools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..attribution._upsampling import upsampled
from ..attribution.adapters import ForeignMethod, as_method, explaining_function
from ..attribution.base import CHANNELS, Method, reduce_channels
from ..checks import bad_type, bad_value, require_choice, require_dtype, require_shape, require_tensor
from ..models.precision import FULL_PRECISION
from ..nonfinite import finite_rows, with_zeros
from ..protocols import Forward
from ._input_chunks import Chunk

_FUNCTION = "evaluate"
_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
RESAMPLE = ("nearest", "bilinear", "area")


@dataclass(frozen=True)
class TargetMaps:
    """One map per class, for metrics that read several classes, such as `Completeness` and `Soundness`.

    Args:
        maps: (N, L, H, W), map l for class labels[l]. Other metrics read the map of the target, which must be one of the labels.
        labels: (L,), or (N, L) where each image has its own.
    """

    maps: Tensor
    labels: Tensor


@dataclass(frozen=True)
class MapOptions:
    """How maps that are not (N, H, W) are read: the reduction of channels, and how other resolutions are resampled."""

    channels: str | None = None
    resample: str | None = None

    def __post_init__(self) -> None:
        if self.channels is not None:
            require_choice(_FUNCTION, "channels", self.channels, CHANNELS)
        if self.resample is not None:
            require_choice(_FUNCTION, "resample", self.resample, RESAMPLE)


@dataclass(frozen=True)
class MapBatch:
    """Maps of one chunk: (n, H, W) or (n, L, H, W), and which images the method failed for (n,)."""

    saliency: Tensor
    failed: Tensor


@dataclass(frozen=True)
class MapSource:
    """Source of the maps of one name: a tensor, `TargetMaps` or a method."""

    name: str
    given: Any
    options: MapOptions

    @property
    def is_method(self) -> bool:
        """Whether the maps are made by a method."""
        return not isinstance(self.given, Tensor | TargetMaps)

    def labels(self, chunk: Chunk) -> Tensor | None:
        """(n, L) classes that have maps of their own, or None."""
        if not isinstance(self.given, TargetMaps):
            return None
        labels = self.given.labels
        return (labels.expand(len(chunk.inputs), -1) if labels.ndim == 1 else labels[chunk.images]).to(chunk.inputs.device)

    def maps(self, chunk: Chunk, inputs: Tensor, target: Tensor, on_bad: str) -> MapBatch:
        """The maps of the target (n,); `inputs` are the chunk's, without NaN."""
        if self.is_method:
            return self.explained(chunk, inputs, target, on_bad)
        if isinstance(self.given, TargetMaps):
            column = self._columns(chunk, target[:, None])
            return _whole(self.label_maps(chunk, inputs, target[:, None], column, on_bad).saliency[:, 0])
        return _whole(self._read(self.given[chunk.images], inputs))

    def label_maps(self, chunk: Chunk, inputs: Tensor, labels: Tensor, columns: Tensor | None, on_bad: str) -> MapBatch:
        """Maps (n, L, H, W) of labels (n, L); an image for which the method fails under one label has failed."""
        if self.is_method:
            each = [self.explained(chunk, inputs, labels[:, index], on_bad) for index in range(labels.shape[1])]
            return MapBatch(torch.stack([one.saliency for one in each], 1), torch.stack([one.failed for one in each]).any(0))
        at = self._columns(chunk, labels) if columns is None else columns
        own = self.given.maps[chunk.images].to(inputs.device)
        flat = self._read(own.flatten(0, 1), inputs.repeat_interleave(own.shape[1], 0)).view(*own.shape[:2], *inputs.shape[2:])
        return _whole(flat.gather(1, at[:, :, None, None].expand(-1, -1, *flat.shape[2:])))

    def _columns(self, chunk: Chunk, labels: Tensor) -> Tensor:
        own = self.labels(chunk)
        if own is None:
            bad_value(_FUNCTION, f"maps[{self.name!r}]", "to be TargetMaps", "a map of the target alone")
        result = labels[:, :, None] == own[:, None]
        if not result.any(2).all():
            missing = sorted(set(labels[~result.any(2)].tolist()))
            bad_value(_FUNCTION, f"maps[{self.name!r}]", f"to hold a map for class(es) {missing}", f"labels {own[0].tolist()}")
        return result.int().argmax(2)

    def check(self, values: Tensor, images: int, size: tuple[int, int]) -> None:
        """Refuses maps that are not one (H, W) per image, unless an option says how they are reduced or resampled."""
        argument, expected = f"maps[{self.name!r}]", f"of shape (N, H, W) = {(images, *size)}"
        require_dtype(_FUNCTION, argument, require_tensor(_FUNCTION, argument, values), _DTYPES)
        got = tuple(values.shape)
        if values.ndim not in (3, 4):
            bad_value(_FUNCTION, argument, expected, got)
        if len(values) != images:
            bad_value(_FUNCTION, argument, expected, got, "one map for each image")
        if values.ndim == 4 and values.shape[1] != 1 and self.options.channels is None:
            bad_value(_FUNCTION, argument, expected, got, "say channels='sum', 'abs_sum', 'max' or 'max_abs'")
        if values.shape[-2:] != size and self.options.resample is None:
            bad_value(_FUNCTION, argument, expected, got, "say resample='nearest', 'bilinear' or 'area'")

    def _read(self, values: Tensor, inputs: Tensor) -> Tensor:
        """(n, H, W), with channels reduced and resolution resampled as the options say."""
        size = (inputs.shape[2], inputs.shape[3])
        self.check(values, len(inputs), size)
        maps = values.detach().to(inputs.device)
        if maps.ndim == 4:
            maps = maps[:, 0] if maps.shape[1] == 1 else reduce_channels(_FUNCTION, maps, str(self.options.channels))
        maps = maps if maps.dtype in FULL_PRECISION else maps.float()  # no metric is computed in half precision
        return maps if maps.shape[1:] == size else resampled(maps, size, str(self.options.resample))

    def explained(self, chunk: Chunk, inputs: Tensor, target: Tensor, on_bad: str) -> MapBatch:
        """Maps made by the method for the chunk's images, or others in their place; where it fails, image by image."""
        try:
            made = self._made(inputs, target, chunk.sample_ids)
        except Exception:
            if on_bad == "raise":
                raise
        else:
            return _whole(self._read(made, inputs))  # a map of a wrong shape is no failure of a sample: it is refused
        saliency = inputs.new_zeros(len(inputs), *inputs.shape[2:])
        failed, reasons = torch.zeros(len(inputs), dtype=torch.bool), set()
        for index in range(len(inputs)):
            one = slice(index, index + 1)
            try:
                made = self._made(inputs[one], target[one], chunk.sample_ids[one])
            except Exception as error:
                failed[index] = True
                reasons.add(f"{type(error).__name__}: {error}")
            else:
                saliency[one] = self._read(made, inputs[one]).to(saliency.dtype)
        samples = [chunk.place(index) for index in failed.nonzero().flatten().tolist()]
        if samples:  # none where only the whole batch failed
            why = "; ".join(sorted(reasons))
            text = f"evaluate: method {self.name!r} failed for sample(s) {samples}, marked method_failed: {why}"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
        return MapBatch(saliency, failed)

    def _made(self, inputs: Tensor, target: Tensor, sample_ids: Tensor) -> Any:
        if isinstance(self.given, ForeignMethod):
            return self.given.raw(inputs, target)
        return self.given(inputs, target, sample_ids=sample_ids)


def named_maps(function: str, maps: Any) -> dict[str, Any]:
    """Name -> map, from a mapping, a sequence of methods (named by their `info`), or one map (named "map").

    Raises:
        TypeError, ValueError: no map; a sequence with something without an `info`, or with one name twice.
    """
    if isinstance(maps, str):
        bad_type(function, "maps", "to be name -> map, a sequence of methods, or a map", "str")
    if not isinstance(maps, Mapping | Sequence):
        return {"map": maps}
    named: dict[str, Any] = dict(maps) if isinstance(maps, Mapping) else {}
    for method in () if isinstance(maps, Mapping) else maps:
        info = getattr(method.func if isinstance(method, functools.partial) else method, "info", None)
        if info is None:
            bad_type(function, "maps", "to hold methods with an info", type(method).__name__, "name them: {'mine': method}")
        if info.name in named:
            bad_value(function, "maps", "with different names", f"{info.name!r} twice", "name them: {'a': ..., 'b': ...}")
        named[info.name] = method
    if not named:
        bad_value(function, "maps", "at least one map", "none")
    return named


def is_factory(given: Any) -> bool:
    """Whether a method is given as a class, or a functools.partial of one, to be called with the model."""
    kind = given.func if isinstance(given, functools.partial) else given
    return isinstance(kind, type) and issubclass(kind, Method)


def made_maps(named: Mapping[str, Any], model: Forward) -> dict[str, Any]:
    """The maps; classes of methods are instantiated with the model."""
    return {name: given(model) if is_factory(given) else given for name, given in named.items()}


def sources(named: Mapping[str, Any], options: MapOptions, model: Forward | None = None) -> list[MapSource]:
    """The source of each map; what is neither a tensor nor a method is refused with its name.

    Args:
        model: whose state plain functions preserve.
    """
    named = dict(named)
    for name, given in named.items():
        if isinstance(given, TargetMaps):
            check_target_maps(name, given)
        elif not isinstance(given, Tensor):
            if explaining_function(given) is None:
                bad_type(_FUNCTION, f"maps[{name!r}]", "to be a tensor, TargetMaps, or a method", type(given).__name__)
            named[name] = given if isinstance(given, Method) else as_method(given, name=name, model=model)
    return [MapSource(name, given, options) for name, given in named.items()]


def maps_of(name: str, method: Any, inputs: Tensor, target: Tensor, *, chunk: int = 32) -> tuple[Tensor, Tensor]:
    """Maps of a method as `evaluate` makes them, on the host.

    Args:
        name: of the method, for warnings.
        method: what `evaluate` takes as a map.
        inputs: (N, C, H, W); images with NaN or Inf have no map.
        target: (N,) classes.
        chunk: images handled together.

    Returns:
        (N, H, W) maps, NaN where there is none, and (N,) bool, for which images the method failed.
    """
    (source,) = sources({name: method}, MapOptions())
    maps, failed = [], []
    for start in range(0, len(inputs), chunk):
        part = slice(start, start + chunk)
        images, classes = inputs[part], target[part]
        finite = finite_rows(images)
        ids = torch.arange(start, start + len(images), device=images.device)
        batch = source.maps(Chunk(start, images, classes, ids, None), with_zeros(images, finite), classes, "mark")
        missing = batch.failed | ~finite.cpu()
        maps.append(batch.saliency.cpu().masked_fill(missing.view(-1, 1, 1), torch.nan))
        failed.append(batch.failed)
    if not maps:
        return inputs.new_empty(0, *inputs.shape[2:]).cpu(), torch.zeros(0, dtype=torch.bool)
    return torch.cat(maps), torch.cat(failed)


def check_target_maps(name: str, given: TargetMaps) -> None:
    """Checks shapes and labels of a set of maps."""
    argument = f"maps[{name!r}]"
    maps, labels = (require_tensor(_FUNCTION, argument, value) for value in (given.maps, given.labels))
    require_dtype(_FUNCTION, f"{argument}.labels", labels, (torch.int64,))
    if maps.ndim != 4:
        bad_value(_FUNCTION, argument, "of shape (N, L, H, W)", tuple(maps.shape))
    if labels.ndim == 2:
        require_shape(_FUNCTION, f"{argument}.labels", labels, "(N, L)", maps.shape[:2])
    else:
        require_shape(_FUNCTION, f"{argument}.labels", labels, "(L,)", maps.shape[1:2])
    ordered = labels.sort(-1).values
    if (ordered[..., 1:] == ordered[..., :-1]).any():
        bad_value(_FUNCTION, f"{argument}.labels", "to be distinct", labels.tolist())


def resampled(maps: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """Maps (N, H, W) at another size by one of `RESAMPLE`; half precision becomes float32."""
    wide = maps if maps.dtype == torch.float64 else maps.float()
    if mode == "bilinear":
        return upsampled(wide[:, None], size)[:, 0]
    return functional.interpolate(wide[:, None], size, mode=mode)[:, 0]


def _whole(saliency: Tensor) -> MapBatch:
    return MapBatch(saliency, torch.zeros(len(saliency), dtype=torch.bool))
