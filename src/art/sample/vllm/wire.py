"""What vLLM is asked, and what it answers: requests and tokens as JSON. Pure; knows no connection."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from art.errors import InferenceError, SamplerLostError
from art.sample.generation import FinishReason, Token
from art.sample.sampling import Drawn, Sampling

MARK, END = b"data: ", b"[DONE]"
ID = "token_id:"
SEED_BITS = 63
MESSAGE_AT_MOST = 500
LOST = ("EngineCore", "EngineDead")
"""What a server says whose engine has ended; it will end, too."""


@dataclass(frozen=True)
class StreamedPiece:
    """The next tokens of a choice, and why it ends with the last of them."""

    drawn: tuple[Drawn, ...]
    finish_reason: FinishReason | None

    def tokens(self, choice: int) -> Iterator[Token]:
        """Yield the tokens as those of a choice."""
        last = len(self.drawn) - 1
        for place, drawn in enumerate(self.drawn):
            yield Token(choice, drawn, self.finish_reason if place == last else None)


def completion(prompt_ids: Sequence[int], *, sampling: Sampling, seed: int | None = None) -> dict[str, Any]:
    """Give the request for one choice, without the model's name. Whatever a server could set by itself is said."""
    return {
        "prompt": list(prompt_ids),
        "max_tokens": sampling.max_tokens,
        "temperature": 0.0 if sampling.is_greedy else sampling.temperature,
        "top_p": 1.0, "top_k": 0, "min_p": 0.0,
        "presence_penalty": 0.0, "frequency_penalty": 0.0, "repetition_penalty": 1.0,
        "seed": None if seed is None else seed % (1 << SEED_BITS),
        "ignore_eos": True, "stop_token_ids": sorted(sampling.stop_ids),
        "logprobs": sampling.top_logprobs,
        "return_token_ids": True, "return_tokens_as_token_ids": True,
        "stream": True,
    }  # fmt: skip


def read_piece(line: bytes, *, top: int) -> StreamedPiece | None:
    """Read a line of the stream, with so many of the likeliest tokens; None for a line without tokens.

    Raises `InferenceError` for a failure that it tells, `SamplerLostError` where the server's engine has ended.
    """
    if not line.startswith(MARK) or line == MARK + END:
        return None
    event = json.loads(line[len(MARK) :])
    if "error" in event:
        message = message_of(event)
        failed = SamplerLostError if is_lost(message) else InferenceError
        raise failed(f"vLLM failed over this request: {message}")
    if not event.get("choices"):
        return None
    [choice] = event["choices"]
    reason = choice["finish_reason"]
    if reason not in (None, "stop", "length"):
        raise InferenceError(f"vLLM ended an answer by itself: {reason}.")
    return StreamedPiece(drawn=tuple(_drawn(choice, top)), finish_reason=reason)


def _drawn(choice: dict[str, Any], top: int) -> list[Drawn]:
    scores, ids = choice["logprobs"], choice["token_ids"]
    if not ids:
        return []
    tops = scores.get("top_logprobs") or [{}] * len(ids)
    values = scores["token_logprobs"]
    return [Drawn(token, value, _best(each, top)) for token, value, each in zip(ids, values, tops, strict=True)]


def _best(entries: dict[str, float], top: int) -> tuple[tuple[int, float], ...]:
    # vLLM adds the sampled token where it is not among them.
    ids = [(int(name.removeprefix(ID)), value) for name, value in entries.items()] if top else []
    return tuple(sorted(ids, key=lambda entry: -entry[1])[:top])


def message_of(body: dict[str, Any]) -> str:
    """Give what a refusal says, in its first line."""
    error = body.get("error", body)
    text = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    return str(text or body).split("\n")[0][:MESSAGE_AT_MOST]


def is_lost(message: str) -> bool:
    """Tell whether the message is that of a server whose engine has ended."""
    return any(word in message for word in LOST)
