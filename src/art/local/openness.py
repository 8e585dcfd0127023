"""Whether a backend is open, here: what it owns are threads and sockets, which a fork of its process does not have."""

from __future__ import annotations

import os
from pathlib import Path

from art.errors import BackendClosedError


class Openness:
    """Of the backend of a root."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._process = os.getpid()
        self._closed = False

    def require(self) -> None:
        """Raise `BackendClosedError` unless it is open in this process."""
        if self._closed:
            raise BackendClosedError(f"The backend of {self._root} is closed; create a new LocalBackend.")
        if os.getpid() != self._process:
            raise BackendClosedError(
                f"The backend of {self._root} lives in process {self._process}; in this one, a fork of it, it has no "
                "threads. Create a new LocalBackend here."
            )

    def end(self) -> bool:
        """Say that it is closed; gives whether anything is left to be closed: once, and where it was opened."""
        is_first = not self._closed and os.getpid() == self._process
        self._closed = True
        return is_first
