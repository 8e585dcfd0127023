"""The seeds of a backend."""

from __future__ import annotations

from dataclasses import dataclass

from art.settings import require_whole

MAX_SEED = (1 << 63) - 1


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """What training starts from, and what requests without a seed derive theirs from; None leaves those random."""

    training: int
    requests: int | None

    def __post_init__(self) -> None:
        require_whole("seed", self.training, least=0, most=MAX_SEED)
