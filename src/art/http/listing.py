"""The models that are listed, read once for all who ask meanwhile. Knows names; not where they come from."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Listed:
    """The names, and the answer that lists them."""

    names: Collection[str]
    document: bytes


class Listing:
    """Reads names in a thread, one reading at a time: who asks while one runs shares the next with all others."""

    def __init__(self, names: Callable[[], list[str]]) -> None:
        self._names = names
        self._running: asyncio.Task[Listed] | None = None
        self._next: asyncio.Task[Listed] | None = None

    async def read(self) -> Listed:
        """Give what is listed, from a reading that begins after this call."""
        if self._next is None:
            self._next = asyncio.create_task(self._read_after(self._running))
        return await asyncio.shield(self._next)

    async def _read_after(self, running: asyncio.Task[Listed] | None) -> Listed:
        if running is not None:
            await asyncio.wait([running])
        self._running, self._next = self._next, None
        return await asyncio.to_thread(self._list)

    def _list(self) -> Listed:
        names = self._names()
        document = {"object": "list", "data": [entry(name) for name in names]}
        return Listed(frozenset(names), json.dumps(document).encode())


def entry(name: str) -> dict[str, Any]:
    """Describe one model."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "art"}
