"""A message as chat templates expect it: one function, so that serving and training spell a conversation alike.

Knows the fields of a message; knows no template and no tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from art.visible import shown_value

KEPT = ("name", "tool_call_id")
ROLES = {"developer": "system", "function": "tool"}
THOUGHT = ("reasoning_content", "reasoning")
"""What servers call what was thought, the older name first."""


def template_message(message: Mapping[str, Any]) -> dict[str, Any]:
    """Give a message's content as text, arguments of tool calls as objects, and nothing that is empty.

    `developer` is what newer clients call the role `system`; `function` and `function_call` are what older ones call a
    tool and its call. What an assistant refused with is what it said. A thought has both its names: templates read
    either. Raises `ValueError` for what is no text, such as an image, and for the call of another tool than a function.
    """
    if message.get("audio"):
        raise ValueError("a message has audio, and conversations are text")
    role: str = message["role"]
    content = message.get("content") or message.get("refusal")
    written: dict[str, Any] = {"role": ROLES.get(role, role), "content": _text(content)}
    written |= {name: message[name] for name in KEPT if message.get(name)}
    if thought := next((message[name] for name in THOUGHT if message.get(name)), None):
        written |= dict.fromkeys(THOUGHT, thought)
    if calls := message.get("tool_calls") or _older_call(message.get("function_call")):
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
    return "".join(map(_part, cast("Sequence[object]", content or ())))


def _part(part: object) -> str:
    words = [part.get(name) for name in ("text", "refusal")] if isinstance(part, Mapping) else [part]
    text = next((each for each in words if isinstance(each, str)), None)
    if text is None:
        kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
        raise ValueError(f"a part of a message's content is of type {shown_value(kind)}, and conversations are text")
    return text


def _older_call(function: object) -> list[dict[str, Any]]:
    """Give the call of a function as the tool call that it is now."""
    return [{"function": function}] if isinstance(function, Mapping) else []


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, Mapping):
        raise ValueError(  # noqa: TRY004 - of what somebody wrote, as everything here
            f"a tool call is of type {shown_value(call.get('type'))}, and only calls of functions are written"
        )
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
