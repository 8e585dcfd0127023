"""Hears the chats that any client of this process asks, through the HTTP libraries that clients use.

`httpx`, and `httpx2` of newer OpenAI clients, get their `send` wrapped once, when somebody listens first. Where nobody
listens, a wrapped `send` does what it did. Knows HTTP; what is done with a call is the listener's.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Any

from art.calls import Call, Events, Question, read_choices, read_question

Listener = Callable[[Call], None]
LIBRARIES = ("httpx", "httpx2")
HEARD = ("/chat/completions", "/responses")
_listener: ContextVar[Listener | None] = ContextVar("art_listener", default=None)


def listen(listener: Listener | None) -> Listener | None:
    """Give every chat completion and response that is asked from here on to `listener`; None hears nothing.

    It holds for this task and those that it starts. Gives who listened before.
    """
    before = _listener.get()
    for library in LIBRARIES if listener is not None else ():
        _wrap(library)
    _listener.set(listener)
    return before


@functools.cache
def _wrap(library: str) -> None:
    try:
        module = importlib.import_module(library)
    except ImportError:
        return
    module.Client.send = _wrapped(module.Client.send)
    module.AsyncClient.send = _wrapped_async(module.AsyncClient.send)


def _wrapped(send: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(send)
    def heard(self: Any, request: Any, **options: Any) -> Any:
        response = send(self, request, **options)
        _hear(request, response)
        return response

    return heard


def _wrapped_async(send: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(send)
    async def heard(self: Any, request: Any, **options: Any) -> Any:
        response = await send(self, request, **options)
        _hear(request, response)
        return response

    return heard


def _hear(request: Any, response: Any) -> None:
    listener = _listener.get()
    is_answer = request.url.path.endswith(HEARD) and response.status_code == 200
    if listener is None or not is_answer or not hasattr(request, "_content"):  # a body that nobody kept is gone
        return
    question = read_question(request.content)
    if question is None:
        return
    if response.is_closed:
        _tell(listener, question, read_choices(response.content))
    else:
        _hear_pieces(response, _Reception(listener, question, response.headers.get("content-type", "")))


class _Reception:
    """An answer that its client reads in pieces; the listener is told once, when it is complete."""

    def __init__(self, listener: Listener, question: Question, content_type: str) -> None:
        self._listener = listener
        self._question = question
        # Some servers do not say that they answer in events.
        is_whole = content_type.startswith("application/json")
        in_events = content_type.startswith("text/event-stream") or (question.streams and not is_whole)
        self._events = Events() if in_events else None
        self._body: list[bytes] = []
        self._is_told = False

    def feed(self, received: bytes) -> None:
        if self._events is None:
            self._body.append(received)
            return
        self._events.feed(received)
        if self._events.is_done:
            self.end()

    def end(self) -> None:
        if self._is_told:
            return
        self._is_told = True
        choices = read_choices(b"".join(self._body)) if self._events is None else self._events.choices()
        _tell(self._listener, self._question, choices)


def _hear_pieces(response: Any, reception: _Reception) -> None:
    """Have the response's own iterators tell what its client reads from them."""
    iter_bytes, aiter_bytes = response.iter_bytes, response.aiter_bytes

    def heard(*args: Any, **options: Any) -> Iterator[bytes]:
        for received in iter_bytes(*args, **options):
            reception.feed(received)
            yield received
        reception.end()

    async def heard_async(*args: Any, **options: Any) -> AsyncIterator[bytes]:
        async for received in aiter_bytes(*args, **options):
            reception.feed(received)
            yield received
        reception.end()

    response.iter_bytes, response.aiter_bytes = heard, heard_async


def _tell(listener: Listener, question: Question, choices: tuple[Any, ...]) -> None:
    if choices:
        listener(Call(question, choices))
