"""The parts of a request that are objects: messages, tools, forms. Clients send back whatever others put into them.

Knows OpenAI's names and rules; neither the tokenizer nor the engine.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from art.spelling import read_json
from art.visible import shown_value

MAX_PARTS = 1024
MAX_TOOLS = 128
MAX_NAME_CHARACTERS = 512
MAX_GRAMMAR_CHARACTERS = 1 << 16
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS)]


def _read_schema(value: object) -> object:
    """Read a schema that is given as text; raises `ValueError`."""
    return read_json(value) if isinstance(value, str) else value


Schema = Annotated[dict[str, Any], BeforeValidator(_read_schema)]


class Strict(BaseModel):
    """What stands in a request by itself: a name that nobody knows is refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Lenient(BaseModel):
    """Parts of messages: clients send back whatever the server or another library put into them."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


def _as_text(content: object) -> object:
    """Turn what was refused into the text that it is; raises `ValueError` for a part that is no text."""
    if not isinstance(content, list):
        return content
    parts: list[object] = [*content]
    for place, part in enumerate(parts[:MAX_PARTS]):
        kind = part.get("type") if isinstance(part, dict) else "text"
        if kind == "refusal" and isinstance(part, dict):
            parts[place] = {"type": "text", "text": part.get("refusal")}
        elif isinstance(kind, str) and kind != "text":
            raise ValueError(f"part {place} is of type {shown_value(kind)}, and content is text here")
    return parts


def _no_audio(value: object) -> object:
    if value is not None:
        raise ValueError("it is audio, and messages are text here")
    return value


class TextPart(_Lenient):
    type: Literal["text"]
    text: str


class FunctionCall(_Lenient):
    name: str
    arguments: str


class ToolCall(_Lenient):
    id: str | None = None
    type: Literal["function"] = "function"
    function: FunctionCall


Parts = Annotated[list[TextPart], Field(max_length=MAX_PARTS, fail_fast=True)]


class Message(_Lenient):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Annotated[str | Parts | None, BeforeValidator(_as_text)] = None
    name: str | None = None
    reasoning_content: str | None = None
    """Not OpenAI's; what the assistant thought, for templates that write it."""
    reasoning: str | None = None
    """The same, as vLLM calls it now."""
    refusal: str | None = None
    """What the assistant said instead of content."""
    tool_calls: Annotated[list[ToolCall], Field(max_length=MAX_TOOLS, fail_fast=True)] | None = None
    tool_call_id: str | None = None
    function_call: FunctionCall | None = None
    """OpenAI's older name of a tool call; a message of role `function` answers it."""

    # Only these values, which change nothing, are accepted.
    audio: Annotated[None, BeforeValidator(_no_audio)] = None
    prefix: Literal[False] | None = None

    @model_validator(mode="after")
    def _has_content(self) -> Message:
        if self.content is None and self.role != "assistant":
            raise ValueError(f"a message of role {self.role} needs content")
        return self


class Function(_Lenient):
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    @field_validator("parameters")
    @classmethod
    def _is_schema(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        properties, required = (schema or {}).get("properties") or {}, (schema or {}).get("required") or []
        if not isinstance(properties, dict) or not all(isinstance(each, dict | bool) for each in properties.values()):
            raise ValueError("properties must be an object of schemas")
        if not isinstance(required, list) or not all(isinstance(each, str) for each in required):
            raise ValueError("required must be a list of names")
        return schema


class Tool(_Lenient):
    type: Literal["function"]
    function: Function


class JsonSchema(_Lenient):
    name: Name | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None


class ResponseFormat(_Lenient):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_schema(self) -> ResponseFormat:
        if self.type == "json_schema" and (self.json_schema is None or self.json_schema.schema_ is None):
            raise ValueError("json_schema needs a schema")
        return self


class StructuredOutputs(Strict):
    """The form of an answer, as vLLM has it now: one of these."""

    json_: Annotated[Schema | None, Field(alias="json")] = None
    regex: Annotated[str, Field(max_length=MAX_GRAMMAR_CHARACTERS)] | None = None
    choice: Annotated[list[Name], Field(min_length=1, max_length=MAX_PARTS)] | None = None
    grammar: Annotated[str, Field(max_length=MAX_GRAMMAR_CHARACTERS)] | None = None
    json_object: bool | None = None

    @model_validator(mode="after")
    def _is_one(self) -> StructuredOutputs:
        if len(self.model_dump(exclude_none=True)) != 1:
            raise ValueError("give one of json, regex, choice, grammar, json_object")
        return self


class FunctionName(_Lenient):
    name: Name


class ChosenTool(_Lenient):
    type: Literal["function"]
    function: FunctionName


class StreamOptions(_Lenient):
    include_usage: bool = False
