"""Many branches off one checkpoint: checked together before anything starts, then handed to an executor."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from art.branches.beginning import check_same_branch, find_twin_of_another_name, open_places
from art.branches.executors import Executor, InTurn
from art.branches.task import Budget, Outcome, Result, Task
from art.branches.variants import Variants, variants_of, worded
from art.branches.work import Script, Train
from art.errors import ConfigurationError, ConflictError, IncompatibleError, NotFoundError
from art.format.kinds import ADAPTER
from art.format.manifest import Parent, threads_of
from art.format.pick import pick_of
from art.names import CheckpointRef, ModelRef, split_step
from art.ops.place import Held
from art.ops.twins import Twins, compare_twins
from art.remote.remote import Remote
from art.store.store import CheckpointStore


@dataclass(frozen=True)
class Report:
    """What came of every branch, in the order of the variants."""

    source: CheckpointRef
    results: tuple[Result, ...]
    twins: tuple[Twins, ...] = ()
    """The first branch beside each other one, as far as their rollouts are recorded below this root."""

    @property
    def failed(self) -> tuple[Result, ...]:
        """The branches that are not finished."""
        return tuple(result for result in self.results if result.outcome is not Outcome.FINISHED)

    @property
    def best(self) -> Result | None:
        """The branch with the highest newest reward; None where none was rewarded."""
        rewarded = [result for result in self.results if result.reward is not None]
        return max(rewarded, key=lambda result: result.reward or 0.0, default=None)

    def __str__(self) -> str:
        head = f"{len(self.results)} branches of {self.source}"
        return "\n".join([head, *_lines(self.results), *_compared(self.twins)])


async def fork_many(
    source: str | CheckpointRef,
    variants: Variants,
    train: Train,
    *,
    executor: Executor | None = None,
    budget: Budget | None = None,
    backend: Mapping[str, Any] | None = None,
) -> Report:
    """Fork a branch off one checkpoint for each variant, and let `train` go on with each.

    A branch is an ordinary model of the source's project, named after its settings, which the fork records. Called
    again, every branch goes on where it stands. Branches are twins: the same weights, optimizer and random state, and
    the same seeds for the same prompts. `train` gets an `art.branches.Branch`. `executor` says where it runs:
    `InTurn()`, `Processes(workers=2)` or `Ray()`, each to the same bits. `backend` are arguments of the branches'
    `LocalBackend`, which is deterministic unless they say otherwise.

    What one branch raises is in its result. Raises `ConfigurationError` and `ConflictError` before anything starts.
    """
    executor = executor or InTurn()
    backend_settings = {"deterministic": True, **(backend or {})}
    tasks = await asyncio.to_thread(
        plan_tasks, source, variants, backend=backend_settings, budget=budget or Budget(), threads=executor.threads
    )
    return await run_tasks(tasks, train, executor=executor)


async def run_tasks(tasks: list[Task], work: Train | Script, *, executor: Executor) -> Report:
    """Let an executor work on branches that were planned."""
    results = await executor.run(tasks, work)
    twins = await asyncio.to_thread(_twins, open_places(dict(tasks[0].backend))[0], results)
    return Report(tasks[0].source.ref, tuple(results), twins)


def _twins(store: CheckpointStore, results: Sequence[Result]) -> tuple[Twins, ...]:
    pairs: list[Twins] = []
    for other in results[1:]:
        # Branches that were asked other prompts, or whose disk is elsewhere, have nothing to pair.
        with suppress(ConfigurationError, NotFoundError):
            pairs.append(compare_twins(store, results[0].model, other.model))
    return tuple(pairs)


def plan_tasks(
    source: str | CheckpointRef,
    variants: Variants,
    *,
    backend: Mapping[str, Any],
    budget: Budget,
    threads: int | None,
    any_kind: bool = False,
) -> list[Task]:
    """Make a task for each variant, and check all of them against what is there; writes nothing.

    With `any_kind` the checkpoint may be another trainer's, which only a script goes on with.
    """
    store, remote = open_places(dict(backend))
    chosen = _select(source, store, remote)
    manifest = chosen.manifest
    if manifest.kind != ADAPTER and not any_kind:
        raise IncompatibleError(
            f"{chosen.ref} is a checkpoint of kind {manifest.kind}, which no backend continues. Give its own script to "
            "`art sweep`."
        )
    branches = variants_of(variants, chosen.ref)
    parent = Parent(
        project=chosen.ref.model.project, model=chosen.ref.model.name, step=chosen.ref.step, digest=chosen.digest
    )
    tasks = [
        Task(
            project=variant.model.project,
            name=variant.model.name,
            settings=dict(variant.settings),
            source=parent,
            base_model=manifest.base_model.id if manifest.base_model else "",
            # A worker may have another working directory.
            backend={**backend, "path": str(Path(str(backend.get("path", ".art"))).absolute())},
            budget=budget,
            threads=threads or threads_of(manifest.environment) or os.cpu_count() or 1,
        )
        for variant in branches
    ]
    for task in tasks:
        _check_free(task, store, remote)
    return tasks


def _select(source: str | CheckpointRef, store: CheckpointStore, remote: Remote | None) -> Held:
    text, step = split_step(str(source))
    model = ModelRef.parse(text)
    place = store if remote is None or store.steps(model) else remote
    return place.select(model, pick_of(step=step)).checkpoint


def _check_free(task: Task, store: CheckpointStore, remote: Remote | None) -> None:
    newest = store.newest(task.model) or (remote and remote.newest(task.model))
    if newest:
        check_same_branch(newest.manifest, task)
    elif other := find_twin_of_another_name(store, task):
        raise ConflictError(
            f"{other} is a branch of {task.source.ref} with {worded(task.settings)} already; nothing was started. "
            f"Go on with it under its own name, in place of {task.model}."
        )


def _compared(twins: Iterable[Twins]) -> Iterable[str]:
    for each in twins:
        if each.low is None or each.high is None:
            continue
        more = f"; some {each.further_steps} steps more would settle it" if each.further_steps else ""
        verdict = "settled" if each.is_settled else f"not settled{more}"
        yield (
            f"  {each.second.name} earns {each.mean:+.4f} against {each.first.name} "
            f"({each.low:+.4f} to {each.high:+.4f}, {each.pairs} pairs): {verdict}"
        )


def _lines(results: Iterable[Result]) -> Iterable[str]:
    for result in results:
        reward = "" if result.reward is None else f", reward {result.reward:.4f}"
        problem = f": {result.problem}" if result.problem else ""
        yield f"  {result.model}@{result.step}{reward}, {result.outcome}{problem}"
        if result.unapplied:
            yield f"    its steps were not made with {', '.join(result.unapplied)}; pass branch.config to train"
