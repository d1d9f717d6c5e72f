"""Every infill that a command uses by default, or that its examples name, exists."""

import argparse
import re

import pytest

from saliency_ext.commands._parser import parser
from saliency_ext.commands.study import INFILL_NAMES
from saliency_ext.infill.registry import infill_summaries

NOT_BY_NAME = {"learned"}  # made from the model


def commands() -> dict[str, argparse.ArgumentParser]:
    (group,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(group.choices)


@pytest.mark.parametrize("name", commands())
def test_default_infills_and_those_of_the_examples_exist(name):
    command, known = commands()[name], {*infill_summaries(), *NOT_BY_NAME}
    defaults = {option: command.get_default(option) for option in ("infill", "others", "infills")}
    used = {each for value in defaults.values() if value for each in ([value] if isinstance(value, str) else value)}
    named = re.findall(r"--(?:infills?|others) ([a-z_][\w,]*(?: [a-z_]\w*)*)", command.format_help())
    used |= {word for words in named for word in re.split("[ ,]", words) if ":" not in word and word.islower()}
    assert used <= known, used - known


def test_the_infills_of_a_study_exist():
    assert set(INFILL_NAMES) <= {*infill_summaries(), *NOT_BY_NAME}
