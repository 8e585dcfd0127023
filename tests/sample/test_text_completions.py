"""Completions of plain text: the prompt is what was sent, and a choice says how it was sampled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openai.types import Completion
from openai.types.chat.chat_completion import Choice
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from art.trajectories import sampled_tokens

from .serving import Served, serving


@pytest.fixture(scope="module")
def served(base: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Iterator[Served]:
    with serving(base, tokenizer) as served:
        yield served


def ask(served: Served, **request: Any) -> Completion:
    settings = {"model": "agent", "prompt": "Once", "max_tokens": 12, "seed": 3, **request}
    return served.ask(lambda client: client.completions.create(**settings))


def test_the_prompt_is_the_text_itself(served: Served, tokenizer: PreTrainedTokenizerFast) -> None:
    choice = ask(served).choices[0]

    assert choice.model_extra["prompt_token_ids"] == tokenizer.encode("Once")  # type: ignore[index]
    assert choice.text == tokenizer.decode(choice.model_extra["token_ids"])  # type: ignore[index]
    assert choice.finish_reason == "length"


@pytest.mark.parametrize("form", ["ids", "one text", "one list of ids"])
def test_a_prompt_may_be_tokens_or_stand_in_a_list(
    served: Served, tokenizer: PreTrainedTokenizerFast, form: str
) -> None:
    ids = tokenizer.encode("Once")
    prompt = {"ids": ids, "one text": ["Once"], "one list of ids": [ids]}[form]

    assert ask(served, prompt=prompt).choices[0].text == ask(served).choices[0].text


def test_a_stream_gives_the_same_text_and_tokens(served: Served) -> None:
    async def collect(client: Any) -> list[Any]:
        request = {"model": "agent", "prompt": "Once", "max_tokens": 12, "seed": 3}
        options = {"include_usage": True}
        return [each async for each in await client.completions.create(**request, stream=True, stream_options=options)]

    *chunks, usage = served.ask(collect)

    whole = ask(served)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert chunks[-1].choices[0].model_extra["token_ids"] == whole.choices[0].model_extra["token_ids"]  # type: ignore[index]
    assert usage.usage == whole.usage


def test_a_choice_of_text_can_be_trained_on(served: Served) -> None:
    given = ask(served, logprobs=2).choices[0]

    choice = Choice.model_validate(
        {**given.model_dump(exclude={"text", "logprobs"}), "message": {"role": "assistant", "content": given.text}}
    )

    sampled = sampled_tokens(choice)
    assert sampled is not None
    assert sampled.logprobs == pytest.approx(given.logprobs.token_logprobs)  # type: ignore[union-attr]
    assert [f"token_id:{each}" for each in sampled.token_ids] == given.logprobs.tokens  # type: ignore[union-attr]
    assert all(len(top) == 2 for top in given.logprobs.top_logprobs)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": ["one", "two"]}, "prompt"),
        ({"prompt": [1 << 20]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"echo": True}, "echo"),
        ({"suffix": "end"}, "suffix"),
        ({"best_of": 3}, "best_of"),
        ({"prompt": "long " * 1000}, "prompt"),
        ({"tools": []}, "tools"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(served: Served, body: dict[str, Any], param: str) -> None:
    refusal = served.post({"model": "agent", "prompt": "Once", **body}, path="/v1/completions")

    assert refusal.status_code == 400
    assert refusal.json()["error"]["param"].partition(".")[0] == param
