"""Pages that are made, not written: a card per metric and method, the benchmarks, the API. A hook of mkdocs."""

import importlib
import inspect
import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from bench import forwards_table, masks_table, pairs_table
from bench.readme import RESULTS, committed, table
from saliency_ext.attribution.registry import METHODS
from saliency_ext.metrics.registry import METRICS

ROOT = Path(__file__).resolve().parent.parent
CARDS = json.loads((ROOT / "bench/results/cards.json").read_text())
TRUTH = json.loads((ROOT / "bench/results/ground_truth.json").read_text())
PACKAGES = (
    *(
        "ops",
        "infill",
        "segmentation",
        "perturbation",
        "attribution",
        "metrics",
        "evaluation",
        "stats",
        "study",
        "ranking",
        "comparison",
        "disambiguation",
    ),
    *("conformance", "testbed", "protocols"),
)
ROLES = {
    "order": "of the order of the pixels",
    "pair": "of one half of a pair: read both",
    "truth": "against known truth",
    "sanity": "of sanity: fails for maps that cannot be right",
    "form": "of the form of a map: says nothing about the model",
    "model": "of the model: the same for every map",
}
NOT_MEASURED = "Not measured yet: `python docs/cards.py` measures it."
NEEDS = {"": "model, images and maps", "truth": "also the true region", "method": "also the method, which it asks again"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts the made pages into the navigation, where the file names their folders."""
    made = {folder: [page for page in made_pages() if page.startswith(folder)] for folder in ("metrics/", "methods/", "api/")}
    for item in config.nav or []:
        for title, value in list(item.items()):
            item[title] = made.get(value, value) if isinstance(value, str) else value
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the made pages."""
    for page, text in made_pages().items():
        files.append(File.generated(config, page, content=text))
    return files


@cache
def made_pages() -> dict[str, str]:
    """Path -> markdown; made once for all hooks of a build."""
    pages = {"metrics/index.md": _metrics(), "methods/index.md": _methods(), "benchmarks.md": _benchmarks()}
    pages |= {f"metrics/{name}.md": metric_card(name) for name in METRICS}
    pages |= {f"methods/{name}.md": method_card(name) for name in METHODS}
    return {"api/index.md": _api_index()} | pages | {f"api/{name}.md": _api(name) for name in PACKAGES}


def metric_card(name: str) -> str:
    """Meaning, direction, unit, definition, reference values, rules, tests."""
    kind = METRICS[name]
    facts = [
        ("direction", {"none": "none: not a score"}.get(kind.info.direction, f"{kind.info.direction} is better")),
        ("unit", kind.info.unit),
        ("measures", kind.info.measures),
        ("a metric", ROLES[kind.info.role]),
        ("needs", NEEDS[kind.info.needs]),
        ("source", kind.info.reference),
    ]
    values = [(each, _number(value)) for each, value in CARDS["values"].get(name, {}).items()]
    measured = (
        f"Means over the first {CARDS['images']} scenes of the testbed's test split, its residual net, and the choices of "
        "`saliency-ext evaluate`. `grad_cam` finds the object there; `centre` and `random` know nothing."
    )
    return "\n\n".join(
        [
            f"# {kind.__name__}",
            kind.info.meaning,
            _facts(facts),
            "## Definition",
            _docstring(kind),
            "## Reference values",
            "\n\n".join([measured, _table(("map", name), values)]) if values else NOT_MEASURED,
            "## Invariants checked",
            _rules(CARDS["metrics"].get(name), "Not checked: it explains further inputs, and the conformance kit has no method."),
            "## Tests",
            _tests(kind.__name__, "metrics"),
        ]
    )


def method_card(name: str) -> str:
    """What it does, cost, definition, what it scored on the testbed, rules, tests."""
    kind = METHODS[name]
    facts = [
        ("family", kind.info.family),
        ("sign", "negative = evidence against the target" if kind.info.signed else "no evidence against the target is shown"),
        ("cost per image and target", f"{kind.info.cost} (F: forward, B: backward, T: targets)"),
        ("source", kind.info.reference or "this library"),
    ]
    measured = TRUTH["maps"].get(name)
    scores = (
        [(each.replace("_", " "), _interval(value)) for each, value in measured.items() if each != "control"] if measured else []
    )
    shown = (
        _table(("metric", "mean, with a 95 % interval"), scores)
        if scores
        else "Not among the methods of the committed comparison: `saliency-ext evaluate --methods " + name + "` measures it."
    )
    return "\n\n".join(
        [
            f"# {kind.__name__}",
            kind.info.summary[:1].upper() + kind.info.summary[1:] + ".",
            _facts(facts),
            "## Definition",
            _docstring(kind),
            "## On the testbed",
            f"{TRUTH['images']} scenes with two objects, the residual net. *Target minus distractor* is the score on the object "
            "of the target class minus the score on the other one: a map that ignores the class has 0.",
            shown,
            "## Invariants checked",
            _rules(CARDS["methods"].get(name), NOT_MEASURED),
            "## Tests",
            _tests(kind.__name__, "attribution"),
        ]
    )


def _docstring(kind: type) -> str:
    shown = "{members: false, show_root_heading: false, show_root_toc_entry: false}"
    return f"::: {kind.__module__}.{kind.__name__}\n    options: {shown}"


def _metrics() -> str:
    rows = []
    for name, kind in METRICS.items():
        info = kind.info
        rows.append((f"[{name}]({name}.md)", {"none": "-"}.get(info.direction, info.direction), info.measures, info.needs or "-"))
    return "# Metrics\n\nOne card each.\n\n" + _table(("metric", "better", "measures", "needs also"), rows)


def _methods() -> str:
    rows = [(f"[{name}]({name}.md)", kind.info.family, kind.info.summary, kind.info.cost) for name, kind in METHODS.items()]
    return "# Methods\n\nOne card each. F: forward, B: backward, T: targets.\n\n" + _table(
        ("method", "family", "what", "cost"), rows
    )


def _benchmarks() -> str:
    pairs = pairs_table.table(json.loads((RESULTS / "pairs.json").read_text()))
    parts = ["# Benchmarks", table(committed()), "## Fewer forwards", forwards_table.table(), "## One entity or two", pairs]
    parts += ["## Learned masks", masks_table.table()]
    return re.sub(r"\[([^\]]*)\]\(bench[^)]*\)", r"`\1`", "\n\n".join(parts))  # files of the repository, not of the site


def _api_index() -> str:
    rows = [(f"[saliency_ext.{name}]({name}.md)", _first_line(f"saliency_ext.{name}")) for name in PACKAGES]
    return "# API\n\nAll public names, with shapes, errors, determinism and memory.\n\n" + _table(("package", ""), rows)


def _api(name: str) -> str:
    module = importlib.import_module(f"saliency_ext.{name}")
    public = getattr(module, "__all__", None) or [each for each in vars(module) if _is_public(module, each)]
    parts = [f"# saliency_ext.{name}", _first_line(module.__name__)]
    for each in public:
        value = getattr(module, each)
        if inspect.isclass(value) or inspect.isfunction(value):  # by its own path: a module may have the name of its function
            parts.append(
                f"::: {value.__module__}.{each}\n    options: {{heading: saliency_ext.{name}.{each}, toc_label: {each}}}"
            )
    return "\n\n".join(parts)


def _is_public(module: Any, name: str) -> bool:
    return not name.startswith("_") and getattr(getattr(module, name), "__module__", "") == module.__name__


def _first_line(module: str) -> str:
    return (importlib.import_module(module).__doc__ or "").split("\n\n")[0].replace("\n", " ")


def _rules(rows: list[list[str]] | None, missing: str) -> str:
    if rows is None:
        return missing
    kept, broken = [rule for rule, seen in rows if not seen], [(rule, seen) for rule, seen in rows if seen]
    text = f"`saliency_ext.conformance`: {len(kept)} of {len(rows)} invariants hold: {'; '.join(kept)}."
    return text if not broken else "\n\n".join([text, _table(("does not hold", "observed"), broken)])


def _tests(name: str, folder: str) -> str:
    used = [p for p in sorted((ROOT / "tests").rglob("test_*.py")) if re.search(rf"\b{name}\b", p.read_text())]
    own = [p for p in used if folder in p.parts] or used
    return "\n".join(f"- `{path.relative_to(ROOT)}`" for path in own)


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- **{name}**: {value}" for name, value in facts)


def _interval(value: dict[str, float]) -> str:
    return f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def _number(value: float | None) -> str:
    return "no value" if value is None else f"{value:.3g}"


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [tuple(header), tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
