"""A branch as the training function holds it: a registered model, what it tries, and when it is done."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from art.backend import TrainResult
from art.branches.beginning import begin
from art.branches.task import Task, Used
from art.branches.variants import Settings, Variant
from art.config import TrainConfig
from art.errors import ConfigurationError
from art.format.manifest import Manifest
from art.model import TrainableModel
from art.names import ModelRef
from art.ops.series import series_of
from art.store.history import HistoryStore
from art.store.store import CheckpointStore
from art.trajectories import TrajectoryGroup

if TYPE_CHECKING:
    import art.local.backend

VARIABLE = "ART_BRANCH"
"""The environment variable that tells a script of `art sweep` its task."""
SPLIT = "branch"
SECONDS, TOKENS = f"{SPLIT}/seconds", "train/tokens"


class Branch:
    """One branch of many. `model` is registered and stands at the fork, or where an earlier worker left it."""

    def __init__(self, task: Task, model: TrainableModel, backend: art.local.backend.LocalBackend) -> None:
        self.model = model
        self.backend = backend
        self._task = task
        self._history = HistoryStore(backend.store.root)

    @property
    def settings(self) -> Settings:
        """What this branch tries, as it was asked for."""
        return self._task.settings

    @property
    def config(self) -> TrainConfig:
        """The settings that `TrainConfig` has a field for."""
        return Variant(self._task.model, self._task.settings).config

    @property
    def first(self) -> int:
        """The step of the fork."""
        return self._task.source.step

    async def train(self, groups: Iterable[TrajectoryGroup], **settings: Any) -> TrainResult:
        """Take a step with the branch's settings, and others over them."""
        return await self.model.train(groups, self.config.with_settings(settings))

    async def steps(self) -> AsyncIterator[int]:
        """Yield the step that the model stands at, until the budget is spent; raises `ConfigurationError` without one.

        Seconds are those between one step and the next, rollouts included. They are in the history, as
        `branch/seconds`.
        """
        if not self._task.budget.is_limited:
            raise ConfigurationError(
                f"{self.model!r} would never be done: it has no budget. Give fork_many a budget=Budget(steps=100), or "
                "count steps yourself."
            )
        while not self._task.budget.is_spent(await asyncio.to_thread(self.used)):
            began = time.monotonic()
            step = await self.model.get_step()
            yield step
            seconds = time.monotonic() - began
            await asyncio.to_thread(
                self._history.append, self.model.ref, step, split=SPLIT, metrics={"seconds": seconds}
            )

    def used(self) -> Used:
        """Add up what the branch has taken since its fork, in all its workers."""
        return used_by(self.backend.store, self.model.ref, first=self.first)


def used_by(store: CheckpointStore, model: ModelRef, *, first: int) -> Used:
    """Add up what a model has taken since a step."""
    series = series_of(HistoryStore(store.root).read(model))
    steps = store.steps(model)
    return Used(
        steps=steps[-1] - first if steps else 0,
        tokens=int(series.total(TOKENS)),
        seconds=round(series.total(SECONDS), 3),
    )


async def open_branch(task: Task, backend: art.local.backend.LocalBackend) -> Branch:
    """Begin a branch, or go on with it, over a backend that is open."""
    manifest: Manifest = await asyncio.to_thread(begin, task)
    base_model = manifest.base_model.id if manifest.base_model else task.base_model
    model = TrainableModel(name=task.name, project=task.project, base_model=base_model)
    await model.register(backend)
    return Branch(task, model, backend)


@asynccontextmanager
async def here(**backend: Any) -> AsyncGenerator[Branch]:
    """Open the branch that `art sweep` runs this script for; `backend` are arguments of its `LocalBackend`.

    Raises `ConfigurationError` where the script was started by anybody else.
    """
    from art.local import LocalBackend

    told = os.environ.get(VARIABLE)
    if told is None:
        raise ConfigurationError(
            "This script runs for no branch. Start it with `art sweep MODEL@STEP --set NAME=VALUE,VALUE --script FILE`."
        )
    task = Task.from_json(told)
    settings: dict[str, Any] = {**task.backend, **backend}
    async with LocalBackend(**settings) as opening:
        yield await open_branch(task, opening)
