"""Keyed noise: values that depend on what they belong to, not on how they are batched."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import reference
from ..checks import bad_type, bad_value, require_integer, require_sample_ids
from .native import Definition, call, define


def philox_uniform(shape: Sequence[int], sample_ids: Tensor, *, seed: int, stream: int = 0) -> Tensor:
    """Uniform noise in [0, 1), one image of `shape` per sample id.

    value = u / 2^24 with u the upper 24 bits of Philox 4x32-10 [Salmon 2011] at counter (pixel, stream, sample id, channel)
    under key `seed`: the same for the same key in any batch, order, or device.

    Args:
        shape: (C, H, W), C < 65,536.
        sample_ids: (N,) int64 in [0, 2^48); its device is the result's.
        seed: in [0, 2^63).
        stream: which independent draw of a sample (step, repetition, purpose), in [0, 2^31).

    Returns:
        (N, C, H, W) float32.

    Raises:
        TypeError: sample_ids is not int64; seed or stream is not an int.
        ValueError: shape is not three sizes >= 0; ids, seed or stream out of range.

    Note:
        Deterministic, bit-equal on CPU and CUDA. No generator state is read or changed. Memory: the output. Reference:
        `saliency_ext.reference.philox_uniform`.

    Example:
        >>> import torch
        >>> whole = philox_uniform((1, 2, 2), torch.tensor([7, 9]), seed=1)
        >>> bool((philox_uniform((1, 2, 2), torch.tensor([9]), seed=1)[0] == whole[1]).all())
        True
    """
    return _noise("philox_uniform", shape, sample_ids, seed, stream, normal=False)


def philox_normal(shape: Sequence[int], sample_ids: Tensor, *, seed: int, stream: int = 0) -> Tensor:
    """Standard normal noise, one image of `shape` per sample id.

    Box-Muller on pairs of words: z = sqrt(-2 ln u) (cos 2 pi v, sin 2 pi v) for pixels 2j and 2j + 1; |z| <= 6.66.

    Args:
        shape, sample_ids, seed, stream: as in `philox_uniform`. The two draw from the same words: use another stream where
            both are needed.

    Returns:
        (N, C, H, W) float32.

    Raises:
        TypeError, ValueError: as `philox_uniform`.

    Note:
        Deterministic. Logarithm, sine and cosine are our own series, so the bits are those of the same arithmetic on every
        device. u is rounded to float32: against exact arithmetic a value differs by less than 1e-6 nearly always, and by up to
        3e-4 where u is so close to 1 that the value is near 0. Reference: `saliency_ext.reference.philox_normal`.

    Example:
        >>> import torch
        >>> noise = philox_normal((3, 64, 64), torch.arange(8), seed=0)
        >>> round(float(noise.mean()), 2), round(float(noise.std()), 2)
        (0.0, 1.0)
    """
    return _noise("philox_normal", shape, sample_ids, seed, stream, normal=True)


def _noise(function: str, shape: Sequence[int], sample_ids: Tensor, seed: int, stream: int, normal: bool) -> Tensor:
    if not isinstance(shape, Sequence) or not all(isinstance(size, int) for size in shape):
        bad_type(function, "shape", "to be three ints", _types(shape))
    if len(shape) != 3 or any(size < 0 for size in shape) or shape[0] > 65535:
        bad_value(function, "shape", "(C, H, W) with C in [0, 65535] and H, W >= 0", tuple(shape))
    require_sample_ids(function, sample_ids)
    require_integer(function, "seed", seed, 0, 2**63 - 1)
    require_integer(function, "stream", stream, 0, 2**31 - 1)
    return call("noise", sample_ids, *shape, normal, seed, stream)  # type: ignore[no-any-return]


def _types(shape: object) -> str:
    return str(shape) if isinstance(shape, Sequence) else type(shape).__name__


def _fake(sample_ids: Tensor, channels: int, height: int, width: int, normal: bool, seed: int, stream: int) -> Tensor:
    return sample_ids.new_empty((sample_ids.shape[0], channels, height, width), dtype=torch.float32)


def _reference(sample_ids: Tensor, channels: int, height: int, width: int, normal: bool, seed: int, stream: int) -> Tensor:
    draw = reference.philox_normal if normal else reference.philox_uniform
    return draw(sample_ids, channels, height, width, seed=seed, stream=stream)


define("noise", Definition(fake=_fake, reference=_reference))
