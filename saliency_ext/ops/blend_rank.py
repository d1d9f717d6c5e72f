"""The renderer for curves: keep the pixels on one side of a rank."""

import torch
from torch import Tensor

from .. import reference
from ..checks import require_choice, require_device, require_dtype, require_shape, require_tensor
from ._arguments import Channels, PerStep, refuse_vmap, rendering, step_counts
from .native import Definition, call, define

_KEEP = ("head", "tail")


def blend_rank(
    inputs: Tensor,
    infill: Tensor | float,
    ranks: Tensor,
    counts: PerStep,
    *,
    keep: str = "head",
    mean: Channels | None = None,
    std: Channels | None = None,
    dtype: torch.dtype | None = None,
    memory_format: torch.memory_format = torch.contiguous_format,
    out: Tensor | None = None,
) -> Tensor:
    """The masked inputs of a perturbation curve: at each step, some pixels are the image's and the rest are infill.

    out[s, n, :, p] = (v - mean) / std, v = inputs[n, :, p] where the pixel is kept, infill[n, :, p] elsewhere;
    kept with keep="head": ranks[n, p] < counts[s] (insertion: only the most relevant show);
    kept with keep="tail": ranks[n, p] >= counts[s] (deletion: the most relevant are gone).
    All channels of a pixel go together. Normalisation, cast and layout are fused into the one write of the output.

    Args:
        inputs: (N, C, H, W) float32 or float64, any strides (expanded and channels_last images are read in place).
        infill: a number, or a tensor broadcastable to the inputs, same dtype and device: what removed pixels become.
        ranks: (N, H, W) int32 as `rank` returns them, 0 = most relevant.
        counts: (S,) or per image (N, S) numbers of pixels in [0, H W]; a sequence or an integer tensor.
        keep: "head" or "tail".
        mean, std: C numbers each, or neither. Applied to both image and infill, after the choice.
        dtype: of the output: float32, bfloat16 or float16 for float32 inputs, float64 for float64. Default: the inputs'.
        memory_format: torch.contiguous_format or torch.channels_last, of each (C, H, W) image.
        out: a tensor to write to instead of a new one; must match in shape, dtype and layout and share no memory with what is
            read.

    Returns:
        (S, N, C, H, W); `.flatten(0, 1)` is a view that a model takes as a batch.

    Raises:
        TypeError: wrong dtypes. ValueError: wrong shapes, devices, counts out of range (where on the host), std <= 0,
        `out` unfit. RuntimeError: inputs or infill require grad (use `blend_dense`).

    Note:
        Deterministic, bit-equal on CPU and CUDA: choosing moves bits, and normalising is the eager expression. counts on an
        accelerator are not read back; pass such a tensor (and mean, std) inside a CUDA graph. No temporary larger than a tile;
        the output is the memory. Outputs larger than the last-level cache are streamed past it.
        Reference: `saliency_ext.reference.blend` of `rank_weights`.

    Example:
        >>> import torch
        >>> image, ranks = torch.ones(1, 1, 1, 3), torch.tensor([[[2, 0, 1]]], dtype=torch.int32)
        >>> blend_rank(image, 0.0, ranks, [0, 1, 3], keep="tail").flatten()
        tensor([1., 1., 1., 1., 0., 1., 0., 0., 0.])
    """
    function = "blend_rank"
    task = rendering(function, inputs, infill, mean=mean, std=std, dtype=dtype, memory_format=memory_format)
    check_ranks(function, ranks, inputs)
    steps = step_counts(function, "counts", counts, inputs)
    head = require_choice(function, "keep", keep, _KEEP) == 0
    refuse_vmap(function, ranks, steps)
    result = task.output(function, steps.shape[-1], out, {"ranks": ranks, "counts": steps})
    call(function, task.inputs, task.infill, ranks, steps, head, task.mean, task.std, result)
    return result


def check_ranks(function: str, ranks: Tensor, inputs: Tensor) -> None:
    """Checks that ranks belong to the inputs."""
    require_tensor(function, "ranks", ranks)
    require_dtype(function, "ranks", ranks, (torch.int32,), "make them with saliency_ext.ops.rank")
    require_shape(function, "ranks", ranks, "(N, H, W)", (inputs.shape[0], *inputs.shape[2:]))
    require_device(function, "ranks", ranks, inputs, "inputs")


def _fake(*_: object) -> None:
    pass


def _reference(
    inputs: Tensor,
    infill: Tensor,
    ranks: Tensor,
    counts: Tensor,
    head: bool,
    mean: Tensor | None,
    std: Tensor | None,
    out: Tensor,
) -> None:
    out.copy_(reference.blend(inputs, infill, reference.rank_weights(ranks, counts, head), mean, std))


define("blend_rank", Definition(fake=_fake, reference=_reference))
