"""The images of a run: scenes of the testbed with their truth, or a folder of pictures."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..evaluation._input_chunks import GIVEN
from ..models import PreprocessSpec
from ..study.samples import SampleBatch
from ..testbed.scene_config import SceneConfig
from ..testbed.scenes import CLASSES, Scenes, make_scenes
from ..testbed.truth import other_region, own_region
from ._command_result import class_index, refuse
from ._models import TESTBED, CommandModel
from ._preprocessing import read_inputs

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
SCENES = 100  # where no limit is given
REFERENCE_IMAGES = 32  # images that stand for the data
PREDICTED, FOLDER = "predicted", "folder"


@dataclass(frozen=True)
class Data:
    """What a study reads, and what a report says of it.

    samples: a length and items by number, as `Study` takes them. names: one per sample. target: as `Study` takes it. others:
    where the other object is, for own minus other; None where that is not known. identity: stands for the content, where
    reading it all once more can be saved. about: a line for the report. reference_images: returns up to 32 images (M, C, H, W)
    that stand for the data, None where none can be read.
    """

    samples: Any
    names: list[str]
    target: str | int
    has_truth: bool
    others: Tensor | None
    identity: str | None
    about: str
    reference_images: Callable[[], Tensor | None] = lambda: None

    def targets(self, batch: SampleBatch) -> Any:
        """Target classes of the images of a batch: their own labels, one class, or the predicted ones."""
        if self.target != GIVEN:
            return self.target
        return torch.tensor([0 if label is None else label for label in batch.labels])


class SceneSamples:
    """Scenes of the testbed as samples: own object and its box as the truth."""

    def __init__(self, scenes: Scenes) -> None:
        self._inputs, self._labels = scenes.inputs, scenes.labels.tolist()
        self._truth = own_region(scenes, scenes.labels, "box")

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": self._inputs[index], "label": self._labels[index], "truth": self._truth[index]}


class PictureFolder:
    """Picture files as samples; one that cannot be read raises when it is read."""

    def __init__(self, paths: Sequence[Path], preprocessing: PreprocessSpec, labels: Sequence[int] | None) -> None:
        self._paths, self._preprocessing, self._labels = paths, preprocessing, labels

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item: dict[str, Any] = {"image": read_inputs(self._paths[index], self._preprocessing)}
        return item if self._labels is None else item | {"label": self._labels[index]}


def load_data(place: str | None, model: CommandModel, *, limit: int | None, target: str | None, seed: int) -> Data:
    """The images of a run.

    Args:
        place: a folder, or "testbed"; None: the testbed where the model is its net.
        model: what they are prepared for.
        limit: at most so many.
        target: "predicted", "folder" (the class is the name of a picture's folder) or a number; None: "predicted", but on the
            testbed the scene's own label.
        seed: of the scenes.
    """
    if place is None:
        if not model.spec.startswith(TESTBED):
            refuse("--data: expected a folder of images for a model of your own, got none")
        place = TESTBED
    if place == TESTBED:
        if not model.spec.startswith(TESTBED):
            refuse(
                f"--data: the scenes of the testbed are for --model {TESTBED}, got --model {model.spec}; give a folder of images"
            )
        return _scenes(SCENES if limit is None else limit, target, seed)
    return _folder(Path(place).expanduser(), model, limit, target or PREDICTED)


def _scenes(count: int, target: str | None, seed: int) -> Data:
    scenes = make_scenes("test", count, seed=seed, scene_config=SceneConfig(objects=2))
    if target not in (None, FOLDER):
        refuse(f"--target: the scenes of the testbed bring their own labels, got {target!r}")
    return Data(
        SceneSamples(scenes),
        [f"scene {index}: {CLASSES[label]}" for index, label in enumerate(scenes.labels.tolist())],
        GIVEN,
        True,
        other_region(scenes, scenes.labels, "box"),
        f"testbed, test split, two objects, seed {seed}, {count} scenes",
        f"{count} unseen testbed scenes with two handwritten digits in a photograph; truth: the box of the target digit",
        lambda: make_scenes("train", REFERENCE_IMAGES, seed=seed).inputs,
    )


def _folder(folder: Path, model: CommandModel, limit: int | None, target: str) -> Data:
    if not folder.is_dir():
        refuse(f"--data: expected a folder of images, got {str(folder)!r}")
    paths = picture_files(folder)
    if not paths:
        refuse(f"--data: no images in {str(folder)!r}; searched for files ending in {', '.join(SUFFIXES)}")
    total = len(paths)
    if limit is not None and limit < total:  # evenly over the sorted files: some of every class
        paths = [paths[place] for place in torch.linspace(0, total - 1, limit).round().long().tolist()]
    labels = None
    chosen: str | int = target
    if target == FOLDER:
        labels, chosen = [class_number(path.parent.name, model.labels, model.outputs) for path in paths], "given"
    elif target != PREDICTED:
        number = class_index(target, model.outputs)
        if number is None:
            known = "a class" if model.outputs is None else f"a class in [0, {model.outputs})"
            refuse(f"--target: expected {PREDICTED!r}, {FOLDER!r} or the number of {known}, got {target!r}")
        chosen = number
    names = [os.fsencode(path.relative_to(folder)).decode("utf-8", "replace") for path in paths]
    samples = PictureFolder(paths, model.preprocessing, labels)
    about = f"{len(paths)} of {total} pictures in {folder}"
    return Data(samples, names, chosen, False, None, None, about, lambda: picture_reference_images(folder, model.preprocessing))


def picture_files(folder: Path) -> list[Path]:
    """Files with the ending of a picture, in the folder and below, sorted; hidden ones left out."""
    result = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in result if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def picture_reference_images(folder: Path, preprocessing: PreprocessSpec) -> Tensor | None:
    """Pictures spread evenly over a folder, as inputs (M, C, H, W); those that cannot be read are left out."""
    paths = picture_files(folder)
    result = []
    for place in torch.linspace(0, max(len(paths) - 1, 0), min(REFERENCE_IMAGES, len(paths))).round().long().tolist():
        try:
            result.append(read_inputs(paths[place], preprocessing))
        except Exception:  # of many kinds; the study records it
            continue
    return torch.stack(result) if result else None


def class_number(name: str, labels: Sequence[str] | None, outputs: int | None = None) -> int:
    """The class that a folder's name means: a number below that of the outputs, or one of the model's names."""
    number = class_index(name, outputs)
    if number is not None:
        return number
    wanted = _plain(name)
    for number, label in enumerate(labels or ()):
        if wanted == _plain(label) or wanted in map(_plain, label.split(",")):
            return number
    below = "" if outputs is None else f" in [0, {outputs})"
    known = f"{len(labels)} classes of the model" if labels else f"numbers{below}, as the model does not name its classes"
    refuse(f"--target {FOLDER}: the folder {name!r} names none of the {known}")


def _plain(label: str) -> str:
    return " ".join(label.casefold().replace("_", " ").replace("-", " ").split())
