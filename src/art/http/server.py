"""The application on a port of this machine, in a thread.

Knows sockets and uvicorn; not what is served.
"""

from __future__ import annotations

import socket
import threading

import uvicorn
from starlette.types import ASGIApp

from art.errors import InferenceError

GRACE_S = 5
"""How long running requests may take to finish after `stop`."""
LISTEN_BACKLOG = 2048


class Server:
    """An HTTP server in a thread; `port=0` takes a free one."""

    def __init__(self, app: ASGIApp, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._app = app
        self._host, self._port = host, port
        self._uvicorn: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def base_url(self) -> str:
        """The address that OpenAI's client takes as `base_url`."""
        return f"http://{self._host}:{self._port}/v1"

    def start(self) -> None:
        """Serve; returns when requests are answered. Raises `InferenceError` where the port cannot be had."""
        listener = self._bind()
        self._port = listener.getsockname()[1]
        started = threading.Event()
        config = uvicorn.Config(
            self._app,
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=GRACE_S,
            timeout_keep_alive=60,
        )
        self._uvicorn = _Announcing(config, started)
        self._thread = threading.Thread(target=self._serve, args=(self._uvicorn, listener, started), daemon=True)
        self._thread.name = "art-http"
        self._thread.start()
        started.wait()
        if not self._uvicorn.started:
            self._thread.join()
            raise InferenceError(f"The inference server did not start on {self._host}:{self._port}.")

    def stop(self) -> None:
        """Let running requests finish for a few seconds, then end. May be called again."""
        if self._uvicorn is None or self._thread is None:
            return
        self._uvicorn.should_exit = True
        self._thread.join()
        self._uvicorn = self._thread = None

    def _bind(self) -> socket.socket:
        listener = socket.socket(socket.AF_INET6 if ":" in self._host else socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._host, self._port))
            listener.listen(LISTEN_BACKLOG)
        except OSError as error:
            listener.close()
            raise InferenceError(
                f"The inference server cannot listen on {self._host}:{self._port}: {error}. Choose another port, or 0."
            ) from error
        return listener

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
