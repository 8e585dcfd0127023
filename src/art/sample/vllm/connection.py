"""One request to a server and its answer, piece by piece as it comes. Knows HTTP/1.1; not what is asked.

The only module of `art.sample` that sees a network. A connection is closed when its answer is left: that is how a
server learns that nobody waits any more.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import h11

from art.errors import ConfigurationError, SamplerLostError

CONNECT_S = 10.0
PIECE_BYTES = 1 << 16
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a server is."""

    scheme: str
    host: str
    port: int
    prefix: str = ""
    key: str | None = None

    @classmethod
    def parse(cls, url: str, *, key: str | None = None) -> Address:
        """Read `http://host:port`, also with the `/v1` that OpenAI's clients take; raises `ConfigurationError`."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ConfigurationError(f"{url!r} is no address of a server: {error}.") from error
        if parts.scheme not in PORTS or not parts.hostname or parts.query or parts.username:
            raise ConfigurationError(f"{url!r} is no address of a server; give one such as 'http://127.0.0.1:8000'.")
        prefix = parts.path.rstrip("/").removesuffix("/v1")
        return cls(
            scheme=parts.scheme, host=parts.hostname, port=port or PORTS[parts.scheme], prefix=prefix, key=key or None
        )

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.prefix}"


class ServerAnswer:
    """What a server answers; read it once."""

    def __init__(self, stream: _Stream, status: int) -> None:
        self.status = status
        self._stream = stream

    async def read(self) -> bytes:
        return b"".join([piece async for piece in self.pieces()])

    async def pieces(self) -> AsyncIterator[bytes]:
        while isinstance(event := await self._stream.event(), h11.Data):
            yield bytes(event.data)

    async def lines(self) -> AsyncIterator[bytes]:
        rest = b""
        async for piece in self.pieces():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield line.rstrip(b"\r")


@asynccontextmanager
async def asking(address: Address, path: str, *, body: Any = None, patience_s: float) -> AsyncGenerator[ServerAnswer]:
    """Ask with GET, or post a body as JSON; each piece of the answer may take as long as the patience lasts.

    Raises `SamplerLostError` where the server cannot be reached, or goes away.
    """
    with _losing(address):
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(
                address.host, address.port, ssl=True if address.scheme == "https" else None
            )
    try:
        stream = _Stream(address, reader, patience_s)
        with _losing(address):
            writer.write(stream.request(path, body))
            await writer.drain()
        head = await stream.event()
        assert isinstance(head, h11.Response)
        yield ServerAnswer(stream, head.status_code)
    finally:
        writer.transport.abort()


class _Stream:
    """HTTP's events out of a connection's bytes."""

    def __init__(self, address: Address, reader: asyncio.StreamReader, patience_s: float) -> None:
        self._address = address
        self._reader = reader
        self._patience_s = patience_s
        self._http = h11.Connection(h11.CLIENT)

    def request(self, path: str, body: Any) -> bytes:
        content = b"" if body is None else json.dumps(body).encode()
        headers = [("Host", f"{self._address.host}:{self._address.port}"), ("Connection", "close")]
        if body is not None:
            headers += [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
        if self._address.key:
            headers += [("Authorization", f"Bearer {self._address.key}")]
        method = "GET" if body is None else "POST"
        head = h11.Request(method=method, target=f"{self._address.prefix}{path}", headers=headers)
        events = (head, h11.Data(data=content), h11.EndOfMessage())
        return b"".join(self._http.send(event) or b"" for event in events)

    async def event(self) -> h11.Event:
        with _losing(self._address):
            while True:
                event = self._http.next_event()
                if isinstance(event, h11.InformationalResponse):
                    continue
                if isinstance(event, h11.Event):
                    return event
                async with asyncio.timeout(self._patience_s):
                    self._http.receive_data(await self._reader.read(PIECE_BYTES))


@contextmanager
def _losing(address: Address) -> Generator[None]:
    try:
        yield
    except (OSError, TimeoutError, h11.ProtocolError) as error:
        reason = str(error) or type(error).__name__
        raise SamplerLostError(f"The vLLM server at {address} does not answer: {reason}. Ask again.") from error
