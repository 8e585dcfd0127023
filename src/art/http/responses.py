"""Requests of OpenAI's Responses API, `/v1/responses`, read as chat requests.

Each one brings its whole conversation: nothing is kept between two of them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from art.http.body import parse_json
from art.http.parts import MAX_TOOLS, Name
from art.http.protocol import MAX_MESSAGES, MAX_TOP_LOGPROBS, ChatRequest, read_as
from art.http.refusal import RequestError
from art.response_items import as_messages, as_tools

KEPT = ("temperature", "top_p", "top_k", "min_p", "seed", "stop", "stream", "chat_template_kwargs", "user", "metadata")
"""What is called the same in a chat request."""
SHOWN = ("instructions", "metadata", "temperature", "tool_choice", "tools", "top_p", "max_output_tokens", "text")
SHOWN_TOO = ("reasoning", "truncation", "user", "parallel_tool_calls")
"""What an answer repeats of its request."""


class Reasoning(BaseModel):
    """How hard the model is to think; a summary is not written."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    effort: str | None = None


class Text(BaseModel):
    """The form of the answer; a verbosity is accepted without effect."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    format: dict[str, Any] | None = None


class ResponseBody(BaseModel):
    """The body of POST /v1/responses."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    model: Name
    input: str | Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_MESSAGES)]
    instructions: str | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    text: Text | None = None
    reasoning: Reasoning | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    temperature: float | None = None
    top_p: float | None = None
    stream: bool | None = None

    # Not OpenAI's.
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    # Only these values, which change nothing, are accepted.
    background: Literal[False] | None = None
    conversation: None = None
    previous_response_id: None = None
    prompt: None = None

    # Accepted, and without effect here.
    context_management: Any = None
    include: list[str] | None = None
    max_tool_calls: int | None = None
    metadata: dict[str, Any] | None = None
    moderation: Any = None
    parallel_tool_calls: bool | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    stream_options: dict[str, Any] | None = None
    timeout: float | None = None
    truncation: str | None = None
    user: str | None = None


class ResponseRequest(ChatRequest):
    """A request for a response, as the chat request that it means."""

    repeated: dict[str, Any]
    """What the answer repeats."""


def parse_response_request(body: bytes) -> ResponseRequest:
    """Read a request for a response; raises `RequestError` that names the parameter."""
    document = parse_json(body)
    _refuse_memory(document)
    request = read_as(ResponseBody, document)
    _check_items(request.input)
    choice = request.tool_choice
    fields = {
        **{name: value for name in KEPT if (value := getattr(request, name)) is not None},
        "model": request.model,
        "messages": as_messages(request.instructions, request.input),
        "tools": as_tools(request.tools),
        "tool_choice": _function(choice) if isinstance(choice, dict) else choice,
        "response_format": _form(request.text),
        "reasoning_effort": request.reasoning.effort if request.reasoning else None,
        "max_completion_tokens": request.max_output_tokens,
        "logprobs": True if request.top_logprobs else None,
        "top_logprobs": request.top_logprobs,
        "parallel_tool_calls": request.parallel_tool_calls,
        "repeated": request.model_dump(include={*SHOWN, *SHOWN_TOO}),
    }
    return read_as(ResponseRequest, fields)


def _refuse_memory(document: object) -> None:
    given = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
    for name in ("previous_response_id", "conversation", "prompt"):
        if given.get(name) is not None:
            raise RequestError(
                f"{name} is not served here: no response is kept. Send the whole conversation as input.",
                param=name,
                code="unsupported_parameter",
            )


def _check_items(items: str | list[dict[str, Any]]) -> None:
    for at, item in enumerate(items):
        kind = item.get("type", "message") if isinstance(item, dict) else "message"
        if kind not in ("message", "reasoning", "function_call", "function_call_output"):
            raise RequestError(
                f"input[{at}] is of type {kind!r}; served here are message, reasoning, function_call and "
                "function_call_output.",
                param=f"input.{at}",
                code="invalid_value",
            )


def _function(choice: dict[str, Any]) -> dict[str, Any]:
    """Give the choice of a tool as chat requests have it."""
    return choice if "function" in choice else {"type": choice.get("type"), "function": {"name": choice.get("name")}}


def _form(text: Text | None) -> dict[str, Any] | None:
    """Give the form as chat requests have it: a schema stands one level deeper."""
    form = text.format if text else None
    if form is None or form.get("type") != "json_schema" or "json_schema" in form:
        return form
    return {"type": "json_schema", "json_schema": {key: value for key, value in form.items() if key != "type"}}
