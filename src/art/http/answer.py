"""From sampled tokens to an answer: its text, piece by piece, why it ended, and the tool calls in it.

Knows text and tokens; neither tensors nor HTTP.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from blake3 import blake3

from art.http.chat import TOOL_CALL_END, TOOL_CALL_START, ChatFormat
from art.sample.generation import Token
from art.sample.sampling import Drawn

HALF_A_CHARACTER = "\N{REPLACEMENT CHARACTER}"
TOOL_CALL = re.compile(f"{re.escape(TOOL_CALL_START)}(.*?){re.escape(TOOL_CALL_END)}", re.DOTALL)


UNDECIDED_AT_MOST = 16
"""So many tokens make a character or never will: what a model writes without end is not read again and again."""


class Detokenizer:
    """Turns tokens into text as they come, whole characters only."""

    def __init__(self, chat: ChatFormat) -> None:
        self._chat = chat
        self._ids: list[int] = []
        # Text is what a token adds to its predecessors, because some tokenizers write a first token differently.
        self._start = 0
        self._written = 0

    def push(self, token_id: int) -> str:
        if token_id in self._chat.silent_ids:
            return ""
        self._ids.append(token_id)
        text = self._unwritten()
        is_whole = text and not text.endswith(HALF_A_CHARACTER)
        if not is_whole and len(self._ids) - self._written < UNDECIDED_AT_MOST:
            return ""
        self._start, self._written = self._written, len(self._ids)
        return text

    def finish(self) -> str:
        """Give what is left, even half a character."""
        text = self._unwritten()
        self._written = len(self._ids)
        return text

    def _unwritten(self) -> str:
        before = self._chat.text(self._ids[self._start : self._written])
        return self._chat.text(self._ids[self._start :])[len(before) :]


@dataclass(frozen=True)
class Call:
    """A tool call that the model wrote."""

    name: str
    arguments: str
    """JSON."""


class Answer:
    """One choice in the making."""

    def __init__(self, chat: ChatFormat, *, stops: Sequence[str], has_tools: bool) -> None:
        self._detokenizer = Detokenizer(chat)
        self._stops = (*stops, *chat.stop_texts)
        self._has_tools = has_tools
        self._held = ""
        self._text = ""
        self._given = 0
        self.drawn: list[Drawn] = []
        self.finish_reason: Literal["stop", "length", "tool_calls"] | None = None
        self.content: str | None = None
        """The text without tool calls, once the answer is finished."""
        self.calls: list[Call] = []

    def push(self, token: Token) -> str:
        """Take the next token and return the text that is certain to be content by now."""
        self.drawn.append(token.drawn)
        is_end_of_turn = token.finish_reason == "stop"
        new = "" if is_end_of_turn else self._detokenizer.push(token.drawn.token_id)
        if token.finish_reason:
            new += self._detokenizer.finish()
        if self._take(new):
            return self._finish("stop")
        if token.finish_reason:
            self._text += self._held
            return self._finish(token.finish_reason)
        return self._give(self._certain())

    def _take(self, new: str) -> bool:
        """Add text, holding back what may begin a stop sequence; True when one is complete."""
        text = self._held + new
        found = [at for at in (text.find(stop) for stop in self._stops) if at >= 0]
        if found:
            self._text += text[: min(found)]
            return True
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._text += text[: len(text) - keep]
        self._held = text[len(text) - keep :]
        return False

    def _certain(self) -> int:
        """How much of the text is content, whatever follows."""
        if not self._has_tools:
            return len(self._text)
        call = self._text.find(TOOL_CALL_START)
        end = call if call >= 0 else len(self._text) - _overlap(self._text, TOOL_CALL_START)
        return len(self._text[:end].rstrip())

    def _give(self, end: int) -> str:
        start, self._given = self._given, max(end, self._given)
        return self._text[start : self._given]

    def _finish(self, reason: Literal["stop", "length"]) -> str:
        self.finish_reason = reason
        parsed = parse_calls(self._text) if self._has_tools else None
        if parsed:
            self._text, self.calls = parsed
            if reason == "stop":
                self.finish_reason = "tool_calls"
        self.content = self._text if self._text or not self.calls else None
        return self._give(len(self._text))

    def call_id(self, prompt_ids: Sequence[int], number: int) -> str:
        """Name a call. Ids follow from the tokens, so that a repeated run repeats its conversations to the letter."""
        sampled = [drawn.token_id for drawn in self.drawn]
        return "call_" + blake3(json.dumps([list(prompt_ids), sampled, number]).encode()).hexdigest(length=12)


def _overlap(text: str, wanted: str) -> int:
    """Count how many characters of `wanted` the text ends with, not all of them."""
    return next((size for size in range(min(len(text), len(wanted) - 1), 0, -1) if text.endswith(wanted[:size])), 0)


def parse_calls(text: str) -> tuple[str, list[Call]] | None:
    """Split text into content and tool calls; None when there is no call or one that cannot be read."""
    calls = [_call(match[1]) for match in TOOL_CALL.finditer(text)]
    good = [call for call in calls if call]
    outside = TOOL_CALL.split(text)[::2]
    if not good or len(good) < len(calls) or any(TOOL_CALL_START in each for each in outside):
        return None
    return outside[0].rstrip() + "".join(outside[1:]).rstrip(), good


def _call(text: str) -> Call | None:
    try:
        call = json.loads(text)
        arguments = call.get("arguments", {}) if isinstance(call, dict) else None
        if isinstance(arguments, str):
            arguments = json.loads(arguments)
    except ValueError:
        return None
    if not isinstance(call, dict) or not isinstance(arguments, dict):
        return None
    name = cast("dict[str, Any]", call).get("name")
    return Call(name, json.dumps(arguments, ensure_ascii=False)) if isinstance(name, str) and name else None
