"""SIGTERM, as schedulers send it, and SIGHUP, as a closed terminal does: a running step finishes or is abandoned.

Within ten seconds the process ends.

A handler is the script's to choose. Ours is installed in the main thread only, and only where nobody installed one:
`nohup` passes over SIGHUP, and that stays.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import NoReturn

GRACE_S = 10
SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_LINE = "art: {}: stopping; a running step has {} seconds to finish. What was committed stays.\n"


def stop_at_signals() -> None:
    """Let the signals that end processes end this one in order, where its script does not handle them itself."""
    free = [number for number in SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    if free and threading.current_thread() is threading.main_thread():
        stop = _Stop(os.getpid(), free)
        for number in free:
            signal.signal(number, stop)
        atexit.register(stop.leave)


class _Stop:
    def __init__(self, process: int, numbers: list[signal.Signals]) -> None:
        self._process = process
        self._numbers = numbers
        self._status = 0

    def __call__(self, number: int, _: FrameType | None) -> None:
        # The same signal again, or a forked child: ended as if nobody had asked. Some send both at once.
        for each in self._numbers:
            signal.signal(each, signal.SIG_DFL if each == number else signal.SIG_IGN)
        if os.getpid() != self._process:
            os.kill(os.getpid(), number)
            return
        self._status = 128 + number
        # The terminal that was closed may be where it would be read.
        with suppress(OSError):
            os.write(2, _LINE.format(signal.Signals(number).name, GRACE_S).encode())
        # Whatever the script does on its way out, it is over then: a step that is cut off here was never committed.
        timer = threading.Timer(GRACE_S - 1, _end, [self._status])
        timer.daemon = True
        timer.start()
        raise SystemExit(self._status)

    def leave(self) -> None:
        """End here, the step being over: PyTorch's threads may abort the interpreter's own end."""
        if self._status and os.getpid() == self._process:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError):
                    stream.flush()
            _end(self._status)


def _end(status: int) -> NoReturn:
    os._exit(status)
