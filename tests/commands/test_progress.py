"""The line that says where a run stands."""

import io

import pytest

from saliency_ext.commands._progress import ProgressLine, describe, duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_pace_and_time_left_are_of_this_process():
    assert describe(0, 100, 3, 12.0) == f"[{'-' * 30}] 0 of 100 images, 3 forwards, 12 s so far"
    resumed = describe(60, 100, 9, 10.0, start=50)
    assert "60 of 100 images, 1 images/s, 9 forwards, about 40 s left" in resumed
    assert describe(100, 100, 9, 10.0).endswith("10 images/s, 9 forwards")
    assert "0 of 0 images" in describe(0, 0, 0, 0.0)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h")])
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_a_file_gets_a_line_now_and_then_and_the_end_once():
    now, stream = [0.0], io.StringIO()
    line = ProgressLine(stream, clock=lambda: now[0])
    for step in range(21):
        now[0] = float(step)
        line(step, 20, step, float(step))
    line(20, 20, 20, 20.5)
    line.close()
    written = stream.getvalue().splitlines()
    assert len(written) == 3 and "\r" not in stream.getvalue()
    assert ["0 of 20" in written[0], "10 of 20" in written[1], "20 of 20" in written[2]] == [True] * 3


def test_a_terminal_gets_one_line_that_is_written_again():
    now, stream = [0.0], Terminal()
    line = ProgressLine(stream, clock=lambda: now[0])
    for step in (0, 5, 10):
        now[0] += 1.0
        line(step, 10, step, now[0])
    now[0] += 0.01
    line(10, 10, 10, now[0])
    line.close()
    text = stream.getvalue()
    assert text.count("\r") == 3 and text.count("\n") == 1 and text.endswith("\n")
    parts = text.rstrip("\n").split("\r")
    assert len(parts[-1]) >= len(parts[-2].rstrip()), "what was longer is written over"
