"""What was set otherwise: one checkpoint's settings beside another's. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NOT_A_CHANGE = frozenset({"total_steps"})


@dataclass(frozen=True)
class Change:
    """A setting that differs; None where a side does not have it."""

    key: str
    before: Any
    after: Any


def changes_between(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """List every setting that differs, by name."""
    keys = sorted(before.keys() | after.keys())
    return [Change(key, before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)]


def changes_of_fork(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """List what the first step after a fork was made with that the step before it was not, in the order of settings.

    Nothing is said where either of them recorded no settings.
    """
    if not before or not after:
        return []
    keys = [key for key in after if key not in NOT_A_CHANGE and before.get(key) != after[key]]
    return [Change(key, before.get(key), after[key]) for key in keys]
