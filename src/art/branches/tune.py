"""Branches as trials of Ray Tune: its schedulers stop them early, and one that is exploited is forked.

Tune decides, and the store keeps: what Tune holds of a trial is a note that names a checkpoint.
`pip install 'artfork[tune]'`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blake3 import blake3
from pydantic import TypeAdapter

from art.backend import TrainResult
from art.branches.beginning import begin, open_places
from art.branches.branch import Branch, open_branch
from art.branches.many import plan_tasks
from art.branches.ray import imported
from art.branches.task import Budget, Task
from art.branches.variants import settled
from art.branches.work import threads
from art.format.json import canonical_json
from art.format.manifest import Parent
from art.format.pick import Exact
from art.names import CheckpointRef

Step = Callable[[Branch], Coroutine[Any, Any, TrainResult | Mapping[str, float]]]
"""Takes one step on a branch; gives what Tune compares trials by."""
NOTE = "branch.json"


@dataclass(frozen=True, kw_only=True)
class Note:
    """What Tune keeps of a trial: the checkpoint that it stood at, and how it came to its branch."""

    trial: str
    task: Task
    stands_at: Parent


def tunable(
    source: str | CheckpointRef, step: Step, *, backend: Mapping[str, Any] | None = None, threads: int | None = None
) -> type[Any]:
    """Make what `ray.tune.Tuner` trains: each trial is a branch off `source`, and Tune's config is what it tries.

    `step` takes one step, and is called for each iteration. Where a scheduler clones one trial into another, as
    population-based training does, a new branch is forked off the better one's checkpoint; the worse one's stays.
    A trial that is started again goes on where its branch stands, and its iterations are the steps since `source`.
    Tune compares what `step` gives; `model` and `step` in a trial's result name its checkpoint.
    Raises `ConfigurationError` and `NotFoundError` before anything starts.
    """
    base = imported("ray.tune").Trainable
    backend_settings = {"deterministic": True, **(backend or {})}
    (trunk,) = plan_tasks(source, [{}], backend=backend_settings, budget=Budget(), threads=threads)

    class Trial(base):
        """One trial, in a process of Ray's."""

        def setup(self, config: dict[str, Any]) -> None:
            self._worker = _Worker(trunk, step, self.trial_id)

        def step(self) -> dict[str, Any]:
            return self._worker.step(dict(self.config))

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            Path(checkpoint_dir, NOTE).write_bytes(_NOTE.dump_json(self._worker.note(dict(self.config))))

        def load_checkpoint(self, checkpoint: Any) -> None:
            self._worker.go_on(_NOTE.validate_json(Path(checkpoint, NOTE).read_bytes()), dict(self.config))

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self._worker.close()
            self._worker = _Worker(trunk, step, self.trial_id)
            return True

        def cleanup(self) -> None:
            self._worker.close()

    Trial.__name__ = Trial.__qualname__ = f"branch-of-{trunk.source.model}"
    return Trial


class _Worker:
    """A trial's branch in its process: opened with the first step, and closed when another trial comes."""

    def __init__(self, trunk: Task, step: Step, trial: str) -> None:
        self._trunk, self._step, self._trial = trunk, step, trial
        self._task: Task | None = None
        self._branch: Branch | None = None
        self._runner = asyncio.Runner()
        self._forked_in_s = 0.0
        self._iteration = 0
        self._closing = ExitStack()

    def go_on(self, note: Note, config: Mapping[str, Any]) -> None:
        """Stand where a note says: on this trial's own branch, or on a fork of another trial's checkpoint."""
        settings = settled(config)
        is_own = note.trial == self._trial and note.task.settings == settings
        self._task = note.task if is_own else task_of(note.stands_at, self._trunk, trial=self._trial, settings=settings)
        began = time.perf_counter()
        begin(self._task)
        self._forked_in_s = 0.0 if is_own else time.perf_counter() - began

    def step(self, config: Mapping[str, Any]) -> dict[str, Any]:
        branch = self._opened(config)
        given = self._runner.run(self._step(branch))
        figures = given.metrics if isinstance(given, TrainResult) else given
        self._iteration += 1
        own = {"model": str(branch.model.ref), "step": self._runner.run(branch.model.get_step())}
        # Tune's own count begins at 0 in a worker that is started again without a note.
        return {**figures, "fork_seconds": self._forked_in_s, "training_iteration": self._iteration, **own}

    def note(self, config: Mapping[str, Any]) -> Note:
        """Name the checkpoint that the branch stands at."""
        task = self._own_task(config)
        begin(task)
        store, remote = open_places(dict(task.backend))
        place = store if remote is None or store.steps(task.model) else remote
        newest = place.select(task.model, Exact(place.steps(task.model)[-1])).checkpoint
        ref, digest = newest.ref, newest.digest
        parent = Parent(project=ref.model.project, model=ref.model.name, step=ref.step, digest=digest)
        return Note(trial=self._trial, task=task, stands_at=parent)

    def close(self) -> None:
        self._closing.close()

    def _own_task(self, config: Mapping[str, Any]) -> Task:
        if self._task is None:
            self._task = task_of(self._trunk.source, self._trunk, trial=self._trial, settings=settled(config))
        return self._task

    def _opened(self, config: Mapping[str, Any]) -> Branch:
        if self._branch is None:
            from art.local import LocalBackend

            task = self._own_task(config)
            self._closing.enter_context(self._runner)
            self._closing.enter_context(threads(task.threads))
            settings: dict[str, Any] = dict(task.backend)
            backend = LocalBackend(**settings)
            self._closing.callback(lambda: self._runner.run(backend.close()))
            self._branch = self._runner.run(open_branch(task, backend))
            self._iteration = self._runner.run(self._branch.model.get_step()) - self._trunk.source.step
        return self._branch


def task_of(source: Parent, trunk: Task, *, trial: str, settings: Mapping[str, Any]) -> Task:
    """Give the branch of a trial off a checkpoint. Its name is another for each trial, checkpoint and settings."""
    mark = blake3(canonical_json([source.digest, dict(settings)])).hexdigest()[:6]
    name = f"{trunk.source.model}-{trial}-{source.step}-{mark}"
    return replace(trunk, name=name, source=source, settings=dict(settings))


_NOTE = TypeAdapter(Note)
