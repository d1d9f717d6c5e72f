"""Segments for `disambiguate`: cells of a grid, or the masks of a Segment Anything model in a local folder."""

import argparse
from functools import partial

from ..disambiguation import SegmentAnything
from ..integrations import transformers
from ..segmentation import Segmenter, grid
from ._command_result import refuse
from ._models import CommandModel


def requested_segments(options: argparse.Namespace, model: CommandModel) -> tuple[str, Segmenter]:
    """What the segments are, in words, and what makes them: of --cells or --masks."""
    if options.masks is None:
        return f"{options.cells} x {options.cells} cells", partial(grid, cells=options.cells)
    read, prepared = options.masks, model.preprocessing
    if prepared.channels != "RGB":
        refuse(f"--masks: expected a model that reads RGB, as Segment Anything does, got one that reads {prepared.channels}")
    try:
        result = transformers.load_masks(read).to(model.device)
        masks = SegmentAnything(result, mean=prepared.unit_mean, std=prepared.unit_std)
    except (FileNotFoundError, ImportError) as error:  # says what is missing
        refuse(f"--masks: {error}")
    except Exception as error:  # of many kinds: another model, no such weights, a broken file
        refuse(f"--masks: cannot load {read!r}: {type(error).__name__}: {error}")
    return f"masks of a Segment Anything model in {read}", masks
