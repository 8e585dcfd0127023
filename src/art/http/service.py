"""What each route does: a request becomes a prompt, a generation, and an answer.

Knows the catalogue, the chat format and OpenAI's requests; not who is let in. Runs in the server's event loop, and
leaves to threads whatever takes long: parsing, templates, tokenising, writing, listing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from art.http.answer import Answer
from art.http.body import Bodies
from art.http.catalogue import Catalogue
from art.http.chat import ChatFormat
from art.http.codecs import CHAT, RESPONSES, TEXT, Codec
from art.http.grammar import Grammars, demands_form, offered
from art.http.listing import Listing, entry
from art.http.metrics import MEDIA_TYPE, Metrics
from art.http.preparation import TextThreads
from art.http.protocol import SamplingRequest
from art.http.recent import RecentAnswers
from art.http.refusal import RequestError
from art.http.stream import EventStream, Whole, unless_gone
from art.http.thinking import Split
from art.http.writing import AnsweredRequest, Json, Writer, as_json
from art.sample.generation import Generation
from art.sample.sampling import GREEDY_BELOW, Sampling
from art.sample.shaping import NewShaper, Penalties
from art.sample.version import Version

DEFAULT_MAX_TOKENS = 4096
"""What a request that names no limit may sample, where the context has room for it."""
ANSWER_BYTES_PER_TOKEN = 100
MAX_SHOWN_TOKENS = 1 << 21
"""Of one answer, those among `top_logprobs` included: about 200 MiB."""


@dataclass(frozen=True, kw_only=True)
class PreparedRequest:
    """A request that was read, its prompt, and what its seed is derived from where it brings none."""

    request: SamplingRequest
    prompt_ids: tuple[int, ...]
    content: str
    shapers: tuple[NewShaper, ...]


@dataclass(frozen=True, kw_only=True)
class Service:
    """Answers requests for what a catalogue names."""

    catalogue: Catalogue
    chat: ChatFormat
    grammars: Grammars
    context: int
    bodies: Bodies
    listing: Listing
    metrics: Metrics
    preparation: TextThreads
    recent: RecentAnswers | None

    async def chat_completions(self, request: Request) -> Response:
        return await self._serve(request, CHAT)

    async def completions(self, request: Request) -> Response:
        return await self._serve(request, TEXT)

    async def responses(self, request: Request) -> Response:
        return await self._serve(request, RESPONSES)

    async def _serve(self, request: Request, codec: Codec) -> Response:
        async with self.bodies.read(request) as body:
            prepared = await self.preparation.run(partial(self._prepare, body, codec), size=len(body))
            if demands_form(prepared.request):
                grammar = await self.preparation.run_form(partial(self.grammars.shaper, prepared.request))
                prepared = replace(prepared, shapers=(*prepared.shapers, *([grammar] if grammar else [])))
        self._check_shapers(prepared.shapers)
        if await request.is_disconnected():
            raise ClientDisconnect
        sampling = self._sampling(prepared)
        _check_answer(prepared.request.n or 1, sampling)
        generation, version = await self._submit(prepared, sampling)
        self.metrics.prompt_tokens += len(prepared.prompt_ids)
        question = AnsweredRequest(
            request=prepared.request,
            chat=self.chat,
            prompt_ids=prepared.prompt_ids,
            version=version,
            temperature=sampling.temperature,
        )
        if prepared.request.stream:
            return EventStream(generation, self._chunks(generation, question, codec.writer(question)))
        return Whole(await unless_gone(request, generation, self._whole(generation, question, codec.writer(question))))

    async def models(self, _: Request) -> Response:
        return Whole((await self.listing.read()).document)

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in (await self.listing.read()).names:
            message = f"The model {name!r} is not served here; GET /v1/models lists those that are."
            raise RequestError(message, status=404, param="model", code="model_not_found")
        return JSONResponse(entry(name))

    async def health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok", **asdict(self.catalogue.sampler.load())})

    async def show_metrics(self, _: Request) -> Response:
        return Response(self.metrics.text(self.catalogue.sampler.load()), media_type=MEDIA_TYPE)

    def _prepare(self, body: bytes, codec: Codec) -> PreparedRequest:
        request = codec.parse(body)
        prompt_ids = codec.prompt_ids(request, self.chat, self.context)
        content = request.content() if self.catalogue.derives_seeds else ""
        shapers = tuple(_penalties(request, len(self.chat.tokenizer)))
        return PreparedRequest(request=request, prompt_ids=prompt_ids, content=content, shapers=shapers)

    def _check_shapers(self, shapers: tuple[NewShaper, ...]) -> None:
        """Refuse what shapes the logits where the sampler does not let anything do that; raises `RequestError`."""
        if shapers and not self.catalogue.sampler.traits.shapes_logits:
            message = "The sampler behind this server applies no penalties, no logit_bias and no form of an answer."
            raise RequestError(f"{message} Leave them out of the request.", code="unsupported_value")

    def _sampling(self, prepared: PreparedRequest) -> Sampling:
        request = prepared.request
        wanted = request.limit or DEFAULT_MAX_TOKENS
        temperature = 1.0 if request.temperature is None else request.temperature
        return Sampling(
            max_tokens=min(wanted, self.context - len(prepared.prompt_ids)),
            temperature=0.0 if temperature < GREEDY_BELOW else temperature,
            top_p=1.0 if request.top_p is None else request.top_p,
            top_k=max(request.top_k or 0, 0),
            min_p=request.min_p or 0.0,
            shapers=prepared.shapers,
            seed=request.seed,
            top_logprobs=request.shown_logprobs or 0,
            stop_ids=self.catalogue.sampler.stop_ids | self.chat.stop_ids | {*(request.stop_token_ids or ())},
        )

    async def _submit(self, prepared: PreparedRequest, sampling: Sampling) -> tuple[Generation, Version]:
        request = prepared.request
        return await self.catalogue.submit(
            request.model, prepared.prompt_ids, sampling=sampling, n=request.n or 1, content=prepared.content
        )

    async def _answered(
        self, generation: Generation, question: AnsweredRequest
    ) -> AsyncIterator[tuple[int, Answer, Split]]:
        """Yield each choice whenever it grows, with the text that it can show now."""
        answers = [self._begin(question) for _ in range(generation.n)]
        async for token in generation:
            self.metrics.sampled_tokens += 1
            answer = answers[token.choice]
            grown = answer.push(token)
            if answer.finish_reason and not token.finish_reason:
                generation.cancel(token.choice)
            if answer.finish_reason and self.recent:
                self.recent.note(question.sampled(answer))
            yield token.choice, answer, grown

    def _begin(self, question: AnsweredRequest) -> Answer:
        request = question.request
        thinker = self.chat.thinker(question.prompt_ids) if request.is_chat else None
        calls_once = request.calls_once
        return Answer(self.chat, stops=request.stops, offered=offered(request), thinker=thinker, calls_once=calls_once)

    async def _whole(self, generation: Generation, question: AnsweredRequest, writer: Writer) -> bytes:
        answers = {index: answer async for index, answer, _ in self._answered(generation, question)}
        in_order = [answers[index] for index in range(generation.n)]
        tokens = sum(len(answer.drawn) for answer in in_order)
        return await self.preparation.run(lambda: as_json(writer.whole(in_order)), size=tokens * ANSWER_BYTES_PER_TOKEN)

    async def _chunks(self, generation: Generation, question: AnsweredRequest, writer: Writer) -> AsyncIterator[Json]:
        answers: dict[int, Answer] = {}
        shown = [0] * generation.n
        async for index, answer, grown in self._answered(generation, question):
            opening = () if index in answers else writer.opening(index)
            for chunk in opening:
                yield chunk
            answers[index] = answer
            for chunk in _news(writer, index, answer, grown, shown):
                yield chunk
        for chunk in writer.closing([answers[index] for index in sorted(answers)]):
            yield chunk


def _check_answer(n: int, sampling: Sampling) -> None:
    """Refuse a request whose answer may become larger than any that is meant."""
    shown = n * sampling.max_tokens * (1 + sampling.top_logprobs)
    if shown > MAX_SHOWN_TOKENS:
        raise RequestError(
            f"The answer may show {shown:,} tokens, of {MAX_SHOWN_TOKENS:,} at most. Lower max_tokens, n or "
            "top_logprobs.",
            param="max_tokens",
            code="invalid_value",
        )


def _news(writer: Writer, index: int, answer: Answer, grown: Split, shown: list[int]) -> Iterator[Json]:
    """Write what a choice has grown by; its tokens are `shown` with the text that they became."""
    if grown or answer.finish_reason:
        yield from writer.piece(index, grown, answer.drawn[shown[index] :])
        shown[index] = len(answer.drawn)
    if answer.finish_reason:
        yield from writer.ending(index, answer)


def _penalties(request: SamplingRequest, vocabulary: int) -> list[NewShaper]:
    """Give what shapes the logits beside a grammar; nothing where nothing was asked."""
    bias = tuple((int(token_id), amount) for token_id, amount in (request.logit_bias or {}).items())
    if any(token_id >= vocabulary for token_id, _ in bias):
        message = f"logit_bias names a token beyond the vocabulary of {vocabulary}."
        raise RequestError(message, param="logit_bias", code="invalid_value")
    penalties = Penalties(
        presence=request.presence_penalty or 0.0,
        frequency=request.frequency_penalty or 0.0,
        repetition=request.repetition_penalty or 1.0,
        bias=bias,
    )
    return [] if penalties == Penalties() else [penalties.begin]
