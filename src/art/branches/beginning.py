"""Where a branch begins: a fork of its checkpoint, or the step that an earlier worker left it at.

Knows the store, the bucket beside it and what was recorded with the fork; loads nothing.
"""

from __future__ import annotations

from art.branches.task import Task
from art.branches.variants import worded
from art.errors import ConflictError
from art.format.manifest import Manifest, Parent
from art.format.pick import Exact
from art.names import ModelRef
from art.ops.fork import ForkRequest, fork
from art.remote.remote import Remote
from art.store.store import CheckpointStore


def open_places(backend: dict[str, object]) -> tuple[CheckpointStore, Remote | None]:
    """Open the root that a backend works below, and the bucket that it mirrors to."""
    store, url = CheckpointStore(str(backend.get("path", ".art"))), backend.get("remote")
    return store, Remote.open(str(url)) if url else None


def begin(task: Task) -> Manifest:
    """Fork the task's checkpoint, unless its branch is here or in the bucket; gives its newest manifest.

    Raises `ConflictError` for a model of that name which is another branch.
    """
    store, remote = open_places(dict(task.backend))
    newest = store.newest(task.model) or (remote and remote.newest(task.model))
    if newest:
        check_same_branch(newest.manifest, task)
        return newest.manifest
    source = store if store.find(task.source.ref) else remote or store
    request = ForkRequest(
        source=source,
        source_model=task.source.ref.model,
        pick=Exact(task.source.step),
        destination=store,
        model=task.model,
        settings=task.settings,
        check=lambda manifest: None,
    )
    return fork(request).manifest


def stands_at(task: Task) -> int:
    """Give the newest step of a branch, here or in the bucket; that of its checkpoint before it has begun."""
    store, remote = open_places(dict(task.backend))
    steps = [*store.steps(task.model)[-1:], *(remote.steps(task.model)[-1:] if remote else ())]
    return max(steps, default=task.source.step)


def check_same_branch(newest: Manifest, task: Task) -> None:
    """Check that a model which is there began with the task's checkpoint and settings; raises `ConflictError`."""
    hop = newest.ancestry[-1] if newest.ancestry else None
    if hop is not None and is_from(hop, task.source) and hop.settings == task.settings:
        return
    began = f"began at {hop.ref} with {worded(hop.settings)}" if hop else "is no fork"
    raise ConflictError(
        f"{task.model} is there already and {began}; asked for is {task.source.ref} with {worded(task.settings)}. "
        "Nothing was changed. Give this branch another name."
    )


def find_twin_of_another_name(store: CheckpointStore, task: Task) -> ModelRef | None:
    """Find a model of the project that began with the same checkpoint and settings under another name."""
    for model in store.models(task.project):
        newest = store.newest(model) if model != task.model else None
        hop = newest.manifest.ancestry[-1] if newest and newest.manifest.ancestry else None
        if hop and task.settings and is_from(hop, task.source) and hop.settings == task.settings:
            return model
    return None


def is_from(hop: Parent, source: Parent) -> bool:
    """Tell whether a fork left a checkpoint, wherever it was read from."""
    return (hop.ref, hop.digest) == (source.ref, source.digest)
