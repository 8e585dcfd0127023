"""Weights & Biases, as ART's scripts expect it: the project and the run have the model's names, `training_step` is the
axis of every metric. Where it logs is W&B's own setting (`WANDB_MODE`, `WANDB_BASE_URL`, `WANDB_DIR`, ...).

A fork is W&B's own, `fork_from`, where a server is asked and grants it; else the run begins with a copy of its past,
each row of which says whose it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from art.errors import TrackerError
from art.track.conversations import COLUMNS, rows_of
from art.track.known import package
from art.track.tracker import Point, Run
from art.trajectories import TrajectoryGroup

STEP = "training_step"
ROWS_A_POINT = 8
"""W&B numbers rows, and ignores one with a lower number than before: a point has one, its rollouts the next ones."""

PATIENCE_S = 20
"""How long a server may take to say that it is there."""


class WandB:
    """Writes one run."""

    def __init__(self) -> None:
        self._wandb = package("wandb")
        self._handle: Any = None
        self._is_forked = False
        self._row = 0

    def open(self, run: Run) -> None:
        try:
            handle = self._handle or self._begin(run)
            origin = {"forked_from": str(run.parent.ref), "inherited": run.inherited} if run.parent else {}
            handle.config.update({**run.settings, **origin}, allow_val_change=True)
        except self._wandb.Error as error:
            raise _refused(run.name, error) from error

    def log(self, points: Sequence[Point]) -> None:
        for point in points:
            if point.inherited_from and self._is_forked:
                continue
            mark = {"inherited": 1, "inherited_from": str(point.inherited_from)} if point.inherited_from else {}
            self._row = point.index * ROWS_A_POINT
            self._write({STEP: point.step, "_timestamp": point.time_s, **mark, **point.metrics})

    def rollouts(self, step: int, split: str, groups: Sequence[TrajectoryGroup]) -> None:
        table = self._wandb.Table(columns=list(COLUMNS), data=[list(row.cells) for row in rows_of(groups)])
        self._row += 1
        self._write({STEP: step, f"rollouts/{split}": table})

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.finish()

    def _begin(self, run: Run) -> Any:
        if self._is_online():
            # An `init` that fails holds the run's id until the process ends, so ask first whether anybody answers.
            self._wandb.Api(timeout=PATIENCE_S)
        self._handle = self._forked(run) if run.parent and self._is_online() else None
        self._is_forked = self._handle is not None
        if self._handle is None:
            self._handle = self._init(run, id=run.name, resume="allow")
        self._handle.define_metric(STEP)
        self._handle.define_metric("*", step_metric=STEP)
        return self._handle

    def _forked(self, run: Run) -> Any:
        """Fork the parent's run on the server, or go on with such a fork; None where the server does not grant it."""
        assert run.parent is not None
        how = {"resume": "must"}
        if run.told == 0:
            if run.parent.index < 0:
                return None
            how = {"fork_from": f"{run.parent.run}?_step={run.parent.index * ROWS_A_POINT}"}
        try:
            # An id of its own, so that a refusal, which holds it, does not keep the copy from having the run's.
            return self._init(run, id=f"{run.name}-fork", **how)
        except self._wandb.Error:
            return None

    def _init(self, run: Run, **how: Any) -> Any:
        # A run of its own, beside any that the script has; what the script prints stays the script's.
        return self._wandb.init(
            project=run.model.project,
            name=run.name,
            reinit="create_new",
            settings=self._wandb.Settings(console="off"),
            **how,
        )

    def _is_online(self) -> bool:
        return self._wandb.setup().settings.mode == "online"

    def _write(self, row: dict[str, Any]) -> None:
        try:
            self._handle.log(row, step=self._row, commit=True)
        except (self._wandb.Error, OSError) as error:
            raise _refused(self._handle.name, error) from error


def _refused(run: str, error: Exception) -> TrackerError:
    return TrackerError(f"W&B did not take the run {run}: {error}")
