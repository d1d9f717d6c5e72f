"""A progress line for runs."""

import time
from collections.abc import Callable
from typing import TextIO

_EVERY_LINE, _EVERY_TERMINAL = 10.0, 0.2  # seconds between two reports
_WIDTH = 30


class ProgressLine:
    """Reports (samples done, samples, forwards, seconds) of a study to a stream: a bar on a terminal, else a line now and then.

    Time left is that of the samples to come, at the pace since this process began.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._terminal = stream.isatty()
        self._last = -1e9
        self._start: int | None = None
        self._written = 0
        self._ended = False

    def __call__(self, done: int, total: int, forwards: int, seconds: float) -> None:
        """Called by `Study`."""
        if self._start is None:
            self._start = done
        now = self._clock()
        every = _EVERY_TERMINAL if self._terminal else _EVERY_LINE
        if now - self._last < every and (done < total or self._ended):
            return
        self._last, self._ended = now, done >= total
        self._write(describe(done, total, forwards, seconds, self._start))

    def close(self) -> None:
        """Ends the line."""
        if self._terminal and self._written:
            self._stream.write("\n")
            self._stream.flush()

    def _write(self, text: str) -> None:
        if self._terminal:
            self._stream.write("\r" + text.ljust(self._written))
            self._written = len(text)
        else:
            self._stream.write(text + "\n")
        self._stream.flush()


def describe(done: int, total: int, forwards: int, seconds: float, start: int = 0) -> str:
    """One line.

    Example:
        >>> describe(32, 128, 410, 60.0)
        '[#######-----------------------] 32 of 128 images, 0.53 images/s, 410 forwards, about 3 min left'
    """
    share = done / total if total else 1.0
    filled = int(_WIDTH * share)
    parts = [f"[{'#' * filled}{'-' * (_WIDTH - filled)}] {done} of {total} images"]
    fresh = done - start
    if fresh > 0 and seconds > 0:
        parts.append(f"{fresh / seconds:.2g} images/s")
    parts.append(f"{forwards} forwards")
    if done < total:
        parts.append(f"about {duration((total - done) * seconds / fresh)} left" if fresh > 0 else f"{duration(seconds)} so far")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    Example:
        >>> duration(42), duration(180), duration(9000)
        ('42 s', '3 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
