"""Who is told how many bytes have moved. Knows no place."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

Watch = Callable[[str], AbstractContextManager[Callable[[int, int], None] | None]]
"""Told what is about to move; what it gives is told the bytes that have moved so far, and how many will."""


def unwatched(_: str) -> AbstractContextManager[None]:
    """Let bytes move without telling anybody."""
    return nullcontext()
