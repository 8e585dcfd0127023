"""Work on a request's text in threads, so that the event loop only waits. Knows threads; not what is done in them.

Parsing, templates, tokenising and writing JSON take seconds for the longest texts. Short texts have threads of their
own, and never wait for long ones; neither waits for the form of an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from art.http.refusal import too_busy

LONG = 1 << 16
"""From so many bytes on a text is long."""
WAITING_AT_MOST = 1024
FORMS_AT_MOST = 64
"""That wait. A form that somebody made for it takes a second, and is tried once."""
Result = TypeVar("Result")


class TextThreads:
    """Threads for texts, short and long."""

    def __init__(self) -> None:
        self._short = ThreadPoolExecutor(2, thread_name_prefix="art-text")
        self._long = ThreadPoolExecutor(1, thread_name_prefix="art-long-text")
        self._form = ThreadPoolExecutor(2, thread_name_prefix="art-form")
        self._waiting, self._forms_waiting = 0, 0

    async def run(self, work: Callable[[], Result], *, size: int) -> Result:
        """Do the work in a thread; raises `RequestError` when too much waits already."""
        if self._waiting >= WAITING_AT_MOST:
            raise too_busy("Too many requests are being prepared; try again shortly.")
        pool = self._long if size >= LONG else self._short
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, work)
        finally:
            self._waiting -= 1

    async def run_form(self, work: Callable[[], Result]) -> Result:
        """Compile a form in a thread; raises `RequestError` when too many wait already."""
        if self._forms_waiting >= FORMS_AT_MOST:
            raise too_busy("Too many forms of answers are being prepared; try again shortly.")
        self._forms_waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._form, work)
        finally:
            self._forms_waiting -= 1

    def close(self) -> None:
        """Let the threads end; what waits for them is not done any more."""
        self._short.shutdown(wait=False, cancel_futures=True)
        self._long.shutdown(wait=False, cancel_futures=True)
        self._form.shutdown(wait=False, cancel_futures=True)
