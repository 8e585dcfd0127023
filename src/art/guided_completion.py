"""A teacher's answer as the only one that a student may give: its text, or its tool call with these arguments.

A student that is sampled under these parameters says what the teacher said, with log-probabilities of its own.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from typing import Any, cast

from openai.types.chat import (
    ChatCompletion,
    ChatCompletionMessageFunctionToolCall,
    ChatCompletionToolChoiceOptionParam,
    ChatCompletionToolParam,
)

from art.errors import ConfigurationError

Params = tuple[list[str] | None, ChatCompletionToolChoiceOptionParam | None, list[ChatCompletionToolParam] | None]


def freeze_tool_schema(tool: Mapping[str, Any], fixed_args: Mapping[str, Any]) -> ChatCompletionToolParam:
    """Give a copy of a tool that takes exactly these arguments.

    >>> frozen = freeze_tool_schema({"type": "function", "function": {"name": "add"}}, {"a": 1})
    >>> frozen["function"]["parameters"]["properties"]
    {'a': {'enum': [1]}}
    """
    frozen = copy.deepcopy(dict(tool))
    frozen["function"]["parameters"] = {
        "type": "object",
        "properties": {name: {"enum": [value]} for name, value in fixed_args.items()},
        "required": list(fixed_args),
        "additionalProperties": False,
    }
    return cast(ChatCompletionToolParam, frozen)


def get_guided_completion_params(
    completion: ChatCompletion, base_tools: Iterable[Mapping[str, Any]] | None = None
) -> Params:
    """Give the student's `guided_choice`, `tool_choice` and `tools` for a teacher's completion.

    Of several tool calls the first one counts. Raises `ConfigurationError` for a call of a tool that is not among
    `base_tools`.
    """
    message = completion.choices[0].message
    if not message.tool_calls:
        return [message.content or ""], None, None
    call = message.tool_calls[0]
    if not isinstance(call, ChatCompletionMessageFunctionToolCall):
        raise ConfigurationError(f"The teacher called a tool of type {call.type!r}; only functions can be guided.")
    tools = {tool["function"]["name"]: tool for tool in base_tools or ()}
    if call.function.name not in tools:
        raise ConfigurationError(
            f"The teacher called {call.function.name!r}; base_tools has {', '.join(tools) or 'no tools'}."
        )
    frozen = freeze_tool_schema(tools[call.function.name], json.loads(call.function.arguments))
    return None, {"type": "function", "function": {"name": call.function.name}}, [frozen]
