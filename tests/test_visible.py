"""No character that acts on a terminal or hides in it passes; every character that is seen does."""

import sys
import unicodedata

import pytest

from art.visible import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\u202eb", "aU+202Eb"),
        ("two\nlines", r"two\x0alines"),
        ("c1\x9b31m", r"c1\x9b31m"),
        ("zero\u200bwidth", "zeroU+200Bwidth"),
        ("half \udc80", "half U+DC80"),
        ("tag\U000e0041", "tagU+E0041"),
    ],
)
def test_what_is_not_seen_is_written_out(text: str, shown: str):
    assert visible(text) == shown


@pytest.mark.parametrize("text", ["agent-1", "訓練　a", "é̂", "no\u00a0break", "▁▂█ ●◆"])
def test_what_is_seen_stays(text: str):
    assert visible(text) == text


def test_no_control_and_no_format_character_is_left():
    text = "".join(map(chr, range(sys.maxunicode + 1)))

    left = {unicodedata.category(character) for character in visible(text)}

    assert left.isdisjoint({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
