"""The page's server: documents as JSON, one stream of what changes, and with `allow_fork` the one button that acts.

Every handler that reads the disk runs in a thread.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from art.errors import ArtError, ConfigurationError, NotFoundError
from art.format.pick import Exact
from art.names import CheckpointRef, ModelRef
from art.ops.ways_out import PAGE, say_way_out
from art.program import command
from art.store.history import TRAIN
from art.store.store import CheckpointStore
from art.ui.desk import KEPT, Desk
from art.ui.guard import PageGuard
from art.ui.shell import build_shell
from art.ui.watch import Watch

LOOK_EVERY_S = 0.25
COMMENT_EVERY_S = 15.0
MOST_STREAMS = 64
"""Pages that are told of changes at once: each looks at the disk four times a second."""
MAX_BODY_BYTES = 64 * 1024
STEP_DIGITS = 9


class ForkWish(BaseModel):
    """What the Fork button sends."""

    model_config = ConfigDict(extra="forbid", strict=True)

    source: str
    destination: str
    reset: list[str] = []


def create_app(
    desk: Desk, *, port: int, token: str, allow_fork: bool = False, is_ending: Callable[[], bool] = lambda: False
) -> PageGuard:
    """Build the guarded application over the documents of one root; streams end once `is_ending`."""
    service = _Service(desk, allow_fork=allow_fork, is_ending=is_ending)
    routes = [
        Route("/", service.page),
        Route("/api/status", service.answer(lambda _: desk.status())),
        Route("/api/tree", service.answer(lambda _: desk.tree())),
        Route("/api/history/{project}/{name}", service.answer(service.history)),
        Route("/api/step/{project}/{name}/{step}", service.answer(lambda request: desk.step(_ref(request)))),
        Route("/api/rollouts/{project}/{name}/{step}", service.answer(service.rollouts)),
        Route("/api/compare", service.answer(service.comparison)),
        Route("/api/disk", service.answer(lambda _: desk.disk())),
        Route("/api/cleanup", service.answer(lambda request: desk.cleanup(request.query_params.get("keep", KEPT)))),
        Route("/api/events", service.events),
    ]
    if allow_fork:
        routes.append(Route("/api/fork", service.fork, methods=["POST"]))
    handlers: Any = {ArtError: _report, HTTPException: _no_route}
    return PageGuard(Starlette(routes=routes, exception_handlers=handlers), port=port, token=token)


class PageNews:
    """What one page has been told: the rest of an overview is news to it."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._models: dict[tuple[str, str], Any] = {}

    def news(self, first: dict[str, Any]) -> dict[str, Any] | None:
        """Give the state, the order of the branches and those that have changed; None where nothing was read anew."""
        version, models = first["version"], {(each["project"], each["model"]): each for each in first["tree"]["models"]}
        changed = [each for name, each in models.items() if self._models.get(name) is not each]
        is_known = version == self._version
        self._version, self._models = version, models
        if is_known:
            return None
        order = [f"{project}/{name}" for project, name in models]
        return {"status": first["status"], "models": changed, "order": order}


class _Service:
    def __init__(self, desk: Desk, *, allow_fork: bool, is_ending: Callable[[], bool]) -> None:
        self._desk = desk
        self._allow_fork = allow_fork
        self._is_ending = is_ending
        self._streams = 0

    def page(self, _: Request) -> Response:
        first = self._desk.first()
        page = {"allow_fork": self._allow_fork, "version": first["version"]}
        shell = build_shell({"status": first["status"], "tree": first["tree"], "page": page})
        headers = {"content-security-policy": shell.policy}
        return Response(shell.html, media_type="text/html; charset=utf-8", headers=headers)

    def answer(self, document: Callable[[Request], Any]) -> Callable[[Request], Response]:
        def handler(request: Request) -> Response:
            return JSONResponse(document(request))

        return handler

    def history(self, request: Request) -> Any:
        first, last = (request.query_params.get(name) for name in ("from", "to"))
        bounds = (_step(first) if first else 0, _step(last) if last else None)
        return self._desk.history(_model(request), first=bounds[0], last=bounds[1])

    def rollouts(self, request: Request) -> Any:
        return self._desk.rollouts(_ref(request), request.query_params.get("split", TRAIN))

    def comparison(self, request: Request) -> Any:
        first, second = (CheckpointRef.parse(request.query_params.get(name, "")) for name in ("a", "b"))
        return self._desk.comparison(first, second)

    async def events(self, request: Request) -> Response:
        if self._streams >= MOST_STREAMS:
            raise HTTPException(503, f"{MOST_STREAMS} pages are open already; close one.")
        return StreamingResponse(self._counted(self._changes(request)), media_type="text/event-stream")

    async def _counted(self, changes: AsyncIterator[str]) -> AsyncIterator[str]:
        self._streams += 1
        try:
            async for change in changes:
                yield change
        finally:
            self._streams -= 1

    async def _changes(self, request: Request) -> AsyncIterator[str]:
        """Tell what was written since: whole lines of histories, then the new state of the tree."""
        watch, told = Watch(self._desk.store), PageNews(request.query_params.get("at", ""))
        await anyio.to_thread.run_sync(watch.look)
        yield ": watching\n\n"
        if news := told.news(await anyio.to_thread.run_sync(self._desk.first)):
            yield _event("overview", news)
        silent_s = 0.0
        while not (self._is_ending() or await request.is_disconnected()):
            await anyio.sleep(LOOK_EVERY_S)
            seen = await anyio.to_thread.run_sync(watch.look)
            silent_s += LOOK_EVERY_S
            for entry in seen.entries:
                yield _event("entry", entry)
            if seen.has_changed:
                self._desk.forget()
                if news := told.news(await anyio.to_thread.run_sync(self._desk.first)):
                    yield _event("overview", news)
                silent_s = 0.0
            elif silent_s >= COMMENT_EVERY_S:
                yield ": still watching\n\n"
                silent_s = 0.0

    async def fork(self, request: Request) -> Response:
        wish = _wish(await _body(request))
        resets = [word for part in wish.reset for word in ("--reset", part)]
        made_by = command(self._desk.store.root, "fork", wish.source, wish.destination, *resets)
        forked = await anyio.to_thread.run_sync(_fork, self._desk.store, wish)
        self._desk.forget()
        return JSONResponse({"forked": str(forked), "command": made_by})


def _fork(store: CheckpointStore, wish: ForkWish) -> CheckpointRef:
    # A page that only shows does not wait for what buckets need.
    from art.ops.fork import ForkRequest, fork

    source, destination = CheckpointRef.parse(wish.source), ModelRef.parse(wish.destination)
    if source.model == destination:
        raise ConfigurationError(f"{destination} would be rewound, which `art rewind {source}` does; name a new model.")
    request = ForkRequest(
        source=store,
        source_model=source.model,
        pick=Exact(source.step),
        destination=store,
        model=destination,
        reset=tuple(wish.reset),
    )
    return fork(request).ref


async def _body(request: Request) -> bytes:
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BODY_BYTES:
            raise HTTPException(413, "The request is too long.")
    return content


def _wish(content: bytes) -> ForkWish:
    try:
        return ForkWish.model_validate_json(content)
    except ValidationError as error:
        raise ConfigurationError(f"That is no fork to make: {error.errors()[0]['msg']}.") from error


def _event(kind: str, document: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps(document, allow_nan=False)}\n\n"


def _model(request: Request) -> ModelRef:
    return ModelRef(request.path_params["project"], request.path_params["name"])


def _ref(request: Request) -> CheckpointRef:
    return _model(request).at(_step(request.path_params["step"]))


def _step(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= STEP_DIGITS):
        raise HTTPException(404, f"{text[:20]!r} is no step.")
    return int(text)


def _report(_: Request, error: Exception) -> Response:
    words = say_way_out(str(error), PAGE)
    return JSONResponse({"error": words}, status_code=404 if isinstance(error, NotFoundError) else 400)


def _no_route(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    return JSONResponse({"error": str(getattr(error, "detail", error))}, status_code=status)
