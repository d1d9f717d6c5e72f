"""Parsers of option values; invalid ones are errors of argparse, in one line."""

import argparse

LONGEST = 2**14  # pixels of a side of the inputs


def names(text: str) -> list[str]:
    """At least one, from text with commas between."""
    result = [name for name in (part.strip() for part in text.split(",")) if name]
    if not result:
        raise argparse.ArgumentTypeError(f"expected names with commas between, got {text!r}")
    return result


def positive(text: str) -> int:
    """From 1 on."""
    return _whole(text, 1)


def count(text: str) -> int:
    """From 0 on."""
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    number = int(text) if text.removeprefix("-").isdecimal() and len(text) < 20 else None
    if number is None or not least <= number < 2**63:
        raise argparse.ArgumentTypeError(f"expected a whole number >= {least} and below 2^63, got {text!r}")
    return number


def seed(text: str) -> int:
    """Of random draws: fits into 64 bits."""
    return _whole(text, 0)


def side(text: str) -> int:
    """Of inputs, in pixels."""
    number = _whole(text, 1)
    if number > LONGEST:
        raise argparse.ArgumentTypeError(f"expected a whole number in [1, {LONGEST}], got {text}")
    return number
