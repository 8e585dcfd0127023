"""What a model thinks comes apart from what it says, and goes back to where its template writes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from art.http.chat import ChatFormat
from art.http.grammar import Grammars
from art.http.protocol import parse_chat_request
from art.http.thinking import Marks, Split, Thinker, find_marks
from art.sample.own.engine import Engine
from art.trajectories import sampled_tokens
from small import CHATML, byte_tokenizer

from .serving import HELLO, Served, version_of

MARKS = Marks("<think>", "</think>")
THOUGHT = "<think>\nThey greet me.\n\nSo do I.\n</think>\n\nHello\n\nyou"


@pytest.mark.parametrize(
    ("template", "marks"),
    [
        ("{% if '</think>' in content %}<think>{% endif %}", MARKS),
        ("<seed:think> </seed:think>", Marks("<seed:think>", "</seed:think>")),
        ("[THINK]{{ thought }}[/THINK]", Marks("[THINK]", "[/THINK]")),
        ("<think> is only a word without an end", None),
    ],
)
def test_the_template_says_how_thoughts_are_marked(template: str, marks: Marks | None) -> None:
    assert find_marks(template) == marks


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize(
    ("text", "opened", "whole"),
    [
        (THOUGHT, False, Split("They greet me.\n\nSo do I.", "Hello\n\nyou")),
        ("They greet.\n</think>\n\nHello", True, Split("They greet.", "Hello")),
        ("Hello <think>", False, Split(text="Hello <think>")),
        ("\n\nHello", False, Split(text="\n\nHello")),
        ("<thin", False, Split(text="<thin")),
        ("<think>\nno end </thi\n", False, Split("no end </thi")),
        ("<think>\n\n</think>\n\nHello", False, Split(text="Hello")),
    ],
)
def test_a_thought_is_told_from_what_is_said(text: str, size: int, whole: Split, *, opened: bool) -> None:
    thinker = Thinker(MARKS, opened=opened)

    pieces = [thinker.push(text[at : at + size]) for at in range(0, len(text), size)] + [thinker.finish()]

    assert Split("".join(each.thought for each in pieces), "".join(each.text for each in pieces)) == whole


def test_without_marks_everything_is_said() -> None:
    assert Thinker(None).push(THOUGHT) == Split(text=THOUGHT)


@pytest.fixture(scope="module")
def thinking_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = CHATML.replace(
        "(message.content or '')",
        "('<think>\\n' + message.reasoning_content + '\\n</think>\\n\\n' if message.reasoning_content else '') "
        "+ (message.content or '')",
    ).replace("{{ '<|im_start|>assistant\\n' }}", "{{ '<|im_start|>assistant\\n' + ('<think>\\n' if opened else '') }}")
    return tokenizer


@pytest.fixture
def thinker(
    engine: Engine, parrot: Callable[[str, str], Path], thinking_tokenizer: PreTrainedTokenizerFast
) -> Iterator[Served]:
    """A server of a model that has learnt to think before it greets."""
    asked = thinking_tokenizer.apply_chat_template(HELLO, add_generation_prompt=True, tokenize=False)
    engine.publish(version_of(1), parrot(asked, THOUGHT))
    served = Served(engine, thinking_tokenizer)
    served.names["agent"] = version_of(1)
    yield served
    served.stop()


REQUEST: dict[str, Any] = {"model": "agent", "messages": HELLO, "temperature": 0, "max_tokens": 100}


def test_thoughts_are_reasoning_content_and_can_be_trained_on(thinker: Served) -> None:
    choice = thinker.ask(lambda client: client.chat.completions.create(**REQUEST)).choices[0]

    assert choice.message.content == "Hello\n\nyou"
    assert choice.message.reasoning_content == "They greet me.\n\nSo do I."  # type: ignore[attr-defined]
    sampled = sampled_tokens(choice)
    assert sampled is not None
    assert len(sampled.token_ids) == len(THOUGHT) + 1


def test_a_stream_gives_thoughts_and_words_apart(thinker: Served) -> None:
    async def collect(client: Any) -> tuple[str, str]:
        deltas = [
            chunk.choices[0].delta async for chunk in await client.chat.completions.create(**REQUEST, stream=True)
        ]
        thought = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
        return thought, "".join(delta.content or "" for delta in deltas)

    assert thinker.ask(collect) == ("They greet me.\n\nSo do I.", "Hello\n\nyou")


def test_a_thought_that_goes_back_is_the_same_tokens(
    thinker: Served, thinking_tokenizer: PreTrainedTokenizerFast
) -> None:
    first = thinker.ask(lambda client: client.chat.completions.create(**REQUEST)).choices[0]
    again: Any = [*HELLO, first.message, {"role": "user", "content": "And?"}]

    second = thinker.ask(
        lambda client: client.chat.completions.create(**{**REQUEST, "messages": again, "max_tokens": 1})
    ).choices[0]

    before, after = sampled_tokens(first), sampled_tokens(second)
    assert before is not None
    assert after is not None
    assert before.prompt_ids is not None
    assert after.prompt_ids is not None
    read = before.prompt_ids + before.token_ids
    assert after.prompt_ids[: len(read)] == read


def test_a_prompt_may_have_begun_the_thought(thinking_tokenizer: PreTrainedTokenizerFast) -> None:
    chat = ChatFormat(thinking_tokenizer)

    assert chat.opens_thought(thinking_tokenizer.encode("<|im_start|>assistant\n<think>\n"))
    assert not chat.opens_thought(thinking_tokenizer.encode("<|im_start|>assistant\n<think>\n\n</think>\n\n"))


def test_a_form_begins_where_the_thought_ends(thinking_tokenizer: PreTrainedTokenizerFast) -> None:
    chat = ChatFormat(thinking_tokenizer)
    body = json.dumps({"model": "agent", "messages": HELLO, "guided_choice": ["yes", "no"]}).encode()
    begin = Grammars(chat, chat.stop_ids).shaper(parse_chat_request(body))
    assert begin is not None
    shaper = begin(thinking_tokenizer.encode("<|im_start|>assistant\n<think>\n"))
    logits_V = torch.zeros(len(thinking_tokenizer))

    before_V = shaper.shape(logits_V)
    for token_id in thinking_tokenizer.encode("hm</think>"):
        shaper.take(token_id)
    after_V = shaper.shape(logits_V)

    assert bool(before_V.isfinite().all())
    assert thinking_tokenizer.decode(after_V.isfinite().nonzero()[:, 0]) == "ny"


def test_what_was_thought_is_written_into_a_response(thinker: Served) -> None:
    response = thinker.ask(
        lambda client: client.responses.create(model="agent", input="Hello", temperature=0, max_output_tokens=100)
    )

    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert response.output[0].content[0].text == "They greet me.\n\nSo do I."  # type: ignore[union-attr, index]
    assert response.output_text == "Hello\n\nyou"
    assert json.loads(response.model_dump_json())["choices"][0]["version"] == "shop/agent#0@1"
