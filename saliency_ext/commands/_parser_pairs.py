"""The words of `disambiguate` and `verify`, and what they mean."""

import argparse
from collections.abc import Callable

from ..disambiguation.rules import PRESETS
from ..infill.registry import infill_summaries
from . import disambiguate
from ._command_result import EXIT_CODES

_DISAMBIGUATE = f"""\
Are two of a model's top labels two things in the picture, or two names of one? Every pair gets a verdict: distinct, shared, both
or undecided; and where it is settled a proof that anyone can check with `verify`, with a picture of its regions.

  saliency-ext disambiguate
  saliency-ext disambiguate spider.jpg --top 5 --model torchvision:resnet18 --out spider

A proof says what THIS model does with these regions removed. "undecided" does not mean one thing.

{EXIT_CODES}"""
_VERIFY = f"""\
Checks a proof of `disambiguate` on the model, in at most two forward passes. Refused for another model or picture.

  saliency-ext verify pairs/proof-distinct-3-8.json
  saliency-ext verify spider/proof-distinct-72-74.json spider.jpg --model torchvision:resnet18

{EXIT_CODES}"""


def add_pairs(
    command: Callable[..., argparse.ArgumentParser], model: Callable[[argparse.ArgumentParser], None], seed: Callable[[str], int]
) -> None:
    """Adds both commands. model adds the options of a model, seed reads one."""
    result = command("disambiguate", "top labels of an image: one thing or two, with proofs", _DISAMBIGUATE, disambiguate.run)
    result.add_argument("image", nargs="?", help="a picture; default with --model testbed: one of its scenes")
    model(result)
    result.add_argument("--top", type=int, default=5, metavar="K", help="how many labels, >= 2; default: 5")
    result.add_argument("--cells", type=int, default=8, metavar="N", help="the image is cut into N x N segments; default: 8")
    result.add_argument(
        "--masks", metavar="FOLDER", help="segments from a Segment Anything model of transformers in this folder, not cells"
    )  # fmt: skip
    result.add_argument("--rules", choices=tuple(PRESETS), default="default", help="published thresholds, or ours (default)")
    names = ", ".join(infill_summaries())
    result.add_argument(
        "--infill", default="dataset_mean", metavar="NAME", help=f"what is removed becomes: {names}; default: dataset_mean"
    )
    result.add_argument(
        "--others", nargs="*", default=["blur", "noise"], metavar="NAME", help="infills under which each proof is tried again; "
        "one that holds under any is robust; default: blur noise"
    )  # fmt: skip
    result.add_argument("--seed", type=seed, default=0, help="of noise and of the scene; default: 0")
    result.add_argument("--out", default="pairs", metavar="FOLDER", help="for proofs and pictures; default: pairs")
    checked = command("verify", "check a proof of disambiguate on the model", _VERIFY, disambiguate.verify_proof)
    checked.add_argument("proof", help="a file that disambiguate wrote")
    checked.add_argument("image", nargs="?", help="the picture; default with --model testbed: its scene")
    model(checked)
    checked.add_argument("--seed", type=seed, default=0, help="of the scene; default: 0")
