"""Docstrings as the site shows them: equations keep their lines, examples are code."""

import re
import textwrap
from typing import Any

import griffe

EQUATION = re.compile(r"[A-Za-z_#|][\w']*(\([^)]*\)|\[[^\]]*\])* = ")
SECTIONS = re.compile(r"(Args|Returns|Raises|Yields|Note|Example|References|Attributes):$")


def for_the_site(text: str) -> str:
    """A docstring with its equations fenced; sections are left to the parser, which knows examples as `Examples:`."""
    lines, shown = text.split("\n"), []
    index = 0
    in_section = False
    while index < len(lines):
        line = lines[index]
        if SECTIONS.match(line):
            in_section = True
        elif line and not line.startswith(" "):
            in_section = False
        end = index if in_section else _end_of_equation(lines, index)
        if end > index:
            shown += ["", "```text", *textwrap.dedent("\n".join(lines[index:end])).split("\n"), "```", ""]
            index = end
        else:
            shown.append("Examples:" if line == "Example:" else line)
            index += 1
    return "\n".join(shown)


def _end_of_equation(lines: list[str], start: int) -> int:
    """The line after the equations that begin at a line; that line itself where it is prose."""
    end = start
    while (
        end < len(lines) and lines[end].strip() and (EQUATION.match(lines[end].strip()) or (end > start and lines[end][0] == " "))
    ):
        end += 1
    follows = lines[end].strip() if end < len(lines) else ""
    prose_goes_on = bool(follows) and follows[0].islower()  # its first line only looked like an equation
    return start if prose_goes_on else end


class Docstrings(griffe.Extension):
    """Rewrites every docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = for_the_site(obj.docstring.value)
