"""SIGTERM, as schedulers send it: a running step finishes within ten seconds or is abandoned, and the process ends.

A handler is the script's to choose. Ours is installed in the main thread only, and only where nobody installed one.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

GRACE_S = 10
EXIT_STATUS = 128 + signal.SIGTERM
_LINE = f"art: SIGTERM: stopping; a running step has {GRACE_S} seconds to finish. What was committed stays.\n"


def stop_at_sigterm() -> None:
    """Let SIGTERM end this process in order, unless its script handles the signal itself."""
    is_free = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if is_free and threading.current_thread() is threading.main_thread():
        stop = _Stop(os.getpid())
        signal.signal(signal.SIGTERM, stop)
        atexit.register(stop.leave)


class _Stop:
    def __init__(self, process: int) -> None:
        self._process = process
        self._is_stopping = False

    def __call__(self, number: int, _: FrameType | None) -> None:
        # A second signal, or a forked child: ended as if nobody had asked.
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() != self._process:
            os.kill(os.getpid(), number)
            return
        self._is_stopping = True
        os.write(2, _LINE.encode())
        # Whatever the script does on its way out, it is over then: a step that is cut off here was never committed.
        timer = threading.Timer(GRACE_S - 1, _end)
        timer.daemon = True
        timer.start()
        raise SystemExit(EXIT_STATUS)

    def leave(self) -> None:
        """End here, the step being over: PyTorch's threads may abort the interpreter's own end."""
        if self._is_stopping and os.getpid() == self._process:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            _end()


def _end() -> NoReturn:
    os._exit(EXIT_STATUS)
