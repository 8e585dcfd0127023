"""Answers of a demanded form, from a model with random weights: whatever it would say, it says it in that form."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from enum import Enum
from typing import Any

import openai
import pytest
import torch
from openai.types.chat.chat_completion import Choice
from pydantic import BaseModel, ConfigDict, Field
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from art.http.branching import branches_of_grammar, branches_of_schema
from art.trajectories import sampled_tokens
from small import byte_tokenizer, small_causal_lm

from .serving import HELLO, Served, serving


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Point(Closed):
    x: int = Field(ge=0, le=99)
    label: str = Field(max_length=5)


class Drawing(Closed):
    colour: Colour
    points: list[Point] = Field(min_length=1, max_length=2)


def tool(name: str) -> dict[str, Any]:
    schema = Drawing.model_json_schema()
    return {"type": "function", "function": {"name": name, "parameters": schema}}


DRAWING = {"type": "json_schema", "json_schema": {"name": "drawing", "schema": Drawing.model_json_schema()}}
TOOLS = [tool("paint"), tool("sketch")]
SETTINGS = {"model": "agent", "messages": HELLO, "max_tokens": 400, "temperature": 1.2}


@pytest.fixture(scope="module")
def roomy(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """A model whose context holds the tools, a token for each of their bytes."""
    return small_causal_lm(tokenizer, max_position_embeddings=4096).eval()


@pytest.fixture(scope="module")
def served(roomy: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Iterator[Served]:
    with serving(roomy, tokenizer) as served:
        yield served


def ask(served: Served, **others: Any) -> list[Choice]:
    extra = {name: others.pop(name) for name in list(others) if name.startswith("guided_") or name in EXTRA}
    request = {**SETTINGS, **others, "extra_body": extra}
    return served.ask(lambda client: client.chat.completions.create(**request)).choices


EXTRA = ("min_p", "repetition_penalty", "return_token_ids", "structured_outputs")


@pytest.mark.parametrize("seed", [None, 5])
def test_a_schema_is_kept_to(served: Served, seed: int | None) -> None:
    for choice in ask(served, response_format=DRAWING, n=4, seed=seed):
        Drawing.model_validate_json(choice.message.content or "")
        assert choice.finish_reason == "stop"


def test_openais_parse_gives_the_users_object(served: Served) -> None:
    answer = served.ask(lambda client: client.chat.completions.parse(**SETTINGS, response_format=Drawing))

    assert isinstance(answer.choices[0].message.parsed, Drawing)


def test_openais_parse_gives_the_arguments_of_tools(served: Served) -> None:
    paint = openai.pydantic_function_tool(Drawing, name="paint")

    answer = served.ask(lambda client: client.chat.completions.parse(**SETTINGS, tools=[paint], tool_choice="required"))

    assert isinstance(answer.choices[0].message.tool_calls[0].function.parsed_arguments, Drawing)


@pytest.mark.parametrize(
    ("tool_choice", "names"),
    [("required", {"paint", "sketch"}), ({"type": "function", "function": {"name": "sketch"}}, {"sketch"})],
)
def test_a_demanded_call_is_made(served: Served, tool_choice: Any, names: set[str]) -> None:
    for choice in ask(served, tools=TOOLS, tool_choice=tool_choice, n=4):
        [call] = choice.message.tool_calls or []
        assert call.function.name in names
        Drawing.model_validate_json(call.function.arguments)
        assert choice.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("form", "pattern"),
    [
        ({"guided_choice": ["yes", "no"]}, r"yes|no"),
        ({"guided_regex": r"[0-9]{3}-[a-c]"}, r"[0-9]{3}-[a-c]"),
        ({"guided_grammar": 'start: "a" | "b" start'}, r"b*a"),
        ({"guided_json": {"type": "boolean"}}, r"true|false"),
        ({"guided_json": '{"type": "boolean"}'}, r"true|false"),
        ({"structured_outputs": {"choice": ["yes", "no"]}}, r"yes|no"),
        ({"structured_outputs": {"regex": r"[0-9]{3}-[a-c]"}}, r"[0-9]{3}-[a-c]"),
        ({"structured_outputs": {"grammar": 'start: "a" | "b" start'}}, r"b*a"),
        ({"structured_outputs": {"json": {"type": "boolean"}}}, r"true|false"),
    ],
)
def test_vllms_guides_are_kept_to(served: Served, form: dict[str, Any], pattern: str) -> None:
    for choice in ask(served, n=4, **form):
        assert re.fullmatch(pattern, choice.message.content or "")


def test_log_probabilities_are_those_without_the_form(served: Served, roomy: PreTrainedModel) -> None:
    [choice] = ask(served, response_format=DRAWING, presence_penalty=1, logit_bias={"65": 5})

    tokens = sampled_tokens(choice)
    assert tokens is not None
    assert tokens.prompt_ids is not None
    with torch.no_grad():
        start = len(tokens.prompt_ids)
        logits = roomy(torch.tensor([[*tokens.prompt_ids, *tokens.token_ids]])).logits[0, start - 1 : -1]
    logp = torch.log_softmax(logits / tokens.temperature, -1)
    expected = logp.gather(-1, torch.tensor(tokens.token_ids)[:, None])[:, 0]
    assert tokens.logprobs == pytest.approx(expected.tolist(), abs=1e-4)


def test_a_seeded_answer_does_not_depend_on_neighbours_that_keep_to_a_form(served: Served) -> None:
    alone = ask(served, seed=9, max_tokens=40)

    async def beside(client: openai.AsyncOpenAI) -> Choice:
        forms = [client.chat.completions.create(**SETTINGS, response_format=DRAWING, n=3) for _ in range(3)]
        *_, mine = await asyncio.gather(*forms, client.chat.completions.create(**SETTINGS | {"max_tokens": 40}, seed=9))
        return mine.choices[0]

    assert sampled_tokens(served.ask(beside)) == sampled_tokens(alone[0])


FIELDS = {f"p{number}": {"type": "string"} for number in range(1500)}
"""Each may be left out, so that after a token too many may follow."""


def branching(alternatives: int) -> list[dict[str, Any]]:
    """Forms whose every token may be the beginning of so many alternatives."""
    schema = {"anyOf": [{"type": "array", "items": {"$ref": "#"}}] * alternatives}
    return [
        {"guided_grammar": "start: a\na: " + " | ".join(['"x" a'] * alternatives) + ' | "x"'},
        {"guided_grammar": "start: a\na: " + " | ".join(["a a"] * alternatives) + ' | "x"'},
        {"guided_json": schema},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}},
    ]


LARGE = [{"guided_json": {"type": "object", "properties": FIELDS}}, branching(150)[0]]
BRANCHING = [*branching(1000), *branching(250)]
"""Minutes of one mask each, in which nobody else would get a token, and a second or two."""
NEVER_ENDS = {str(byte_tokenizer().eos_token_id): -100}


@pytest.mark.parametrize(
    ("form", "param"),
    [
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 5}}}},
            "response_format",
        ),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"guided_regex": "("}, "guided_regex"),
        ({"guided_grammar": "start: nowhere"}, "guided_grammar"),
        ({"guided_json": "{"}, "guided_json"),
        ({"structured_outputs": {"regex": "("}}, "structured_outputs.regex"),
        ({"structured_outputs": {}}, "structured_outputs"),
        ({"structured_outputs": {"regex": "a", "choice": ["a"]}}, "structured_outputs"),
        ({"structured_outputs": {"banana": "a"}}, "structured_outputs.banana"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_choice": ["x" * 500 + str(number) for number in range(1024)]}, "guided_choice"),
        ({"guided_json": {"enum": [f"{number} {'x' * 40}" for number in range(10_000)]}}, "guided_json"),
        *((form, next(iter(form))) for form in BRANCHING),
        ({"tool_choice": "required"}, ""),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "fly"}}}, ""),
        ({"logit_bias": {"100000": 1}}, "logit_bias"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"5": 101}}, "logit_bias"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"min_p": 2}, "min_p"),
    ],
)
def test_a_form_that_cannot_be_kept_is_refused(served: Served, form: dict[str, Any], param: str) -> None:
    answer = served.post({**SETTINGS, **form})

    assert answer.status_code == 400
    assert (answer.json()["error"]["param"] or "").startswith(param)


def test_alternatives_are_counted_wherever_they_stand():
    nested = {"properties": {"a": {"items": [{"oneOf": [{}, {"anyOf": [{}] * 3}]}]}}}
    grammar = 'start: "a" | "b|c" x | /d|e/ y // or | z\n  | TEXT\nx: "f"\ny: x | x x\nTEXT: "g" | "h"\n'

    assert branches_of_schema(nested) == 5
    assert branches_of_grammar(grammar) == 4
    assert branches_of_grammar('start: %json {"anyOf": [{}, {}, {}]}') >= 2


def in_turn(count: int, kind: str) -> dict[str, Any]:
    """Schemas that lead to one another."""
    steps = {f"d{each}": {"type": kind, "items": {"$ref": f"#/$defs/d{each + 1}"}} for each in range(count)}
    return {"$defs": {**steps, f"d{count}": {"type": "string"}}, "$ref": "#/$defs/d0"}


BOMBS = {
    # Minutes, in which no other row got a token.
    "multiples": {"guided_json": {"type": "integer", "multipleOf": 999_983}},
    "kinds of fields": {
        "guided_json": {"type": "object", "patternProperties": {f"^a{each}.*b{each}$": {} for each in range(300)}}
    },
    "patterns at once": {"guided_json": {"allOf": [{"type": "string", "pattern": f"a{each}"} for each in range(30)]}},
    "one of ten thousand fields": {"guided_json": {"const": {f"k{each}": each for each in range(10_000)}}},
    # The end of the process, by a stack that is full.
    "schemas in turn": {"guided_json": in_turn(3000, "array")},
}


@pytest.mark.parametrize("form", BOMBS.values(), ids=BOMBS.keys())
def test_a_form_that_compiles_for_minutes_or_breaks_the_compiler_is_refused(
    served: Served, form: dict[str, Any]
) -> None:
    async def both(client: openai.AsyncOpenAI) -> list[Any]:
        hard = [client.chat.completions.create(**SETTINGS, extra_body=form) for _ in range(2)]
        small = client.chat.completions.create(**SETTINGS, extra_body={"guided_regex": "[a-c]{3}"})
        return await asyncio.gather(*hard, small, return_exceptions=True)

    *hard, small = served.ask(both)

    for refused in hard:
        assert isinstance(refused, openai.BadRequestError)
        assert "takes too long" in str(refused)
    assert re.fullmatch("[a-c]{3}", small.choices[0].message.content)


def test_schemas_that_people_write_are_tried_and_kept(served: Served) -> None:
    [choice] = ask(served, guided_json=in_turn(40, "array"))

    assert choice.message.content.startswith("[")


@pytest.mark.parametrize("form", LARGE, ids=["fields", "rules"])
def test_a_form_that_becomes_too_large_fails_its_own_request_and_is_never_cut_short(
    served: Served, form: dict[str, Any]
) -> None:
    async def both(client: openai.AsyncOpenAI) -> list[Any]:
        large = client.chat.completions.create(**SETTINGS, logit_bias=NEVER_ENDS, extra_body=form)
        small = client.chat.completions.create(**SETTINGS, extra_body={"guided_regex": "[a-c]{3}"})
        return await asyncio.gather(large, small, return_exceptions=True)

    large, small = served.ask(both)

    assert isinstance(large, openai.BadRequestError)
    assert "became too large" in str(large)
    assert re.fullmatch("[a-c]{3}", small.choices[0].message.content)


def test_a_bias_and_penalties_change_what_is_said(served: Served) -> None:
    biased = ask(served, logit_bias={"65": 100}, temperature=0, max_tokens=6)
    varied = ask(served, logit_bias={"65": 50}, frequency_penalty=2, presence_penalty=2, temperature=0, max_tokens=60)
    repeated = ask(served, repetition_penalty=10.0, temperature=0, max_tokens=30)
    likely = ask(served, min_p=1.0, temperature=1.5, max_tokens=6, seed=3)
    greedy = ask(served, temperature=0, max_tokens=6)

    assert set(sampled_tokens(biased[0]).token_ids) == {65}
    assert len(set(sampled_tokens(varied[0]).token_ids)) > 1
    assert len(set(sampled_tokens(repeated[0]).token_ids)) == len(sampled_tokens(repeated[0]).token_ids)
    assert sampled_tokens(likely[0]).token_ids == sampled_tokens(greedy[0]).token_ids
