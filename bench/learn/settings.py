"""How large a run is, and what both sides are told of a step."""

from __future__ import annotations

from dataclasses import dataclass

LOW, HIGH = 0.2, 0.28
RANK, ALPHA = 8, 16
MAX_GRAD_NORM = 1.0
BETAS = (0.9, 0.99)


@dataclass(frozen=True, kw_only=True)
class Size:
    """The size of a run."""

    steps: int = 20
    prompts: int = 4
    answers: int = 8
    learning_rate: float = 5e-4
    tested: int = 12
    """Problems of the test."""
    every: int = 5
    """Steps between two tests."""
    fork_at: int = 5
    """The step that the fork and the restart go on from."""
