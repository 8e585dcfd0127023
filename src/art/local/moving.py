"""Checkpoints between this disk and a bucket, as the public API asks for it. Synchronous; knows no trainer."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Literal

from art.errors import ConfigurationError, ConflictError
from art.format import layout
from art.format.pick import pick_of
from art.names import ModelRef
from art.ops.folders import new_folder, write_out
from art.ops.moving import Moved, MoveRequest, move
from art.ops.progress import Watch
from art.remote.remote import Remote
from art.store.checkpoint import Checkpoint
from art.store.sharing import take_out
from art.store.store import CheckpointStore

BUCKET_VARIABLE = "BACKUP_BUCKET"
Step = int | Literal["latest"] | None
_log = logging.getLogger("art")


def open_remote(bucket: str | None, prefix: str | None) -> Remote:
    """Open the bucket that was named, or the one in `BACKUP_BUCKET`; raises `ConfigurationError` without either."""
    return Remote.open(named_bucket(bucket), prefix=prefix)


def named_bucket(bucket: str | None) -> str:
    """Give the bucket that was named, or the one in `BACKUP_BUCKET`; raises `ConfigurationError` without either."""
    chosen = bucket or os.environ.get(BUCKET_VARIABLE)
    if not chosen:
        raise ConfigurationError(f"No bucket was named; pass s3_bucket, or set {BUCKET_VARIABLE}.")
    return chosen


def has_default_bucket() -> bool:
    """Tell whether `BACKUP_BUCKET` is set."""
    return bool(os.environ.get(BUCKET_VARIABLE))


def push(store: CheckpointStore, remote: Remote, model: ModelRef, *, delete: bool, bar: Watch) -> Moved:
    """Write every checkpoint of a model to the bucket; with `delete`, remove those there that are not here."""
    if not store.steps(model):
        remote.steps(model)  # a bucket that is not there is an error, whatever there is to push
        return _nothing(f"Nothing was pushed: {model} has no checkpoint in {store.root}.")
    return move(MoveRequest(source=store, destination=remote, model=model, deletes=delete), watch=bar)


def pull(store: CheckpointStore, remote: Remote, model: ModelRef, *, only: Step, delete: bool, bar: Watch) -> Moved:
    """Bring a model's checkpoints here: all, one step or the latest; `delete` removes those not there."""
    if not isinstance(only, int) and not remote.steps(model):
        return _nothing(f"Nothing was pulled: {model} has no checkpoint in {remote}.")
    pick = None if only is None else pick_of(step=only if isinstance(only, int) else None)
    return move(MoveRequest(source=remote, destination=store, model=model, pick=pick, deletes=delete), watch=bar)


def pull_checkpoint(
    store: CheckpointStore, remote: Remote | None, model: ModelRef, *, step: Step, local_path: Path | None, bar: Watch
) -> Path:
    """Make one checkpoint present and give its folder; a `local_path` gets a copy of it."""
    checkpoint = _present(store, remote, model, step, bar)
    if local_path is None:
        return checkpoint.path
    if local_path.exists() and any(local_path.iterdir()):
        raise ConflictError(f"{local_path} is not empty; give a folder that is new.")
    with new_folder(local_path, of=checkpoint) as unfinished:
        write_out(checkpoint, unfinished)
        if not checkpoint.is_foreign:
            take_out(checkpoint.path / layout.MANIFEST, unfinished / layout.MANIFEST)
    return local_path


def _present(store: CheckpointStore, remote: Remote | None, model: ModelRef, step: Step, bar: Watch) -> Checkpoint:
    if isinstance(step, int) and (checkpoint := store.find(model.at(step))):
        return checkpoint
    if remote is not None:
        pick = pick_of(step=step if isinstance(step, int) else None)
        request = MoveRequest(source=remote, destination=store, model=model, pick=pick)
        return store.open(move(request, watch=bar).checkpoints[0].ref)
    return store.open(model.at(step)) if isinstance(step, int) else store.select(model).checkpoint


def _nothing(line: str) -> Moved:
    """Say that there is nothing to move, as before the first training step; nothing is deleted either."""
    _log.warning(line)
    return Moved()
