"""Tool calls as Llama 3, Mistral, Qwen and Hermes write them: found by the chat template, demanded, streamed, read."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer

from art.http.answer import Answer
from art.http.calling.dialect import Dialect, Offered
from art.http.calling.dialects import find_dialect
from art.http.calling.elements import Elements
from art.http.calling.hermes import Hermes
from art.http.calling.llama import Llama
from art.http.calling.mistral import Mistral
from art.http.chat import ChatFormat
from art.sample.generation import Token
from art.sample.sampling import Drawn
from small import CHATML, byte_tokenizer

ADD = Offered(
    name="add",
    parameters={
        "type": "object",
        "properties": {"a": {"type": "integer"}, "note": {"type": "string"}, "unit": {"enum": ["m", "s"]}},
        "required": ["a", "note"],
    },
)
LIST = Offered(name="list", parameters={"type": "object", "properties": {}})

PLAIN = CHATML.replace("<tool_call>", "").replace("</tool_call>", "")


@dataclass(frozen=True)
class Kind:
    """What a family's template shows of calls, and two answers of such a model."""

    template: str
    dialect: type
    call: str
    calls: str


ARGUMENTS = '{"a": 1, "note": "two\\nlines"}'
KINDS = {
    "hermes": Kind(
        "{% for call in message.tool_calls %}<tool_call>\n{{ call }}\n</tool_call>{% endfor %}",
        Hermes,
        f'<tool_call>\n{{"name": "add", "arguments": {ARGUMENTS}}}\n</tool_call>',
        f'<tool_call>\n{{"name": "add", "arguments": {ARGUMENTS}}}\n</tool_call>\n'
        '<tool_call>\n{"name": "list", "arguments": {}}\n</tool_call>',
    ),
    "llama": Kind(
        "Environment: ipython {{ '\"parameters\": ' }}",
        Llama,
        f'{{"name": "add", "parameters": {ARGUMENTS}}}',
        f'<|python_tag|>{{"name": "add", "parameters": {ARGUMENTS}}}; {{"name": "list", "parameters": {{}}}}',
    ),
    "mistral": Kind(
        "{{ '[TOOL_CALLS][' }}",
        Mistral,
        f'[TOOL_CALLS][{{"name": "add", "arguments": {ARGUMENTS}}}]',
        f'[TOOL_CALLS][{{"name": "add", "arguments": {ARGUMENTS}}}, {{"name": "list", "arguments": {{}}}}]',
    ),
    "newer mistral": Kind(
        "{{ '[TOOL_CALLS]' + name + '[ARGS]' }}",
        Mistral,
        f"[TOOL_CALLS]add[ARGS]{ARGUMENTS}",
        f"[TOOL_CALLS]add[ARGS]{ARGUMENTS}[TOOL_CALLS]list[ARGS]{{}}",
    ),
    "qwen3-coder": Kind(
        "<tool_call>\n<function=example>\n<parameter=one>\n1\n</parameter>\n</function>\n</tool_call>",
        Elements,
        "<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n<parameter=note>\ntwo\nlines\n</parameter>\n"
        "</function>\n</tool_call>",
        "<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n<parameter=note>\ntwo\nlines\n</parameter>\n"
        "</function>\n</tool_call>\n<tool_call>\n<function=list>\n</function>\n</tool_call>",
    ),
}


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.fixture
def dialect(kind: Kind) -> Dialect:
    return find_dialect(kind.template)


def answer_to(kind: Kind, text: str) -> tuple[Answer, list[str]]:
    """Let a model of that kind say a text, a byte at a time; gives the answer and what a stream showed as content."""
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = PLAIN + "{# " + kind.template + " #}"
    chat = ChatFormat(tokenizer)
    answer = Answer(chat, offered=[ADD, LIST])
    ids = [*tokenizer.encode(text), tokenizer.eos_token_id]
    pieces = [
        answer.push(Token(0, Drawn(each, -1.0), "stop" if at == len(ids) else None)).text
        for at, each in enumerate(ids, start=1)
    ]
    return answer, [piece for piece in pieces if piece]


def test_the_template_says_which_dialect_it_is(kind: Kind, dialect: Dialect) -> None:
    assert type(dialect) is kind.dialect


def test_a_template_without_tools_means_hermes() -> None:
    assert type(find_dialect("{{ messages }}")) is Hermes


def test_calls_are_read_and_not_shown_as_content(kind: Kind) -> None:
    answer, pieces = answer_to(kind, kind.calls)

    assert [(call.name, json.loads(call.arguments)) for call in answer.calls] == [
        ("add", {"a": 1, "note": "two\nlines"}),
        ("list", {}),
    ]
    assert (answer.content, answer.finish_reason, pieces) == (None, "tool_calls", [])


def test_words_without_a_call_are_shown_as_they_come(kind: Kind) -> None:
    answer, pieces = answer_to(kind, "2 + 2 = 4 <- {so} [it is]")

    assert answer.content == "".join(pieces) == "2 + 2 = 4 <- {so} [it is]"
    assert len(pieces) > 10
    assert answer.calls == []


def test_half_a_call_stays_content(kind: Kind) -> None:
    cut = kind.call[:-20]

    answer, pieces = answer_to(kind, cut)

    assert answer.content == "".join(pieces) == cut
    assert (answer.calls, answer.finish_reason) == ([], "stop")


def test_a_demanded_call_is_the_models_own_way_to_call(kind: Kind, dialect: Dialect) -> None:
    tokenizer = byte_tokenizer()
    grammar = LLMatcher.grammar_from_lark(dialect.grammar([ADD, LIST], json.dumps))
    matcher = LLMatcher(from_tokenizer(tokenizer), grammar, log_level=0)
    ids = tokenizer.encode(kind.call)

    assert matcher.try_consume_tokens(ids) == len(ids)
    assert matcher.is_accepting()


def test_a_demanded_call_has_every_argument_that_it_needs(dialect: Dialect, kind: Kind) -> None:
    tokenizer = byte_tokenizer()
    grammar = LLMatcher.grammar_from_lark(dialect.grammar([ADD], json.dumps))
    matcher = LLMatcher(from_tokenizer(tokenizer), grammar, log_level=0)
    without = tokenizer.encode(kind.call.replace('"a": 1, ', "").replace("<parameter=a>\n1\n</parameter>\n", ""))

    assert matcher.try_consume_tokens(without) < len(without)


def test_mistrals_calls_have_the_short_ids_that_its_templates_demand() -> None:
    answer, _ = answer_to(KINDS["mistral"], KINDS["mistral"].calls)

    ids = [answer.call_id([1], number) for number in range(2)]

    assert ids[0] != ids[1]
    assert all(len(each) == 9 and each.isalnum() for each in ids)


def test_arguments_of_an_element_are_text_where_the_schema_says_so() -> None:
    text = (
        "<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n<parameter=note>\n1\n</parameter>\n"
        "</function>\n</tool_call>"
    )

    parsed = Elements().parse(text, [ADD])

    assert parsed is not None
    assert json.loads(parsed[1][0].arguments) == {"a": 1, "note": "1"}


def test_a_mark_that_is_a_special_token_is_read_where_it_stands() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["[TOOL_CALLS]"]})
    tokenizer.chat_template = PLAIN + "{# [TOOL_CALLS] #}"
    chat = ChatFormat(tokenizer)
    answer = Answer(chat, offered=[LIST])

    for each in tokenizer.encode('[TOOL_CALLS][{"name": "list", "arguments": {}}]'):
        answer.push(Token(0, Drawn(each, -1.0), None))
    answer.push(Token(0, Drawn(tokenizer.eos_token_id, -1.0), "stop"))

    assert [call.name for call in answer.calls] == ["list"]
