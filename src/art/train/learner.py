"""What trains an adapter: the seam behind which one process or several take the steps.

Every implementation passes the tests in `tests/learners`: continuing from what was saved gives the bits of never having
stopped, a step that fails leaves no trace, and equal steps save equal files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from art.config import TrainConfig, TrainSFTConfig
from art.train.prepare import AgeOf, unknown_age
from art.trajectories import Trajectory, TrajectoryGroup


class Learner(Protocol):
    """An adapter, its optimizer and how far they have come. Synchronous; one call at a time."""

    state: Any
    """The user's own JSON value, saved with the adapter and restored with it."""
    seen: Any
    """What the run was trained on, a JSON value of whoever asks for the steps; saved and restored likewise."""

    @property
    def trail(self) -> Mapping[str, str]:
        """Digests of what the last step computed, by stage as `art.train.trail` names them; a replay compares them."""
        ...

    def start(self) -> None:
        """Begin with an adapter that changes nothing yet, drawn from the learner's seed; everything else afresh too."""
        ...

    def load(self, folder: Path, *, reset: frozenset[str] = frozenset()) -> tuple[str, ...]:
        """Continue from a folder, all but the parts in `reset`; return the parts that started afresh.

        Raises `LoRAShapeMismatchError` or `CorruptCheckpointError`, and has then changed nothing.
        """
        ...

    def step(
        self,
        groups: Sequence[TrajectoryGroup],
        config: TrainConfig,
        *,
        reference: Path | None = None,
        age_of: AgeOf = unknown_age,
    ) -> dict[str, float]:
        """Learn from groups and return the metrics, all finite; an error leaves everything as it was.

        `reference` is the folder of the adapter that a KL term compares with, None for the base model.
        """
        ...

    def train_on_answers(self, trajectories: Sequence[Trajectory], config: TrainSFTConfig) -> dict[str, float]:
        """Learn to say the answers of conversations and return the metrics; errors are as in `step`."""
        ...

    def save(self, folder: Path) -> None:
        """Write all that continuing needs into a folder that exists; raises `StorageError`."""
        ...

    def environment(self) -> Mapping[str, object]:
        """Give what the bits depend on. How many processes there are is none of it."""
        ...

    def close(self) -> None:
        """Let go of processes, if there are any; a second call does nothing."""
        ...
