"""Writes the tables of saliency_ext/comparison/README.md from the committed JSON: `python -m bench.studies.choices_table`."""

import json
import sys
from typing import Any

from ..readme import RESULTS, ROOT, between

README = ROOT / "saliency_ext/comparison/README.md"
MARKS = ("<!-- choices:begin -->", "<!-- choices:end -->")
_AREAS = ("mif", "lif", "fidelity")
_REFERENCES = ("another seed", "an unrelated image")
_STEPS, _VARIANT = "step size", "Does the choice of"


def committed() -> dict[str, Any]:
    """What `bench.studies.choices` wrote."""
    content: dict[str, Any] = json.loads((RESULTS / "choices.json").read_text())
    return content


def tables(content: dict[str, Any]) -> str:
    """Both studies as markdown: the command, what it was about, the verdicts, and the numbers behind them."""
    infill, choices = (content["studies"][name] for name in ("infill", "hyperparameters"))
    parts = [
        _head("Infills", infill),
        _table(["infill", *(f"N{number}" for number in range(1, 9))], _neutrality(infill)),
        _table(["maps of", "between infills", "same infill, another seed", "unrelated image"], _maps(infill)),
        _table(
            ["metric", "rank correlation", "Kendall's tau", "flips", "flips beyond doubt", "flips, other images"], _orders(infill)
        ),
        _head("Hyper-parameters", choices),
        _table(["method", "variant", "rank correlation with the usual map", *_REFERENCES], _variants(choices)),
        _table(["metric", "Kendall's tau between step sizes", "flips", "flips beyond doubt"], _step_sizes(choices)),
    ]
    return "\n\n".join(parts)


def _head(title: str, study: dict[str, Any]) -> str:
    facts = study["facts"]
    told = "\n".join(f"- **{each['question']}** {each['verdict']}" for each in study["findings"])
    about = f"{facts['images'].partition(',')[0]} images, {facts['model']}; {facts['RISE']}; seed {facts['seed']}"
    return f"### {title}\n\n`{study['command']}`: {about}.\n\n{told}"


def _table(columns: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows))


def _neutrality(study: dict[str, Any]) -> list[list[str]]:
    """The most neutral in context first; N6 and N7 with their intervals."""
    numbers = _numbers(study, "most neutral")
    names = [key.removeprefix("N6 ") for key in numbers if key.startswith("N6 ")]
    order = sorted(names, key=lambda name: (numbers[f"N6 {name}"]["mean"] is None, numbers[f"N6 {name}"]["mean"] or 0.0))
    measures = [f"N{number}" for number in range(1, 9)]
    return [[name, *(_cell(numbers[f"{each} {name}"], spread=each in ("N6", "N7")) for each in measures)] for name in order]


def _maps(study: dict[str, Any]) -> list[list[str]]:
    kinds = ("between infills", "noise floor", "chance")
    result = []
    for each in study["findings"]:
        if each["question"].startswith("Do maps of "):
            method = each["question"].removeprefix("Do maps of ").partition(" ")[0]
            result.append([method, *(_cell(each["numbers"][f"spearman, {kind}"]) for kind in kinds)])
    return result


def _orders(study: dict[str, Any]) -> list[list[str]]:
    flips, stable = _numbers(study, "survive another"), _numbers(study, "more stably")
    rows = [
        [
            area,
            *(_cell(stable[f"{area}, {kind}"]) for kind in ("rho", "tau")),
            *(_cell(flips[f"{area}, {kind}"]) for kind in ("flips", "decided flips", "flips with other images")),
        ]
        for area in _AREAS
    ]
    return [*rows, ["fidelity less mif", *(_cell(stable[f"fidelity - mif, {kind}"]) for kind in ("rho", "tau")), "", "", ""]]


def _variants(study: dict[str, Any]) -> list[list[str]]:
    rows = []
    for each in study["findings"]:
        if not each["question"].startswith(_VARIANT):
            continue
        method, numbers = each["question"].rpartition(" for ")[2].removesuffix("?"), each["numbers"]
        references = [_cell(numbers[name]) for name in _REFERENCES]
        variants = sorted((name for name in numbers if name not in _REFERENCES), key=_last_number)
        rows += [[method, name, _cell(numbers[name]), *references] for name in variants]
    return rows


def _step_sizes(study: dict[str, Any]) -> list[list[str]]:
    numbers = _numbers(study, _STEPS)
    return [[area, *(_cell(numbers[f"{area}, {kind}"]) for kind in ("tau", "flips", "decided flips"))] for area in _AREAS]


def _numbers(study: dict[str, Any], words: str) -> dict[str, Any]:
    """The numbers of the finding whose question has these words."""
    result: dict[str, Any] = next(each["numbers"] for each in study["findings"] if words in each["question"])
    return result


def _last_number(variant: str) -> float:
    """The value of a variant such as "masks = 400"."""
    value = variant.rpartition(" = ")[2]
    return float(value) if value.replace(".", "", 1).isdigit() else 0.0


def _cell(value: float | dict[str, Any] | None, spread: bool = True) -> str:
    mean = value["mean"] if isinstance(value, dict) else value
    if mean is None:
        return "not measured"
    if not isinstance(value, dict) or not spread or value["low"] is None:
        return f"{mean:.2f}"
    return f"{mean:.2f} [{value['low']:.2f}, {value['high']:.2f}]"


def main() -> int:
    """Rewrites the tables."""
    README.write_text(between(README.read_text(), tables(committed()), MARKS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
