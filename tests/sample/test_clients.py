"""A Choice stays trainable whichever way a client puts it together: whole, streamed, rebuilt by hand, through JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import openai
import pytest
from openai.types.chat.chat_completion import Choice
from openai.types.chat.chat_completion_token_logprob import ChatCompletionTokenLogprob
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from art.trajectories import sampled_tokens

from .serving import HELLO, Served, serving

Request = dict[str, Any]
Ask = Callable[[openai.AsyncOpenAI, Request], Awaitable[Choice]]


@pytest.fixture(scope="module")
def served(base: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Iterator[Served]:
    with serving(base, tokenizer) as served:
        yield served


async def whole(client: openai.AsyncOpenAI, request: Request) -> Choice:
    return (await client.chat.completions.create(**request)).choices[0]


async def rebuilt(client: openai.AsyncOpenAI, request: Request) -> Choice:
    given = await whole(client, request)
    return Choice(index=0, message=given.message, logprobs=given.logprobs, finish_reason="stop")


async def rebuilt_from_plain_data(client: openai.AsyncOpenAI, request: Request) -> Choice:
    given = (await whole(client, request)).model_dump()
    kept = {name: given[name] for name in ("index", "message", "logprobs", "finish_reason")}
    return Choice.model_validate(kept)


async def as_vllm_answers(client: openai.AsyncOpenAI, request: Request) -> Choice:
    given = (await whole(client, request)).model_dump()
    return Choice.model_validate({name: value for name, value in given.items() if name != "token_logprobs"})


async def streamed_by_the_helper(client: openai.AsyncOpenAI, request: Request) -> Choice:
    async with client.chat.completions.stream(**request) as stream:
        async for _ in stream:
            pass
        try:
            return (await stream.get_final_completion()).choices[0]
        except openai.LengthFinishReasonError as error:  # the helper's word for an answer that max_tokens cut
            return error.completion.choices[0]


async def streamed_by_hand(client: openai.AsyncOpenAI, request: Request) -> Choice:
    entries: list[ChatCompletionTokenLogprob] = []
    text = ""
    async for chunk in await client.chat.completions.create(**request, stream=True):
        for choice in chunk.choices:
            text += choice.delta.content or ""
            entries += choice.logprobs.content if choice.logprobs else []
    message = {"role": "assistant", "content": text}
    logprobs = {"content": [entry.model_dump() for entry in entries]}
    return Choice.model_validate({"index": 0, "message": message, "logprobs": logprobs, "finish_reason": "stop"})


@pytest.mark.parametrize(
    "way", [rebuilt, rebuilt_from_plain_data, as_vllm_answers, streamed_by_the_helper, streamed_by_hand]
)
@pytest.mark.parametrize("temperature", [0, 0.7, 1])
@pytest.mark.parametrize("asked", [{}, {"logprobs": True, "top_logprobs": 2}])
def test_a_choice_keeps_what_training_needs(served: Served, way: Ask, temperature: float, asked: Request) -> None:
    request = {"model": "agent", "messages": HELLO, "max_tokens": 30, "seed": 3, "temperature": temperature, **asked}

    choices = [served.ask(lambda client, ask=ask: ask(client, request)) for ask in (whole, way)]

    expected, given = (sampled_tokens(choice) for choice in choices)
    assert expected is not None
    assert given is not None
    assert given.token_ids == expected.token_ids
    assert given.logprobs == pytest.approx(expected.logprobs)
    assert (given.temperature, given.version) == (temperature, expected.version)
    assert given.version is not None


def test_asked_log_probabilities_spell_token_ids_and_give_the_bytes(
    served: Served, tokenizer: PreTrainedTokenizerFast
) -> None:
    request = {"model": "agent", "messages": HELLO, "max_tokens": 20, "seed": 3, "logprobs": True, "top_logprobs": 3}

    choice = served.ask(lambda client: whole(client, request))

    assert choice.logprobs is not None
    for entry, token_id in zip(choice.logprobs.content or [], choice.model_extra["token_ids"], strict=True):
        assert entry.token == f"token_id:{token_id}"
        assert entry.bytes in (None, list(tokenizer.decode([token_id]).encode()))
        assert all(other.token.startswith("token_id:") for other in entry.top_logprobs)
    assert any(entry.bytes for entry in choice.logprobs.content or [])


def test_what_was_not_asked_for_is_spelled_without_text(served: Served) -> None:
    choice = served.ask(lambda client: whole(client, {"model": "agent", "messages": HELLO, "max_tokens": 5}))

    assert choice.logprobs is not None
    assert all(entry.bytes is None and not entry.top_logprobs for entry in choice.logprobs.content or [])
