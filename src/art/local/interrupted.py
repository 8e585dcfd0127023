"""What a Ctrl-C that nobody catches says: one line, where Python would print the way through the event loop."""

from __future__ import annotations

import sys
from types import TracebackType

LINE = "Interrupted. What was committed stays; the same script goes on from there."


def say_it_in_one_line() -> None:
    """Replace the traceback of an uncaught Ctrl-C, unless the script or its debugger has a hook of its own.

    Every other exception is shown as before, and the process still ends by SIGINT.
    """
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _show


def _show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print(LINE, file=sys.stderr)  # noqa: T201 - this is what a hook is for
    else:
        sys.__excepthook__(kind, error, traceback)
