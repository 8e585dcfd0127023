"""Answers that have a form: what a request demands of it becomes a grammar, and the grammar a mask over tokens.

Knows llguidance and how tool calls are written; neither HTTP nor the engine.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Sequence
from typing import Any

import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from transformers import PreTrainedTokenizerBase

from art.http.chat import TOOL_CALL_END, TOOL_CALL_START
from art.http.protocol import ChatRequest
from art.http.refusal import RequestError
from art.sample.shaping import NewShaper, Shaper

ANY_OBJECT = {"type": "object"}
SPACED: dict[str, Any] = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""One way to write JSON: a model that may choose its white space can write it for ever."""


class Grammars:
    """Compiles what requests demand, for one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop_ids: Collection[int]) -> None:
        self._tokenizer = tokenizer
        self._stop_ids = sorted(stop_ids)
        self._compiled: LLTokenizer | None = None
        self._lock = threading.Lock()

    def shaper(self, request: ChatRequest) -> NewShaper | None:
        """Give the mask of a request that demands a form, None for any other; raises `RequestError`."""
        demanded = _demanded(request)
        if demanded is None:
            return None
        grammar, param = demanded
        matcher = LLMatcher(self._vocabulary(), grammar, log_level=0)
        if matcher.is_error():
            reason = matcher.get_error().splitlines()[0][:300]
            raise RequestError(f"{param} cannot be enforced: {reason}", param=param, code="invalid_value")

        def begin(_: Sequence[int]) -> Shaper:
            return _Masking(matcher.deep_copy())

        return begin

    def _vocabulary(self) -> LLTokenizer:
        with self._lock:
            if self._compiled is None:
                tokenizer: Any = self._tokenizer
                try:
                    self._compiled = from_tokenizer(tokenizer, eos_token=self._stop_ids)
                except ValueError as error:
                    message = f"This model's tokenizer cannot keep answers to a form: {error}"
                    raise RequestError(message, code="invalid_value") from error
            return self._compiled


class _Masking:
    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    def shape(self, logits_V: torch.Tensor) -> torch.Tensor:
        packed = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.uint8)
        bits = (packed[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
        allowed_V = torch.zeros(len(logits_V), dtype=torch.bool)
        known = min(len(logits_V), bits.numel())
        allowed_V[:known] = bits.flatten()[:known].bool()
        return logits_V.masked_fill(~allowed_V.to(logits_V.device), -torch.inf)

    def take(self, token_id: int) -> None:
        self._matcher.consume_token(token_id)


def _demanded(request: ChatRequest) -> tuple[str, str] | None:
    """Give the grammar that the request demands, and the argument that demands it."""
    if request.must_call:
        return _calls(request), "tools"
    form = request.response_format
    if form and form.type != "text":
        schema = form.json_schema.schema_ if form.json_schema else None
        return _json(ANY_OBJECT if schema is None else schema), "response_format"
    if request.guided_json is not None:
        return _json(request.guided_json), "guided_json"
    if request.guided_regex is not None:
        return LLMatcher.grammar_from_regex(request.guided_regex), "guided_regex"
    if request.guided_choice is not None:
        choices = " | ".join(json.dumps(choice) for choice in request.guided_choice)
        return LLMatcher.grammar_from_lark(f"start: {choices}"), "guided_choice"
    if request.guided_grammar is not None:
        return LLMatcher.grammar_from_lark(request.guided_grammar), "guided_grammar"
    return None


def _json(schema: dict[str, Any]) -> str:
    return LLMatcher.grammar_from_json_schema(schema, overrides=SPACED)  # pyright: ignore[reportArgumentType]


def _calls(request: ChatRequest) -> str:
    """Give the grammar of one call to one of the tools. Each schema stands alone, so that its references hold."""
    either = " | ".join(f"call_{at}" for at in range(len(request.callable_tools)))
    start, end = json.dumps(TOOL_CALL_START + "\n"), json.dumps("\n" + TOOL_CALL_END)
    rules = [f"start: {start} ({either}) {end}"]
    for at, function in enumerate(request.callable_tools):
        opening = json.dumps(f'{{"name": {json.dumps(function.name)}, "arguments": ')
        schema = json.dumps({**(function.parameters or ANY_OBJECT), "x-guidance": SPACED})
        rules.append(f'call_{at}: {opening} arguments_{at} "}}"')
        rules.append(f"arguments_{at}: %json {schema}")
    return LLMatcher.grammar_from_lark("\n".join(rules))
