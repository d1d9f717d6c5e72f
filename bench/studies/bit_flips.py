"""Single flipped bits in all files of a study and of a ranking: each must be noticed, by name, or change no number.

    python -m bench.studies.bit_flips --flips 1000

Half of the flips hit a finished folder, the other half one that was stopped before its last file: what is kept is read again
then. A flip is "mended" when a warning names the file and the result is the same, "refused" when an error names it, "without
effect" when the same result comes without a word. Wrong are "silent", another result, and "unnamed", a warning or an error that
does not say which file. Exit status 1 if there is one.
"""

import argparse
import contextlib
import random
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from saliency_ext.attribution import Gradient
from saliency_ext.infill import Constant
from saliency_ext.metrics import Deletion, Fidelity
from saliency_ext.perturbation import EqualFractions
from saliency_ext.ranking import rank_methods
from saliency_ext.study.reader import read_results
from saliency_ext.study.study import Study

WRONG = ("silent", "unnamed")
_FOLLOWS = {"results.parquet": "summary.json", "summary.json": "results.parquet"}  # the one vouches for the other


def _model() -> torch.nn.Module:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 16, 3)).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        parameter.data = torch.rand(parameter.shape, generator=generator) - 0.5
    return net


def _images(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def study(out: Path) -> Any:
    """All numbers of a small study, read from its folder if it is finished, and then of one that goes on there."""
    metrics = [Deletion(Constant(0.5), EqualFractions(3)), Fidelity(Constant(0.5), EqualFractions(3), references=1)]
    own = Study(_model(), _images(6), 0, [Gradient], metrics, out=out, chunk=2, controls=False, engine={"max_batch": 8})
    if (out / "results.parquet").exists():
        with contextlib.suppress(ValueError):  # refused: the study must find it, too
            read_results(out)
    results = own.run()
    if str(read_results(out)) != str(results):
        raise RuntimeError("the folder holds other results than were returned")
    return [
        (pair, results[pair].values.tolist(), {name: curve.tolist() for name, curve in results[pair].curves.items()})
        for pair in results
    ]


def ranking(out: Path) -> Any:
    """All numbers of a small ranking."""
    images = _images(12)
    maps = {"red": images[:, 0], "green": images[:, 1]}
    metric = Fidelity(Constant(0.5), EqualFractions(3))
    return str(rank_methods(_model(), images, 0, maps, metric, round_size=4, bounds=(-1.0, 1.0), out=out))


def flipped(run: Callable[[Path], Any], last: str, flips: int, seed: int = 0) -> Counter[str]:
    """What became of so many flips; `last` is removed before every second one, as if the run had been stopped there."""
    draw, result = random.Random(seed), Counter[str]()
    with tempfile.TemporaryDirectory() as home:
        whole, out = Path(home, "whole"), Path(home, "flipped")
        good = run(whole)
        for turn in range(flips):
            shutil.rmtree(out, ignore_errors=True)
            shutil.copytree(whole, out)
            if turn % 2:
                (out / last).unlink()
            path = draw.choice(sorted(each for each in out.rglob("*") if each.is_file() and each.stat().st_size))
            content = bytearray(path.read_bytes())
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
            path.write_bytes(content)
            result[outcome(run, out, path, good)] += 1
    return result


def outcome(run: Callable[[Path], Any], out: Path, path: Path, good: Any) -> str:
    """What becomes of one damaged file."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            result = run(out)
        except Exception as error:
            return "refused" if path.name in str(error) else "unnamed"
    text = " ".join(str(each.message) for each in said)
    if result != good:
        return "unnamed" if text else "silent"
    named = path.name in text or path.with_suffix(".parquet").name in text or _FOLLOWS.get(path.name, "?") in text
    return "mended" if named else "unnamed" if text else "without effect"


RUNS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "study": (study, "results.parquet"),
    "ranking": (ranking, "rounds/000002.json"),
}


def main(arguments: list[str] | None = None) -> int:
    """Prints a line for each kind of run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=1000, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    wrong = 0
    for name, (run, last) in RUNS.items():
        result = flipped(run, last, options.flips // len(RUNS), options.seed)
        wrong += sum(result[each] for each in WRONG)
        print(f"{name}: {sum(result.values())} flips: {', '.join(f'{count} {what}' for what, count in sorted(result.items()))}")
    print(f"silent or unnamed: {wrong}")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
