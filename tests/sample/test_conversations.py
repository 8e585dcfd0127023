"""Whole conversations over HTTP: tool calls, stop sequences, seeds that follow from the run."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from art.sample.own.engine import Engine
from art.trajectories import sampled_tokens

from .serving import HELLO, Served, version_of

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'
TOOLS: Any = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
Parrot = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def calling(parrot: Parrot, tokenizer: PreTrainedTokenizerFast) -> Path:
    asked = tokenizer.apply_chat_template(HELLO, tools=TOOLS, add_generation_prompt=True, tokenize=False)
    return parrot(asked, CALL)


@pytest.fixture
def caller(served: Served, calling: Path) -> Served:
    served.engine.publish(version_of(7), calling)
    served.names["caller"] = version_of(7)
    return served


def test_a_tool_call_arrives_whole_and_its_history_is_understood(caller: Served) -> None:
    async def talk(client: openai.AsyncOpenAI):
        first = await client.chat.completions.create(model="caller", messages=HELLO, tools=TOOLS, temperature=0)
        message = first.choices[0].message
        history = [*HELLO, message, {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "3"}]
        return first, await client.chat.completions.create(
            model="caller", messages=history, tools=TOOLS, temperature=0, max_tokens=3
        )

    first, second = caller.ask(talk)

    [choice] = first.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    [call] = choice.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("add", {"a": 1, "b": 2})
    tokens = sampled_tokens(choice)
    assert len(tokens.token_ids) == len(CALL) + 1
    assert tokens.token_ids[-1] == 258
    assert second.usage.completion_tokens == 3


def test_a_streamed_tool_call_equals_the_whole_one(caller: Served) -> None:
    request = {"model": "caller", "messages": HELLO, "tools": TOOLS, "temperature": 0}

    async def both(client: openai.AsyncOpenAI):
        whole = await client.chat.completions.create(**request)
        stream = await client.chat.completions.create(**request, stream=True)
        return whole, [chunk async for chunk in stream]

    whole, chunks = caller.ask(both)

    calls = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or []]
    [expected] = whole.choices[0].message.tool_calls
    assert [(call.id, call.function.name, call.function.arguments) for call in calls] == [
        (expected.id, expected.function.name, expected.function.arguments)
    ]
    assert not any(choice.delta.content for chunk in chunks for choice in chunk.choices)


def test_a_stop_sequence_frees_the_slot_and_keeps_the_tokens(caller: Served) -> None:
    answer = caller.ask(
        lambda client: client.chat.completions.create(
            model="caller", messages=HELLO, tools=TOOLS, temperature=0, stop=["add"], max_tokens=500
        )
    )

    [choice] = answer.choices
    assert choice.message.content == CALL[: CALL.index("add")]
    assert choice.finish_reason == "stop"
    assert len(sampled_tokens(choice).token_ids) == CALL.index("add") + 3
    assert asyncio.run(caller.rows_left()) == 0


def rollouts(served: Served, *, order: random.Random, model: str = "agent") -> dict[str, list[tuple[int, ...]]]:
    """Ask the same requests, some of them several times, in an order of their own; gives the answers by request."""
    questions = ["a", "b", "c"] * 4
    order.shuffle(questions)

    async def run(client: openai.AsyncOpenAI):
        async def ask(question: str):
            await asyncio.sleep(order.random() * 0.05)
            return question, await client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": question}], max_tokens=15, n=2, logprobs=True
            )

        return await asyncio.gather(*(ask(question) for question in questions))

    answers: dict[str, list[tuple[int, ...]]] = {}
    for question, answer in served.ask(run):
        for choice in answer.choices:
            tokens = sampled_tokens(choice)
            answers.setdefault(question, []).append((*tokens.token_ids, *tokens.logprobs))
    return {question: sorted(found) for question, found in sorted(answers.items())}


def test_with_a_run_seed_a_run_and_its_fork_repeat_whatever_the_order(
    engines: Callable[..., Engine], serve: Callable[..., Served], base: PreTrainedModel, tokenizer: object
) -> None:
    first, again = (serve(engines(base, tokenizer), run_seed=1) for _ in range(2))
    again.engine.publish(version_of(0, model="fork"), None)
    again.names["fork"] = version_of(0, model="fork")

    original = rollouts(first, order=random.Random(1))

    assert rollouts(again, order=random.Random(2)) == original
    assert rollouts(again, order=random.Random(3), model="fork") == original
    assert all(len(set(found)) == 8 for found in original.values())


def test_another_run_seed_or_step_samples_something_else(
    engines: Callable[..., Engine], serve: Callable[..., Served], base: PreTrainedModel, tokenizer: object
) -> None:
    first, other = (serve(engines(base, tokenizer), run_seed=seed) for seed in (1, 2))
    first.engine.publish(version_of(1), None)
    first.names["later"] = version_of(1)

    original = rollouts(first, order=random.Random(1))

    assert rollouts(other, order=random.Random(1)) != original
    assert rollouts(first, order=random.Random(1), model="later") != original
