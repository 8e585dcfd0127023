"""Rollouts whose trajectory is collected from what any client asks inside them."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat.chat_completion import Choice
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import art
from api.world import PROMPT, World
from art.calls import Call, Events, Question, read_choices
from art.capture import add_call
from art.errors import TrainingDataError
from art.http.server import Listen, Server
from art.trajectories import sampled_tokens

Ask = Callable[[World, art.Messages], Awaitable[str]]
OPTIONS: Any = {"model": "agent", "max_completion_tokens": 4, "seed": 1}


async def ask_the_models_client(world: World, messages: art.Messages) -> str:
    completion = await world.model.openai_client().chat.completions.create(messages=messages, **OPTIONS)
    return completion.choices[0].message.content or ""


async def ask_a_client_of_ones_own(world: World, messages: art.Messages) -> str:
    async with openai.AsyncOpenAI(
        base_url=world.model.inference_base_url, api_key=world.model.inference_api_key
    ) as client:
        completion = await client.chat.completions.create(messages=messages, **OPTIONS)
    return completion.choices[0].message.content or ""


async def ask_a_plain_client_in_a_thread(world: World, messages: art.Messages) -> str:
    def ask() -> str:
        with openai.OpenAI(base_url=world.model.inference_base_url, api_key=world.model.inference_api_key) as client:
            return client.chat.completions.create(messages=messages, **OPTIONS).choices[0].message.content or ""

    return await asyncio.to_thread(ask)


async def ask_for_events(world: World, messages: art.Messages) -> str:
    stream = await world.model.openai_client().chat.completions.create(messages=messages, stream=True, **OPTIONS)
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])


async def ask_raw(world: World, messages: art.Messages) -> str:
    client = world.model.openai_client().chat.completions.with_raw_response
    raw = await client.create(messages=messages, **OPTIONS)
    return raw.parse().choices[0].message.content or ""


async def ask_without_any_client_of_openai(world: World, messages: art.Messages) -> str:
    async with httpx.AsyncClient() as client:
        url, key = f"{world.model.inference_base_url}/chat/completions", world.model.inference_api_key
        headers = {"Authorization": f"Bearer {key}"}
        answer = await client.post(url, json={"messages": messages, **OPTIONS}, headers=headers, timeout=60)
    return answer.json()["choices"][0]["message"]["content"]


WAYS: tuple[Ask, ...] = (
    ask_the_models_client,
    ask_a_client_of_ones_own,
    ask_a_plain_client_in_a_thread,
    ask_for_events,
    ask_raw,
    ask_without_any_client_of_openai,
)


@pytest.mark.parametrize("ask", WAYS)
def test_what_any_client_asks_is_collected_and_can_be_trained_on(world: World, ask: Ask):
    async def rollout(reward: float) -> None:
        await ask(world, [*PROMPT, {"role": "user", "content": str(reward)}])
        art.current_trajectory(required=True).reward = reward

    async def body() -> tuple[art.TrajectoryGroup, art.TrainResult]:
        group = await art.TrajectoryGroup(art.trajectory(rollout(reward)) for reward in (0.0, 1.0))
        return group, await world.backend.train(world.model, [group])

    group, result = world.run(body())

    assert [trajectory.reward for trajectory in group] == [0.0, 1.0]
    assert group.trajectories[1].messages_and_choices[:-1] == [
        *PROMPT,
        {"role": "user", "content": "1.0"},
    ]
    last = group.trajectories[1].messages_and_choices[-1]
    assert isinstance(last, Choice)
    assert sampled_tokens(last) is not None
    assert result.metrics["trajectories"] == 2


def test_a_conversation_that_goes_on_stays_one_and_another_one_becomes_a_further_one(world: World):
    async def rollout() -> None:
        first = await ask_the_models_client(world, PROMPT)
        turn: art.Messages = [*PROMPT, {"role": "assistant", "content": first}, {"role": "user", "content": "go on"}]
        await ask_the_models_client(world, turn)
        await ask_the_models_client(world, [{"role": "user", "content": "something else"}])

    trajectory = world.run(art.capture_auto_trajectory(rollout()))

    assert [message["role"] for message in trajectory.messages()] == ["user", "assistant", "user", "assistant"]
    assert [isinstance(item, Choice) for item in trajectory.messages_and_choices] == [False, True, False, True]
    assert [len(history.messages()) for history in trajectory.additional_histories] == [2]


def test_rollouts_at_once_collect_each_their_own(world: World):
    async def rollout(number: int) -> None:
        await ask_the_models_client(world, [{"role": "user", "content": f"number {number}"}])

    async def body() -> list[art.Trajectory]:
        return await asyncio.gather(*(art.trajectory(rollout(number)) for number in range(4)))

    found = world.run(body())

    assert [trajectory.messages()[0]["content"] for trajectory in found] == [f"number {n}" for n in range(4)]  # pyright: ignore


def test_outside_of_a_rollout_nothing_is_collected(world: World):
    world.run(ask_the_models_client(world, PROMPT))

    assert art.current_trajectory() is art.auto_trajectory() is None
    with pytest.raises(TrainingDataError, match=r"run the rollout with art\.trajectory"):
        art.current_trajectory(required=True)


def test_a_trajectory_collects_what_is_asked_inside_its_block_and_nothing_that_is_hidden_from_it(world: World):
    async def rollout() -> tuple[art.Trajectory, art.Trajectory]:
        with art.Trajectory(metadata={"task": 1}) as outer:
            await ask_the_models_client(world, PROMPT)
            with art.no_capture():
                assert art.current_trajectory() is None
                await ask_the_models_client(world, [{"role": "user", "content": "hidden"}])
            with art.Trajectory() as inner:
                await asyncio.create_task(ask_the_models_client(world, [{"role": "user", "content": "inner"}]))
            assert art.current_trajectory(require=True) is outer
            outer.reward = 1.0
        await ask_the_models_client(world, [{"role": "user", "content": "afterwards"}])
        return outer, inner

    outer, inner = world.run(rollout())

    assert [said.messages()[0]["content"] for said in (outer, inner)] == [PROMPT[0]["content"], "inner"]  # pyright: ignore
    assert [len(said.messages()) for said in (outer, inner)] == [2, 2]
    assert outer.additional_histories == []
    assert outer.metrics["duration"] >= 0
    assert art.current_trajectory() is None


def test_blocks_of_trajectories_that_cross_are_refused():
    first, second = art.Trajectory(), art.Trajectory()
    with first, pytest.raises(TrainingDataError, match="reverse of their beginning"):
        second.__exit__(None, None, None)

    with pytest.raises(TrainingDataError, match="reverse of their beginning"):
        first.__exit__(None, None, None)


def test_a_group_is_made_of_rollouts_in_their_order_and_raises_the_first_failure():
    async def rollout(reward: float) -> art.Trajectory:
        assert art.current_trajectory() is None
        await asyncio.sleep(reward / 100)
        if reward > 1:
            raise ValueError("too much")
        return art.Trajectory(reward=reward)

    async def make(*rewards: float, **fields: Any) -> art.TrajectoryGroup:
        with art.Trajectory():
            return await art.trajectory_group([art.Trajectory(reward=9.0), *map(rollout, rewards)], **fields)

    assert [said.reward for said in asyncio.run(make(1.0, 0.0, metrics={"hard": 1}))] == [9.0, 1.0, 0.0]
    kept = asyncio.run(make(2.0, 0.5, return_exceptions=True))
    assert ([said.reward for said in kept], kept.exceptions[0].message) == ([9.0, 0.5], "too much")
    with pytest.raises(ValueError, match="too much"):
        asyncio.run(make(2.0, 0.5))


def test_a_question_that_was_refused_leaves_no_trace(world: World):
    async def rollout() -> None:
        with pytest.raises(openai.BadRequestError):
            await world.model.openai_client().chat.completions.create(model="agent", messages=PROMPT, temperature=-1)
        await ask_the_models_client(world, PROMPT)

    assert len(world.run(art.trajectory(rollout())).messages()) == 2


def test_a_rollout_hands_over_its_own_trajectory():
    async def rollout() -> str:
        art.yield_trajectory(art.Trajectory(reward=0.5))
        return "something else"

    assert asyncio.run(art.capture_yielded_trajectory(rollout())).reward == 0.5


def test_handing_over_needs_somebody_who_waits():
    async def forgetful() -> None:
        return

    with pytest.raises(TrainingDataError, match="Nobody waits"):
        art.yield_trajectory(art.Trajectory())
    with pytest.raises(TrainingDataError, match=r"ended without art\.yield_trajectory"):
        asyncio.run(art.capture_yielded_trajectory(forgetful()))


def call(*messages: Any, answer: str = "yes", own: bool = True, tools: Any = None) -> Call:
    sampled = {"token_ids": [1], "token_logprobs": [-1.0], "prompt_token_ids": [2]} if own else {}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": answer}, **sampled}
    return Call(Question(list(messages), tools), (Choice.model_validate(choice),))


USER: Any = {"role": "user", "content": "hi"}
TOOL: Any = {"type": "function", "function": {"name": "add"}}


@pytest.mark.parametrize(
    "spelt",
    [
        {"role": "assistant", "content": "yes"},
        {"role": "assistant", "content": [{"type": "text", "text": "yes"}]},
        {"role": "assistant", "content": "yes", "tool_calls": None, "refusal": None, "annotations": []},
        {"content": "yes", "role": "assistant", "name": "agent"},
    ],
)
def test_an_answer_that_a_client_spells_in_its_own_way_is_known_again(spelt: Any):
    captured = art.Trajectory()

    add_call(captured, call(USER))
    add_call(captured, call(USER, spelt, USER, answer="no"))

    assert [message["role"] for message in captured.messages()] == ["user", "assistant", "user", "assistant"]
    assert captured.additional_histories == []


def test_the_same_question_twice_and_other_tools_begin_further_conversations():
    captured = art.Trajectory()

    for asked in (call(USER), call(USER), call(USER, {"role": "assistant", "content": "yes"}, USER, tools=[TOOL])):
        add_call(captured, asked)

    assert [len(history.messages()) for history in captured.histories()] == [2, 2, 4]
    assert [history.tools for history in captured.histories()] == [None, None, [TOOL]]


def test_of_several_choices_each_has_its_conversation():
    captured, one = art.Trajectory(), call(USER)

    add_call(captured, Call(one.question, one.choices * 3))

    assert [len(history.messages()) for history in captured.histories()] == [2, 2, 2]


def test_another_models_answer_is_a_message_and_the_models_own_conversation_the_main_one():
    captured = art.Trajectory()

    add_call(captured, call({"role": "user", "content": "play a customer"}, answer="Hello!", own=False))
    add_call(captured, call({"role": "user", "content": "Hello!"}, answer="Good day."))
    add_call(captured, call({"role": "user", "content": "judge this"}, answer="0.5", own=False))

    assert [message.get("content") for message in captured.messages()] == ["Hello!", "Good day."]
    assert isinstance(captured.messages_and_choices[-1], Choice)
    assert [history.messages()[-1] for history in captured.additional_histories] == [
        {"role": "assistant", "content": "Hello!"},
        {"role": "assistant", "content": "0.5"},
    ]


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_events_are_put_together_wherever_they_were_cut(size: int):
    def tool(index: int, **fields: Any) -> dict[str, Any]:
        return {"tool_calls": [{"index": index, **fields}]}

    deltas = [
        {"role": "assistant", "content": "ein "},
        {"content": "Jäger"},
        tool(0, id="a", type="function", function={"name": "add", "arguments": '{"a"'}),
        tool(0, function={"arguments": ": 1}"}),
        tool(1, id="b", type="function", function={"name": "sub", "arguments": "{}"}),
    ]
    pieces: list[dict[str, Any]] = [
        {
            "index": 0,
            "delta": delta,
            "logprobs": {"content": [{"token": f"token_id:{n}", "logprob": -n, "top_logprobs": []}]},
        }
        for n, delta in enumerate(deltas)
    ]
    pieces[-1]["finish_reason"] = "tool_calls"
    texts = [json.dumps({"choices": [piece]}, ensure_ascii=False) for piece in pieces]
    body = "".join(f"data: {text}\n\n" for text in [*texts, '{"choices": [], "usage": {}}', "[DONE]"]).encode()

    events = Events()
    for start in range(0, len(body), size):
        events.feed(body[start : start + size])

    (choice,) = events.choices()
    assert events.is_done
    assert choice.message.content == "ein Jäger"
    assert [tool_call.function.arguments for tool_call in choice.message.tool_calls or ()] == ['{"a": 1}', "{}"]  # pyright: ignore
    assert choice.logprobs is not None
    assert [entry.token for entry in choice.logprobs.content or ()] == [f"token_id:{n}" for n in range(5)]
    assert choice.finish_reason == "tool_calls"


def test_events_of_servers_that_say_all_of_it_again_and_not_why_they_end():
    tool = {"index": 0, "id": "a", "type": "function", "function": {"name": "add", "arguments": "{"}}
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "content": ""},
        {"tool_calls": [tool]},
        {"tool_calls": [{**tool, "function": {"name": "add", "arguments": "}"}}]},
        {"tool_calls": [{"index": 0, "function": {"name": None, "arguments": ""}}]},
    ]
    texts = [json.dumps({"choices": [{"index": 0, "delta": delta}]}) for delta in deltas]

    cut, whole = Events(), Events()
    cut.feed("".join(f"data: {text}\n\n" for text in texts).encode())
    whole.feed("".join(f"data: {text}\n\n" for text in [*texts, "[DONE]"]).encode())

    (choice,) = whole.choices()
    (call,) = choice.message.tool_calls or ()
    assert (call.id, call.function.name, call.function.arguments) == ("a", "add", "{}")  # pyright: ignore
    assert (choice.message.content, choice.finish_reason) == (None, "stop")
    assert cut.choices() == ()


def test_events_are_heard_from_a_server_that_does_not_call_them_so():
    piece = {"index": 0, "delta": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    body = f"data: {json.dumps({'choices': [piece]})}\n\ndata: [DONE]\n\n".encode()

    async def serve(_: Request) -> Response:
        return Response(body)

    server = Server(Starlette(routes=[Route("/v1/chat/completions", serve, methods=["POST"])]), Listen(key="key"))

    async def ask() -> None:
        client = openai.AsyncOpenAI(base_url=server.base_url, api_key="key")
        async with client, await client.chat.completions.create(model="x", messages=[*PROMPT], stream=True) as stream:
            _ = [chunk async for chunk in stream]

    server.start()
    try:
        captured = asyncio.run(art.trajectory(ask()))
    finally:
        server.stop()

    assert captured.messages() == [*PROMPT, {"role": "assistant", "content": "hi"}]


STRANGE = [
    5,
    [],
    {"choices": 5},
    {"choices": [5]},
    {"choices": [{"index": "0"}]},
    {"choices": [{"index": 10**12}]},
    {"choices": [{"delta": {"tool_calls": [{"index": 10**12}]}}]},
    {"choices": [{"delta": {"tool_calls": [{"index": -5}]}}]},
    {"choices": [{"delta": {"tool_calls": 5}}]},
    {"choices": [{"delta": 5}]},
    {"choices": [{"message": "x", "delta": {}}]},
    {"choices": [{"logprobs": 5, "delta": {}}, {"logprobs": [5], "delta": {}}]},
    {"type": [], "choices": None},
    {"type": "response.completed", "response": 5},
    {"type": "response.completed", "response": {"output": 5}},
    {"type": "response.completed", "response": {"output": [{"type": "reasoning", "content": 5}]}},
    {"type": "response.completed", "response": {"choices": [5]}},
]


@pytest.mark.parametrize("event", STRANGE, ids=repr)
def test_an_answer_of_another_form_is_none_and_takes_no_memory(event: object):
    events = Events()

    events.feed(f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode())

    assert events.choices() == ()
    assert read_choices(json.dumps(event).encode()) == ()
    assert read_choices(json.dumps({"object": "response", "output": event}).encode()) == ()
