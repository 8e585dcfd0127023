"""Completions of plain text, `/v1/completions`: the request, and the answer with its chunks.

Knows OpenAI's format; neither the engine nor HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, cast

from pydantic import BeforeValidator, Field

from art.http.answer import Answer
from art.http.body import parse_json
from art.http.chat import ChatFormat
from art.http.protocol import SamplingRequest, read_as
from art.http.refusal import RequestError
from art.http.thinking import Split
from art.http.writing import AnsweredRequest, Json
from art.sample.sampling import Drawn

MAX_LOGPROBS = 5
DEFAULT_MAX_TOKENS = 16
MAX_PROMPT_TOKENS = 1 << 20


def _one_of(prompt: object) -> object:
    prompts = cast("list[object]", prompt) if isinstance(prompt, list) else []
    if len(prompts) > 1 and isinstance(prompts[0], str | list):
        raise ValueError("one prompt a request is served; send each by itself")
    return prompt


TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=MAX_PROMPT_TOKENS)]


class TextRequest(SamplingRequest):
    """The body of POST /v1/completions."""

    prompt: Annotated[
        str | TokenIds | Annotated[list[str] | list[TokenIds], Field(min_length=1, max_length=1)],
        BeforeValidator(_one_of),
    ]
    """One prompt, as text or tokens; a list of several is refused."""
    logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None
    # Only this value, which changes nothing, is accepted.
    suffix: Literal[""] | None = None

    @property
    def is_chat(self) -> bool:
        return False

    @property
    def limit(self) -> int | None:
        return self.max_tokens or DEFAULT_MAX_TOKENS

    @property
    def shown_logprobs(self) -> int | None:
        return self.logprobs

    @property
    def one_prompt(self) -> str | Sequence[int]:
        match self.prompt:
            case [str() | list() as only]:
                return only
            case [*token_ids]:
                return [each for each in token_ids if isinstance(each, int)]
            case text:
                return text


def parse_text_request(body: bytes) -> TextRequest:
    """Read a request for a completion; raises `RequestError` that names the parameter."""
    return read_as(TextRequest, parse_json(body))


def text_prompt_ids(request: SamplingRequest, chat: ChatFormat, context: int) -> tuple[int, ...]:
    """Give the prompt's tokens; raises `RequestError` where they leave no room."""
    assert isinstance(request, TextRequest)
    prompt = request.one_prompt
    if isinstance(prompt, str):
        return chat.text_ids(prompt, context=context)
    if len(prompt) >= context:
        message = f"The prompt's {len(prompt)} tokens leave no room in the context of {context}."
        raise RequestError(message, param="prompt", code="context_length_exceeded")
    if max(prompt) >= len(chat.tokenizer):
        message = f"The prompt has token {max(prompt)}; this model's tokenizer has {len(chat.tokenizer)}."
        raise RequestError(message, param="prompt", code="invalid_value")
    return tuple(prompt)


class TextWriter:
    """Writes the answers of one request. What makes a choice trainable stands in it as in a chat completion's."""

    def __init__(self, question: AnsweredRequest) -> None:
        self._question = question
        self._offsets: dict[int, int] = {}

    def whole(self, answers: Sequence[Answer]) -> Json:
        choices = [self._choice(index, answer) for index, answer in enumerate(answers)]
        return self._answer(choices, usage=self._question.usage(answers))

    def opening(self, index: int) -> Iterator[Json]:
        self._offsets[index] = 0
        yield from ()

    def piece(self, index: int, grown: Split, drawn: Sequence[Drawn]) -> Iterator[Json]:
        logprobs = self._logprobs(drawn, self._offsets[index])
        self._offsets[index] += len(grown.text)
        yield self._answer([{"index": index, "text": grown.text, "logprobs": logprobs, "finish_reason": None}])

    def ending(self, index: int, answer: Answer) -> Iterator[Json]:
        ended = {"index": index, "text": "", "logprobs": None, "finish_reason": answer.finish_reason}
        yield self._answer([{**ended, **self._question.sampled(answer).as_fields()}])

    def closing(self, answers: Sequence[Answer]) -> Iterator[Json]:
        options = self._question.request.stream_options
        if options and options.include_usage:
            yield self._answer([], usage=self._question.usage(answers))

    def _choice(self, index: int, answer: Answer) -> Json:
        return {
            "index": index,
            "text": answer.content or "",
            "finish_reason": answer.finish_reason,
            "logprobs": self._logprobs(answer.drawn, 0),
            **self._question.sampled(answer).as_fields(),
        }

    def _logprobs(self, drawn: Sequence[Drawn], start: int) -> Json:
        tokens = self._question.tokens(drawn)
        offsets: list[int] = []
        for each in drawn:
            offsets.append(start)
            start += len(self._question.chat.text([each.token_id])) if self._question.request.shown_logprobs else 0
        return {
            "tokens": [token["token"] for token in tokens],
            "token_logprobs": [token["logprob"] for token in tokens],
            "top_logprobs": [{top["token"]: top["logprob"] for top in token["top_logprobs"]} for token in tokens],
            "text_offset": offsets,
        }

    def _answer(self, choices: list[Json], **more: Json) -> Json:
        return {
            "id": f"cmpl-{self._question.id}",
            "object": "text_completion",
            "created": self._question.created,
            "model": self._question.request.model,
            "system_fingerprint": str(self._question.version),
            "choices": choices,
            **more,
        }
