"""`saliency-ext explain`: the maps of the chosen methods for one image, as one picture."""

import argparse
import warnings
from pathlib import Path

import torch

from .._atomic_io import write_whole
from ..attribution.registry import METHODS
from ..report import Example
from ..report._contact_sheet import contact_sheet
from ..testbed.scene_config import SceneConfig
from ..testbed.scenes import make_scenes
from ._checked_model import checked_model
from ._choices import infill_by_name
from ._command_result import FAILED, CommandResult, class_index, in_one_line, refuse
from ._data import REFERENCE_IMAGES, picture_reference_images
from ._methods import Sampling, chosen_methods
from ._models import TESTBED, CommandModel
from ._output_paths import file_place, writing
from ._preprocessing import read_inputs, seen
from ._required_packages import TESTBED as TESTBED_PACKAGES
from ._required_packages import require_packages
from ._shared_options import BATCH, SharedOptions
from .evaluate import label


def run(options: argparse.Namespace) -> CommandResult:
    """Writes the picture."""
    require_packages("explain", ("PIL", *TESTBED_PACKAGES) if options.model.startswith(TESTBED) else ("PIL",))
    out = file_place("--out", options.out)
    model = checked_model(options)
    name, inputs = read_image(options.image, model, options.seed)
    infill = infill_by_name(options.infill, model.preprocessing, options.seed)
    shared = SharedOptions(infill, 20, "probability", options.seed, options.max_batch or BATCH)
    sampling = Sampling(options.samples, lambda: _reference_images(options.data, model, options.seed))
    methods = chosen_methods(options.methods, model, shared, controls=False, sampling=sampling)
    images = inputs[None].to(model.device)
    with torch.no_grad():
        probabilities = model.forward(images).softmax(1)[0]
    if not bool(probabilities.isfinite().all()):
        refuse(f"IMAGE: the model's scores of {name} are not finite, so no class of it can be explained", FAILED)
    target = _target(options.target, probabilities, model)
    maps = {}
    for own, method in methods.items():
        try:
            maps[own] = method(images, target)[0].cpu()
        except (TypeError, ValueError, RuntimeError) as error:
            if not options.methods:
                text = f"--methods: without {own}, which failed on {name}: {in_one_line(error)}"
                warnings.warn(text, RuntimeWarning, stacklevel=2)
                continue
            refuse(f"--methods: {own} failed on {name}: {error}; it is {METHODS.summaries().get(own, own)}")
    if not maps:
        refuse("--methods: none of the usual ones can be used on this model; `saliency-ext list` shows all names")
    caption = f"{name}: {label(model, target)}, probability {probabilities[target]:.2f}"
    with writing("explain"):
        write_whole(out, contact_sheet(Example(caption, seen(inputs, model.preprocessing), maps)))
    return CommandResult(f"{caption}\nPrepared: {model.preprocessing}\nMaps of {', '.join(maps)}: {out.resolve()}")


def read_image(path: str | None, model: CommandModel, seed: int) -> tuple[str, torch.Tensor]:
    """Name and inputs (3, H, W)."""
    if path is None:
        if not model.spec.startswith(TESTBED):
            refuse("IMAGE: expected the file of an image for a model of your own, got none")
        return "a testbed scene", make_scenes("test", 1, seed=seed, scene_config=SceneConfig(objects=2)).inputs[0]
    try:
        return Path(path).name, read_inputs(path, model.preprocessing)
    except Exception as error:  # Pillow raises many kinds for a file that is no picture
        refuse(f"IMAGE: cannot read {path!r} as a picture: {error}")


def _reference_images(folder: str | None, model: CommandModel, seed: int) -> torch.Tensor | None:
    """Images that stand for the data: a folder's, or training scenes."""
    if folder is not None:
        return picture_reference_images(Path(folder).expanduser(), model.preprocessing)
    return make_scenes("train", REFERENCE_IMAGES, seed=seed).inputs if model.spec.startswith(TESTBED) else None


def _target(text: str, probabilities: torch.Tensor, model: CommandModel) -> int:
    if text == "predicted":
        return int(probabilities.argmax())
    if (number := class_index(text, len(probabilities))) is not None:
        return number
    if model.labels and text in model.labels:
        return model.labels.index(text)
    refuse(f"--target: expected 'predicted', a class in [0, {len(probabilities)}) or its name, got {text!r}")
