"""Every op once at small awkward sizes on the GPU, against the CPU: the program that compute-sanitizer watches.

`python -m bench.gpu_sanitize`; gpu.sh sets PYTORCH_NO_CUDA_MEMORY_CACHING=1, so that each tensor is an allocation of its own and
a read past its end is seen.
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from saliency_ext import ops

from .common import max_difference

SIZES = ((1, 1), (1, 33), (31, 1), (32, 32), (33, 31), (17, 257))
Move = Callable[[Tensor], Tensor]


def draws(height: int, width: int) -> Iterator[tuple[str, float, Callable[[Move], Any]]]:
    """Name, tolerance and call of each op; the call takes the function that moves tensors to a device."""
    n, c, pixels = 2, 3, height * width
    generator = torch.Generator().manual_seed(pixels)
    image, infill = (torch.randn(n, c, height, width, generator=generator) for _ in range(2))
    saliency = torch.randn(n, height, width, generator=generator).relu()
    mask = torch.rand(3, height, width, generator=generator)
    ranks = ops.rank(saliency)
    counts, ids = torch.tensor([0, pixels // 2, pixels]), torch.tensor([5, 7])
    boxes = torch.tensor([[-1, -1, 2, 2], [0, 0, height, width], [height // 2, width // 2, height + 3, width + 3]])
    grids, shifts = torch.rand(3, 2, 3, generator=generator) > 0.5, torch.zeros(3, 2, dtype=torch.int64)
    labels = torch.randint(-1, 4, (n, height, width), generator=generator)
    bits = torch.rand(3, 4, generator=generator) > 0.5
    weight = torch.randn(n, c, generator=generator)
    yield "rank", 0, lambda to: ops.rank(to(saliency))
    yield "rank float64, random ties", 0, lambda to: ops.rank(to(saliency.double()), ties="random", sample_ids=to(ids))
    yield "topk_mask", 0, lambda to: ops.topk_mask(to(saliency), to(counts))
    for dtype, layout in ((None, torch.contiguous_format), (torch.bfloat16, torch.channels_last)):
        options: dict[str, Any] = {"dtype": dtype, "memory_format": layout, "mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7)}
        bound = 1e-5 if dtype is None else 2.0**-4
        form = f"{dtype or 'float32'}, {layout}"
        for name, call in (
            ("blend_rank", lambda to, o: ops.blend_rank(to(image), to(infill), to(ranks), to(counts), **o)),
            ("blend_boxes", lambda to, o: ops.blend_boxes(to(image), to(infill), to(boxes), **o)),
            ("blend_grids", lambda to, o: ops.blend_grids(to(image), to(infill), to(grids), to(shifts), **o)),
            ("blend_segments", lambda to, o: ops.blend_segments(to(image), to(infill), to(labels), to(bits), **o)),
            ("blend_dense", lambda to, o: ops.blend_dense(to(image), to(infill), to(mask), **o)),
        ):
            yield f"{name} {form}", bound, partial(call, o=options)

    def dense_gradients(to: Move) -> Any:
        leaves = [to(x).clone().requires_grad_() for x in (image, infill, mask)]
        return torch.autograd.grad(ops.blend_dense(*leaves).square().sum(), leaves)

    def variation(to: Move, kind: str) -> Any:
        return ops.total_variation(to(image), kind=kind)

    def weighted_variation(to: Move, kind: str) -> Any:
        return ops.total_variation_with_grad(to(image), to(weight), kind=kind)

    def noise(to: Move, draw: Callable[..., Any]) -> Any:
        return draw((c, height, width), to(ids), seed=3)

    yield "blend_dense backward", 1e-3, dense_gradients
    yield "blend_rank_", 0, lambda to: ops.blend_rank_(to(image).clone(), to(infill), to(ranks), 0, pixels // 2)
    for kind in ("anisotropic", "isotropic", "squared"):
        yield f"total_variation {kind}", 1e-2, partial(variation, kind=kind)
        yield f"total_variation_with_grad {kind}", 1e-2, partial(weighted_variation, kind=kind)
    for name in ("philox_uniform", "philox_normal"):
        yield name, 1e-6, partial(noise, draw=getattr(ops, name))
    yield "gaussian_blur", 1e-5, lambda to: ops.gaussian_blur(to(image), 2.0)


def main(device: str) -> int:
    """Exit status: 0 if every op agrees with the CPU."""
    wrong = runs = 0
    for height, width in SIZES:
        for name, tolerance, call in draws(height, width):
            runs += 1
            difference = max_difference(call(lambda x: x), call(lambda x: x.to(device)))
            if not difference <= tolerance:
                wrong += 1
                print(f"{name} at {height} x {width}: differs from the CPU by {difference:.3g} > {tolerance:.3g}")
    print(f"{runs} calls, {wrong} differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "cuda"))
