"""What a model thinks, apart from what it says, by the marks that its own chat template writes.

Knows text only. A template without such marks has no thinking: then everything is said.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MARK = re.compile(r"</(?P<tag>(?:\w+:)?think(?:ing)?|reasoning)>|\[/(?P<word>THINK)\]")
"""The end of a thought, as models' templates write it."""


@dataclass(frozen=True)
class Marks:
    """What stands before and behind a thought."""

    start: str
    end: str


def find_marks(template: str) -> Marks | None:
    """Give the marks of a chat template; None where it has none."""
    match = MARK.search(template)
    if match is None:
        return None
    name = match["tag"] or match["word"]
    return Marks(f"<{name}>", match[0]) if match["tag"] else Marks(f"[{name}]", match[0])


@dataclass(frozen=True)
class Split:
    """Text that came, by what it is."""

    thought: str = ""
    text: str = ""

    def __bool__(self) -> bool:
        return bool(self.thought or self.text)


class Thinker:
    """Splits an answer as its text comes in. Without marks, everything is said.

    A thought stands at the beginning: `opened` where the prompt has begun it already. Line ends around it belong to the
    marks, as templates write them.
    """

    def __init__(self, marks: Marks | None, *, opened: bool = False) -> None:
        self._marks = marks
        self._rest = ""
        self._is_thinking = opened
        self._is_over = marks is None
        self._begins = True

    def push(self, text: str) -> Split:
        """Take the next text, and give what is certain by now."""
        if self._is_over:
            return Split(text=self._answer_text(text))
        self._rest += text
        assert self._marks is not None
        if not self._is_thinking:
            seen = self._rest.lstrip()
            if self._marks.start.startswith(seen) and seen != self._marks.start:
                return Split()
            if not seen.startswith(self._marks.start):
                return Split(text=self._end())
            self._is_thinking, self._rest = True, seen.removeprefix(self._marks.start)
        return self._think(self._marks.end)

    def finish(self) -> Split:
        """Give what was held back when the answer ends."""
        if self._is_over:
            return Split()
        if self._is_thinking:
            return Split(thought=self._after_line_ends(self._rest.rstrip("\n")))
        return Split(text=self._end())

    def _think(self, end: str) -> Split:
        thought, mark, text = self._rest.partition(end)
        if mark:
            self._is_over = True
            thought = self._after_line_ends(thought.rstrip("\n"))
            self._begins = True
            return Split(thought=thought, text=self._answer_text(text))
        kept = overlap(self._rest, end)
        certain = self._rest[: len(self._rest) - kept].rstrip("\n")
        self._rest = self._rest[len(certain) :]
        return Split(thought=self._after_line_ends(certain))

    def _end(self) -> str:
        self._is_over, self._begins = True, False
        text, self._rest = self._rest, ""
        return text

    def _answer_text(self, text: str) -> str:
        # Only a thought is followed by line ends that nobody said.
        return self._after_line_ends(text) if self._is_thinking else text

    def _after_line_ends(self, text: str) -> str:
        if self._begins:
            text = text.lstrip("\n")
            self._begins = not text
        return text


def overlap(text: str, wanted: str) -> int:
    """Count how many characters of `wanted` the text ends with, not all of them."""
    return next((size for size in range(min(len(text), len(wanted) - 1), 0, -1) if text.endswith(wanted[:size])), 0)
