"""Answers in OpenAI's words: the chat completion, and the chunks of a stream.

Knows OpenAI's response format and how our choices say which tokens were sampled; neither the engine nor HTTP.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from art.http.answer import Answer
from art.http.chat import ChatFormat
from art.http.protocol import ChatRequest
from art.sample.sampling import Drawn
from art.trajectories import TOKEN_ID_PREFIX, SampledTokens

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Writer:
    """Writes the answers of one request."""

    request: ChatRequest
    chat: ChatFormat
    prompt_ids: tuple[int, ...]
    version: str
    temperature: float
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def completion(self, answers: Sequence[Answer]) -> Json:
        return {
            **self._head("chat.completion"),
            "choices": [self._choice(index, answer) for index, answer in enumerate(answers)],
            "usage": self._usage(answers),
        }

    def opening(self, index: int) -> Json:
        """Write the chunk that says who speaks."""
        return self._chunk([_chunk_choice(index, {"role": "assistant", "content": ""})])

    def piece(self, index: int, text: str, drawn: Sequence[Drawn]) -> Json:
        """Write a chunk of text, with the log-probabilities of the tokens since the last one."""
        delta = {"content": text} if text else {}
        return self._chunk([{**_chunk_choice(index, delta), "logprobs": self._logprobs(drawn)}])

    def ending(self, index: int, answer: Answer) -> Json:
        """Write a choice's last chunk: its tool calls, why it ended, and how it was sampled."""
        calls = [{"index": number, **call} for number, call in enumerate(self._calls(answer))]
        choice = _chunk_choice(index, {"tool_calls": calls} if calls else {})
        return self._chunk([{**choice, "finish_reason": answer.finish_reason, **self._sampled(answer)}])

    def usage(self, answers: Sequence[Answer]) -> Json:
        """Write the chunk that `stream_options.include_usage` asks for."""
        return {**self._chunk([]), "usage": self._usage(answers)}

    def _head(self, kind: str) -> Json:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.request.model,
            # Whatever the request called the model: this is what answered.
            "system_fingerprint": self.version,
        }

    def _chunk(self, choices: list[Json]) -> Json:
        return {**self._head("chat.completion.chunk"), "choices": choices}

    def _choice(self, index: int, answer: Answer) -> Json:
        message: Json = {"role": "assistant", "content": answer.content, "refusal": None}
        if answer.calls:
            message["tool_calls"] = self._calls(answer)
        return {
            "index": index,
            "message": message,
            "finish_reason": answer.finish_reason,
            "logprobs": self._logprobs(answer.drawn),
            **self._sampled(answer),
        }

    def _calls(self, answer: Answer) -> list[Json]:
        return [
            {
                "id": answer.call_id(self.prompt_ids, number),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for number, call in enumerate(answer.calls)
        ]

    def _sampled(self, answer: Answer) -> Json:
        return SampledTokens(
            prompt_ids=self.prompt_ids,
            token_ids=tuple(drawn.token_id for drawn in answer.drawn),
            logprobs=tuple(drawn.logprob for drawn in answer.drawn),
            temperature=self.temperature,
            version=self.version,
        ).as_fields()

    def _usage(self, answers: Sequence[Answer]) -> Json:
        prompt, completion = len(self.prompt_ids), sum(len(answer.drawn) for answer in answers)
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    def _logprobs(self, drawn: Sequence[Drawn]) -> Json:
        """Write the tokens as ART's server does, whether or not they were asked for: a client keeps these."""
        return {"content": [self._token(each) for each in drawn], "refusal": None}

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
        text = self.chat.text([token_id]) if self.request.logprobs else "\N{REPLACEMENT CHARACTER}"
        return None if "\N{REPLACEMENT CHARACTER}" in text else list(text.encode())


def _chunk_choice(index: int, delta: Json) -> Json:
    return {"index": index, "delta": delta, "finish_reason": None, "logprobs": None}
