"""What follows a commit, in a thread of its own: a slow or broken follower holds nothing up, and loses nothing.

Knows a thread and names; what is done for each name is the caller's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Name = TypeVar("Name")


class Follower(Generic[Name]):
    """Does one thing for each name that it is given, in their order. Its thread begins with the first of them.

    What fails is remembered, and done once more at the end.
    """

    def __init__(
        self, thread: str, follow: Callable[[Name], None], *, on_failure: Callable[[Name, Exception], None]
    ) -> None:
        self._follow = follow
        self._on_failure = on_failure
        self._thread_name = thread
        self._waiting: dict[Name, None] = {}
        self._current: Name | None = None
        self._failures: dict[Name, Exception] = {}
        self._changed = threading.Condition()
        self.closing = threading.Event()
        """Set when there will be no more names; whoever waits for better times waits no longer."""
        self._is_last_round = False
        self._thread: threading.Thread | None = None

    def put(self, name: Name) -> None:
        """Note that something is to be done for a name. Never waits."""
        with self._changed:
            self._waiting[name] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._thread_name, daemon=True)
                self._thread.start()
            self._changed.notify()

    @property
    def pending(self) -> set[Name]:
        """What is not done: waiting, being done, or failed."""
        with self._changed:
            current = set() if self._current is None else {self._current}
            return current | set(self._waiting) | set(self._failures)

    def close(self) -> dict[Name, Exception]:
        """Do what is waiting, and once more what failed, then stop; gives what failed in the end."""
        with self._changed:
            self.closing.set()
            self._changed.notify()
        if self._thread:
            self._thread.join()
        return self._failures

    def _run(self) -> None:
        while (name := self._next()) is not None:
            error = self._try(name)
            with self._changed:
                self._current = None
                self._failures.pop(name, None)
                if error:
                    self._failures[name] = error

    def _next(self) -> Name | None:
        """Wait for a name; gives None when all is done and the follower is closing."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self.closing.is_set())
            if not self._waiting and not self._is_last_round:
                self._is_last_round = True
                self._waiting |= dict.fromkeys(self._failures)
            name = next(iter(self._waiting), None)
            if name is not None:
                del self._waiting[name]
            self._current = name
            return name

    def _try(self, name: Name) -> Exception | None:
        try:
            self._follow(name)
        except Exception as error:  # noqa: BLE001 - whatever it is, `close` gives it and the thread goes on
            self._on_failure(name, error)
            return error
        return None
