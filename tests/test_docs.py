"""The documentation tells the truth: its blocks run, its cards are complete and hold what can be measured now."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from saliency_ext import attribution
from saliency_ext.attribution.registry import METHODS
from saliency_ext.cli import main
from saliency_ext.commands._parser import parse
from saliency_ext.metrics.base import MetricOptions
from saliency_ext.metrics.registry import METRICS, make_metrics

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
CARDS = json.loads((ROOT / "bench/results/cards.json").read_text())
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def cards():
    with contextlib.ExitStack() as stack:
        sys.path.insert(0, str(DOCS))
        stack.callback(sys.path.remove, str(DOCS))
        yield importlib.import_module("cards")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_blocks_run(page: Path, tmp_path, monkeypatch) -> None:
    """Top to bottom in one namespace, in an empty folder; commands through the entry point."""
    text, absent = page.read_text(), []
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "docs"}
    monkeypatch.setitem(sys.modules, "docs", type(sys)("docs"))  # where dataclasses look for their module
    for language, block in BLOCK.findall(text):
        if "torchmetrics" in block and importlib.util.find_spec("torchmetrics") is None:
            absent.append("torchmetrics")
        elif language == "python":
            exec(compile(block, str(page), "exec", dont_inherit=True), namespace)
        else:
            for line in block.splitlines():
                prompt, program, *words = shlex.split(line)
                assert (prompt, program) == ("$", "saliency-ext"), line
                assert main(words) == 0, line
    if absent:
        pytest.skip(f"all blocks ran but {len(absent)}, which need {', '.join(set(absent))}")


def test_commands_that_are_only_shown_are_understood() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    shown = re.findall(r"^saliency-ext .*|-m saliency_ext .*", text, re.MULTILINE)
    assert len(shown) >= 4
    for line in shown:
        words = shlex.split(line.replace("-m saliency_ext", "saliency-ext"))[1:]
        assert parse(words).command == words[0], line


def test_measurements_are_of_what_there_is() -> None:
    """What is new says on its card that it is not measured yet; `python docs/cards.py` measures it."""
    assert set(CARDS["metrics"]) == set(CARDS["values"]) <= set(METRICS) and set(CARDS["methods"]) <= set(METHODS)


def test_every_card_has_its_parts() -> None:
    kinds = [type(make_metrics([name], MetricOptions())[0]) for name in METRICS]
    kinds += [getattr(attribution, name) for name in attribution.__all__ if _is_method(getattr(attribution, name))]
    assert len(kinds) == len(METRICS) + len(METHODS)
    for kind in kinds:
        text = inspect.getdoc(kind) or ""
        assert " = " in text and re.search(r"\btraps?:", text, re.IGNORECASE) and kind.info.reference is not None, kind.__name__
        assert any(re.search(rf"\b{kind.__name__}\b", path.read_text()) for path in (ROOT / "tests").rglob("test_*.py")), kind


def _is_method(value: object) -> bool:
    return isinstance(value, type) and hasattr(value, "info") and value.info.name in METHODS


def test_reference_values_are_those_of_now(cards) -> None:
    quick = [name for name in CARDS["values"] if METRICS[name].info.needs != "method" and name != "sensitivity_n"]
    for name, values in cards.reference_values(quick).items():
        committed = CARDS["values"][name]
        assert list(values) == list(committed), name
        for each, value in values.items():
            # What three processors were seen to differ by, twice, and the rounding of what is committed.
            reach = 2 * CARDS["spread"].get(name, {}).get(each, 0.0) + 1e-3
            same = value is committed[each] is None or value == pytest.approx(committed[each], rel=1e-3, abs=reach)
            assert same, (name, each, value, committed[each])


def test_rules_are_those_of_now(cards) -> None:
    for name in ("fidelity", "sparseness", "pointing_game"):
        assert cards.plain(cards.rules_of_metric(name)) == CARDS["metrics"][name], name
    for name in ("gradient", "eigen_cam", "random"):
        result = cards.plain(cards.rules_of_method(name))
        assert [(rule, not seen) for rule, seen in result] == [(rule, not seen) for rule, seen in CARDS["methods"][name]], name
