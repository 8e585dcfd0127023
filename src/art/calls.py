"""A chat completion or a response as it went over the wire: what was asked, and the choices that came back.

Knows the JSON of OpenAI's API, whole and in events; knows neither clients nor trajectories.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from openai.types.chat.chat_completion import Choice
from pydantic import ValidationError

from art.response_items import as_choice, as_messages, as_tools
from art.trajectories import STAYS_WITH_LITELLM, Messages, Tools

EVENT = b"data:"
DONE = b"[DONE]"
SAID_AGAIN = ("role", "finish_reason", "id", "name")
"""Texts of an event that are whole; some servers say them in every one."""
LAST_OF_A_RESPONSE = ("response.completed", "response.incomplete")
MAX_PIECES = 1024
"""Of choices, and of calls in one: a place beyond is a claim that takes memory."""
_STRANGE = (AttributeError, KeyError, TypeError, ValueError)
"""What reading a document of another form raises."""


@dataclass(frozen=True)
class Question:
    """What a client asked."""

    messages: Messages
    tools: Tools | None
    streams: bool = False
    """Whether the answer was asked for in events."""


@dataclass(frozen=True)
class Call:
    """A question and the choices that it was answered with."""

    question: Question
    choices: tuple[Choice, ...]


def read_question(body: bytes) -> Question | None:
    """Read the body of a request; None when it is no question to a chat model."""
    fields = _object(body)
    if fields and "input" in fields and "messages" not in fields:
        return _read_response_question(fields)
    messages = fields.get("messages") if fields else None
    if not fields or not isinstance(messages, list) or not messages:
        return None
    if not all(isinstance(message, dict) for message in cast("list[object]", messages)):
        return None
    streams = fields.get("stream") is True
    return Question(cast(Messages, messages), cast("Tools | None", fields.get("tools") or None), streams)


def _read_response_question(fields: dict[str, Any]) -> Question | None:
    given = fields["input"]
    if not isinstance(given, str | list):
        return None
    messages = as_messages(fields.get("instructions"), cast("str | list[Any]", given))
    return Question(cast(Messages, messages), cast("Tools | None", as_tools(fields.get("tools"))))


def read_choices(body: bytes) -> tuple[Choice, ...]:
    """Read the choices of a whole answer; none when it holds something else, an error say."""
    fields = _object(body)
    if fields and fields.get("object") == "response":
        return _answered(fields)
    choices = fields.get("choices") if fields else None
    return _choices(cast("list[Any]", choices)) if isinstance(choices, list) else ()


class Events:
    """The choices of an answer that comes in events, put together as its bytes come in.

    None when an event has another form than a server's: the caller's own client says what it makes of it.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._choices: dict[int, dict[str, Any]] = {}
        self._response: dict[str, Any] | None = None
        self._is_strange = False
        self.is_done = False

    def feed(self, received: bytes) -> None:
        """Take the next bytes, wherever they were cut."""
        *lines, self._rest = (self._rest + received).split(b"\n")
        for line in lines:
            if line.startswith(EVENT):
                self._take(line.removeprefix(EVENT).strip())

    def choices(self) -> tuple[Choice, ...]:
        """Give the choices that have ended."""
        try:
            return () if self._is_strange else self._ended()
        except _STRANGE:
            return ()

    def _ended(self) -> tuple[Choice, ...]:
        if self._response:
            return _answered(self._response)
        choices = [self._choices[index] for index in sorted(self._choices)]
        for choice in choices:
            if self.is_done:  # a server that does not say why an answer ended has at least ended its events
                choice["finish_reason"] = choice.get("finish_reason") or "stop"
            if choice["message"].get("tool_calls"):
                choice["message"]["content"] = choice["message"].get("content") or None
        return _choices(choices)

    def _take(self, event: bytes) -> None:
        if event == DONE:
            self.is_done = True
            return
        try:
            self._add(_object(event) or {})
        except _STRANGE:
            self._is_strange = True

    def _add(self, fields: dict[str, Any]) -> None:
        if fields.get("type") in LAST_OF_A_RESPONSE:
            self._response, self.is_done = fields.get("response"), True
        for piece in fields.get("choices") or ():
            choice = self._choices.setdefault(_place(piece, 0), {})
            message, delta = choice.setdefault("message", {}), piece.get("delta") or {}
            _add(choice, {name: value for name, value in piece.items() if name != "delta"})
            _add(
                message,
                {name: value for name, value in delta.items() if name not in ("tool_calls", STAYS_WITH_LITELLM)},
            )
            for call in delta.get("tool_calls") or ():
                _add_tool_call(message.setdefault("tool_calls", []), call)


def _add_tool_call(calls: list[dict[str, Any]], piece: Mapping[str, Any]) -> None:
    place = _place(piece, len(calls))
    calls.extend({} for _ in range(place + 1 - len(calls)))
    _add(calls[place], {name: value for name, value in piece.items() if name not in ("index", "type")})
    calls[place]["type"] = "function"


def _place(piece: Mapping[str, Any], default: int) -> int:
    place = piece.get("index", default)
    if type(place) is not int or not 0 <= place < MAX_PIECES:
        raise ValueError(f"{place!r} is no place among choices or calls")
    return place


def _add(whole: dict[str, Any], piece: Mapping[str, Any]) -> None:
    """Add a piece to what is there: text and lists grow, mappings are added to, anything else is replaced."""
    for name, value in piece.items():
        earlier = whole.get(name)
        if value is None:
            whole.setdefault(name, None)
        elif isinstance(value, dict):
            inner: dict[str, Any] = earlier if isinstance(earlier, dict) else {}
            _add(inner, cast("dict[str, Any]", value))
            whole[name] = inner
        elif isinstance(value, list):
            whole[name] = [*(earlier or ()), *cast("list[Any]", value)]
        elif isinstance(value, str) and isinstance(earlier, str) and name not in SAID_AGAIN:
            whole[name] = earlier + value
        else:
            whole[name] = value


def _choices(choices: list[Any]) -> tuple[Choice, ...]:
    try:
        return tuple(Choice.model_validate(choice) for choice in choices)
    except ValidationError:
        return ()


def _answered(response: Mapping[str, Any]) -> tuple[Choice, ...]:
    try:
        choice = as_choice(response)
    except _STRANGE:
        return ()
    return _choices([choice]) if choice else ()


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None
