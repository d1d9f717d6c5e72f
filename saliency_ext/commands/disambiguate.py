"""`saliency-ext disambiguate`: which of a model's top labels are two things in a picture, and which are names of one."""

import argparse
from functools import partial
from pathlib import Path

import torch

from ..disambiguation import PairFinder, PairResult, Proof, preset, read_proof, verify, write_proof
from ..report.pictures import png
from ..segmentation import grid
from .choices import make_infill
from .evaluate import label
from .explain import read_image
from .models import LoadedModel, asked_model
from .outcome import CONDITION, Outcome, refuse

_BATCH = 64
_FIRST, _SECOND = (240, 128, 20), (50, 130, 220)  # of the regions of the two labels; what lowers both has both colours' mean
_LEAST = 192  # pixels of the longer side of a picture, at least


def run(options: argparse.Namespace) -> Outcome:
    """Writes a proof and a picture for each pair that is settled, and prints a table of all."""
    model = asked_model(options)
    name, inputs = read_image(options.image, model, options.seed)
    infills = [make_infill(each, model.preprocessing, options.seed) for each in dict.fromkeys([options.infill, *options.others])]
    choices = preset(options.rules) | {"infill": infills[0], "others": infills[1:]}
    images = inputs[None].to(next(model.forward.parameters(), inputs).device)
    out = Path(options.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        segmenter = partial(grid, cells=options.cells)
        finder = PairFinder(model.forward, segmenter=segmenter, max_batch=options.max_batch or _BATCH, **choices)
        pairs = finder(images, f"top-{options.top}")[0]
    except (OSError, TypeError, ValueError) as error:
        refuse(f"disambiguate: {error}")
    lines = [f"{name}: {len(pairs)} pairs of the top {options.top} labels"]
    for pair in pairs:
        lines.append(_line(model, pair))
        for proof in pair.proofs:
            stem = f"proof-{proof.kind}-{proof.labels[0]}-{proof.labels[1]}"
            lines.append(f"    {write_proof(proof, out / f'{stem}.json')}")
            (out / f"{stem}.png").write_bytes(png(picture(model.preprocessing.shown(inputs), proof)))
    lines.append(f"{finder.masked_inputs} masked inputs in {finder.counters.forwards} forwards, and those of the attribution.")
    return Outcome("\n".join(lines))


def verify_proof(options: argparse.Namespace) -> Outcome:
    """Checks a proof; exit status 1 where it does not hold."""
    model = asked_model(options)
    _, inputs = read_image(options.image, model, options.seed)
    try:
        proof = read_proof(Path(options.proof))
        found = verify(model.forward, inputs.to(next(model.forward.parameters(), inputs).device), proof)
    except (OSError, TypeError, ValueError) as error:
        refuse(f"verify: {error}")
    labels = " and ".join(label(model, each) for each in proof.labels)
    what = {"distinct": "are two things", "shared": "are one thing"}[proof.kind]
    under = ", ".join(each.infill.name for each in proof.shown)
    head = f"{'valid' if found.valid else 'NOT valid'}: to this model {labels} {what} in this picture (delta {proof.delta:g} %)"
    tail = f"checked under {under} in {found.forwards} forward pass(es)" + ("; robust" if proof.robust and found.valid else "")
    return Outcome("\n".join([head, *found.reasons, tail]), 0 if found.valid else CONDITION)


def picture(shown: torch.Tensor, proof: Proof) -> torch.Tensor:
    """The image, then one copy per mask with its region in colour: (H, W', 3) uint8."""
    factor = max(1, -(-_LEAST // max(shown.shape[:2])))
    cells = [shown]
    colours = (_FIRST, _SECOND) if len(proof.masks) == 2 else (tuple((a + b) // 2 for a, b in zip(_FIRST, _SECOND, strict=True)),)
    for mask, colour in zip(proof.masks, colours, strict=True):
        tinted = (shown.float() + torch.tensor(colour)) / 2
        cells.append(torch.where(mask[:, :, None], tinted, shown.float()).byte())
    enlarged = [cell.repeat_interleave(factor, 0).repeat_interleave(factor, 1) for cell in cells]
    gap = torch.full((enlarged[0].shape[0], 8, 3), 255, dtype=torch.uint8)
    return torch.cat([part for cell in enlarged for part in (cell, gap)][:-1], 1)


def _line(model: LoadedModel, pair: PairResult) -> str:
    names = " / ".join(f"{label(model, each)} {share:.2f}" for each, share in zip(pair.labels, pair.clean, strict=True))
    verdict = pair.verdict if pair.status == "ok" else pair.status
    robust = " (robust)" if pair.proofs and all(proof.robust for proof in pair.proofs) else ""
    return f"  {names:<32} {verdict}{robust}: {pair.reason}"
