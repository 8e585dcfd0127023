"""Request bodies: read within bounds, and parsed as strict JSON. Knows bytes and JSON; not what they ask for."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

from pydantic_core import from_json
from starlette.requests import Request
from starlette.types import Receive

from art.http.limits import Limits
from art.http.refusal import RequestError, too_busy

MAX_DEPTH = 100
MAX_INTEGER = 1 << 64
DRAIN_S = 1.0
"""How long the rest of a refused body is read, so that the client sees the refusal and no reset connection."""


class Bodies:
    """Reads bodies, and bounds what all of them hold together until they have been parsed."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncGenerator[bytes]:
        """Give a request's body; raises `RequestError` for one that is too long or takes too long."""
        body = bytearray()
        try:
            await self._fill(body, request)
            yield bytes(body)
        finally:
            self._held -= len(body)

    async def _fill(self, body: bytearray, request: Request) -> None:
        try:
            async with asyncio.timeout(self._limits.body_s):
                async for part in request.stream():
                    body += part
                    self._held += len(part)
                    self._check(body)
        except TimeoutError as error:
            message = f"The body did not arrive within {self._limits.body_s:g} seconds."
            raise RequestError(message, status=408, code="request_timeout") from error
        except RequestError:
            await drain(request.receive)
            raise

    def _check(self, body: bytearray) -> None:
        if len(body) > self._limits.body_bytes:
            raise _too_long(self._limits)
        if self._held > self._limits.bodies_bytes:
            raise too_busy("Too many long requests are being read; try again shortly.")


def parse_json(body: bytes) -> object:
    """Parse JSON of bounded depth with finite numbers only; raises `RequestError`."""
    try:
        document = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise RequestError(f"The body is not JSON: {error}.", code="invalid_json") from error
    _check_values(document)
    return document


def check_length(headers: Mapping[str, str], limits: Limits) -> None:
    """Refuse a body that says itself that it is too long."""
    claimed = headers.get("content-length", "0")
    if not claimed.isdecimal() or int(claimed) > limits.body_bytes:
        raise _too_long(limits)


async def drain(receive: Receive) -> None:
    """Read and drop what is left of a body, for a moment."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            while (message := await receive())["type"] == "http.request" and message.get("more_body"):
                pass


def _too_long(limits: Limits) -> RequestError:
    return RequestError(
        f"The body is longer than {limits.body_bytes} bytes. Shorten the messages.",
        status=413,
        code="request_too_large",
    )


def _check_values(document: object) -> None:
    level = [document]
    for _ in range(MAX_DEPTH):
        for value in level:
            _check_number(value)
        level = [inner for value in level for inner in _inside(value)]
        if not level:
            return
    raise RequestError(f"The body nests deeper than {MAX_DEPTH} levels.", code="invalid_json")


def _check_number(value: object) -> None:
    is_sound = math.isfinite(value) if isinstance(value, float) else True
    if not is_sound or (isinstance(value, int) and abs(value) > MAX_INTEGER):
        raise RequestError("The body has a number that is too large to be meant.", code="invalid_json")


def _inside(value: object) -> Iterable[Any]:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value).values()
    return cast("list[Any]", value) if isinstance(value, list) else ()
