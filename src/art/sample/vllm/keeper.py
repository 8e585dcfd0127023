"""Runs a command for as long as its own standard input is open, and then ends the command and all that it started.

Whoever holds the other end may be killed: the pipe closes all the same. This process may be killed, too: a second one
waits for that alone, and ends the command then. Run as a script; it imports nothing of ours.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

GRACE_S = 10.0
"""How long a server may take to end by itself."""
POLL_S = 0.1
ENDED = b"."


def keep(command: Sequence[str]) -> int:
    """Run the command; gives its exit status, as a shell would."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 - what we were given
    # Before there is a thread, which no fork would take along.
    kept = _guard(child.pid)
    threading.Thread(target=_end_with_input, args=(child,), daemon=True).start()
    code = child.wait()
    # What the server started belongs to its group, and would keep the memory.
    _signal(child.pid, signal.SIGKILL)
    with suppress(BrokenPipeError):
        os.write(kept, ENDED)
    return code if code >= 0 else 128 - code


def _end_with_input(child: subprocess.Popen[bytes]) -> None:
    while os.read(0, 1 << 10):
        pass
    _signal(child.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(GRACE_S)
    _signal(child.pid, signal.SIGKILL)


def _guard(group: int) -> int:
    """Let a second process end the group if this one is killed; gives where to write that the group has ended."""
    waits, tells = os.pipe()
    if os.fork():
        os.close(waits)
        return tells
    os.setsid()
    os.close(0)
    os.close(tells)
    if os.read(waits, 1) != ENDED:
        _signal(group, signal.SIGTERM)
        end = time.monotonic() + GRACE_S
        while _is_running(group) and time.monotonic() < end:
            time.sleep(POLL_S)
        _signal(group, signal.SIGKILL)
    os._exit(0)


def _is_running(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


if __name__ == "__main__":
    sys.exit(keep(sys.argv[1:]))
