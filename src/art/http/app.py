"""The OpenAI-compatible application: chat completions, models, health.

Knows HTTP and the engine; not where versions come from: `resolve` turns the name in a request into one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass, replace

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from transformers import PreTrainedTokenizerBase

from art.errors import (
    ArtError,
    ConfigurationError,
    InferenceError,
    InvalidNameError,
    NotFoundError,
    QueueFullError,
)
from art.http.answer import Answer
from art.http.chat import ChatFormat
from art.http.completion import Json, Writer
from art.http.protocol import ChatRequest, RequestError, parse_chat_request
from art.http.seeds import DerivedSeeds
from art.sample.generation import Generation
from art.sample.own.engine import Engine
from art.sample.sampling import GREEDY_BELOW, Sampling

DEFAULT_MAX_TOKENS = 4096
"""What a request that names no limit may sample, where the context has room for it."""
RESOLVE_ATTEMPTS = 5
CLIENT_GONE = 499

Resolve = Callable[[str], Awaitable[str]]


def create_app(
    engine: Engine,
    tokenizer: PreTrainedTokenizerBase,
    *,
    resolve: Resolve,
    model_names: Callable[[], list[str]],
    run_seed: int | None = None,
    max_context: int | None = None,
) -> Starlette:
    """Build the application over an engine.

    `resolve` gives the version that a name in a request means, and raises `NotFoundError`. With `run_seed`, requests
    without a seed get one that follows from it, the version's step and the request's content.
    """
    service = _Service(
        engine,
        ChatFormat(tokenizer),
        resolve,
        model_names,
        None if run_seed is None else DerivedSeeds(run_seed),
        min(max_context or engine.context_length, engine.context_length),
    )
    routes = [
        Route("/v1/chat/completions", service.chat_completions, methods=["POST"]),
        Route("/v1/models", service.models),
        Route("/health", service.health),
    ]
    handlers = {RequestError: _refuse, ArtError: _report, HTTPException: _no_route, ClientDisconnect: _client_gone}
    return Starlette(routes=routes, exception_handlers=handlers)  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class _Service:
    engine: Engine
    chat: ChatFormat
    resolve: Resolve
    model_names: Callable[[], list[str]]
    seeds: DerivedSeeds | None
    context: int

    async def chat_completions(self, request: Request) -> Response:
        asked = parse_chat_request(await request.body())
        prompt_ids = self.chat.prompt_ids(asked)
        sampling = self._sampling(asked, len(prompt_ids))
        generation, version = await self._submit(asked, prompt_ids, sampling)
        writer = Writer(asked, self.chat, prompt_ids, version, sampling.temperature)
        if asked.stream:
            return _EventStream(generation, self._chunks(generation, writer))
        answers = await _unless_gone(request, generation, self._collect(generation, writer))
        return JSONResponse(writer.completion(answers))

    async def models(self, _: Request) -> Response:
        entries = [{"id": name, "object": "model", "created": 0, "owned_by": "art"} for name in self.model_names()]
        return JSONResponse({"object": "list", "data": entries})

    async def health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok", **asdict(self.engine.load())})

    def _sampling(self, asked: ChatRequest, prompt_tokens: int) -> Sampling:
        room = self.context - prompt_tokens
        if room < 1:
            raise RequestError(
                f"This model's maximum context length is {self.context} tokens, but the messages take {prompt_tokens}"
                " tokens and leave no room for an answer. Shorten the messages.",
                param="messages",
                code="context_length_exceeded",
            )
        wanted = asked.max_completion_tokens or asked.max_tokens or DEFAULT_MAX_TOKENS
        temperature = 1.0 if asked.temperature is None else asked.temperature
        return Sampling(
            max_tokens=min(wanted, room),
            temperature=0.0 if temperature < GREEDY_BELOW else temperature,
            top_p=1.0 if asked.top_p is None else asked.top_p,
            top_k=max(asked.top_k or 0, 0),
            seed=asked.seed,
            top_logprobs=asked.top_logprobs or 0,
            stop_ids=self.engine.stop_ids | self.chat.stop_ids,
        )

    async def _submit(
        self, asked: ChatRequest, prompt_ids: tuple[int, ...], sampling: Sampling
    ) -> tuple[Generation, str]:
        content = asked.content()
        for attempt in range(RESOLVE_ATTEMPTS):
            version = await self.resolve(asked.model)
            derives = self.seeds if sampling.seed is None else None
            seeded = replace(sampling, seed=derives.peek(version, content)) if derives else sampling
            try:
                generation = self.engine.submit(version, prompt_ids, sampling=seeded, n=asked.n or 1)
            except NotFoundError:
                # Retired between the two calls, because training has just published the next one.
                if attempt == RESOLVE_ATTEMPTS - 1:
                    raise
                continue
            if derives:
                derives.take(version, content)
            return generation, version
        raise AssertionError

    async def _answered(self, generation: Generation, writer: Writer) -> AsyncIterator[tuple[int, Answer, str]]:
        """Yield each choice whenever it grows, with the text that it can show now."""
        tools = bool(writer.request.offered_tools)
        answers = [Answer(self.chat, stops=writer.request.stops, has_tools=tools) for _ in range(generation.n)]
        async for token in generation:
            answer = answers[token.choice]
            text = answer.push(token)
            if answer.finish_reason and not token.finish_reason:
                generation.cancel(token.choice)
            yield token.choice, answer, text

    async def _collect(self, generation: Generation, writer: Writer) -> list[Answer]:
        answers = {index: answer async for index, answer, _ in self._answered(generation, writer)}
        return [answers[index] for index in range(generation.n)]

    async def _chunks(self, generation: Generation, writer: Writer) -> AsyncIterator[Json]:
        answers: dict[int, Answer] = {}
        shown = [0] * generation.n
        async for index, answer, text in self._answered(generation, writer):
            if index not in answers:
                yield writer.opening(index)
            answers[index] = answer
            if text or (answer.finish_reason and writer.request.logprobs):
                yield writer.piece(index, text, answer.drawn[shown[index] :])
                shown[index] = len(answer.drawn)
            if answer.finish_reason:
                yield writer.ending(index, answer)
        if writer.request.stream_options and writer.request.stream_options.include_usage:
            yield writer.usage(list(answers.values()))


class _EventStream(StreamingResponse):
    """Server-sent events; the generation stops when they are sent or the client is gone."""

    def __init__(self, generation: Generation, chunks: AsyncIterator[Json]) -> None:
        super().__init__(_events(chunks), media_type="text/event-stream")
        self._generation = generation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._generation.cancel()


async def _events(chunks: AsyncIterator[Json]) -> AsyncIterator[str]:
    try:
        async for chunk in chunks:
            yield f"data: {json.dumps(chunk)}\n\n"
    except InferenceError as error:
        # The status has been sent; OpenAI's clients raise on an event that holds an error.
        yield f"data: {json.dumps(_as_request_error(error).body)}\n\n"
        return
    yield "data: [DONE]\n\n"


async def _unless_gone(request: Request, generation: Generation, answers: Awaitable[list[Answer]]) -> list[Answer]:
    """Await the answers, but give the slots back when the client goes away; raises `ClientDisconnect` then."""
    work = asyncio.ensure_future(answers)
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


def _as_request_error(error: ArtError) -> RequestError:
    match error:
        case NotFoundError():
            return RequestError(str(error), status=404, param="model", code="model_not_found")
        case QueueFullError():
            return RequestError(str(error), status=429, kind="rate_limit_error", code="rate_limit_exceeded")
        case ConfigurationError() | InvalidNameError():
            return RequestError(str(error), code="invalid_value")
        case _:
            return RequestError(str(error), status=500, kind="server_error", code="inference_failed")


async def _refuse(_: Request, error: RequestError) -> Response:
    # The client's library repeats what it was refused with 500; the same weights would fail again.
    headers = {"x-should-retry": "false"} if error.status == 500 else None
    return JSONResponse(error.body, status_code=error.status, headers=headers)


async def _report(request: Request, error: ArtError) -> Response:
    return await _refuse(request, _as_request_error(error))


async def _no_route(request: Request, error: HTTPException) -> Response:
    message = f"{request.method} {request.url.path} is not served here: {error.detail}."
    return await _refuse(request, RequestError(message, status=error.status_code, code="unknown_url"))


async def _client_gone(_: Request, __: ClientDisconnect) -> Response:
    return Response(status_code=CLIENT_GONE)
