"""A message as chat templates expect it: one function, so that serving and training spell a conversation alike.

Knows the fields of a message; knows no template and no tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

KEPT = ("name", "tool_call_id")
THOUGHT = ("reasoning_content", "reasoning")
"""What servers call what was thought, the older name first."""


def template_message(message: Mapping[str, Any]) -> dict[str, Any]:
    """Give a message's content as text, arguments of tool calls as objects, and nothing that is empty.

    `developer` is what newer clients call the role `system`. A thought has both its names: templates read either.
    """
    role = "system" if message["role"] == "developer" else message["role"]
    written: dict[str, Any] = {"role": role, "content": _text(message.get("content"))}
    written |= {name: message[name] for name in KEPT if message.get(name)}
    if thought := next((message[name] for name in THOUGHT if message.get(name)), None):
        written |= dict.fromkeys(THOUGHT, thought)
    if calls := message.get("tool_calls"):
        written["tool_calls"] = [_call(call) for call in calls]
    return written


def read_json(text: str) -> object:
    """Read JSON that somebody wrote into a text; raises `ValueError`, also where it is too deep or no UTF-8."""
    try:
        value: object = json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate has no UTF-8
    return value


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = cast("Sequence[Mapping[str, Any]]", content or ())
    return "".join(part.get("text", "") for part in parts)


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, Mapping):
        return dict(call)
    arguments = _arguments(function.get("arguments"))
    return {
        "id": call.get("id"),
        "type": "function",
        "function": {"name": function.get("name"), "arguments": arguments},
    }


def _arguments(text: object) -> object:
    """Read the arguments as JSON, which templates write themselves; text that is no JSON object stays text."""
    try:
        arguments = read_json(cast(str, text))
    except (ValueError, TypeError):
        return text
    return arguments if isinstance(arguments, dict) else text
