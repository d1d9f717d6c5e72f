"""Reference of the keyed noise: Philox 4x32-10 in 64-bit integers, Box-Muller in float64."""

import math

import torch
from torch import Tensor

_LOW = 0xFFFFFFFF


def _multiply(a: int, b: Tensor) -> tuple[Tensor, Tensor]:
    """High and low 32 bits of a product of 32-bit numbers, without overflowing int64."""
    low = (a & 0xFFFF) * b
    high = (a >> 16) * b + (low >> 16)
    return high >> 16, ((high & 0xFFFF) << 16 | low & 0xFFFF) & _LOW


def philox_words(sample_ids: Tensor, channels: int, height: int, width: int, *, seed: int, stream: int) -> Tensor:
    """Words (N, C, H, W) int64 in [0, 2^32): counter (pixel / 4, stream, sample id, channel), key seed, lane pixel mod 4."""
    shape = (sample_ids.shape[0], channels, height * width)
    device = sample_ids.device
    pixel = torch.arange(shape[2], device=device).expand(shape)
    channel = torch.arange(channels, device=device).view(1, -1, 1)
    sample = sample_ids.view(-1, 1, 1)
    c0, c1 = pixel >> 2, torch.full_like(pixel, stream & _LOW)
    c2 = (sample & _LOW).expand(shape)
    c3 = ((sample >> 32 & 0xFFFF) | channel << 16).expand(shape)
    k0, k1 = seed & _LOW, seed >> 32 & _LOW
    for _ in range(10):
        high0, low0 = _multiply(0xD2511F53, c0)
        high1, low1 = _multiply(0xCD9E8D57, c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) & _LOW, (k1 + 0xBB67AE85) & _LOW
    words = torch.stack([c0, c1, c2, c3]).gather(0, (pixel & 3)[None])[0]
    return words.reshape(shape[0], channels, height, width)


def philox_uniform(sample_ids: Tensor, channels: int, height: int, width: int, *, seed: int, stream: int) -> Tensor:
    """Uniform values in [0, 1): the upper 24 bits of each word."""
    words = philox_words(sample_ids, channels, height, width, seed=seed, stream=stream)
    return (words >> 8).float() * 2.0**-24


def philox_normal(sample_ids: Tensor, channels: int, height: int, width: int, *, seed: int, stream: int) -> Tensor:
    """Normal values by Box-Muller: pixels 2j and 2j + 1 share the words of both."""
    pairs = -(-height * width // 2)
    flat = philox_words(sample_ids, channels, 1, 2 * pairs, seed=seed, stream=stream).double()
    first, second = flat.reshape(sample_ids.shape[0], channels, pairs, 2).unbind(-1)
    radius = torch.sqrt(-2 * torch.log((first + 1) * 2.0**-32))
    angle = 2 * math.pi * (second // 256) * 2.0**-24
    both = torch.stack([radius * angle.cos(), radius * angle.sin()], -1).flatten(2)
    return both[..., : height * width].reshape(sample_ids.shape[0], channels, height, width).float()
