"""The segments of a pair search: cells of a grid, or the masks of a Segment Anything model in a local folder."""

import argparse
import importlib
from functools import partial
from pathlib import Path

import torch

from ..disambiguation import SegmentAnything
from ..segmentation import Segmenter, grid
from .models import LoadedModel
from .outcome import refuse


def asked_segmenter(options: argparse.Namespace, model: LoadedModel) -> tuple[str, Segmenter]:
    """What the segments are, in words, and what makes them: of --cells or --masks."""
    if options.masks is None:
        return f"{options.cells} x {options.cells} cells", partial(grid, cells=options.cells)
    folder = Path(options.masks).expanduser()
    if not (folder / "config.json").is_file():
        refuse(f"--masks: expected a folder with config.json, as save_pretrained writes it, got {str(folder)!r}")
    try:
        library = importlib.import_module("transformers")
        found = library.SamModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except Exception as error:  # of many kinds: not installed, broken, no such weights
        refuse(f"--masks: cannot load {str(folder)!r}: {type(error).__name__}: {error}; it needs `pip install transformers`")
    place = next(model.forward.parameters(), torch.empty(0)).device
    masks = SegmentAnything(found.eval().to(place), mean=model.preprocessing.mean, std=model.preprocessing.std)
    return f"masks of a Segment Anything model in {folder.name}", masks
