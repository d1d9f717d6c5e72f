"""Pixel flipping as Quantus has it, by Quantus and by us: same arrays, same model, same numbers.

`python -m bench.quantus_flipping`; writes bench/results/quantus.json where Quantus is installed, else says why it is skipped.
Seconds are processor time of one thread: what other processes take is not in them, but they share our caches and memory.

A trivial model (of the mean of the image), so that what is measured is the work around it: ordering, flipping, calling. The
images are grey: 1792 is no multiple of 3, so a step ends between channels of one pixel, whose published order is undefined; here
it does not matter.
"""

import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from saliency_ext.integrations.quantus import pixel_flipping

from .common import optional_import
from .report import write_json
from .timing import Timer, paired

SIDE, STEP, IMAGES = 224, 1792, 4  # 84 steps


def main() -> int:
    """Checks that both give the same curves, then times them in turn."""
    quantus, error = optional_import("quantus")
    if quantus is None:
        print({"status": "skipped", "reason": f"quantus cannot be imported: {type(error).__name__}: {error}"})
        return 0
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    x = np.ascontiguousarray(rng.random((IMAGES, 1, SIDE, SIDE), dtype=np.float32).repeat(3, 1))
    a = rng.permuted(np.arange(IMAGES * SIDE * SIDE, dtype=np.float32).reshape(IMAGES, 1, SIDE, SIDE), axis=None)
    a = a.reshape(IMAGES, 1, SIDE, SIDE) / a.size
    y = np.arange(IMAGES) % 3
    head = torch.nn.Linear(3, 3)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([1.0, 2.0, -1.0])[:, None].expand(3, 3))
    model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), head).eval()
    theirs = quantus.PixelFlipping(features_in_step=STEP, disable_warnings=True, normalise=False)
    ours = pixel_flipping(STEP)
    call: dict[str, Any] = {"model": model, "x_batch": x, "y_batch": y, "a_batch": a, "softmax": True}
    pair = paired(
        lambda: ours(**call),
        lambda: theirs(**call, device="cpu"),
        check=lambda one, two: float(np.abs(np.array(one) - np.array(two)).max()),
        tolerance=1e-6,
        seconds=20.0,
        warmup=1,
        timer=Timer(clock=time.process_time),
    )
    row = {
        "case": f"pixel flipping, ({IMAGES}, 3, {SIDE}, {SIDE}) float32, {len(ours(**call)[0])} steps, a model of the mean",
        "quantus": quantus.__version__,
        "torch": torch.__version__,
        "threads": 1,
        "aim": 8,
        "machine": platform.processor() or platform.machine(),
        "times_faster": [pair.ratio, pair.low, pair.high],
        "seconds_per_image": {"ours": pair.a_seconds / IMAGES, "quantus": pair.b_seconds / IMAGES},
        "rounds": pair.rounds,
        "max_difference": pair.error,
    }
    write_json(Path(__file__).parent / "results" / "quantus.json", row)
    print(row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
