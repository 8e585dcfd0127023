"""The seeds of a backend."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """What training starts from, and what requests without a seed derive theirs from; None leaves those random."""

    training: int
    requests: int | None
