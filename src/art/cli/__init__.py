"""The `art` program: reads, forks, rewinds, checks and moves checkpoints.

Starts fast: the store, tables and digests are imported by the command that needs them, tensors by none but the
check of continuation. Everything it does is also in the library; here are words, columns and exit codes.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from art.errors import ArtError

FAILED = 1
PLUGINS = "PYDANTIC_DISABLE_PLUGINS"
GARBAGE_AFTER = 100_000
"""New objects until cycles are looked for. Python's 700 would look a hundred times while a command imports."""
RUN_SCRIPTS = {"sweep"}
"""Commands whose scripts inherit the environment."""
INTERRUPTED = 130
ALIAS = "artfork"


def main() -> None:
    """Run the program; an error of ours is one line on stderr and exit status 1."""
    gc.set_threshold(GARBAGE_AFTER)
    # Or Python looks through every object for cycles while it ends, which takes longer than to read a root.
    atexit.register(gc.freeze)
    with _no_plugins():
        _run()


@contextmanager
def _no_plugins() -> Generator[None]:
    """Spare pydantic's look for plugins: it reads the metadata of every package there is, a tenth of a command."""
    if PLUGINS in os.environ or not RUN_SCRIPTS.isdisjoint(sys.argv):
        yield
        return
    os.environ[PLUGINS] = "__all__"
    try:
        yield
    finally:
        del os.environ[PLUGINS]


def _run() -> None:
    try:
        _survive_narrow_encodings()
        from art.cli.app import app

        name = _name()
        if os.environ.get(f"_{name.upper()}_COMPLETE") == "complete_bash":
            from art.cli.completion import answer_bash

            answer_bash(lambda: app(prog_name=name))
        else:
            app(prog_name=name)
    except BrokenPipeError:
        # The reader (`head`, a pager) had enough. Nothing may be flushed into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except (ArtError, OSError) as error:
        _complain(error)
        sys.exit(FAILED)
    except KeyboardInterrupt:
        _end_interrupted()
    except SystemExit as end:
        # What typer makes of a Ctrl-C.
        if end.code == INTERRUPTED:
            _end_interrupted()
        raise


def _end_interrupted() -> NoReturn:
    sys.stderr.write("art: interrupted; everything is as before, or as after.\n")
    sys.exit(INTERRUPTED)


def _name() -> str:
    """Give the name that the user called."""
    return ALIAS if Path(sys.argv[0]).stem == ALIAS else "art"


def _complain(error: Exception) -> None:
    from art.cli.render.output import say
    from art.ops.ways_out import PROGRAM, say_way_out

    words = str(error) if isinstance(error, ArtError) else _refused(error)
    # What an error quotes line by line stays so, indented: none of it looks like a line of ours.
    for place, line in enumerate(say_way_out(words, PROGRAM).rstrip().split("\n")):
        say(f"  {line}" if place else f"art: {line}", style="red")


def _refused(error: Exception) -> str:
    """Say what the system refused, where no operation has said it: on which path, and without a number."""
    reason, path = getattr(error, "strerror", None), getattr(error, "filename", None)
    return f"The system refused {path or 'what was asked'}: {reason}." if reason else str(error)


def _survive_narrow_encodings() -> None:
    for stream in (sys.stdout, sys.stderr):
        if "utf" not in (stream.encoding or "").lower():
            stream.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue]
