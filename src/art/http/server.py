"""The application on a port of this machine, in a thread.

Knows sockets and uvicorn; not what is served.
"""

from __future__ import annotations

import secrets
import socket
import threading
from dataclasses import dataclass, field
from typing import Self

import uvicorn
from starlette.types import ASGIApp

from art.errors import ConfigurationError, InferenceError
from art.http.connection import guarded
from art.http.guard import Access
from art.http.limits import Limits
from art.settings import require_whole
from art.visible import shown_value

GRACE_S = 5
"""How long running requests may take to finish after `stop`."""
LISTEN_BACKLOG = 2048
MAX_BODY_BYTES = 1 << 30
ANY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound
"""Where this machine reaches a server that listens on all of its addresses."""


@dataclass(frozen=True, kw_only=True)
class Listen:
    """Where a server listens, with which key, and what a client may take of it. `port=0` is a free one."""

    key: str
    host: str = "127.0.0.1"
    port: int = 0
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def with_key(cls, key: str | None, *, host: str, body_bytes: int) -> Self:
        """Listen with a key, a random one unless it is given."""
        require_whole("max_request_bytes", body_bytes, least=1, most=MAX_BODY_BYTES)
        if not isinstance(host, str):  # pyright: ignore[reportUnnecessaryIsInstance] - a user may pass anything
            raise ConfigurationError(f"host={shown_value(host)} is no address; give one as text.")
        key = secrets.token_urlsafe(24) if key is None else key
        # Looked at here, where it is given, and not when the first model is served.
        access = Access(key, host)
        return cls(key=access.key, host=access.host, limits=Limits(body_bytes=body_bytes))

    @property
    def access(self) -> Access:
        return Access(self.key, self.host)

    def bind(self) -> socket.socket:
        """Take the port; raises `InferenceError` where it cannot be had."""
        listener = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self.host, self.port))
            listener.listen(LISTEN_BACKLOG)
        except OSError as error:
            listener.close()
            raise InferenceError(
                f"The inference server cannot listen on {self.host}:{self.port}: {error}. "
                "Choose another port, or port=0 for a free one."
            ) from error
        return listener


class Server:
    """An HTTP server in a thread."""

    def __init__(self, app: ASGIApp, listen: Listen) -> None:
        self._app = app
        self._listen = listen
        self._port = listen.port
        self._uvicorn: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def base_url(self) -> str:
        """The address that OpenAI's client takes as `base_url`."""
        host = ANY_ADDRESS.get(self._listen.host, self._listen.host)
        return f"http://[{host}]:{self._port}/v1" if ":" in host else f"http://{host}:{self._port}/v1"

    def start(self, listener: socket.socket | None = None) -> None:
        """Serve on a port that was bound, or bind it; returns when requests are answered. Raises `InferenceError`."""
        listener = listener or self._listen.bind()
        self._port = listener.getsockname()[1]
        started = threading.Event()
        self._uvicorn = _Announcing(self._config(), started)
        self._thread = threading.Thread(target=self._serve, args=(self._uvicorn, listener, started), daemon=True)
        self._thread.name = "art-http"
        self._thread.start()
        started.wait()
        if not self._uvicorn.started:
            self._thread.join()
            raise InferenceError(f"The inference server did not start on {self._listen.host}:{self._port}.")

    def stop(self) -> None:
        """Let running requests finish for a few seconds, then end. May be called again."""
        if self._uvicorn is None or self._thread is None:
            return
        self._uvicorn.should_exit = True
        self._thread.join()
        self._uvicorn = self._thread = None

    def _config(self) -> uvicorn.Config:
        limits = self._listen.limits
        return guarded(
            self._app,
            limits,
            lifespan="on",
            timeout_graceful_shutdown=GRACE_S,
            timeout_keep_alive=limits.keep_alive_s,
        )

    @staticmethod
    def _serve(server: uvicorn.Server, listener: socket.socket, started: threading.Event) -> None:
        try:
            server.run(sockets=[listener])
        finally:
            listener.close()
            started.set()


class _Announcing(uvicorn.Server):
    """Says when it has started, so that nobody has to poll."""

    def __init__(self, config: uvicorn.Config, started: threading.Event) -> None:
        super().__init__(config)
        self._announced = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announced.set()
