"""The work on one branch, where it is done: a function of the user's, or a script. What comes of it is always a result.

Reads the branch's root for what it took and where it stands.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import runpy
import sys
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from art.branches.beginning import begin, open_places
from art.branches.branch import VARIABLE, Branch, open_branch, used_by
from art.branches.task import Outcome, Result, Task
from art.branches.variants import Variant
from art.errors import ArtError
from art.format.manifest import Manifest
from art.ops.judge import REWARD
from art.ops.series import series_of
from art.store.history import HistoryStore

if TYPE_CHECKING:
    from art.local import LocalBackend

Train = Callable[[Branch], Awaitable[Any]]
_log = logging.getLogger("art")


@dataclass(frozen=True)
class Script:
    """A program in Python that trains the branch its environment names."""

    path: str
    arguments: tuple[str, ...] = ()
    """Placeholders in braces stand for the model, its parts, the root, and each setting."""


async def perform(task: Task, train: Train, backend: LocalBackend) -> Result:
    """Begin or continue a branch and let the function train it. What it raises is the branch's result."""
    (ended,) = await asyncio.gather(_trained(task, train, backend), return_exceptions=True)
    if isinstance(ended, BaseException):
        _log.error("%s failed", task.model, exc_info=ended)
        return result_of(task, problem=f"{type(ended).__name__}: {ended}")
    return result_of(task, value=_as_json(ended))


def perform_alone(task: Task, train: Train) -> Result:
    """Do the work in this process, with a backend of its own."""

    async def work() -> Result:
        from art.local import LocalBackend

        settings: dict[str, Any] = dict(task.backend)
        async with LocalBackend(**settings) as backend:
            return await perform(task, train, backend)

    with threads(task.threads):
        return asyncio.run(work())


def perform_script(task: Task, script: Script) -> Result:
    """Begin or continue a branch and run the script as this process's program."""
    begin(task)
    os.environ.update(environment_of(task))
    sys.argv = [script.path, *(filled(argument, task) for argument in script.arguments)]
    sys.path.insert(0, str(Path(script.path).resolve().parent))
    try:
        runpy.run_path(script.path, run_name="__main__")
    except SystemExit as end:
        if end.code not in (None, 0):
            return result_of(task, problem=f"{script.path} ended with {end.code!r}")
    return result_of(task)


def environment_of(task: Task) -> dict[str, str]:
    """Give the variables that tell a script its branch."""
    return {
        VARIABLE: task.to_json(),
        "ART_ROOT": str(Path(str(task.backend.get("path", ".art"))).absolute()),
        "ART_PROJECT": task.project,
        "ART_MODEL": task.name,
        "ART_SETTINGS": json.dumps(task.settings),
    }


def filled(argument: str, task: Task) -> str:
    """Put a branch into an argument of its script: `--lr={learning_rate}`."""
    values = {"model": str(task.model), "project": task.project, "name": task.name}
    values["root"] = str(task.backend.get("path", ".art"))
    for name, value in {**values, **task.settings}.items():
        argument = argument.replace(f"{{{name}}}", str(value))
    return argument


def result_of(
    task: Task, *, outcome: Outcome | None = None, value: JsonValue = None, problem: str | None = None
) -> Result:
    """Say what came of a branch, with what its root knows of it."""
    store, _ = open_places(dict(task.backend))
    try:
        newest = store.newest(task.model)
    except ArtError as error:
        newest, problem = None, problem or str(error)
    step = newest.ref.step if newest else task.source.step
    rewards = series_of(HistoryStore(store.root).read(task.model)).points(REWARD)
    return Result(
        project=task.project,
        name=task.name,
        settings=task.settings,
        outcome=outcome or (Outcome.FAILED if problem else Outcome.FINISHED),
        first=task.source.step,
        step=step,
        used=used_by(store, task.model, first=task.source.step),
        reward=rewards[-1][1] if rewards else None,
        value=value,
        problem=problem,
        unapplied=_unapplied(task, newest.manifest) if newest and step > task.source.step else (),
    )


@contextlib.contextmanager
def threads(count: int) -> Generator[None]:
    """Compute with so many threads inside the block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


async def _trained(task: Task, train: Train, backend: LocalBackend) -> Any:
    branch = await open_branch(task, backend)
    try:
        return await train(branch)
    except SystemExit as end:
        # It would end the loop that the other branches are trained on.
        if end.code in (None, 0):
            return None
        raise RuntimeError(f"sys.exit({end.code!r}) was called") from end


def _unapplied(task: Task, newest: Manifest) -> tuple[str, ...]:
    """Name what the branch was to try and its newest step was not made with; other trainers write no settings."""
    names = Variant(task.model, task.settings).config.model_fields_set
    made = newest.settings
    return tuple(name for name in sorted(names) if made and name in made and made[name] != task.settings.get(name))


def _as_json(value: Any) -> JsonValue:
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        return None
