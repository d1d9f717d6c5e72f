"""The page of pair verdicts alone: the section of the report, and the choices that made it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ._pairs import pairs_section
from .data import PairExample
from .write import render_template, write_text

TITLE = "One entity or two?"
_TEMPLATE = "pairs_page.html.j2"


def write_pairs(
    examples: Sequence[PairExample], path: str | Path, *, title: str = TITLE, facts: Mapping[str, str] | None = None
) -> Path:
    """Writes the page of pair verdicts and returns where it lies; an old file is replaced at once.

    Per image: each proof with its regions in colour, what is left of both labels under each infill, and whether it is robust;
    then the pairs without a proof, with the reason.

    Args:
        examples: images with the results of `PairFinder`.
        path: of the file; folders are made.
        title: of the page. facts: what else a reader must know, such as model, infill and rules.

    Raises:
        ImportError: Jinja2 or Pillow is not installed; says how to install it.

    Note:
        Deterministic. The page needs nothing else, loads and runs nothing; labels are escaped. Regions: U1 orange, U2 blue, a
        common one green.

    Example:
        >>> import tempfile, torch
        >>> from saliency_ext.disambiguation import PairResult
        >>> pair = PairResult((3, 8), (0.5, 0.25), "undecided", "ok", "neither rule holds", ())
        >>> example = PairExample("a picture", torch.zeros(8, 8, 3, dtype=torch.uint8), [pair], {3: "cat"})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     "cat 0.50 / class 8 0.25" in write_pairs([example], Path(folder) / "index.html").read_text()
        True
    """
    content = {"title": title, "pairs": pairs_section(examples), "facts": dict(facts or {})}
    return write_text(render_template(_TEMPLATE, content), path)
