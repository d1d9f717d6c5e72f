"""Arguments that several ops share: counts per step, the rendering options, and the output they describe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ..checks import (
    bad_type,
    bad_value,
    dtype_name,
    has_address,
    in_vmap,
    on_host,
    require_device,
    require_dtype,
    require_ndim,
    require_range,
    require_shape,
    require_tensor,
)
from . import native
from ._autograd import unpacked

COMPUTE_DTYPES = (torch.float32, torch.float64)
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.uint8)

PerStep = Sequence[int] | Sequence[Sequence[int]] | Tensor
Channels = Sequence[float] | Tensor


def step_counts(function: str, argument: str, counts: PerStep, maps: Tensor, ndims: tuple[int, ...] = (1, 2)) -> Tensor:
    """Pixel counts, (S,) or (N, S), as int64 on the device of `maps` (N, ..., H, W), each in [0, H W] if it is on the host."""
    if not isinstance(counts, Tensor | list | tuple | range):
        bad_type(function, argument, "to be a sequence of ints or an integer tensor", type(counts).__name__)
    values = counts if isinstance(counts, Tensor) else torch.tensor(counts, dtype=_literal_dtype(counts))
    require_dtype(function, argument, values, _INTEGERS, "counts are numbers of pixels; round fractions to int first")
    if values.ndim not in ndims:
        names = "() or (N,)" if 0 in ndims else "(S,) or (N, S)" if 2 in ndims else "(S,)"
        bad_value(function, argument, f"of shape {names}", tuple(values.shape))
    if values.ndim == 2:
        require_shape(function, argument, values, "(N, S)", (maps.shape[0], values.shape[1]))
    require_range(function, argument, values, 0, maps.shape[-2] * maps.shape[-1])
    return values.to(device=maps.device, dtype=torch.int64)


def per_step(function: str, argument: str, values: Tensor, dtype: torch.dtype, images: int, rest: str, like: Tensor) -> Tensor:
    """A step parameter (S, rest) or (N, S, rest), `rest` in letters, cast to `dtype`, on the device of the inputs."""
    require_tensor(function, argument, values)
    trailing = rest.count(",") + 1
    if values.ndim not in (trailing + 1, trailing + 2):
        bad_value(function, argument, f"of shape (S, {rest}) or (N, S, {rest})", tuple(values.shape))
    if values.ndim == trailing + 2 and values.shape[0] != images:
        bad_value(function, argument, f"of shape (N, S, {rest}) with N = {images}", tuple(values.shape))
    require_device(function, argument, values, like, "inputs")
    return values.to(dtype)


@dataclass(frozen=True)
class Rendering:
    """What every mask family passes to its kernel besides the mask."""

    inputs: Tensor
    infill: Tensor
    mean: Tensor | None
    std: Tensor | None
    dtype: torch.dtype
    channels_last: bool

    def output(self, function: str, steps: int, out: Tensor | None, mask: dict[str, Tensor]) -> Tensor:
        """A new (S, N, C, H, W) tensor, or the caller's, checked. `mask`: what else the kernel reads while it writes."""
        n, c, h, w = self.inputs.shape
        if out is None:
            shape = (steps, n, h, w, c) if self.channels_last else (steps, n, c, h, w)
            empty = native.empty(shape, self.dtype, self.inputs.device)
            return empty.permute(0, 1, 4, 2, 3) if self.channels_last else empty
        require_tensor(function, "out", out)
        require_shape(function, "out", out, "(S, N, C, H, W)", (steps, n, c, h, w))
        require_dtype(function, "out", out, (self.dtype,), "pass dtype= as well")
        require_device(function, "out", out, self.inputs, "inputs")
        images = out.flatten(0, 1) if _images_are_packed(out) else None
        wanted = torch.channels_last if self.channels_last else torch.contiguous_format
        if out.numel() > 0 and (images is None or not images.is_contiguous(memory_format=wanted)):
            bad_value(function, "out", f"packed and {wanted}", f"strides {out.stride()}", "allocate it with out=None once")
        read = {"inputs": self.inputs, "infill": self.infill, "mean": self.mean, "std": self.std} | mask
        refuse_overlap(function, {"out": out}, read)
        return out


def rendering(
    function: str,
    inputs: Tensor,
    infill: Tensor | float,
    *,
    mean: Channels | None,
    std: Channels | None,
    dtype: torch.dtype | None,
    memory_format: torch.memory_format,
    differentiable: bool = False,
) -> Rendering:
    """Checks what all renderers share. `infill` is expanded to the inputs' shape, without a copy."""
    require_tensor(function, "inputs", inputs)
    require_dtype(function, "inputs", inputs, COMPUTE_DTYPES, "convert with .float(); the output may be 16 bits wide: dtype=")
    require_ndim(function, "inputs", inputs, "(N, C, H, W)")
    if not isinstance(infill, Tensor):
        if isinstance(infill, bool) or not isinstance(infill, int | float):
            bad_type(function, "infill", "to be a tensor or a number", type(infill).__name__)
        infill = inputs.new_full((), infill)
    require_dtype(function, "infill", infill, (inputs.dtype,), "the infill has the inputs' dtype")
    require_device(function, "infill", infill, inputs, "inputs")
    try:
        expanded = infill.expand(inputs.shape)
    except RuntimeError:
        shape = tuple(inputs.shape)
        bad_value(function, "infill", f"broadcastable to inputs (N, C, H, W) = {shape}", tuple(infill.shape))
    if not differentiable:
        remedy = "this renderer is not differentiable: use blend_dense with a float mask, or call it under torch.no_grad()"
        refuse_derivative(function, "inputs and infill", remedy, inputs, infill)
        refuse_vmap(function, inputs, infill)
    if (mean is None) != (std is None):
        bad_value(function, "mean and std", "both or neither", "only " + ("std" if mean is None else "mean"))
    output_dtype = inputs.dtype if dtype is None else dtype
    allowed = (torch.float32, torch.bfloat16, torch.float16) if inputs.dtype == torch.float32 else (torch.float64,)
    if output_dtype not in allowed:
        names = " or ".join(map(dtype_name, allowed))
        bad_type(function, "dtype", f"{names} for {dtype_name(inputs.dtype)} inputs", dtype_name(output_dtype))
    if memory_format not in (torch.contiguous_format, torch.channels_last):
        bad_value(function, "memory_format", "torch.contiguous_format or torch.channels_last", memory_format)
    return Rendering(
        inputs,
        expanded,
        None if mean is None else _channel_values(function, "mean", mean, inputs),
        None if std is None else _channel_values(function, "std", std, inputs),
        output_dtype,
        memory_format == torch.channels_last,
    )


def _channel_values(function: str, argument: str, values: Channels, inputs: Tensor) -> Tensor:
    """(C,) constants on the inputs' device and in their dtype."""
    if not isinstance(values, Tensor):
        values = torch.tensor(list(map(float, values)), dtype=inputs.dtype, device=inputs.device)
    if values.requires_grad or derivative_of(values) is not None:
        bad_value(function, argument, "to be a constant", derivative_of(values) or "requires_grad=True", "detach it")
    require_shape(function, argument, values, "(C,)", inputs.shape[1:2])
    require_device(function, argument, values, inputs, "inputs")
    if argument == "std" and on_host(values) and (values <= 0).any():
        bad_value(function, "std", "> 0", values.tolist())
    return values.to(inputs.dtype).contiguous()


def _literal_dtype(counts: PerStep) -> torch.dtype | None:
    return torch.int64 if len(counts) == 0 else None  # an empty list would become float


def _images_are_packed(out: Tensor) -> bool:
    """Whether the (S, N) images follow each other without gaps."""
    image = out.shape[2] * out.shape[3] * out.shape[4]
    steps_fit = out.shape[0] <= 1 or out.stride(0) == image * out.shape[1]
    return steps_fit and (out.shape[1] <= 1 or out.stride(1) == image)


def refuse_overlap(function: str, written: Mapping[str, Tensor], read: Mapping[str, Tensor | None], remedy: str = "") -> None:
    """Checks that what is written shares no memory with what is read, nor among itself (interleaved views count as sharing)."""
    spans = [
        (*_span(tensor), name, name in written)
        for name, tensor in {**read, **written}.items()
        if tensor is not None and tensor.numel() > 0 and has_address(tensor)
    ]
    spans.sort(key=lambda span: span[:2])
    furthest, furthest_written = (0, ""), (0, "")  # end and name
    for first, last, name, is_written in spans:
        end, other = furthest if is_written else furthest_written
        if first < end:
            changed, rival = (name, other) if is_written else (other, name)
            bad_value(function, changed, f"not to share memory with {rival}", "overlapping memory", remedy)
        furthest = max(furthest, (last, name))
        furthest_written = max(furthest_written, (last, name)) if is_written else furthest_written


def _span(tensor: Tensor) -> tuple[int, int]:
    """Addresses of the first byte and one past the last."""
    first = tensor.data_ptr()
    if tensor.is_contiguous():
        return first, first + tensor.nbytes
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return first, first + (last + 1) * tensor.element_size()


def derivative_of(*tensors: Tensor) -> str | None:
    """What of these tensors asks for a derivative, or None."""
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return "requires_grad=True"
    if forward_ad._current_level >= 0 and any(unpacked(tensor)[1] is not None for tensor in tensors):
        return "a forward-mode tangent"
    return None


def refuse_derivative(function: str, names: str, remedy: str, *tensors: Tensor) -> None:
    """Raises where a derivative is asked of an op that has none: it would be 0 without a word."""
    requested = derivative_of(*tensors)
    if requested is not None:
        raise RuntimeError(f"{function}: expected {names} that need no gradient, got {requested}; {remedy}")


def refuse_vmap(function: str, *tensors: Tensor) -> None:
    """Raises inside torch.vmap, for an op that writes to a tensor or has to look at values."""
    if any(map(in_vmap, tensors)):
        raise RuntimeError(f"{function}: expected tensors outside torch.vmap, got one inside; give all images as one batch N")
