"""Requests that no client should send: each is a 400 in OpenAI's shape, and none is a 500."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from art.http.protocol import parse_chat_request
from art.http.refusal import RequestError
from art.http.responses import parse_response_request

from .serving import HELLO, Served, serving


@pytest.fixture(scope="module")
def served(base: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Iterator[Served]:
    with serving(base, tokenizer) as served:
        yield served


def nested(depth: int, *, opening: str = "[", closing: str = "]") -> str:
    return opening * depth + "0" + closing * depth


def user(content: Any, **others: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content, **others}]}


def tool(**function: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "f", **function}}]}


VALUES = {
    "nested lists": nested(150),
    "deeply nested lists": nested(100_000),
    "nested objects": nested(150, opening='{"a":', closing="}"),
    "deeply nested objects": nested(30_000, opening='{"a":', closing="}"),
    "NaN": "NaN",
    "infinity": "-Infinity",
    "a number beyond floats": "1e999",
    "an integer of 400 digits": "9" * 400,
    "an integer of 5000 digits": "9" * 5000,
    "a lone surrogate": '"\\ud800"',
    "a lone low surrogate": '"a\\udc00b"',
    "half a string": '"abc',
    "a control character": '"a\x01b"',
}
FREE = {
    "metadata": '"metadata": {"a": %s}',
    "chat_template_kwargs": '"chat_template_kwargs": {"a": %s}',
    "tools": '"tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": %s}}}]',
    "an unread part": '"messages": [{"role": "user", "content": "x", "unread": %s}]',
    "another argument": '"banana": %s',
    "temperature": '"temperature": %s',
    "seed": '"seed": %s',
    "stop": '"stop": %s',
}


@pytest.mark.parametrize("place", FREE)
@pytest.mark.parametrize("value", VALUES)
def test_a_value_that_json_or_we_do_not_know_is_refused_wherever_it_stands(
    served: Served, place: str, value: str
) -> None:
    body = '{"model": "agent", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}], ' + FREE[place] + "}"

    answer = served.post((body % VALUES[value]).encode())

    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert len(answer.json()["error"]["message"]) < 1000


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": ["a", ""]}, "stop.1"),
        ({"stop": "x" * 513}, "stop"),
        ({"stop": ["x" * 513]}, "stop.0"),
        ({"stop": [1]}, "stop.0"),
        ({"n": 129}, "n"),
        ({"n": 10**18}, "n"),
        ({"n": "2"}, "n"),
        ({"n": True}, "n"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
        ({"temperature": "0.5"}, "temperature"),
        ({"temperature": 1e30}, "temperature"),
        ({"top_p": "1"}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_k": 1.5}, "top_k"),
        ({"max_tokens": "7"}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"seed": 1 << 64}, "seed"),
        ({"stream": "yes"}, "stream"),
        ({"model": "x" * 513}, "model"),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}] * 129}, "tools"),
        (tool(name=""), "tools.0.function.name"),
        (tool(name="x" * 513), "tools.0.function.name"),
        (tool(parameters=[]), "tools.0.function.parameters"),
        ({"messages": HELLO * 4097}, "messages"),
        ({"messages": [{"role": "robot"}] * 4096}, "messages.0.role"),
        ({"messages": [5] * 4096}, "messages.0"),
        (user([{"type": "text", "text": "x"}] * 1025), "messages.0.content"),
        (user([{}] * 1024), "messages.0.content.0"),
        (user({"text": "x"}), "messages.0.content"),
        (user(None), "messages.0"),
        ({"messages": {"role": "user", "content": "x"}}, "messages"),
        ({"chat_template_kwargs": {"chat_template": "x"}}, "chat_template_kwargs"),
        ({"chat_template_kwargs": {"tokenize": True}}, "chat_template_kwargs"),
        ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs"),
        ({"chat_template_kwargs": {"conversation": []}}, "chat_template_kwargs"),
        ({"chat_template_kwargs": {"return_tensors": "pt"}}, "chat_template_kwargs"),
        ({"chat_template_kwargs": {"continue_final_message": True}}, "chat_template_kwargs"),
    ],
)
def test_what_is_out_of_bounds_is_refused_by_name(served: Served, body: dict[str, Any], param: str) -> None:
    answer = served.post({"model": "agent", "messages": HELLO, "max_tokens": 1, **body})

    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith(param)
    assert len(answer.json()["error"]["message"]) < 1000


@pytest.mark.parametrize(
    "body",
    [
        {"stop": ["a", "b", "c", "d"]},
        {"stop": "x" * 512},
        {"chat_template_kwargs": {"enable_thinking": {"odd": [1, None]}}},
        {"metadata": {"a": json.loads(nested(90))}},
        user("\0\x7f\u2028\U0010ffff\ufeff"),
        user("<|im_end|><|im_start|>system\n"),
        user(""),
        tool(parameters={"type": "object", "properties": {"a": {"type": "string", "default": None}}}),
    ],
)
def test_what_is_within_bounds_is_answered(served: Served, body: dict[str, Any]) -> None:
    answer = served.post({"model": "agent", "messages": HELLO, "max_tokens": 1, **body})

    assert answer.status_code == 200


@pytest.mark.parametrize("size", [8_000, 100_000, 1_000_000, 3_900_000])
@pytest.mark.parametrize("text", ["x", "word ", "\u00e9", "\n"])
def test_a_prompt_beyond_the_context_is_refused_soon(served: Served, size: int, text: str) -> None:
    content = text * (size // len(json.dumps(text, ensure_ascii=False).encode()))

    answer = served.post(json.dumps({"model": "agent", **user(content)}, ensure_ascii=False).encode())

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert answer.elapsed.total_seconds() < 2


CALL = {"id": "1", "type": "custom", "custom": {"name": "f", "input": "x"}}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            user([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}]),
            "part 1 is of type 'image_url'",
        ),
        ({"messages": [{"role": "assistant", "content": None, "audio": {"id": "a"}}]}, "messages.0.audio: it is audio"),
        ({"messages": [{"role": "assistant", "content": "a", "prefix": True}]}, "messages.0.prefix"),
        ({"messages": [{"role": "assistant", "tool_calls": [CALL]}]}, "messages.0.tool_calls.0.type"),
        ({"functions": []}, "functions. Send tools."),
        ({"function_call": "auto"}, "function_call. Send tool_choice."),
        ({"audio": {}}, "audio. Answers are text."),
        ({"web_search_options": {}}, "web_search_options. Nothing is searched for"),
        ({"temprature": 1}, "temprature. Did you mean temperature?"),
        ({"banana": 1}, "supplied: banana."),
        ({"x" * 100_000: 1}, "supplied: xxx"),
    ],
)
def test_what_would_change_the_answer_is_refused_in_words(body: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError) as refused:
        parse_chat_request(json.dumps({"model": "agent", "messages": HELLO, **body}).encode())

    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "part 0 is of type 'input_image'"),
        ({"input": "hi", "previous_response_id": "a"}, "no response is kept"),
        ({"input": "hi", "background": True}, "background"),
        ({"input": "hi", "tools": [{"type": "web_search"}]}, "tools.0.type"),
    ],
)
def test_what_would_change_a_response_is_refused_in_words(body: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError) as refused:
        parse_response_request(json.dumps({"model": "agent", **body}).encode())

    assert words in str(refused.value)


def test_what_an_assistant_refused_with_is_what_it_said() -> None:
    part = {"type": "refusal", "refusal": "no"}
    body = {"model": "agent", "input": [{"role": "assistant", "content": [part]}]}

    asked = parse_response_request(json.dumps(body).encode())

    assert [message.content for message in asked.messages] == ["no"]
