"""Small drawings for notebooks: plain HTML and SVG that read in light and in dark, and run nothing.

What a model or a user wrote is text and stays text. Knows numbers and words; the callers know what they mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from art.visible import visible

WIDTH, HEIGHT, MARGIN = 320, 48, 4
SHOWN_CHARACTERS = 4000
_BOX = (
    "border:1px solid rgba(127,127,127,.35);border-radius:6px;padding:8px 10px;margin:4px 0;"
    "font:13px/1.45 system-ui,sans-serif"
)
_FAINT = "opacity:.65"
_TEXT = "white-space:pre-wrap;overflow-wrap:anywhere;margin:2px 0 6px"


def text(words: object) -> str:
    """Write words as HTML that only shows them."""
    shown = "\n".join(map(visible, str(words).split("\n")))
    if len(shown) > SHOWN_CHARACTERS:
        shown = f"{shown[:SHOWN_CHARACTERS]} ... ({len(shown) - SHOWN_CHARACTERS:,} more characters)"
    from html import escape

    return escape(shown)


def number(value: float) -> str:
    """Write a number as people read it: four significant digits."""
    return f"{value:.4g}"


def box(title: str, *parts: str, facts: Mapping[str, object] | None = None) -> str:
    """Draw one thing: its name, what is known of it, and its parts, which are HTML already."""
    known = " · ".join(f"{text(name)} <b>{text(value)}</b>" for name, value in (facts or {}).items())
    line = f'<div style="{_FAINT}">{known}</div>' if known else ""
    return f'<div style="{_BOX}"><div><b>{text(title)}</b></div>{line}{"".join(parts)}</div>'


def folded(summary: str, body: str, *, is_open: bool = False) -> str:
    """Draw a part that opens with a click; `summary` is words and `body` is HTML."""
    return f"<details{' open' if is_open else ''}><summary>{text(summary)}</summary>{body}</details>"


def turns(messages: Iterable[Mapping[str, object]]) -> str:
    """Draw a conversation: who says what, one turn below the other."""
    drawn: list[str] = []
    for message in messages:
        calls = message.get("tool_calls")
        parts = [message.get("content") or "", *([f"calls {calls}"] if calls else [])]
        body = "".join(f'<div style="{_TEXT}">{text(part)}</div>' for part in parts if part)
        drawn.append(f'<div style="{_FAINT}">{text(message.get("role", ""))}</div>{body}')
    return "".join(drawn)


def strip(values: Sequence[float], *, label: str) -> str:
    """Draw values as marks on one axis, from the lowest to the highest."""
    if not values:
        return ""
    low, high = min(values), max(values)
    marks = "".join(
        f'<circle cx="{_scaled(value, low, high, WIDTH):.1f}" cy="10" r="4" fill="currentColor" fill-opacity=".45"/>'
        for value in values
    )
    ends = f"{text(label)} {number(low)}" if low == high else f"{text(label)} {number(low)} to {number(high)}"
    return _drawn(marks, 20, title=ends) + f'<div style="{_FAINT}">{ends}</div>'


def curve(points: Sequence[tuple[float, float]], *, label: str) -> str:
    """Draw a curve over its steps; nothing where there are fewer than two points."""
    if len(points) < 2:
        return ""
    steps, values = zip(*points, strict=True)
    across = [_scaled(step, min(steps), max(steps), WIDTH) for step in steps]
    down = [HEIGHT - _scaled(value, min(values), max(values), HEIGHT) for value in values]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
    told = f"{label}: {number(values[0])} to {number(values[-1])}, steps {number(steps[0])} to {number(steps[-1])}"
    path = f'<polyline points="{line}" fill="none" stroke="currentColor" stroke-width="1.5"/>'
    return _drawn(path, HEIGHT, title=text(told)) + f'<div style="{_FAINT}">{text(told)}</div>'


def _drawn(marks: str, height: int, *, title: str) -> str:
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return f'<svg {size} role="img" aria-label="{title}" style="display:block">{marks}</svg>'


def _scaled(value: float, low: float, high: float, length: float) -> float:
    share = 0.5 if high == low else (value - low) / (high - low)
    return MARGIN + share * (length - 2 * MARGIN)
