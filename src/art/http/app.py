"""The OpenAI-compatible application: its routes, who is let in, and what every refusal looks like.

Knows HTTP and what the catalogue offers; not where versions come from.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from transformers import PreTrainedTokenizerBase

from art.errors import ArtError
from art.http.body import Bodies
from art.http.catalogue import Catalogue
from art.http.chat import ChatFormat
from art.http.grammar import Grammars
from art.http.guard import RequestGuard
from art.http.listing import Listing
from art.http.metrics import Counting, Metrics
from art.http.preparation import TextThreads
from art.http.recent import RecentAnswers
from art.http.refusal import RequestError, as_request_error
from art.http.server import Listen
from art.http.service import Service

CLIENT_GONE = 499


def create_app(
    catalogue: Catalogue,
    tokenizer: PreTrainedTokenizerBase,
    *,
    listen: Listen,
    max_context: int | None = None,
    recent: RecentAnswers | None = None,
) -> Starlette:
    """Build the application. Conversations may have `max_context` tokens, or as many as the sampler has room for.

    What is answered is noted in `recent`, if it is given.
    """
    metrics, preparation = Metrics(), TextThreads()
    chat, sampler = ChatFormat(tokenizer), catalogue.sampler
    service = Service(
        catalogue=catalogue,
        chat=chat,
        grammars=Grammars(chat, sampler.stop_ids | chat.stop_ids),
        context=min(max_context or sampler.context_length, sampler.context_length),
        bodies=Bodies(listen.limits),
        listing=Listing(catalogue.names),
        metrics=metrics,
        preparation=preparation,
        recent=recent,
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        yield
        preparation.close()
        service.grammars.close()

    return Starlette(
        routes=_routes(service),
        middleware=[
            Middleware(Counting, metrics=metrics),
            Middleware(RequestGuard, access=listen.access, limits=listen.limits),
        ],
        exception_handlers=_handlers(),  # pyright: ignore[reportArgumentType] - each takes the error it is named for
        lifespan=lifespan,
    )


def _handlers() -> dict[type[Exception], Callable[..., Awaitable[Response]]]:
    return {
        RequestError: _refuse,
        ArtError: _report,
        HTTPException: _no_route,
        ClientDisconnect: _client_gone,
        Exception: _broken,
    }


def _routes(service: Service) -> list[Route]:
    return [
        Route("/v1/chat/completions", service.chat_completions, methods=["POST"]),
        Route("/v1/completions", service.completions, methods=["POST"]),
        Route("/v1/responses", service.responses, methods=["POST"]),
        Route("/v1/models", service.models),
        Route("/v1/models/{name:path}", service.model),
        Route("/health", service.health),
        Route("/metrics", service.show_metrics),
    ]


async def _refuse(_: Request, error: RequestError) -> Response:
    return error.response(closes=error.status in (408, 413, 429))


async def _report(request: Request, error: ArtError) -> Response:
    return await _refuse(request, as_request_error(error))


async def _no_route(request: Request, error: HTTPException) -> Response:
    message = f"{request.method} {request.url.path} is not served here: {error.detail}."
    return await _refuse(request, RequestError(message, status=error.status_code, code="unknown_url"))


async def _client_gone(_: Request, __: ClientDisconnect) -> Response:
    return Response(status_code=CLIENT_GONE)


async def _broken(_: Request, __: Exception) -> Response:
    """Answer in the same shape; Starlette raises the error again, and the server logs it."""
    message = "The server failed over this request; its log says where."
    return RequestError(message, status=500, kind="server_error", code="internal_error").response()
