"""Text that came from a file or a server, as a terminal may show it: nothing in it acts on the terminal or hides."""

from __future__ import annotations

import unicodedata

SPACES = "Zs"
LONGEST = 240
"""Of a value in a message, in characters."""


def visible(text: str) -> str:
    """Write out each character that is not seen: `\\x1b` for a control character, `U+202E` for one of Unicode's."""
    if text.isprintable():
        return text
    return "".join(character if is_seen(character) else written_out(character) for character in text)


def is_seen(character: str) -> bool:
    """Tell whether a character only shows itself: no control, no direction mark, nothing without width."""
    return character.isprintable() or unicodedata.category(character) == SPACES


def written_out(character: str) -> str:
    """Name a character by its number."""
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"U+{number:04X}"


def shown_value(value: object) -> str:
    """Write a value that somebody gave so that a message can hold it: not at length, and whatever it is."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        # A number of thousands of digits, or a value inside itself.
        return f"a {type(value).__name__} too large to write"
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 4 :]}"
