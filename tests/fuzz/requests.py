"""Requests to the server: every body is prepared for the engine, or refused in OpenAI's shape, in every dialect.

Everything that a request's text passes before a token is sampled, and the reading of what the model wrote. The server
around it is asked over HTTP by `test_door.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from art.http.calling.dialect import Offered
from art.http.chat import ChatFormat
from art.http.codecs import CHAT, RESPONSES, TEXT, Codec
from art.http.grammar import Grammars, offered
from art.http.refusal import RequestError
from small import CHATML, byte_tokenizer

from .mutation import Draw, mutated
from .world import bounded

CONTEXT = 1024
# What shows each dialect in a template; none of it is written into a prompt.
TEMPLATES = {
    "hermes": "",
    "elements": "{# <function=x> <parameter=y> #}",
    "llama": "{# <|python_tag|> #}",
    "mistral": "{# [TOOL_CALLS] [ARGS] #}",
    "mistral, listing": "{# [TOOL_CALLS] #}",
}
ANSWERS = [
    '<tool_call>\n{"name": "look", "arguments": {"at": [1, {"b": null}]}}\n</tool_call>',
    '<tool_call>\n{"name": "look", "arguments": "{\\"at\\": 1}"}\n</tool_call>',
    "<tool_call>\n<function=look>\n<parameter=at>\n[1, 2]\n</parameter>\n</function>\n</tool_call>",
    '<|python_tag|>{"name": "look", "parameters": {"at": 1}}; {"name": "look", "parameters": {}}',
    '[TOOL_CALLS][{"name": "look", "arguments": {"at": 1}}]',
    '[TOOL_CALLS]look[ARGS]{"at": 1}',
]
SCHEMA = {
    "type": "object",
    "properties": {
        "at": {"type": "integer"},
        "how": {"type": "string", "enum": ["a", "b"]},
        "what": {"type": "string"},
    },
    "required": ["at"],
    "$defs": {"x": {"type": "string"}},
}
FUNCTION = {"name": "look", "description": "Looks.", "parameters": SCHEMA}
CALL = {"id": "c", "type": "function", "function": {"name": "look", "arguments": '{"at": [1, "x"]}'}}
MESSAGES = [
    {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "hm"},
    {"role": "tool", "content": "1", "tool_call_id": "c"},
]
SAMPLING = {"model": "agent", "max_tokens": 4, "temperature": 0.7, "top_p": 0.9, "seed": 3, "stop": ["x"], "n": 2}
ASKED = {**SAMPLING, "messages": MESSAGES[:2]}
TOOLS = [{"type": "function", "function": FUNCTION}]
INPUT = [
    {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
    {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]},
    {"type": "function_call", "call_id": "c", "name": "look", "arguments": '{"at": 1}'},
    {"type": "function_call_output", "call_id": "c", "output": "1"},
]
FORM = {"type": "json_schema", "name": "x", "schema": SCHEMA}
RESPONSE = {"model": "agent", "input": INPUT, "instructions": "Be brief.", "max_output_tokens": 4}
BODIES: list[tuple[Codec, dict[str, Any]]] = [
    (CHAT, {**SAMPLING, "messages": MESSAGES, "tools": TOOLS}),
    (CHAT, {**ASKED, "tools": TOOLS, "tool_choice": "required"}),
    (CHAT, {**ASKED, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}),
    (CHAT, {**ASKED, "logit_bias": {"65": -1.5}, "logprobs": True, "top_logprobs": 2, "min_p": 0.1}),
    (CHAT, {**ASKED, "guided_regex": "[a-c]+(x|y){2}", "chat_template_kwargs": {"enable_thinking": True}}),
    (CHAT, {**ASKED, "guided_choice": ["yes", "no"], "reasoning_effort": "low"}),
    (CHAT, {**ASKED, "guided_grammar": 'start: "a" | "b" start'}),
    (TEXT, {**SAMPLING, "prompt": [72, 105], "logprobs": 2, "echo": False}),
    (TEXT, {**SAMPLING, "prompt": "Hello", "guided_json": SCHEMA}),
    (RESPONSES, {**RESPONSE, "text": {"format": FORM}, "reasoning": {"effort": "low"}}),
    (RESPONSES, {**RESPONSE, "tools": [{"type": "function", **FUNCTION}], "tool_choice": "required"}),
]
PATHS = {id(CHAT): "/v1/chat/completions", id(TEXT): "/v1/completions", id(RESPONSES): "/v1/responses"}


@dataclass(frozen=True)
class Door:
    """What prepares requests for a model of each dialect."""

    chats: Mapping[str, ChatFormat]
    grammars: Mapping[str, Grammars]


def open_door() -> Door:
    chats = {name: ChatFormat(_taught(template)) for name, template in TEMPLATES.items()}
    return Door(chats, {name: Grammars(chat, chat.stop_ids) for name, chat in chats.items()})


def _taught(template: str) -> PreTrainedTokenizerFast:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = CHATML + template
    return tokenizer


def check(door: Door, source: bytes) -> None:
    """Change a body and an answer as the bytes say, and do with them what the server does."""
    draw = Draw(source)
    dialect = draw.pick(sorted(TEMPLATES))
    codec, body = draw.pick(BODIES)
    content = mutated(json.dumps(body).encode(), draw, form="json")
    answer = mutated(draw.pick(ANSWERS).encode(), draw, form="text").decode("utf-8", "replace")
    with bounded():
        may_call: Sequence[Offered] = ()
        try:
            may_call = _prepare(door, dialect, codec, content)
        except RequestError as error:
            _check_refusal(error)
        _read_answer(door.chats[dialect], answer, may_call)


def _prepare(door: Door, dialect: str, codec: Codec, body: bytes) -> Sequence[Offered]:
    asked, chat = codec.parse(body), door.chats[dialect]
    prompt_ids = codec.prompt_ids(asked, chat, CONTEXT)
    asked.content()
    assert isinstance(asked.stops, tuple)
    begin = door.grammars[dialect].shaper(asked)
    if begin is not None:
        _shape(begin, prompt_ids)
    return offered(asked)


def _shape(begin: Callable[[Any], Any], prompt_ids: tuple[int, ...]) -> None:
    """Sample some tokens under a mask, always the likeliest that is left."""
    shaper, logits_V = begin(prompt_ids), torch.arange(259, dtype=torch.float32).flip(0)
    for _ in range(4):
        shaped_V = shaper.shape(logits_V)
        if not shaped_V.isfinite().any():
            return
        shaper.take(int(shaped_V.argmax()))


def _check_refusal(error: RequestError) -> None:
    assert 400 <= error.status < 500, error.status
    response = error.response()
    told = json.loads(bytes(response.body))["error"]
    assert told["message"]
    assert told["type"]


def _read_answer(chat: ChatFormat, answer: str, may_call: Sequence[Offered]) -> None:
    parsed = chat.dialect.parse(answer, may_call)
    chat.dialect.certain(answer)
    if parsed is not None:
        for call in parsed[1]:
            json.loads(call.arguments)
