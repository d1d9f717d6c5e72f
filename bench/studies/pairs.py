"""Pair verdicts against the testbed's truth: `python -m bench.studies.pairs [--quick] [--out FILE]`.

Per slice and setting: how often the verdict is the true one, with a 95 % interval (Wilson); how often proofs are valid when they
are read back from JSON and checked on the model; how often they hold under a second infill; masked inputs asked per pair.

True: two names of one digit are "shared", names of two digits "distinct", and a name of what is not there is a pair that cannot
be judged. Our rules try delta 80, as the published ones, and where that leaves a pair undecided 65: `accuracy_at_80` counts what
the first alone settles. Every pair counts, also where the net itself gives a label less than the floor. All settings see the
same pairs, images of the test split, and segments (a grid of 6 x 6). Our rules were chosen on scenes of the training split. No
limit is set on what a proof may redact: the published rules have none, and sets are not pruned here. Of the slices, "upper_half"
(a planted model) and "coarse_fine" (a part has no one true verdict) are left out.
"""

import argparse
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saliency_ext.attribution import GradCAM, InputXGradient, IntegratedGradients, LayerCAM
from saliency_ext.disambiguation import PairFinder, PairResult, preset_rules, proof_json, read_proof, verify
from saliency_ext.fingerprinting import tensor_digest
from saliency_ext.infill import Blur, DatasetMean, GaussianNoise, ImageExtreme
from saliency_ext.segmentation import grid
from saliency_ext.stats.intervals import share_interval
from saliency_ext.testbed.load import load_net
from saliency_ext.testbed.slices import RELATIONS, Slice, make_slice

from ..report import write_json

OUT = Path(__file__).parents[1] / "results" / "pairs.json"
PAIRS = {"easy": 64, "close": 40, "overlap": 40, "same_digit": 40, "low_contrast": 40, "unequal": 40, "noisy_synonym": 40}
TRUE = {"one": "shared", "two": "distinct", "absent": "pair_undefined"}
INFILLS = {"mean": DatasetMean(), "blur": Blur(4.0), "noise": GaussianNoise(0.0, 1.0, seed=0)}
CELLS = 6


class Remembered:
    """An attribution that makes each map once: settings that differ in other things share them."""

    def __init__(self, method: Any) -> None:
        self.method = method
        self.maps: dict[tuple[str, int], Tensor] = {}

    def __call__(self, inputs: Tensor, classes: Tensor) -> Tensor:
        """Maps (n, H, W)."""
        keys = [(tensor_digest(image), label) for image, label in zip(inputs, classes.tolist(), strict=True)]
        new = torch.tensor([number for number, key in enumerate(keys) if key not in self.maps], dtype=torch.int64)
        if len(new):
            self.maps |= {
                keys[at]: result for at, result in zip(new.tolist(), self.method(inputs[new], classes[new]), strict=True)
            }
        return torch.stack([self.maps[key] for key in keys])


def settings() -> Iterable[tuple[str, str, str]]:
    """(rules, method, infill): every method under the mean, the best-known one under every infill, the published rules."""
    yield from (("default", method, "mean") for method in ("grad_cam", "layer_cam", "input_x_gradient", "integrated_gradients"))
    yield from (("default", "grad_cam", infill) for infill in ("blur", "noise"))
    yield from ((rules, "integrated_gradients", "mean") for rules in ("pairs2024_diff", "pairs2024_own"))


def methods(model: Any) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """The attributions, made for the model; integrated gradients with 20 points (published: 50) and halved ends."""
    baselines = (ImageExtreme("min"), ImageExtreme("max"))
    return {
        "grad_cam": Remembered(GradCAM(model, model.blocks[-1])),
        "layer_cam": Remembered(LayerCAM(model, model.blocks[-1])),
        "input_x_gradient": Remembered(InputXGradient(model)),
        "integrated_gradients": Remembered(IntegratedGradients(model, baselines, steps=20, rule="trapezoid", channels="max")),
    }


def wilson(hits: int, count: int) -> list[float]:
    """95 % interval of a share."""
    return [math.nan, math.nan] if count == 0 else list(share_interval(hits, count))


def measured(model: Any, part: Slice, rules: str, attribution: Any, infill: str) -> dict[str, Any]:
    """One row: a setting on a slice."""
    others = [INFILLS["blur" if infill != "blur" else "mean"]]
    choices = {
        "rules": replace(preset_rules(rules)["rules"], area_limit=1.0),
        "min_pixels": preset_rules(rules)["min_pixels"],
        "minimise": False,
    }
    finder = PairFinder(model, INFILLS[infill], partial(grid, cells=CELLS), attribution=attribution, others=others, **choices)
    result = [pairs[0] for pairs in finder(part.scenes.inputs, part.pair)]
    said = [pair.verdict if pair.status == "ok" else pair.status for pair in result]
    truth = [RELATIONS[relation] for relation in part.relation.tolist()]
    right = sum(TRUE[true] == verdict for true, verdict in zip(truth, said, strict=True))
    judged = [(true, verdict) for true, verdict in zip(truth, said, strict=True) if verdict != "pair_undefined"]
    strict = [_at(pair, 80.0) if pair.status == "ok" else pair.status for pair in result]
    right_judged = sum(TRUE[true] == verdict for true, verdict in judged)
    proofs = [(index, proof) for index, pair in enumerate(result) for proof in pair.proofs]
    valid = sum(verify(model, part.scenes.inputs[index], read_proof(proof_json(proof))).valid for index, proof in proofs)
    return {
        "slice": part.name,
        "pairs": len(result),
        "accuracy": right / len(result),
        "interval": wilson(right, len(result)),
        "accuracy_at_80": sum(TRUE[true] == verdict for true, verdict in zip(truth, strict, strict=True)) / len(result),
        "judged": len(judged),
        "accuracy_judged": right_judged / max(len(judged), 1),
        "verdicts": {
            true: dict(Counter(v for t, v in zip(truth, said, strict=True) if t == true)) for true in sorted(set(truth))
        },
        "proofs": len(proofs),
        "proofs_valid": valid,
        "proofs_robust": sum(proof.robust for _, proof in proofs),
        "second_infill": others[0].name,
        "area": sum(sum(proof.areas) for _, proof in proofs) / max(len(proofs), 1),
        "masked_inputs_per_pair": finder.masked_inputs / len(result),
    }


def _at(pair: PairResult, delta: float) -> str:
    """The verdict, had this been the only threshold: a weaker one is only tried where it leaves the pair undecided."""
    return pair.verdict if all(proof.delta >= delta for proof in pair.proofs) else "undecided"


def study(pairs: dict[str, int], report: Callable[[str], None], path: Path | None) -> dict[str, Any]:
    """All rows; written after each slice, so that a long run shows what it has."""
    started = time.process_time()
    model: Any = load_net().to(memory_format=torch.channels_last)
    attributions = methods(model)
    content: dict[str, Any] = {"rows": [], "pairs": pairs, "segments": f"grid {CELLS} x {CELLS}", "torch": torch.__version__}
    content |= {"sharing": sharing(model, attributions["grad_cam"]), "complete": False}
    for name, count in pairs.items():
        part = make_slice(name, "test", count)
        for rules, method, infill in settings():
            result = measured(model, part, rules, attributions[method], infill)
            content["rows"].append({"rules": rules, "method": method, "infill": infill} | result)
            report(line(content["rows"][-1]))
        content["complete"] = name == list(pairs)[-1]
        content["processor_seconds"] = time.process_time() - started
        if path is not None:
            write_json(path, content)
    return content


def sharing(model: Any, attribution: Any) -> dict[str, Any]:
    """Masked inputs for all 10 pairs of a top-5, over those of a pair alone; without a floor, so that every pair is judged."""
    inputs = make_slice("easy", "test", 4).scenes.inputs
    rules = replace(preset_rules("default")["rules"], floor=0.0, area_limit=1.0)

    def requested(images: Tensor, labels: Any) -> tuple[list[PairResult], int]:
        finder = PairFinder(
            model, INFILLS["mean"], partial(grid, cells=CELLS), attribution=attribution, rules=rules, minimise=False
        )
        return finder(images, labels)[0], finder.masked_inputs

    ratios, same = [], True
    for image in inputs:
        whole, together = requested(image[None], "top-5")
        alone = [requested(image[None], torch.tensor([pair.labels])) for pair in whole]
        ratios.append(together / (sum(cost for _, cost in alone) / len(alone)))
        same &= all(one[0].verdict == pair.verdict for (one, _), pair in zip(alone, whole, strict=True))
    return {"ratio_to_one_pair": ratios, "verdicts_equal": same}


def line(row: dict[str, Any]) -> str:
    """A row as text."""
    low, high = row["interval"]
    checked = f"{row['proofs_valid']}/{row['proofs']} valid, {row['proofs_robust']} robust"
    setting = f"{row['slice']:<14} {row['rules']:<15} {row['method']:<21} {row['infill']:<6}"
    return (
        f"{setting} {row['accuracy']:.3f} [{low:.3f}, {high:.3f}]"
        f"  judged {row['judged']:>3} of {row['pairs']:>3}: {row['accuracy_judged']:.3f}  {checked:<26}"
        f" {row['masked_inputs_per_pair']:.0f} masked inputs a pair"
    )


def main(words: list[str] | None = None) -> int:
    """Exit status 0 if every proof was valid."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.pairs", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="4 pairs of two slices, nothing written")
    parser.add_argument("--out", type=Path, default=OUT, help=f"default: {OUT.name} under bench/results")
    options = parser.parse_args(words)
    pairs = {"easy": 4, "close": 4} if options.quick else PAIRS
    content = study(pairs, lambda text: print(text, flush=True), None if options.quick else options.out)
    ratios = ", ".join(f"{ratio:.2f}" for ratio in content["sharing"]["ratio_to_one_pair"])
    print(f"all 10 pairs of a top-5 over one pair: {ratios}; {content['processor_seconds']:.0f} processor seconds")
    return 0 if all(row["proofs_valid"] == row["proofs"] for row in content["rows"]) else 1


if __name__ == "__main__":
    sys.exit(main())
