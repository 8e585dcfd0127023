"""OpenAI's Responses as chat: what was asked as messages and tools, what was answered as one assistant's message.

Knows the JSON of both; what cannot be said in a chat is left as it is, for whoever reads it to refuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

Json = dict[str, Any]


def as_messages(instructions: str | None, given: str | list[Any]) -> list[Any]:
    """Give the conversation of a request's `instructions` and `input`.

    What an assistant thought, said and called in a row is one message.
    """
    messages: list[Any] = [{"role": "system", "content": instructions}] if instructions else []
    items: list[Any] = [{"role": "user", "content": given}] if isinstance(given, str) else given
    own: Json | None = None
    for item in items:
        part = _own_part(item)
        if part is None:
            own = None
            messages.append(_message(item))
        elif own is not None and _fits(own, part):
            _add(own, part)
        else:
            own = part
            messages.append(own)
    return messages


def as_tools(tools: Iterable[Any] | None) -> list[Any] | None:
    """Give the functions as chat completions name them; other kinds of tools stay as they are."""
    return [_tool(tool) for tool in tools] if tools else None


def as_choice(response: Mapping[str, Any]) -> Json | None:
    """Give a response's answer as a choice; None where it has none, and our own server's as it sampled it."""
    own = response.get("choices")
    if isinstance(own, list) and own:
        return own[0]
    message: Json = {"role": "assistant", "content": None}
    for item in response.get("output") or ():
        if part := _own_part(item):
            _add(message, part)
    if len(message) == 2 and message["content"] is None:
        return None
    called = "tool_calls" in message
    reason = "length" if response.get("status") == "incomplete" else "tool_calls" if called else "stop"
    return {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}


def _own_part(item: Any) -> Json | None:
    """Give what the assistant contributed by an item; None where somebody else did."""
    match item:
        case {"type": "reasoning"}:
            thought = _text(item.get("content") or item.get("summary") or [])
            return {"role": "assistant", "content": None, "reasoning_content": thought}
        case {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}:
            call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
            return {"role": "assistant", "content": None, "tool_calls": [call]}
        case {"role": "assistant", "content": content}:
            return {"role": "assistant", "content": _text(content)}
        case _:
            return None


def _fits(own: Json, part: Json) -> bool:
    """Tell whether a part belongs to the same turn: a second text, or a thought after words, begins another."""
    if part.get("reasoning_content") is not None or part["content"] is not None:
        return own["content"] is None and "tool_calls" not in own
    return True


def _add(own: Json, part: Json) -> None:
    if part["content"] is not None:
        own["content"] = (own["content"] or "") + part["content"]
    if "reasoning_content" in part:
        own["reasoning_content"] = own.get("reasoning_content", "") + part["reasoning_content"]
    if "tool_calls" in part:
        own["tool_calls"] = [*own.get("tool_calls", ()), *part["tool_calls"]]


def _message(item: Any) -> Any:
    match item:
        case {"type": "function_call_output", "call_id": call_id, "output": output}:
            return {"role": "tool", "tool_call_id": call_id, "content": _text(output)}
        case {"role": role, "content": content}:
            return {"role": role, "content": _text(content)}
        case _:
            return item


def _text(content: Any) -> Any:
    """Give the text of a list of parts, of what was refused too; anything that is not text stays as it is."""
    if not isinstance(content, list):
        return content
    parts = cast("list[Any]", content)
    given = [part.get("text", part.get("refusal")) for part in parts if isinstance(part, dict)]
    words = [word for word in given if isinstance(word, str)]
    return "".join(words) if len(words) == len(parts) else parts


def _tool(tool: Any) -> Any:
    if not isinstance(tool, dict) or cast(Json, tool).get("type") != "function" or "function" in tool:
        return tool
    named = ("name", "description", "parameters", "strict")
    return {"type": "function", "function": {key: tool[key] for key in named if tool.get(key) is not None}}
