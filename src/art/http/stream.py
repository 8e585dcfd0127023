"""Answers on their way out: whole, in pieces that a slow client may take its time over, or as events.

Knows ASGI, and how to stop a generation that nobody waits for; not what is in an answer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from art.errors import InferenceError
from art.http.refusal import as_request_error
from art.sample.generation import Generation

PIECE_BYTES = 1 << 18
Result = TypeVar("Result")


class Whole(Response):
    """An answer in JSON, sent piece by piece: a client's time-out begins anew with every piece that it reads."""

    media_type = "application/json"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for start in range(0, len(self.body), PIECE_BYTES):
            piece = bytes(self.body[start : start + PIECE_BYTES])
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


class EventStream(StreamingResponse):
    """Server-sent events; the generation stops when they are sent or the client is gone."""

    def __init__(self, generation: Generation, chunks: AsyncIterator[dict[str, Any]]) -> None:
        super().__init__(_events(chunks), media_type="text/event-stream")
        self._generation = generation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._generation.cancel()


async def _events(chunks: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    try:
        async for chunk in chunks:
            # Responses name their events; chat completions do not.
            name = f"event: {chunk['type']}\n" if "type" in chunk else ""
            yield f"{name}data: {json.dumps(chunk)}\n\n"
    except InferenceError as error:
        # The status has been sent; OpenAI's clients raise on an event that holds an error.
        yield f"data: {json.dumps(as_request_error(error).body)}\n\n"
        return
    yield "data: [DONE]\n\n"


async def unless_gone(request: Request, generation: Generation, answer: Awaitable[Result]) -> Result:
    """Await the answer, but give the slots back when the client goes away; raises `ClientDisconnect` then."""
    work = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        return work.result()
    finally:
        generation.cancel()
        work.cancel()
        gone.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
