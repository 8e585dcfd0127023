"""A connection that its client cannot hold for ever: with a clock for what the client owes, and for what it must read.

Knows uvicorn's protocol over h11; not what is served.
"""

from __future__ import annotations

import asyncio
import functools
import resource
import socket
import struct
import time
from collections import OrderedDict
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from art.http.limits import Limits

BODY_GRACE_S = 5.0
"""The application answers a late body with 408; where it does not ask for the body, the connection ends by itself."""
HEADER_BYTES = 64 * 1024
FREE_CHUNKS, MEAN_CHUNK_BYTES = 1024, 64
"""A chunk costs as much time as a whole block, so a body of more chunks than this many has so many bytes in each."""
MANY_FILES = 1 << 16
YOUNG_S = 1.0
"""Many clients may connect at once: none is turned away before it could have spoken."""


def guarded(app: ASGIApp, limits: Limits, **settings: Any) -> uvicorn.Config:
    """Say how an application is served whose connections keep to these limits, and tell nothing of the server."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = MANY_FILES if files == resource.RLIM_INFINITY else min(files, MANY_FILES)
    resting = Resting(limits.resting, all_at_most=files // 2)
    protocol: Any = functools.partial(Connection, limits=limits, resting=resting)
    return uvicorn.Config(
        _cut_off_quietly(app),
        http=protocol,
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        # So many are accepted at a time, before any of them could be turned away.
        backlog=max(16, min(2048, files // 8)),
        **settings,
    )


def _cut_off_quietly(app: ASGIApp) -> ASGIApp:
    """Let a request end that a server cuts off when it stops: that is said in a line, and needs no traceback."""

    async def ended(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except asyncio.CancelledError:
            if scope["type"] != "http":
                raise

    return ended


class Framing(h11.Connection):
    """HTTP/1.1 as h11 reads it, of bodies whose chunks are not so small that reading them takes the loop's time."""

    _chunks, _chunk_bytes = 0, 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Give what came next; raises `h11.RemoteProtocolError` for a body in crumbs."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks, self._chunk_bytes = 0, 0
        elif isinstance(event, h11.Data):
            self._chunk_bytes += len(event.data)
            self._chunks += event.chunk_start
            if self._chunks > FREE_CHUNKS + self._chunk_bytes // MEAN_CHUNK_BYTES:
                raise h11.RemoteProtocolError("the body comes in too many small chunks")
        return event


class Resting:
    """Connections that have sent no whole request, the oldest first. At most so many stay.

    Of all connections there are fewer than the process may have files: what trains and stores in it needs some too.
    """

    def __init__(self, at_most: int, *, all_at_most: int) -> None:
        self._at_most = at_most
        self._all_at_most = all_at_most
        self._all = 0
        self._since: OrderedDict[Connection, float] = OrderedDict()

    def begin(self, connection: Connection) -> None:
        """Count a connection that was made; the oldest that rests makes room for it."""
        self._all += 1
        self.enter(connection)
        if self._all > self._all_at_most:
            self._turn_away(next(iter(self._since)))

    def end(self, connection: Connection) -> None:
        self._all -= 1
        self.leave(connection)

    def enter(self, connection: Connection) -> None:
        """Count a connection from now on, unless it is counted already."""
        self._since.setdefault(connection, time.monotonic())
        oldest, since = next(iter(self._since.items()))
        if len(self._since) > self._at_most and time.monotonic() - since > YOUNG_S:
            self._turn_away(oldest)

    def leave(self, connection: Connection) -> None:
        self._since.pop(connection, None)

    def _turn_away(self, connection: Connection) -> None:
        self.leave(connection)
        connection.transport.abort()


class Connection(H11Protocol):
    """One client's connection."""

    def __init__(self, *args: Any, limits: Limits, resting: Resting, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = Framing(h11.SERVER, HEADER_BYTES)
        self._limits = limits
        self._resting = resting
        self._owed: float | None = None
        self._clock: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._resting.begin(self)
        self._watch(self._limits.header_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._resting.end(self)
        self._watch(None)
        if self._unread:
            self._unread.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._note()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._expect_reading()
        else:
            self._note()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread and not self.transport.is_closing():
            self._unread.cancel()
            self._unread = None

    def timeout_keep_alive_handler(self) -> None:
        """End an idle connection, also one whose client has left the end of an answer unread."""
        self.transport.abort()

    def _expect_reading(self) -> None:
        """End the connection when the client does not read on."""
        if self._unread is None:
            self._unread = self.loop.call_later(self._limits.stall_s, self._reset)

    def _reset(self) -> None:
        """End the connection and drop what the system still holds for its client."""
        sock: socket.socket = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _note(self) -> None:
        """Note what the client owes now: the rest of a header, the rest of a body, or nothing."""
        state = self.conn.their_state
        if state in (h11.IDLE, h11.SEND_BODY):
            self._resting.enter(self)
        else:
            self._resting.leave(self)
        if state is h11.SEND_BODY:
            self._watch(self._limits.body_s + BODY_GRACE_S)
        elif state is h11.IDLE and self.conn.trailing_data[0]:
            self._watch(self._limits.header_s)
        else:
            self._watch(None)

    def _watch(self, seconds: float | None) -> None:
        """End the connection so many seconds after the client began to owe; more of the same changes nothing."""
        if seconds == self._owed:
            return
        if self._clock:
            self._clock.cancel()
        self._owed = seconds
        self._clock = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)
