"""The report as one HTML file that needs nothing else: no network, no script, no font."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from .._atomic_io import write_whole
from ..evaluation.results import Results
from ..protocols import MethodInfo
from ._page import page_of
from .data import TITLE, Example, PairExample, ReportData, gather

_TEMPLATE = "template.html.j2"


def write_report(
    results: Results,
    path: str | Path,
    *,
    title: str = TITLE,
    methods: Mapping[str, MethodInfo] | None = None,
    controls: Collection[str] = (),
    samples: Sequence[str] | None = None,
    reasons: Sequence[str] | None = None,
    masked_inputs: Mapping[str, int] | None = None,
    facts: Mapping[str, str] | None = None,
    examples: Sequence[Example] = (),
    pairs: Sequence[PairExample] = (),
) -> Path:
    """Writes one self-contained HTML file and returns where it lies.

    In this order: the verdict in words, the table with intervals, curves with bands, maps over images, what each metric means,
    all parameters, counters, and the status of every sample without a value. Labels may hold anything: they are escaped, and the
    page forbids itself to load or run anything.

    Args:
        results: of `evaluate` or `Study`; at least one map under one metric.
        path: of the file; folders are made, and an old file is replaced at once.
        title: of the page.
        methods: name of a map -> its info, in place of what the results know of it; controls are known by the family "control".
        controls: further names of maps that know nothing of the model.
        samples: a name per image; their numbers if not given.
        reasons: per image why it could not be read, or "".
        masked_inputs: "requested" and "run" per image, as the summary of a study counts them; else the results' counters.
        facts: what else a reader must know, such as model, data, target and seed.
        examples: images with their maps.
        pairs: images with verdicts on pairs of their labels, of `PairFinder`.

    Raises:
        ValueError: no results; a control that is no map; not one name per image.
        ImportError: Jinja2 (or, for examples, Pillow) is not installed; says how to install it.

    Note:
        Deterministic: the same results give the same bytes. Verdicts use intervals that hold for all comparisons under a metric
        together, see `simultaneous_intervals`; the table prints the interval of each mean alone.

    Example:
        >>> import tempfile, torch
        >>> from saliency_ext import evaluate
        >>> from saliency_ext.infill import Constant
        >>> from saliency_ext.metrics import Deletion
        >>> images = torch.rand(3, 1, 4, 4)
        >>> results = evaluate(lambda x: x.flatten(1)[:, :2], images, 0, {"own": images[:, 0]}, [Deletion(Constant(0.0))])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_report(results, Path(folder) / "index.html").name
        'index.html'
    """
    data = gather(
        results,
        title=title,
        methods=methods,
        controls=controls,
        samples=samples,
        reasons=reasons,
        masked_inputs=masked_inputs,
        facts=facts,
        examples=examples,
        pairs=pairs,
    )
    return write_page(data, path)


def write_page(data: ReportData, path: str | Path) -> Path:
    """Writes the page of gathered data; arguments and errors as for `write_report`."""
    return write_text(render(data), path)


def write_text(text: str, path: str | Path) -> Path:
    """Writes a page whole or not at all: an old file is replaced at once."""
    target = Path(path)
    write_whole(target, text.encode("utf-8"))
    return target


def render(data: ReportData) -> str:
    """The page as text."""
    return render_template(_TEMPLATE, page_of(data))


def render_template(name: str, content: Mapping[str, Any]) -> str:
    """A template of this folder with its content, and the style sheet as `style`."""
    jinja2 = _jinja2()
    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"breakable": breakable, "zipped": lambda first, second: zip(first, second, strict=True)}
    style = (folder / "style.css").read_text(encoding="utf-8")
    text: str = environment.get_template(name).render(content, style=style)
    return text.encode("utf-8", "replace").decode("utf-8")  # file names may hold bytes that are no text


def breakable(name: object) -> Any:
    """A name, escaped, that may be broken into lines after its underscores and slashes."""
    escaped = str(_jinja2().utils.markupsafe.escape(name))
    return _jinja2().utils.markupsafe.Markup(re.sub("([_/])(?=[^_/])", r"\1<wbr>", escaped))


def _jinja2() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise ImportError(
            f"write_report: expected Jinja2 to be installed, got {error}; pip install 'saliency_ext[report]'"
        ) from error
    return jinja2
