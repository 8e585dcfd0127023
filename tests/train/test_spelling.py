"""A conversation is spelled for training as the server spells it, whatever its messages hold."""

from __future__ import annotations

from typing import Any

import pytest

from art.errors import TrainingDataError
from art.http.chat import ChatFormat
from art.http.protocol import ChatRequest
from art.train.tokenize import Reading, ReadingLimits, Row, trajectory_rows
from art.trajectories import Trajectory
from small import byte_tokenizer

# Writes every field that a template may look at, and whether it is there at all.
TEMPLATE = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '|' + (message.name or '') + '|' + message.content }}
    {{- '|' + (message.reasoning_content if message.reasoning_content is defined else '-') }}
    {%- if message.tool_calls is defined %}{{ message.tool_calls | tojson }}{% endif %}
    {{- (message.tool_call_id or '') + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant||' }}{% endif %}"""
CALL = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"at": [1, 2]}'}}
BROKEN = {"id": "2", "type": "function", "function": {"name": "look", "arguments": "[1"}}
MESSAGES: list[dict[str, Any]] = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "name": "ann", "content": [{"type": "text", "text": "Look"}, {"type": "text", "text": " there."}]},
    {"role": "assistant", "content": None, "reasoning_content": "I look.", "tool_calls": [CALL, BROKEN]},
    {"role": "tool", "tool_call_id": "1", "content": "a door"},
    {"role": "assistant", "content": None, "reasoning": "Wood, I think."},
    {"role": "assistant", "content": "A door.", "tool_calls": None, "refusal": None},
    {"role": "assistant", "content": None, "function_call": {"name": "open", "arguments": "{}"}},
    {"role": "function", "name": "open", "content": "It is locked."},
    {"role": "assistant", "content": None, "refusal": "I force no doors."},
    {"role": "assistant", "content": [{"type": "refusal", "refusal": "Nor windows."}]},
    {"role": "user", "content": "Thanks."},
]
LIMITS = ReadingLimits(vocabulary=300, context=None)


def test_training_reads_what_the_server_wrote():
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = TEMPLATE
    served = ChatFormat(tokenizer).prompt_ids(ChatRequest(model="m", messages=MESSAGES), context=4096)
    answer = {"role": "assistant", "content": "Bye."}

    rows = trajectory_rows(
        Trajectory(messages_and_choices=[*MESSAGES, answer], reward=0.0),
        tokenizer,
        limits=LIMITS,
        where="here",
        reading=Reading.SPOKEN,
    )

    [last] = [row for row in rows if row.token_ids[: len(served)] == served]
    assert all(thought in tokenizer.decode(served) for thought in ("|I look.", "|Wood, I think."))
    assert "developer" not in tokenizer.decode(served)
    older = ['"name": "open"', "<|im_start|>tool|open|It is locked.", "|I force no doors.", "|Nor windows."]
    assert all(text in tokenizer.decode(served) for text in older)
    assert last.spans[-1].start == len(served)


def spoken(*messages: Any, template: str = TEMPLATE) -> list[Row]:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    trajectory = Trajectory(messages_and_choices=[*messages])
    return trajectory_rows(trajectory, tokenizer, limits=LIMITS, where="here", reading=Reading.SPOKEN)


ANSWER = {"role": "assistant", "content": "Yes."}


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "is of type 'image_url'"),
        ({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "input_audio"}]}, "type 'input_audio'"),
        ({"role": "user", "content": [5]}, "is of type 'int'"),
        ({"role": "user", "content": 5}, "'int' object"),
        ({"role": "assistant", "content": None, "audio": {"id": "a"}}, "has audio"),
        (
            {"role": "assistant", "tool_calls": [{"type": "custom", "custom": {"name": "f"}}]},
            "is of type 'custom'",
        ),
        ({"content": "from nobody"}, "role"),
        ("words alone", "here: "),
    ],
)
def test_what_no_template_writes_is_refused_and_not_left_out(message: Any, words: str):
    with pytest.raises(TrainingDataError, match=words):
        spoken({"role": "user", "content": "Look."}, message, ANSWER)


def test_an_answer_of_weight_zero_is_read_and_not_learned():
    asked = {"role": "user", "content": "Go on."}

    [row] = spoken(asked, {**ANSWER, "weight": 0}, asked, {**ANSWER, "weight": 1})

    assert len(row.spans) == 1
    assert row.spans[0].start > len("Yes.") + 2 * len("Go on.")
