"""The command line: `python -m saliency_ext` or `saliency-ext`. Thin: parse, call, print."""

import sys
import warnings
from collections.abc import Sequence

from . import demo, doctor
from .commands.outcome import INTERRUPTED, CommandError, Outcome
from .commands.parser import parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status, as `saliency-ext --help` lists them."""
    try:
        options = parse(arguments)
        with warnings.catch_warnings():
            warnings.showwarning = _say
            if options.command == "demo":
                outcome = Outcome(demo.run())
            elif options.command == "doctor":
                outcome = Outcome(doctor.report())
            elif options.command == "info":
                outcome = Outcome("\n".join(f"{key}: {value}" for key, value in doctor.build_info().items()))
            else:
                outcome = options.run(options)
    except CommandError as error:
        print(f"saliency-ext: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("saliency-ext: interrupted", file=sys.stderr)
        return INTERRUPTED
    if outcome.text:
        print(outcome.text)
    return outcome.status


def _say(message: Warning | str, *_: object, **__: object) -> None:
    """A warning, without the line of code that raised it."""
    print(f"\nsaliency-ext: warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
