"""How a message lists names: all of them, or the ends of a long list."""

from __future__ import annotations

from collections.abc import Sequence

NAMES_IN_A_MESSAGE = 12


def listed(names: Sequence[object]) -> str:
    """List names, of many the first and the last ones."""
    if len(names) <= NAMES_IN_A_MESSAGE:
        return _joined(names)
    return f"{_joined(names[: NAMES_IN_A_MESSAGE // 2])}, ... {_joined(names[-3:])} ({len(names)} in all)"


def listed_steps(steps: Sequence[int]) -> str:
    """List steps: `step 3`, `steps 1, 2`."""
    return f"step{'s' if len(steps) > 1 else ''} {listed(steps)}"


def _joined(names: Sequence[object]) -> str:
    return ", ".join(map(str, names))
