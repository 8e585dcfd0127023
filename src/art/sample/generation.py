"""A request to the engine as its caller sees it: tokens to await, and a way to stop.

The bridge between the event loop that asked and the worker thread that answers; knows neither tensors nor HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from art.errors import InferenceError
from art.sample.sampling import Drawn, Sampling

UNREAD_TOKENS = 1 << 16
"""What a request keeps for a caller that does not come for its tokens."""
FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Token:
    """The next token of one of a request's choices."""

    choice: int
    drawn: Drawn
    finish_reason: FinishReason | None
    """Set on a choice's last token."""


class Generation:
    """Tokens of `n` choices, in the order in which they are sampled; iterate once, in the loop that submitted it."""

    def __init__(self, prompt_ids: tuple[int, ...], *, n: int, sampling: Sampling, wake: Callable[[], None]) -> None:
        self.prompt_ids = prompt_ids
        self.n = n
        self.sampling = sampling
        self.loop = asyncio.get_running_loop()
        self._wake = wake
        self._cancelled: set[int] = set()
        self._open = set(range(n))
        self._arrived: asyncio.Queue[list[Token] | InferenceError] = asyncio.Queue()

    def cancel(self, choice: int | None = None) -> None:
        """Stop one choice, or all of them, and give their slots back. Thread-safe; harmless when they have finished."""
        choices = range(self.n) if choice is None else (choice,)
        self._cancelled.update(choices)
        self._open.difference_update(choices)
        self._wake()

    def give_up(self) -> None:
        """Begin no more choices, because the request has failed; called by the worker."""
        self._cancelled.update(range(self.n))

    def is_cancelled(self, choice: int) -> bool:
        return choice in self._cancelled

    def deliver(self, item: list[Token] | InferenceError) -> None:
        """Take what the worker sampled; called in the event loop."""
        if self._arrived.qsize() >= UNREAD_TOKENS:
            self.give_up()
            self._wake()
            item = InferenceError(f"The client does not read its tokens; {UNREAD_TOKENS} are waiting for it.")
        self._arrived.put_nowait(item)

    async def __aiter__(self) -> AsyncIterator[Token]:
        while self._open:
            item = await self._arrived.get()
            if isinstance(item, InferenceError):
                raise item
            for token in item:
                if token.choice not in self._open:
                    continue
                if token.finish_reason:
                    self._open.discard(token.choice)
                yield token


class Outbox:
    """What the worker has for the requests; sent together, so that each event loop is woken once."""

    def __init__(self) -> None:
        self._items: list[tuple[Generation, list[Token] | InferenceError]] = []

    def put(self, generation: Generation, item: list[Token] | InferenceError) -> None:
        self._items.append((generation, item))

    def send(self) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Generation, list[Token] | InferenceError]]] = {}
        for generation, item in self._items:
            by_loop.setdefault(generation.loop, []).append((generation, item))
        self._items = []
        for loop, items in by_loop.items():
            try:
                loop.call_soon_threadsafe(_deliver, items)
            except RuntimeError:
                # The loop is closed: nobody waits any more.
                for generation, _ in items:
                    generation.give_up()


def _deliver(items: Iterable[tuple[Generation, list[Token] | InferenceError]]) -> None:
    for generation, item in items:
        generation.deliver(item)
