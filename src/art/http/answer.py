"""From sampled tokens to an answer: what was thought and said, piece by piece, why it ended, and the calls in it.

Knows text and tokens; neither tensors nor HTTP.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

from blake3 import blake3

from art.http.calling.dialect import Offered, WrittenCall
from art.http.chat import ChatFormat
from art.http.thinking import Split, Thinker, overlap
from art.sample.generation import Token
from art.sample.sampling import Drawn

HALF_A_CHARACTER = "\N{REPLACEMENT CHARACTER}"

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


class Answer:
    """One choice in the making."""

    def __init__(
        self,
        chat: ChatFormat,
        *,
        stops: Sequence[str] = (),
        offered: Sequence[Offered] = (),
        thinker: Thinker | None = None,
        calls_once: bool = False,
    ) -> None:
        self._detokenizer = Detokenizer(chat)
        self._dialect = chat.dialect
        self._stops = (*stops, *chat.stop_texts)
        self._offered = offered
        self._calls_once = calls_once
        self._thinker = thinker or Thinker(None)
        self._held = ""
        self._text = ""
        self._given = 0
        self._thought_given = 0
        self.drawn: list[Drawn] = []
        self.finish_reason: Literal["stop", "length", "tool_calls"] | None = None
        self.thought = ""
        """What the model thought, without the marks around it."""
        self.content: str | None = None
        """What was said without thoughts and tool calls, once the answer is finished."""
        self.calls: list[WrittenCall] = []

    def push(self, token: Token) -> Split:
        """Take the next token and return the text that is certain by now."""
        self.drawn.append(token.drawn)
        is_end_of_turn = token.finish_reason == "stop"
        new = "" if is_end_of_turn else self._detokenizer.push(token.drawn.token_id)
        if token.finish_reason:
            new += self._detokenizer.finish()
        if self._take(new):
            return self._finish("stop")
        if token.finish_reason:
            self._add(self._held)
            return self._finish(token.finish_reason)
        return self._finish("stop") if self._calls_again() else self._give(self._certain())

    def _calls_again(self) -> bool:
        """Tell whether a second call begins where one is allowed, and take it out of the text."""
        again = self._dialect.call_start if self._offered and self._calls_once else None
        _, first, rest = self._text.partition(again) if again else ("", "", "")
        is_second = bool(again) and again in rest
        if is_second:
            self._text = self._text[: -len(rest) + rest.index(first)].rstrip()
        return is_second

    def _take(self, new: str) -> bool:
        """Add text, holding back what may begin a stop sequence; True when one is complete."""
        text = self._held + new
        positions = [at for at in (text.find(stop) for stop in self._stops) if at >= 0]
        if positions:
            self._add(text[: min(positions)])
            return True
        keep = max((overlap(text, stop) for stop in self._stops), default=0)
        self._add(text[: len(text) - keep])
        self._held = text[len(text) - keep :]
        return False

    def _add(self, text: str) -> None:
        self._keep(self._thinker.push(text))

    def _keep(self, split: Split) -> None:
        self.thought += split.thought
        self._text += split.text

    def _certain(self) -> int:
        """How much of the text is content, whatever follows."""
        return self._dialect.certain(self._text) if self._offered else len(self._text)

    def _give(self, end: int) -> Split:
        start, self._given = self._given, max(end, self._given)
        thought = self.thought[self._thought_given :]
        self._thought_given = len(self.thought)
        return Split(thought=thought, text=self._text[start : self._given])

    def _finish(self, reason: Literal["stop", "length"]) -> Split:
        self._keep(self._thinker.finish())
        self.finish_reason = reason
        parsed = self._dialect.parse(self._text, self._offered) if self._offered else None
        if parsed:
            self._text, calls = parsed
            self.calls = calls[:1] if self._calls_once else calls
            if reason == "stop":
                self.finish_reason = "tool_calls"
        self.content = self._text if self._text or not (self.calls or self.thought) else None
        return self._give(len(self._text))

    def call_id(self, prompt_ids: Sequence[int], number: int) -> str:
        """Name a call. Ids follow from the tokens, so that a repeated run repeats its conversations to the letter."""
        sampled = [drawn.token_id for drawn in self.drawn]
        name = blake3(json.dumps([list(prompt_ids), sampled, number]).encode()).hexdigest(length=12)
        return self._dialect.call_id(name)
