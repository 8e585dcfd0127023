"""What a registered model has: a session that trains it, what is published of it, and a server."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import dataclass

from art.http.server import Server
from art.local.published import Published
from art.local.session import Session


@dataclass(frozen=True, kw_only=True)
class Registration:
    """Three things that start and end together."""

    session: Session
    published: Published
    server: Server

    def start(self, listener: socket.socket) -> None:
        """Stand at the newest checkpoint, publish it, and answer on a bound port; what fails leaves nothing running."""
        with ExitStack() as undoing:
            undoing.callback(self.close)
            self.session.resume()
            self.server.start(listener)
            undoing.pop_all()

    def close(self) -> None:
        """Stop answering, and let go of the weights."""
        self.server.stop()
        self.session.close()
        self.published.close()
