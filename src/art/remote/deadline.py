"""Patience with calls of libraries that have none of their own: tried again a few times, and left behind when late."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from art.errors import RemoteUnavailableError
from art.remote.location import Patience

FIRST_PAUSE_S = 0.1
Result = TypeVar("Result")


def patiently(patience: Patience, work: Callable[[], Result]) -> Result:
    """Do work and give its result, again after each `RemoteUnavailableError` until the patience ends."""
    deadline = time.monotonic() + patience.timeout_s
    for attempt in range(patience.retries):
        try:
            return work()
        except RemoteUnavailableError:
            pause_s = FIRST_PAUSE_S * 2**attempt * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, not a secret
            if time.monotonic() + pause_s > deadline:
                raise
            time.sleep(pause_s)
    return work()


def within(seconds: float, work: Callable[[], Result]) -> Result:
    """Do work and give its result; raises `TimeoutError` when it takes longer, and what the work raises."""
    outcome: Future[Result] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            outcome.set_exception(error)

    threading.Thread(target=run, name="art-within", daemon=True).start()
    try:
        return outcome.result(seconds)
    except TimeoutError as error:
        if outcome.done():
            raise
        raise TimeoutError(f"timed out after {seconds:g} s") from error
