"""The page on a port of this machine, and the page as one file."""

from __future__ import annotations

import secrets
import signal
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from art.errors import ConfigurationError, StorageError
from art.http.connection import guarded
from art.http.limits import Limits
from art.names import CheckpointRef
from art.ops.documents import HISTORY_POINTS
from art.ops.rollouts import rollout_steps
from art.store.history import TRAIN
from art.ui.app import create_app
from art.ui.desk import Desk
from art.ui.shell import build_shell

HOST = "127.0.0.1"
LIMITS = Limits(resting=128)


def serve(desk: Desk, *, port: int, allow_fork: bool, announce: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C or SIGTERM, which end it without an error; `announce` is told its address."""
    listener = open_listener(port)
    port = listener.getsockname()[1]
    token = secrets.token_urlsafe(16)
    served: list[uvicorn.Server] = []

    def is_ending() -> bool:
        # A page that is open listens for ever: what does not end by itself is cut off, with a traceback.
        return any(server.should_exit for server in served)

    app = create_app(desk, port=port, token=token, allow_fork=allow_fork, is_ending=is_ending)
    served.append(uvicorn.Server(configured(app)))
    with listener, _ended_by_signals(served[0]):
        announce(f"http://{HOST}:{port}/" + (f"#token={token}" if allow_fork else ""))
        served[0].run(sockets=[listener])


@contextmanager
def _ended_by_signals(server: uvicorn.Server) -> Generator[None]:
    """Let a signal end the server and nothing else: uvicorn raises it again for the handler that stood before."""
    before = {number: signal.signal(number, server.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def configured(app: ASGIApp, limits: Limits = LIMITS) -> uvicorn.Config:
    """Say how the page is served: no client holds it with half a request, or with an answer that it does not read."""
    return guarded(app, limits, lifespan="off", timeout_graceful_shutdown=1)


def write_file(desk: Desk, target: Path, *, rollouts: str = "some", points: int = HISTORY_POINTS) -> int:
    """Write the page with all its documents into one file, each curve with so many points; gives its size in bytes."""
    first = {"status": desk.status(), "tree": desk.tree()}
    content = build_shell(first, is_file=True, later=_later(desk, rollouts, points)).html
    is_new = not target.exists()
    try:
        target.write_bytes(content)
    except OSError as error:
        if is_new:
            with suppress(OSError):
                target.unlink(missing_ok=True)
        raise StorageError(error.errno, f"Could not write {target}: {error.strerror}.") from error
    return len(content)


def _later(desk: Desk, rollouts: str, points: int) -> dict[str, Any]:
    documents: dict[str, Any] = {"disk": desk.disk(), "cleanup": desk.cleanup()}
    for model in desk.models():
        name = f"{model.project}/{model.name}"
        documents[f"history/{name}"] = desk.history(model, most=points)
    for ref in _told(desk, rollouts):
        name = f"{ref.model.project}/{ref.model.name}/{ref.step}"
        documents[f"step/{name}"] = desk.step(ref)
        if rollouts != "none":
            documents[f"rollouts/{name}"] = desk.rollouts(ref)
    return documents


def _told(desk: Desk, rollouts: str) -> list[CheckpointRef]:
    """Name the steps whose details a file brings along: those that a person asks for first, or all with rollouts."""
    refs: set[CheckpointRef] = set()
    for lane in desk.overview().lanes:
        judgement = lane.judgement
        matter = {lane.first, lane.newest, lane.newest - 1, lane.branch.best, lane.last_good, judgement.last_good}
        matter |= {judgement.onset, *(lane.branch.forks or ())}
        if rollouts == "all":
            matter |= set(rollout_steps(desk.store.root, lane.model.at(0), TRAIN))
        refs |= {lane.model.at(step) for step in matter if step is not None and step >= 0}
    return sorted(refs)


def open_listener(port: int) -> socket.socket:
    """Listen on this machine alone; raises `ConfigurationError` where the port cannot be had."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        raise ConfigurationError(f"The page cannot listen on {HOST}:{port}: {error}. Choose another --port.") from error
    return listener
