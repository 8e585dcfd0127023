"""A conversation is spelled for training as the server spells it, whatever its messages hold."""

from __future__ import annotations

from typing import Any

from art.http.chat import ChatFormat
from art.http.protocol import ChatRequest
from art.train.tokenize import Reading, ReadingLimits, trajectory_rows
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
    {"role": "user", "content": "Thanks."},
]


def test_training_reads_what_the_server_wrote():
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = TEMPLATE
    served = ChatFormat(tokenizer).prompt_ids(ChatRequest(model="m", messages=MESSAGES), context=4096)
    answer = {"role": "assistant", "content": "Bye."}

    rows = trajectory_rows(
        Trajectory(messages_and_choices=[*MESSAGES, answer], reward=0.0),
        tokenizer,
        limits=ReadingLimits(vocabulary=300, context=None),
        where="here",
        reading=Reading.SPOKEN,
    )

    [last] = [row for row in rows if row.token_ids[: len(served)] == served]
    assert all(thought in tokenizer.decode(served) for thought in ("|I look.", "|Wood, I think."))
    assert "developer" not in tokenizer.decode(served)
    assert last.spans[-1].start == len(served)
