"""`saliency-ext disambiguate`: whether top labels of a model are distinct objects in an image or share evidence."""

import argparse
from pathlib import Path

import torch

from .._atomic_io import write_whole
from ..checks import InvalidArgument
from ..disambiguation import PairFinder, Proof, SegmentAnything, preset_rules, read_proof, verify, write_proof
from ..infill.registry import infill_summaries
from ..report import PairExample, write_pairs
from ..report._contact_sheet import with_texts, wrapped
from ..report._pairs import region_picture, statements, strength
from ..report._pictures import legible, png
from ._checked_model import checked_model
from ._choices import infill_by_name
from ._command_result import CONDITION, CommandResult, refuse
from ._models import CommandModel
from ._output_paths import folder_place, writing
from ._preprocessing import seen
from ._segmenters import requested_segments
from ._shared_options import BATCH
from .evaluate import label
from .explain import read_image

PAGE = "index.html"
_GAP, _LINE = 8, 20  # pixels between the pictures of a proof, and of a line of text below


def run(options: argparse.Namespace) -> CommandResult:
    """Writes a proof and a picture for each pair that is settled and a page of all, and prints a table."""
    model = checked_model(options)
    name, inputs = read_image(options.image, model, options.seed)
    infills = [
        infill_by_name(each, model.preprocessing, options.seed) for each in dict.fromkeys([options.infill, *options.others])
    ]
    choices = preset_rules(options.rules) | {"infill": infills[0], "others": infills[1:]}
    images = inputs[None].to(model.device)
    segments, segmenter = requested_segments(options, model)
    out = folder_place("--out", options.out)
    try:
        finder = PairFinder(model.forward, segmenter=segmenter, max_batch=options.max_batch or BATCH, **choices)
        # Of masks the atoms are bounded by dropping masks, not by merging atoms: every mask stays a union of segments.
        result = segmenter.partition(images, min_pixels=finder.min_pixels) if isinstance(segmenter, SegmentAnything) else None
        pairs = finder(images, f"top-{options.top}", segments=result)[0]
        names = {each: label(model, each) for pair in pairs for each in pair.labels}
        example = PairExample(name, seen(inputs, model.preprocessing), pairs, names)
        with writing("disambiguate"):
            files = {id(proof): _write(example, proof, out) for pair in pairs for proof in pair.proofs}
            page = write_pairs([example], out / PAGE, facts=_facts(options, model, segments))
    except (OSError, TypeError, ValueError, ImportError) as error:
        refuse(f"disambiguate: {error}")
    lines = [f"{name}: {len(pairs)} pairs of the top {options.top} labels", *_table(example, files), ""]
    lines.append(f"{finder.masked_inputs} masked inputs in {finder.counters.forwards} forwards, and those of the attribution.")
    return CommandResult("\n".join([*lines, f"Report: {page.resolve()}"]))


def _write(example: PairExample, proof: Proof, out: Path) -> Path:
    stem = f"proof-{proof.kind}-{proof.labels[0]}-{proof.labels[1]}"
    write_whole(out / f"{stem}.png", png(picture(example, proof)))
    return write_proof(proof, out / f"{stem}.json")


def _facts(options: argparse.Namespace, model: CommandModel, segments: str) -> dict[str, str]:
    return {
        "model": model.spec,
        "prepared": str(model.preprocessing),
        "segments": segments,
        "rules": options.rules,
        "removed pixels become": f"{options.infill} ({infill_summaries().get(options.infill, 'given by its import path')})",
        "tried again under": ", ".join(options.others) or "nothing else",
        "seed": str(options.seed),
    }


def verify_proof(options: argparse.Namespace) -> CommandResult:
    """Checks a proof; exit status 1 where it does not hold."""
    model = checked_model(options)
    _, inputs = read_image(options.image, model, options.seed)
    try:
        proof = read_proof(Path(options.proof))
        result = verify(model.forward, inputs.to(model.device), proof)
    except (OSError, TypeError, ValueError) as error:
        invalid = InvalidArgument.of(error)
        of_image = invalid is not None and invalid.argument == "image"
        remedy = f", or of this one prepared otherwise than here, {model.preprocessing}: say --size, --mean, --std"
        refuse(f"verify: {error}{remedy if of_image else ''}")
    labels = " and ".join(label(model, each) for each in proof.labels)
    what = {"distinct": "are two things", "shared": "are one thing"}[proof.kind]
    under = ", ".join(each.infill.name for each in proof.shown)
    terms = f"delta {proof.delta:g} %, by redacting at most {100 * proof.area_limit:g} % of it"
    head = f"{'valid' if result.valid else 'NOT valid'}: to this model {labels} {what} in this picture ({terms})"
    tail = f"checked under {under} in {result.forwards} forward pass(es)" + ("; robust" if proof.robust and result.valid else "")
    return CommandResult("\n".join([head, *result.reasons, tail]), 0 if result.valid else CONDITION)


def picture(example: PairExample, proof: Proof) -> torch.Tensor:
    """The image, the regions in colour beside it, and below in words what is left without them: (H', W', 3) uint8."""
    regions = region_picture(example.picture, proof)
    height, width = regions.shape[:2]
    image = legible(example.picture)
    texts = wrapped([f"{line}." for line in (*statements(example, proof, colours=True), strength(proof))], 2 * width)
    sheet = torch.full((height + _GAP + _LINE * len(texts), 2 * width + _GAP, 3), 255, dtype=torch.uint8)
    sheet[:height, :width], sheet[:height, width + _GAP :] = image, regions
    return with_texts(sheet, [(2, height + _GAP // 2 + _LINE * line, text) for line, text in enumerate(texts)])


def _table(example: PairExample, files: dict[int, Path]) -> list[str]:
    """Settled pairs with what shows it, then the undecided ones; those that were not judged share a line."""
    converged: list[str] = []
    open_: list[str] = []
    idle: dict[str, list[str]] = {}
    for pair in example.pairs:
        names = " / ".join(f"{example.name(each)} {share:.2f}" for each, share in zip(pair.labels, pair.clean, strict=True))
        if pair.status != "ok":
            idle.setdefault(f"{pair.status}: {pair.reason}", []).append(names)
        elif not pair.proofs:
            open_.append(f"  {names}: undecided; {pair.reason}")
        for proof in pair.proofs:
            converged.append(f"  {names}: {proof.kind} at {proof.delta:g} %, {strength(proof)}")
            converged += [f"      {line}" for line in (*statements(example, proof), str(files[id(proof)]))]
    return [
        *converged,
        *open_,
        *(line for reason, names in idle.items() for line in (f"  {reason}:", f"      {'; '.join(names)}")),
    ]
