"""A message of a conversation as text that a person reads."""

from __future__ import annotations

from openai.types.chat import ChatCompletionMessageParam


def format_message(message: ChatCompletionMessageParam) -> str:
    """Give the role, what was said, and a line for each call of a tool.

    >>> print(format_message({"role": "user", "content": "hi"}))
    User:
    hi
    """
    calls = [call["function"] for call in message.get("tool_calls") or () if "function" in call]
    called = (f"{call['name']}({call['arguments']})" for call in calls)
    content = message.get("content") or message.get("refusal") or ""
    return "\n".join([f"{message['role'].capitalize()}:", *([str(content)] if content else []), *called])
