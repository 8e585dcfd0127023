"""What every form of answer says of its tokens, and what a route's writer gives.

Knows how our choices say which tokens were sampled; neither the engine nor HTTP.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from art.http.answer import Answer
from art.http.chat import ChatFormat
from art.http.protocol import MAX_CHOICES, SamplingRequest
from art.http.thinking import Split
from art.sample.sampling import Drawn
from art.sample.version import Version
from art.trajectories import TOKEN_ID_PREFIX, SampledTokens

Json = dict[str, Any]
ENTRIES_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class AnsweredRequest:
    """A request that is being answered."""

    request: SamplingRequest
    chat: ChatFormat
    prompt_ids: tuple[int, ...]
    version: Version
    temperature: float
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def sampled(self, answer: Answer) -> SampledTokens:
        """Say how an answer was sampled, which makes it trainable."""
        return SampledTokens(
            prompt_ids=self.prompt_ids,
            token_ids=tuple(drawn.token_id for drawn in answer.drawn),
            logprobs=tuple(drawn.logprob for drawn in answer.drawn),
            temperature=self.temperature,
            version=str(self.version),
        )

    def usage(self, answers: Sequence[Answer]) -> Json:
        prompt, completion = len(self.prompt_ids), sum(len(answer.drawn) for answer in answers)
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    def tokens(self, drawn: Sequence[Drawn]) -> list[Json]:
        """Write the tokens as ART's server does, whether or not they were asked for: a client keeps these."""
        return [self._token(each) for each in drawn]

    def _token(self, drawn: Drawn) -> Json:
        top = [self._scored(token_id, logprob) for token_id, logprob in drawn.top]
        # With each token, because clients that put an answer together keep the list and nothing around it.
        scale = {} if self.temperature == 1 else {"temperature": self.temperature}
        return {**self._scored(drawn.token_id, drawn.logprob), "top_logprobs": top, **scale}

    def _scored(self, token_id: int, logprob: float) -> Json:
        spelling = f"{TOKEN_ID_PREFIX}{token_id}"
        return {"token": spelling, "logprob": max(logprob, -9999.0), "bytes": self._bytes(token_id)}

    def _bytes(self, token_id: int) -> list[int] | None:
        """Give the text of a token where it was asked for; a token that is no whole character has none."""
        is_shown = self.request.shown_logprobs is not None
        text = self.chat.text([token_id]) if is_shown else "\N{REPLACEMENT CHARACTER}"
        return None if "\N{REPLACEMENT CHARACTER}" in text else list(text.encode())


class Writer(Protocol):
    """Writes the answers of one request, whole or in chunks; only one of both."""

    def __init__(self, question: AnsweredRequest) -> None: ...

    def whole(self, answers: Sequence[Answer]) -> Json:
        """Write everything at once."""
        ...

    def opening(self, index: int) -> Iterator[Json]:
        """Write what comes before a choice's first piece."""
        ...

    def piece(self, index: int, grown: Split, drawn: Sequence[Drawn]) -> Iterator[Json]:
        """Write text that came, with the tokens since the last piece."""
        ...

    def ending(self, index: int, answer: Answer) -> Iterator[Json]:
        """Write what comes after a choice's last piece."""
        ...

    def closing(self, answers: Sequence[Answer]) -> Iterator[Json]:
        """Write what comes when all choices have ended."""
        ...


def as_json(document: Json) -> bytes:
    """Write an answer piece by piece: while one piece is written no other thread runs, the event loop's neither."""
    return "".join(_pieces(document)).encode()


def _pieces(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        fields = cast("Json", value).items()
        yield "{"
        for number, (name, inner) in enumerate(fields):
            yield f"{', ' if number else ''}{json.dumps(name)}: "
            yield from _pieces(inner)
        yield "}"
    elif isinstance(value, list) and value:
        # A list of choices has few entries, all large; a list of tokens has many small ones.
        entries = cast("list[Any]", value)
        together = 1 if len(entries) <= MAX_CHOICES else ENTRIES_AT_ONCE
        yield "["
        for start in range(0, len(entries), together):
            yield ", " if start else ""
            chunk = entries[start : start + together]
            yield from _pieces(chunk[0]) if together == 1 else [json.dumps(chunk)[1:-1]]
        yield "]"
    else:
        yield json.dumps(value)
