"""What the rollouts of a step began with, so that who asks its weights can ask them as they were trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from art.format.lineage import segments
from art.names import CheckpointRef
from art.ops.recording import read_lines
from art.ops.scenarios import prompt_of
from art.store.checkpoint import Checkpoint
from art.store.history import TRAIN, HistoryStore
from art.store.store import CheckpointStore


@dataclass(frozen=True)
class FirstMessages:
    """The messages that every prompt of a step began with, without the last one: that asked something."""

    ref: CheckpointRef
    """The step whose rollouts say so."""
    messages: Sequence[Any]


def find_opening(store: CheckpointStore, checkpoint: Checkpoint) -> FirstMessages | None:
    """Look in the newest rollouts of training up to a checkpoint, along its past; None where they have none in common.

    Raises `CorruptCheckpointError` for rollouts that are none.
    """
    histories, step = HistoryStore(store.root), checkpoint.ref.step
    for part in reversed(segments(checkpoint.ref.model, checkpoint.description)):
        recorded = histories.trajectory_steps(part.model, split=TRAIN)
        if steps := [each for each in recorded if each in part and each <= step]:
            ref = part.model.at(max(steps))
            groups = read_lines(histories.read_trajectories(ref.model, ref.step, split=TRAIN))
            messages = _begun_alike(prompt_of(trajectory)[:-1] for group in groups for trajectory in group)
            return FirstMessages(ref, messages) if messages else None
    return None


def _begun_alike(prompts: Iterable[Sequence[Any]]) -> Sequence[Any]:
    alike: Sequence[Any] | None = None
    for prompt in prompts:
        pairs = zip(prompt if alike is None else alike, prompt, strict=False)
        alike = [one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
    return alike or ()
