"""A checkpoint that was chosen, in whatever place: what was looked at on the way, and what was passed over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from art.errors import CorruptCheckpointError
from art.format.pick import AtMost, Best, Exact, Newest, Pick
from art.names import ModelRef

MOST_SKIPPED = 1000
SKIPS_IN_A_MESSAGE = 5
AnyCheckpoint = TypeVar("AnyCheckpoint")


@dataclass(frozen=True)
class Skipped:
    """A folder that is named like a step and is no checkpoint of it."""

    step: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Selection(Generic[AnyCheckpoint]):
    """A checkpoint that a pick chose, among how many steps, and which others were passed over."""

    checkpoint: AnyCheckpoint
    pick: Pick
    considered: int
    skipped: tuple[Skipped, ...] = ()


def choose(
    pick: Pick, candidates: Sequence[int], look: Callable[[int], AnyCheckpoint | Skipped | None]
) -> Selection[AnyCheckpoint] | list[Skipped]:
    """Take the first candidate that is a checkpoint; without one, tell what was passed over.

    Raises `CorruptCheckpointError` when very many in a row are none: each look costs requests, and a stranger's place
    may hold any number of them.
    """
    skipped: list[Skipped] = []
    for step in candidates:
        if len(skipped) == MOST_SKIPPED:
            raise CorruptCheckpointError(
                f"The {MOST_SKIPPED:,} step folders from {skipped[-1].step} to {skipped[0].step} hold no checkpoint; "
                "nothing further was looked at. Delete what is there (`art gc`), or name a step."
            )
        candidate = look(step)
        if isinstance(candidate, Skipped):
            skipped.append(candidate)
        elif candidate is not None:
            return Selection(checkpoint=candidate, pick=pick, considered=len(candidates), skipped=tuple(skipped))
    return skipped


def absence(pick: Pick, model: ModelRef, skipped: Sequence[Skipped], *, where: str = "", has: str) -> str:
    """Say that nothing was chosen, what the model has, and what was passed over."""
    match pick:
        case Exact(step):
            what = f"There is no checkpoint {model.at(step)}"
        case AtMost(step):
            what = f"No checkpoint of {model} at or before step {step}"
        case Best(metric):
            what = f"No checkpoint of {model} with a value of {metric!r}"
        case Newest():
            what = f"No checkpoint of {model}"
    passed = "".join(f" Step {skip.step} was skipped: {skip.reason}." for skip in skipped[:SKIPS_IN_A_MESSAGE])
    if len(skipped) > SKIPS_IN_A_MESSAGE:
        passed += f" So were {len(skipped) - SKIPS_IN_A_MESSAGE:,} others."
    return f"{what}{where}; {has}.{passed}"
