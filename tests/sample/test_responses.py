"""OpenAI's Responses API, as the OpenAI Agents SDK asks it, whole and in events; every answer can be trained on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat.chat_completion import Choice
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, ConfigDict, TypeAdapter
from transformers import PreTrainedModel, PreTrainedTokenizerFast

import art
from art.response_items import as_choice, as_messages
from art.sample.own.engine import Engine
from art.trajectories import sampled_tokens
from small import small_causal_lm

from .serving import HELLO, KEY, Served, serving, version_of

TOOL: Any = {"type": "function", "name": "add", "parameters": {"type": "object"}, "strict": False}
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'


class Point(BaseModel):
    model_config = ConfigDict(extra="forbid")

    x: bool
    y: bool


@pytest.fixture(scope="module")
def served(tokenizer: PreTrainedTokenizerFast) -> Iterator[Served]:
    roomy: PreTrainedModel = small_causal_lm(tokenizer, max_position_embeddings=4096).eval()
    with serving(roomy, tokenizer) as served:
        yield served


@pytest.fixture
def caller(
    serve: Callable[..., Served],
    engine: Engine,
    parrot: Callable[[str, str], Path],
    tokenizer: PreTrainedTokenizerFast,
) -> Served:
    """A server of a model that has learnt to call a tool."""
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}, "strict": False}}]
    asked = tokenizer.apply_chat_template(HELLO, tools=tools, add_generation_prompt=True, tokenize=False)
    engine.publish(version_of(1), parrot(asked, CALL))
    served = serve(engine)
    served.names["agent"] = version_of(1)
    return served


def ask(served: Served, **request: Any) -> Response:
    settings = {"model": "agent", "input": "Hello", "max_output_tokens": 30, **request}
    return served.ask(lambda client: client.responses.create(**settings))


async def events_of(client: openai.AsyncOpenAI, **request: Any) -> list[Any]:
    settings = {"model": "agent", "input": "Hello", "max_output_tokens": 30, **request}
    return [event async for event in await client.responses.create(**settings, stream=True)]


def test_a_response_is_the_chat_completion_of_the_same_question(served: Served) -> None:
    response = ask(served, instructions="Be brief.", extra_body={"seed": 3})
    messages: Any = [{"role": "system", "content": "Be brief."}, *HELLO]
    completion = served.ask(
        lambda client: client.chat.completions.create(model="agent", messages=messages, max_tokens=30, seed=3)
    )

    own = Choice.model_validate(response.model_extra["choices"][0])  # type: ignore[index]
    assert response.output_text == completion.choices[0].message.content
    assert sampled_tokens(own) == sampled_tokens(completion.choices[0])
    assert (response.status, response.usage.output_tokens) == ("incomplete", 30)  # type: ignore[union-attr]


def test_a_stream_ends_in_the_whole_response(served: Served) -> None:
    whole = ask(served, extra_body={"seed": 3})

    events = served.ask(lambda client: events_of(client, extra_body={"seed": 3}))

    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:4]] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    last = events[-1].response
    assert text == whole.output_text == last.output_text
    assert last.model_extra["choices"][0]["token_ids"] == whole.model_extra["choices"][0]["token_ids"]  # type: ignore[index]


def test_openais_own_stream_helper_reads_the_events(served: Served) -> None:
    async def follow(client: openai.AsyncOpenAI) -> Any:
        request: Any = {"model": "agent", "input": "Hello", "max_output_tokens": 100, "text_format": Point}
        async with client.responses.stream(**request) as stream:
            async for _ in stream:
                pass
            return await stream.get_final_response()

    response = served.ask(follow)

    assert isinstance(response.output_parsed, Point)
    assert response.model_extra["choices"][0]["token_ids"]


def test_parse_gives_the_users_object(served: Served) -> None:
    response = served.ask(
        lambda client: client.responses.parse(model="agent", input="Hello", text_format=Point, max_output_tokens=100)
    )

    assert isinstance(response.output_parsed, Point)


def test_a_call_is_an_item_and_its_output_is_understood(caller: Served) -> None:
    response = ask(caller, tools=[TOOL], temperature=0, max_output_tokens=100)

    (call,) = response.output
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments)) == ("add", {"a": 1, "b": 2})
    conversation: Any = [
        *HELLO,
        call.model_dump(),
        {"type": "function_call_output", "call_id": call.call_id, "output": "3"},
    ]
    answer = ask(caller, input=conversation, tools=[TOOL], max_output_tokens=5)
    first, second = (each.model_extra["choices"][0] for each in (response, answer))  # type: ignore[index]
    read = first["prompt_token_ids"] + first["token_ids"]
    assert second["prompt_token_ids"][: len(read)] == read


def test_a_streamed_call_equals_the_whole_one(caller: Served) -> None:
    events = caller.ask(lambda client: events_of(client, tools=[TOOL], temperature=0, max_output_tokens=100))

    done = [event for event in events if event.type == "response.function_call_arguments.done"]
    assert [json.loads(event.arguments) for event in done] == [{"a": 1, "b": 2}]
    assert [item.type for item in events[-1].response.output] == ["function_call"]


def test_a_demanded_call_is_made(served: Served) -> None:
    response = ask(served, tools=[TOOL], tool_choice="required", max_output_tokens=200, extra_body={"stop": ["}}"]})
    chosen = ask(served, tools=[TOOL], tool_choice={"type": "function", "name": "add"}, max_output_tokens=200)

    assert response.output_text.startswith('<tool_call>\n{"name": "add"')
    assert '"add"' in chosen.model_dump_json()


@pytest.mark.parametrize("streams", [False, True])
def test_a_rollout_through_responses_is_captured(served: Served, *, streams: bool) -> None:
    async def rollout() -> None:
        async with openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY) as client:
            if streams:
                await events_of(client, instructions="Be brief.")
            else:
                await client.responses.create(
                    model="agent", input="Hello", instructions="Be brief.", max_output_tokens=30
                )

    trajectory = asyncio.run(art.trajectory(rollout()))

    *read, choice = trajectory.messages_and_choices
    assert read == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    assert isinstance(choice, Choice)
    tokens = len(sampled_tokens(choice).token_ids)  # type: ignore[union-attr]
    assert tokens == 30 or (0 < tokens < 30 and choice.finish_reason == "stop")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input.0"),
        ({"input": []}, "input"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(served: Served, body: dict[str, Any], param: str) -> None:
    refusal = served.post({"model": "agent", "input": "Hello", **body}, path="/v1/responses")

    assert refusal.status_code == 400
    assert refusal.json()["error"]["param"] == param


def test_what_an_assistant_did_in_a_row_is_one_message() -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "2 + "}, {"type": "input_text", "text": "2?"}]},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Add."}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I add."}]},
        {"type": "function_call", "call_id": "1", "name": "add", "arguments": "{}"},
        {"type": "function_call", "call_id": "2", "name": "add", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "4"},
        {"role": "assistant", "content": "4"},
        {"role": "assistant", "content": "Done."},
    ]

    messages = as_messages(None, items)

    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "assistant", "assistant"]
    assert messages[0]["content"] == "2 + 2?"
    assert messages[1]["reasoning_content"] == "Add."
    assert messages[1]["content"] == "I add."
    assert [call["id"] for call in messages[1]["tool_calls"]] == ["1", "2"]


def test_another_servers_response_is_a_message_without_tokens() -> None:
    choice = as_choice({"output": [{"role": "assistant", "content": [{"type": "output_text", "text": "4"}]}]})

    assert choice is not None
    assert sampled_tokens(Choice.model_validate(choice)) is None


ONE = {"type": "object", "properties": {"at": {"enum": [1]}}, "required": ["at"], "additionalProperties": False}
FORM = {"format": {"type": "json_schema", "name": "one", "schema": ONE}}


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"top_logprobs": 2},
        {"text": FORM, "instructions": "Be brief.", "reasoning": {"effort": "low", "summary": "auto"}, "user": "ann"},
        {
            "tools": [{**TOOL, "parameters": ONE}],
            "tool_choice": "required",
            "metadata": {"a": "b"},
            "truncation": "auto",
        },
    ],
    ids=lambda asked: "-".join(asked) or "plain",
)
def test_every_part_has_openais_types_for_clients_that_check_them(served: Served, asked: dict[str, Any]) -> None:
    body = {"model": "agent", "input": "Hello", "max_output_tokens": 60, "seed": 1, **asked}

    whole = served.post(body, path="/v1/responses")
    lines = served.post({**body, "stream": True}, path="/v1/responses").text.splitlines()

    Response.model_validate_json(whole.text)
    events = [TypeAdapter(ResponseStreamEvent).validate_json(line[6:]) for line in lines if line.startswith("data: {")]
    assert events[0].type == "response.created"
