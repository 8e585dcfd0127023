"""Conversations to prompts, tokens to answers."""

from __future__ import annotations

import json

import pytest
from transformers import PreTrainedTokenizerFast

from art.http.answer import UNDECIDED_AT_MOST, Answer, Detokenizer
from art.http.calling.dialect import Dialect, Offered
from art.http.calling.hermes import Hermes
from art.http.calling.llama import Llama
from art.http.calling.mistral import Mistral
from art.http.chat import ChatFormat
from art.http.protocol import parse_chat_request
from art.http.refusal import RequestError
from art.sample.generation import Token
from art.sample.sampling import Drawn
from small import byte_tokenizer

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": [2]}}\n</tool_call>'
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
ADD = Offered(name="add", parameters={"type": "object"})


@pytest.fixture(scope="module")
def chat(tokenizer: PreTrainedTokenizerFast) -> ChatFormat:
    return ChatFormat(tokenizer)


def prompt(chat: ChatFormat, *messages: dict[str, object], **others: object) -> str:
    request = parse_chat_request(json.dumps({"model": "m", "messages": messages, **others}).encode())
    return chat.text(list(chat.prompt_ids(request, context=4096)))


def spoken(
    chat: ChatFormat,
    text: str | list[int],
    *,
    stops: tuple[str, ...] = (),
    tools: bool = False,
    end: str = "stop",
    calls_once: bool = False,
) -> tuple[Answer, list[str]]:
    """Feed an answer the tokens of a text, one by one; gives it and the pieces that it showed."""
    ids = chat.tokenizer.encode(text) if isinstance(text, str) else text
    answer, pieces = Answer(chat, stops=stops, offered=[ADD] if tools else [], calls_once=calls_once), []
    if end == "stop":
        ids = [*ids, chat.tokenizer.eos_token_id]
    for number, token_id in enumerate(ids, start=1):
        reason = end if number == len(ids) else None
        pieces.append(answer.push(Token(0, Drawn(token_id, -1.0), reason)).text)  # type: ignore[arg-type]
        if answer.finish_reason:
            break
    return answer, [piece for piece in pieces if piece]


def test_the_prompt_is_what_the_template_writes(chat: ChatFormat) -> None:
    written = prompt(
        chat,
        {"role": "developer", "content": "Add."},
        {"role": "user", "content": [{"type": "text", "text": "1 + "}, {"type": "text", "text": "2"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": "3"},
    )

    assert written == (
        "<|im_start|>system\nAdd.<|im_end|>\n<|im_start|>user\n1 + 2<|im_end|>\n<|im_start|>assistant\n"
        '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call><|im_end|>\n'
        "<|im_start|>tool\n3<|im_end|>\n<|im_start|>assistant\n"
    )


def test_tools_reach_the_template_unless_none_may_be_called(chat: ChatFormat) -> None:
    user = {"role": "user", "content": "x"}

    assert '"add"' in prompt(chat, user, tools=[TOOL])
    assert '"add"' not in prompt(chat, user, tools=[TOOL], tool_choice="none")


def test_a_tokenizer_without_a_template_speaks_chatml() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = None
    chat = ChatFormat(tokenizer)

    written = prompt(chat, {"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}, tools=[TOOL])

    assert written.startswith("<|im_start|>system\nBe brief.\n\nYou may call")
    assert '"name": "add"' in written
    assert written.endswith("<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer.eos_token_id in chat.stop_ids


def test_the_end_of_turn_is_found_where_the_tokenizer_names_another_end() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.eos_token = "<|endoftext|>"

    assert ChatFormat(tokenizer).stop_ids == {tokenizer.convert_tokens_to_ids("<|im_end|>")}


def test_a_template_that_refuses_gives_a_refusal() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"

    with pytest.raises(RequestError, match="roles must alternate"):
        prompt(ChatFormat(tokenizer), {"role": "user", "content": "x"})


@pytest.mark.parametrize("text", ["Grüße, 世界 🙂!", "a\n\n b  c ", "�", "👩‍👩‍👧 flags 🇩🇪"])
def test_pieces_are_whole_characters_that_join_to_the_text(chat: ChatFormat, text: str) -> None:
    answer, pieces = spoken(chat, text)

    assert "".join(pieces) == answer.content == text
    assert all("�" not in piece for piece in pieces) or "�" in text


def test_half_a_character_at_the_end_is_given_at_the_end(chat: ChatFormat) -> None:
    answer, pieces = spoken(chat, chat.tokenizer.encode("ab🙂")[:-1], end="length")

    assert answer.content == "ab�"
    assert "".join(pieces) == answer.content


@pytest.mark.parametrize(
    ("text", "stops", "shown"),
    [
        ("one\ntwo", ("\n",), "one"),
        ("one END two", ("END",), "one "),
        ("EN END", ("END",), "EN "),
        ("abab abc", ("abc",), "abab "),
        ("xyz", ("z", "yz"), "x"),
        ("plain EN", ("END",), "plain EN"),
    ],
)
def test_a_stop_sequence_ends_the_answer_and_is_not_shown(
    chat: ChatFormat, text: str, stops: tuple[str, ...], shown: str
) -> None:
    answer, pieces = spoken(chat, text, stops=stops)

    assert "".join(pieces) == answer.content == shown
    assert answer.finish_reason == "stop"
    # The tokens are all there: training learns from what was sampled.
    assert chat.text([drawn.token_id for drawn in answer.drawn]).startswith(shown)


def test_tool_calls_are_taken_out_of_the_content(chat: ChatFormat) -> None:
    answer, pieces = spoken(chat, f"Let me add.\n{CALL}\n{CALL}", tools=True)

    assert answer.content == "".join(pieces) == "Let me add."
    assert [(call.name, json.loads(call.arguments)) for call in answer.calls] == [("add", {"a": 1, "b": [2]})] * 2
    assert answer.finish_reason == "tool_calls"


@pytest.mark.parametrize("text", [f"Let me add.\n{CALL}\n{CALL}\n{CALL}", f"Let me add.\n{CALL}"])
def test_without_parallel_calls_an_answer_ends_where_a_second_one_begins(chat: ChatFormat, text: str) -> None:
    answer, pieces = spoken(chat, text, tools=True, calls_once=True)

    assert answer.content == "".join(pieces) == "Let me add."
    assert len(answer.calls) == 1
    assert answer.finish_reason == "tool_calls"
    # What was sampled stays: the second call as far as it was begun, or the end of the turn.
    sampled = chat.text([drawn.token_id for drawn in answer.drawn])
    assert sampled.startswith(f"Let me add.\n{CALL}")
    assert len(sampled) < len(f"Let me add.\n{CALL}\n{CALL}")


@pytest.mark.parametrize(
    ("dialect", "text"),
    [
        (Llama(), '{"name": "add", "parameters": {"a": 1}}; {"name": "add", "parameters": {"a": 2}}'),
        (Mistral(is_listing=True), '[TOOL_CALLS][{"name": "add", "arguments": {"a": 1}}, {"name": "add"}]'),
        (Mistral(is_listing=False), '[TOOL_CALLS]add[ARGS]{"a": 1}[TOOL_CALLS]add[ARGS]{"a": 2}'),
    ],
)
def test_every_dialect_has_one_call_where_one_is_allowed(
    chat: ChatFormat, dialect: Dialect, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat, "dialect", dialect)

    answer, _ = spoken(chat, text, tools=True, calls_once=True)

    assert [call.arguments for call in answer.calls] == ['{"a": 1}']


def test_an_answer_that_is_only_a_call_has_no_content(chat: ChatFormat) -> None:
    answer, pieces = spoken(chat, CALL, tools=True)

    assert answer.content is None
    assert pieces == []


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": "add", "arguments": {</tool_call>',
        "<tool_call>[1]</tool_call>",
        '<tool_call>{"arguments": {}}</tool_call>',
        '<tool_call>{"name": 5, "arguments": {}}</tool_call>',
        '<tool_call>{"name": "add", "arguments": [1]}</tool_call>',
        '<tool_call>{"name": "add", "arguments": {}}',
        CALL + '<tool_call>{"name"',
        "a <tool_ call",
        "no call at all <",
    ],
)
def test_what_is_no_readable_call_stays_content(chat: ChatFormat, text: str) -> None:
    answer, pieces = spoken(chat, text, tools=True)

    assert answer.content == "".join(pieces) == text
    assert answer.calls == []
    assert answer.finish_reason == "stop"


def test_calls_stay_text_where_no_tools_were_offered(chat: ChatFormat) -> None:
    answer, _ = spoken(chat, CALL)

    assert answer.content == CALL


def test_arguments_written_as_a_string_are_read() -> None:
    parsed = Hermes().parse('<tool_call>{"name": "add", "arguments": "{\\"a\\": 1}"}</tool_call>', [ADD])

    assert parsed is not None
    assert parsed[1][0].arguments == '{"a": 1}'


def test_what_the_assistant_thought_and_how_hard_reach_the_template() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = (
        "{{ reasoning_effort }}:{% for each in messages %}({{ each.reasoning_content }}){{ each.content }}{% endfor %}"
    )
    thought = {"role": "assistant", "content": "4", "reasoning_content": "2 + 2"}

    assert prompt(ChatFormat(tokenizer), thought, reasoning_effort="low") == "low:(2 + 2)4"


def test_half_characters_without_end_are_given_out_in_pieces(
    chat: ChatFormat, tokenizer: PreTrainedTokenizerFast
) -> None:
    half = tokenizer.convert_tokens_to_ids(tokenizer.tokenize("é")[0])
    detokenizer = Detokenizer(chat)

    pieces = [detokenizer.push(half) for _ in range(UNDECIDED_AT_MOST * 3)]

    assert sum(1 for piece in pieces if piece) == 3
    assert all(piece == "" for piece in pieces[: UNDECIDED_AT_MOST - 1])


def test_a_whole_character_is_never_cut(chat: ChatFormat, tokenizer: PreTrainedTokenizerFast) -> None:
    text = "é👩‍👩‍👧‍👦 ok"
    detokenizer = Detokenizer(chat)

    ids = tokenizer(text, add_special_tokens=False)["input_ids"]

    assert "".join(map(detokenizer.push, ids)) + detokenizer.finish() == text
