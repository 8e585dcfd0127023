"""Checkpoints between this disk and a bucket, as the public API asks for it. Synchronous; knows no trainer."""

from __future__ import annotations

import logging
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from art.errors import ConfigurationError, ConflictError
from art.format.pick import pick_of
from art.names import ModelRef
from art.ops.place import Watch
from art.remote.checkpoint import RemoteCheckpoint
from art.remote.fetch import Fetched
from art.remote.remote import Remote
from art.store.checkpoint import Checkpoint
from art.store.store import CheckpointStore

BUCKET_VARIABLE = "BACKUP_BUCKET"
Step = int | Literal["latest"] | None
_log = logging.getLogger("art")


@dataclass(frozen=True, kw_only=True)
class Moved:
    """What a push or a pull did."""

    steps: tuple[int, ...]
    moved_bytes: int
    reused_bytes: int
    """What was there already."""
    seconds: float


def open_remote(bucket: str | None, prefix: str | None) -> Remote:
    """Open the bucket that was named, or the one in `BACKUP_BUCKET`; raises `ConfigurationError` without either."""
    chosen = bucket or os.environ.get(BUCKET_VARIABLE)
    if not chosen:
        raise ConfigurationError(f"No bucket was named; pass s3_bucket, or set {BUCKET_VARIABLE}.")
    return Remote.open(chosen, prefix=prefix)


def has_default_bucket() -> bool:
    """Tell whether `BACKUP_BUCKET` is set."""
    return bool(os.environ.get(BUCKET_VARIABLE))


def push(store: CheckpointStore, remote: Remote, model: ModelRef, *, delete: bool, bar: Watch) -> Moved:
    """Write every checkpoint of a model to the bucket; with `delete`, remove those there that are not here."""
    started = time.perf_counter()
    if not store.steps(model):
        remote.steps(model)  # a bucket that is not there is an error, whatever there is to push
        return _nothing(f"Nothing was pushed: {model} has no checkpoint in {store.root}.")
    store.select(model)
    done = [_push_one(remote, store.open(model.at(step)), bar) for step in store.steps(model)]
    remote.push_history(store, model)
    if delete:
        for step in set(remote.steps(model)) - set(store.steps(model)):
            remote.delete(model.at(step))
    moved = sum(sent for sent, _ in done)
    return Moved(
        steps=tuple(store.steps(model)),
        moved_bytes=moved,
        reused_bytes=sum(there for _, there in done),
        seconds=time.perf_counter() - started,
    )


def pull(store: CheckpointStore, remote: Remote, model: ModelRef, *, only: Step, delete: bool, bar: Watch) -> Moved:
    """Bring a model's checkpoints here: all, one step or the latest; `delete` removes those not there."""
    started = time.perf_counter()
    if not isinstance(only, int) and not remote.steps(model):
        return _nothing(f"Nothing was pulled: {model} has no checkpoint in {remote}.")
    steps = remote.steps(model) if only is None else [_select(remote, model, only).ref.step]
    done = [_pull_one(store, remote, remote.open_checkpoint(model.at(step)), bar) for step in steps]
    remote.fetch_history(store, model)
    if delete:
        for step in set(store.steps(model)) - set(remote.steps(model)):
            store.delete(store.open(model.at(step)))
    return Moved(
        steps=tuple(steps),
        moved_bytes=sum(one.fetched_bytes for one in done),
        reused_bytes=sum(one.reused_bytes for one in done),
        seconds=time.perf_counter() - started,
    )


def pull_checkpoint(
    store: CheckpointStore, remote: Remote | None, model: ModelRef, *, step: Step, local_path: Path | None, bar: Watch
) -> Path:
    """Make one checkpoint present and give its folder; a `local_path` gets a copy of it."""
    checkpoint = _present(store, remote, model, step, bar)
    if local_path is None:
        return checkpoint.path
    if local_path.exists() and any(local_path.iterdir()):
        raise ConflictError(f"{local_path} is not empty; give a folder that is new.")
    shutil.copytree(checkpoint.path, local_path, dirs_exist_ok=True)
    return local_path


def _present(store: CheckpointStore, remote: Remote | None, model: ModelRef, step: Step, bar: Watch) -> Checkpoint:
    if isinstance(step, int) and (there := store.find(model.at(step))):
        return there
    if remote is not None:
        return _pull_one(store, remote, _select(remote, model, step), bar).checkpoint
    return store.open(model.at(step)) if isinstance(step, int) else store.select(model).checkpoint


def _select(remote: Remote, model: ModelRef, step: Step) -> RemoteCheckpoint:
    return remote.select(model, pick_of(step=step if isinstance(step, int) else None)).checkpoint


def _nothing(line: str) -> Moved:
    """Say that there is nothing to move, as before the first training step; nothing is deleted either."""
    _log.warning(line)
    return Moved(steps=(), moved_bytes=0, reused_bytes=0, seconds=0.0)


def _push_one(remote: Remote, checkpoint: Checkpoint, bar: Watch) -> tuple[int, int]:
    with bar(f"pushing {checkpoint.ref}") as progress:
        pushed = remote.push(checkpoint, progress=progress)
    return pushed.sent_bytes, pushed.there_bytes


def _pull_one(store: CheckpointStore, remote: Remote, checkpoint: RemoteCheckpoint, bar: Watch) -> Fetched:
    with bar(f"pulling {checkpoint.ref}") as progress:
        return remote.fetch(checkpoint, store, progress=progress)
