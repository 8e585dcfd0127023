"""Histories and states below a root, for models that no backend holds: they log, and are neither trained nor served.

Opens no tracker: the history is there for the next backend of this root to tell.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from art.backend import AnyModel
from art.local.logbook import Logbook
from art.store.store import CheckpointStore
from art.trajectories import TrajectoryGroup


class RecordsBelow:
    """Writes and reads records below one root folder."""

    def __init__(self, path: str | Path) -> None:
        self._logbook = Logbook(CheckpointStore(path))

    async def log(
        self,
        model: AnyModel,
        groups: Sequence[TrajectoryGroup],
        *,
        split: str,
        metrics: Mapping[str, float],
        step: int | None,
    ) -> None:
        """Write groups and metrics as a backend does."""
        write = functools.partial(self._logbook.write, split=split, metrics=metrics, step=step)
        await asyncio.to_thread(write, model.ref, groups)

    def write_state(self, model: AnyModel, state: dict[str, Any]) -> None:
        """Note a state where the model stands."""
        self._logbook.note(model.ref, state)

    def read_state(self, model: AnyModel) -> dict[str, Any] | None:
        """Give the state that was noted where the model stands."""
        return self._logbook.noted(model.ref)

    def describe(self, model: AnyModel, settings: Mapping[str, Any]) -> None:
        """Note what trackers show as settings of the model."""
        self._logbook.describe(model.ref, settings)
