"""Numbers and times as people read them. Pure; knows no store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

EIGHTHS = " ▏▎▍▌▋▊▉█"
HEIGHTS = "▁▂▃▄▅▆▇█"
NO_SIGNAL = "no update: in every group all rewards were equal, so the weights stayed as they were"
COUNTS = frozenset(
    {
        "age_max", "groups", "groups_without_signal", "optimizer_steps", "rows", "rows_diverged", "tokens", "tokens_in",
        "tokens_out", "trajectories", "trajectories_skipped",
    }
)  # fmt: skip
RATE, TINY = "learning_rate", 5e-5
AGES = ((60, "s"), (60, "min"), (24, "h"), (7, "d"), (52, "w"))


def size(size_bytes: int) -> str:
    """Say a number of bytes in binary units: `30.1 MiB`."""
    amount, units = float(size_bytes), ["B", "KiB", "MiB", "GiB", "TiB"]
    while amount >= 1024 and len(units) > 1:
        amount /= 1024
        units.pop(0)
    return f"{amount:.0f} B" if units[0] == "B" else f"{amount:.1f} {units[0]}"


def seconds(duration_s: float) -> str:
    """Say how long something took: `4 ms`, `2.1 s`."""
    return f"{duration_s * 1000:.0f} ms" if duration_s < 1 else f"{duration_s:.1f} s"


def worked(duration_s: float) -> str:
    """Say how long something has worked: `34 s`, `12 min`, `3.4 h`."""
    if duration_s < 60:
        return f"{duration_s:.0f} s"
    return f"{duration_s / 60:.0f} min" if duration_s < 3600 else f"{duration_s / 3600:.1f} h"


def moved(verb: str, size_bytes: int, duration_s: float) -> str:
    """Say how many bytes moved in what time: `fetched 30.1 MiB in 0.2 s (150.5 MiB/s)`."""
    rate = f" ({size(round(size_bytes / duration_s))}/s)" if size_bytes and duration_s else ""
    return f"{verb} {size(size_bytes)} in {seconds(duration_s)}{rate}"


def count(number: int, thing: str) -> str:
    """Say how many there are: `1 step`, `3 steps`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def age(time: str, now: datetime) -> str:
    """Say how long ago an ISO 8601 time was; nothing for what is no time."""
    try:
        amount = max(0.0, (now - datetime.fromisoformat(time)).total_seconds())
    except (ValueError, TypeError):
        return ""
    for limit, unit in AGES:
        if amount < limit:
            return f"{amount:.0f} {unit} ago"
        amount /= limit
    return f"{amount:.0f} y ago"


def utc_now() -> datetime:
    return datetime.now(UTC)


def value(number: float) -> str:
    """Say a metric's value in about four digits."""
    # With z no number that rounds to nothing has a sign.
    return f"{number:z.4f}" if abs(number) < 100 else f"{number:.5g}"


def metric(name: str, number: float) -> str:
    """Say a metric: a count whole, a rate and a tiny number by its power of ten, others as `value` does."""
    named = name.rpartition("/")[2]
    if named in COUNTS and number == int(number):
        return f"{number:.0f}"
    return f"{number:.3g}" if named == RATE or 0 < abs(number) < TINY else value(number)


def amount(number: int) -> str:
    """Say how many in a few characters: 950, 1.7k, 33k, 3.2M."""
    size, unit = next((each for each in ((10**9, "G"), (10**6, "M"), (10**3, "k")) if number >= each[0]), (1, ""))
    share = number / size
    return f"{share:.1f}{unit}" if unit and share < 10 else f"{share:.0f}{unit}"


def setting(written: object) -> str:
    """Write a setting as briefly as it can be read: 3e-05 and not 0.00003."""
    return "–" if written is None else f"{written:g}" if isinstance(written, float) else str(written)


def span(steps: Sequence[int]) -> str:
    """Name steps, lowest first: all of a few, the ends of many."""
    if len(steps) <= 3:
        return ",".join(str(step) for step in steps)
    return f"{steps[0]}–{steps[-1]}"


def bar(fraction: float, width: int) -> str:
    """Draw a horizontal bar that fills a fraction of `width` characters; zero still shows a hair."""
    eighths = max(1, round(min(1.0, max(0.0, fraction)) * width * 8))
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def sparkline(values: Sequence[float], low: float, high: float, *, width: int) -> str:
    """Draw a row of heights, each the mean of its share of the values."""
    width = min(width, len(values))
    shares = [values[len(values) * i // width : len(values) * (i + 1) // width] for i in range(width)]
    spread = (high - low) or 1.0
    heights = [(sum(share) / len(share) - low) / spread for share in shares]
    return "".join(HEIGHTS[min(7, max(0, int(height * 8)))] for height in heights)


def clock_s() -> float:
    return time.perf_counter()


def carried(parts: Sequence[str]) -> str:
    """Name what a checkpoint has beside its weights; of a trainer that mixes the two, all of it."""
    return ", ".join(parts) or "its files as they are"
