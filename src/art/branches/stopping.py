"""How all branches end together: workers get SIGTERM, have their grace, and are gone then, whatever scripts do."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

GRACE_S = 10.0
"""What a worker has to finish its step when all are told to stop."""
TOLD_TO_STOP = 128 + signal.SIGTERM
_LINE = "art: {}: all branches were stopped. What was committed stays; the same command goes on from there.\n"
T = TypeVar("T")


def end_this_process() -> None:
    """Tell this process to stop, and end it after its grace, also where its script passes over the signal."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(TOLD_TO_STOP)


async def until_stopped(work: Coroutine[Any, Any, T]) -> T:
    """Do the work; SIGTERM or SIGHUP cancels it, and once it has tidied up ends the process with one line."""
    task, stops = asyncio.ensure_future(work), list[signal.Signals]()

    def stop(number: signal.Signals) -> None:
        stops.append(number)
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP):
        # What `nohup` passes over is passed over.
        if signal.getsignal(number) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not stops:
            raise
        sys.stderr.write(_LINE.format(stops[0].name))
        raise SystemExit(128 + stops[0]) from None
