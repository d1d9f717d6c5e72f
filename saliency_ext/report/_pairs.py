"""Pairs of labels in a report: proofs of distinct or shared evidence, their regions, and the scores without them."""

from collections.abc import Sequence
from math import isnan
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..disambiguation import PairResult, Proof
from ..disambiguation.proof import mask_names
from ..disambiguation.rules import measured
from ._pictures import data_uri, legible, shrunk
from .data import PairExample

COLOURS = {"U1": (240, 128, 20), "U2": (50, 130, 220), "D": (30, 160, 95)}  # orange, blue, green
_NAMES = {"U1": "orange", "U2": "blue", "D": "green"}
_MOST = 384  # pixels of the longer side of a picture in the page
_MEANING_OF_KIND = {"distinct": "two entities", "shared": "one entity"}
_MEASURES = {"probability": "the probability", "logit": "the logit's height above the mean logit"}
_MEASURES["both"] = f"{_MEASURES['probability']} / {_MEASURES['logit']} (both count)"


def region_picture(picture: Tensor, proof: Proof) -> Tensor:
    """The grey picture (H, W, 3) uint8 with each region in its colour and outlined; at least 192 pixels long, by whole pixels."""
    drawn = legible(picture.double().mean(-1, keepdim=True).expand_as(picture) * 0.7 + 60)
    for name, mask in zip(mask_names(proof.kind), proof.masks, strict=True):
        inside, colour = legible(mask[:, :, None]), torch.tensor(COLOURS[name], dtype=torch.float64)
        drawn = torch.where(inside, 0.5 * drawn + 0.5 * colour, drawn)
        drawn = torch.where(_outline(inside[..., 0])[..., None], colour, drawn)
    return drawn.round().clamp(0, 255).byte()


def _outline(inside: Tensor) -> Tensor:
    """Pixels of a region (H, W) within two pixels of its border; the border of the picture is none."""
    outside = functional.pad((~inside).float()[None, None], (2, 2, 2, 2))
    return inside & (functional.max_pool2d(outside, 5, 1)[0, 0] > 0)


def statements(example: PairExample, proof: Proof, colours: bool = False) -> list[str]:
    """In words, per region: what removing it leaves of both labels, under the infill of the search."""
    lines = []
    for name, area, row in zip(mask_names(proof.kind), proof.areas, _left(proof, 0), strict=True):
        first, *further = zip(*row, strict=True)  # by measure
        left = " and ".join(
            f"{percent(value)} of {example.name(label)}" for label, value in zip(proof.labels, first, strict=True)
        )
        region = f"the {_NAMES[name]} region" if colours else name
        logits = "".join(f", of the logits {' and '.join(map(percent, values))}" for values in further)
        lines.append(f"without {region} ({percent(100 * area)} of the image), {left} are left{logits}")
    return lines


def strength(proof: Proof) -> str:
    """In words, under which infills it holds."""
    first, *others = (each.infill.name for each in proof.shown)
    return f"robust: also under {', '.join(others)}" if others else f"under {first} alone"


def percent(value: float) -> str:
    """A share that is given in percent; below zero is said, as a share of a logit can be."""
    return "n/a" if isnan(value) else f"{value:.0f} %"


def pairs_section(examples: Sequence[PairExample]) -> list[dict[str, Any]]:
    """What the template shows of each image."""
    return [
        {
            "caption": example.caption,
            "picture": _uri(legible(example.picture)),
            "proofs": [_proof(example, pair, proof) for pair in example.pairs for proof in pair.proofs],
            "open": _open(example),
            "judged": sum(pair.status == "ok" for pair in example.pairs),
            "requested": len(example.pairs),
        }
        for example in examples
    ]


def _proof(example: PairExample, pair: PairResult, proof: Proof) -> dict[str, Any]:
    names = mask_names(proof.kind)
    return {
        "labels": [example.name(label) for label in proof.labels],
        "clean": [f"{value:.2f}" for value in pair.clean],
        "kind": proof.kind,
        "said": _MEANING_OF_KIND[proof.kind],
        "robust": proof.robust,
        "strength": strength(proof),
        "statements": statements(example, proof, colours=True),
        "picture": _uri(region_picture(example.picture, proof)),
        "regions": [
            {"name": name, "colour": "rgb({}, {}, {})".format(*COLOURS[name]), "area": f"{100 * area:.1f} %"}
            for name, area in zip(names, proof.areas, strict=True)
        ],
        "rows": [
            {
                "region": name,
                "infill": each.infill.name,
                "cells": [
                    {"value": " / ".join(map(percent, values)), "falls": falls}
                    for values, falls in zip(row, _falls(proof, place), strict=True)
                ],
            }
            for number, each in enumerate(proof.shown)
            for place, (name, row) in enumerate(zip(names, _left(proof, number), strict=True))
        ],
        "measure": _MEASURES[proof.score],
        "most": f"{100 - proof.delta:g}",
        "least": f"{proof.delta:g}",
        "margin": f"{proof.margin:.1f}",
    }


def _uri(picture: Tensor) -> str:
    return data_uri(shrunk(picture, {}, largest=_MOST)[0])


def _falls(proof: Proof, place: int) -> list[bool]:
    """Which of the two labels a region lowers."""
    return [True, True] if proof.kind == "shared" else [place == 0, place == 1]


def _left(proof: Proof, number: int) -> list[list[list[float]]]:
    """Percent left of both labels, per region, under one infill: by each measure that counts, the probability first."""
    values: list[list[list[float]]] = measured(proof.shown[number].retention, proof.score).tolist()
    return values


def _open(example: PairExample) -> list[dict[str, str]]:
    """Pairs without a proof; those that share verdict and reason share a line."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for pair in example.pairs:
        if not pair.proofs:
            names = " / ".join(f"{example.name(label)} {share:.2f}" for label, share in zip(pair.labels, pair.clean, strict=True))
            grouped.setdefault((pair.verdict if pair.status == "ok" else pair.status, pair.reason), []).append(names)
    return [{"verdict": verdict, "reason": reason, "pairs": "; ".join(names)} for (verdict, reason), names in grouped.items()]
