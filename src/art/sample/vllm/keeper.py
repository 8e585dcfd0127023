"""Runs a command for as long as its own standard input is open, and then ends the command and all that it started.

Whoever holds the other end may be killed: the pipe closes all the same. Run as a script; it imports nothing of ours.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

GRACE_S = 10.0
"""How long a server may take to end by itself."""


def keep(command: Sequence[str]) -> int:
    """Run the command; gives its exit status, as a shell would."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 - what we were given
    threading.Thread(target=_end_with_input, args=(child,), daemon=True).start()
    code = child.wait()
    # What the server started belongs to its group, and would keep the memory.
    _signal(child, signal.SIGKILL)
    return code if code >= 0 else 128 - code


def _end_with_input(child: subprocess.Popen[bytes]) -> None:
    while os.read(0, 1 << 10):
        pass
    _signal(child, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(GRACE_S)
    _signal(child, signal.SIGKILL)


def _signal(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, number)


if __name__ == "__main__":
    sys.exit(keep(sys.argv[1:]))
