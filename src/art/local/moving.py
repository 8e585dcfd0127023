"""Checkpoints between this disk and a bucket, as the public API asks for it. Synchronous; knows no trainer."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from art.errors import ConfigurationError, ConflictError, DestinationNotEmptyError
from art.format.pick import NEWEST, Pick, pick_of
from art.format.selection import Skipped
from art.local.forking import ForkReport, ForkRequest, reasons
from art.names import ModelRef
from art.remote.checkpoint import RemoteCheckpoint
from art.remote.fetch import Fetched, RemoteForked
from art.remote.hub import Hub
from art.remote.remote import Remote
from art.store.checkpoint import Checkpoint
from art.store.store import CheckpointStore, Forked

BUCKET_VARIABLE = "BACKUP_BUCKET"
HUB = "hf://"
Step = int | Literal["latest"] | None
Bar = Callable[[str], AbstractContextManager[Callable[[int, int], None] | None]]


@dataclass(frozen=True)
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


def fork_from(
    bucket_or_url: str, store: CheckpointStore, asked: ForkRequest, *, prefix: str | None, bar: Bar
) -> ForkReport:
    """Fork what is selected in a bucket, whatever lies below the local root; only that checkpoint is read.

    Of `hf://org/repo@revision` it is the adapter of that repository, and there is nothing to select.
    """
    if bucket_or_url.startswith(HUB):
        return _fork_from_hub(Hub.open(bucket_or_url), store, asked, bar)
    return _fork_from_remote(open_remote(bucket_or_url, prefix), store, asked, bar)


def _fork_from_remote(remote: Remote, store: CheckpointStore, asked: ForkRequest, bar: Bar) -> ForkReport:
    started = time.perf_counter()
    selection = remote.select(asked.source, asked.pick)
    chosen = selection.checkpoint
    asked.check(chosen.manifest)
    with bar(f"fetching {chosen.ref}") as progress:
        if asked.source == asked.model.ref:
            done = _rewind_or_restore(store, remote, chosen, progress)
        else:
            done = remote.fetch_fork(
                chosen,
                asked.model.ref,
                store,
                pick=asked.pick,
                reset=asked.reset,
                overwrite=asked.overwrite,
                progress=progress,
            )
    return _report(
        done, chosen, started, pick=selection.pick, considered=selection.considered, skipped=selection.skipped
    )


def _fork_from_hub(hub: Hub, store: CheckpointStore, asked: ForkRequest, bar: Bar) -> ForkReport:
    started = time.perf_counter()
    chosen = hub.select(hub.model).checkpoint
    asked.check(chosen.manifest)
    with bar(f"fetching {chosen.url}") as progress:
        done = hub.fetch_fork(
            chosen, asked.model.ref, store, reset=asked.reset, overwrite=asked.overwrite, progress=progress
        )
    return _report(done, chosen, started)


def _report(
    done: RemoteForked,
    chosen: RemoteCheckpoint,
    started: float,
    *,
    pick: Pick = NEWEST,
    considered: int = 1,
    skipped: Iterable[Skipped] = (),
) -> ForkReport:
    return ForkReport(
        done.forked,
        chosen.url,
        pick,
        considered,
        reasons(skipped),
        time.perf_counter() - started,
        fetched_bytes=done.fetched_bytes,
        reused_bytes=done.reused_bytes,
    )


def push(store: CheckpointStore, remote: Remote, model: ModelRef, *, delete: bool, bar: Bar) -> Moved:
    """Write every checkpoint of a model to the bucket; with `delete`, remove those there that are not here."""
    started = time.perf_counter()
    store.select(model)
    done = [_push_one(remote, store.open(model.at(step)), bar) for step in store.steps(model)]
    if delete:
        for step in set(remote.steps(model)) - set(store.steps(model)):
            remote.delete(model.at(step))
    moved = sum(sent for sent, _ in done)
    return Moved(tuple(store.steps(model)), moved, sum(there for _, there in done), time.perf_counter() - started)


def pull(store: CheckpointStore, remote: Remote, model: ModelRef, *, only: Step, delete: bool, bar: Bar) -> Moved:
    """Bring a model's checkpoints here: all, one step or the latest; `delete` removes those not there."""
    started = time.perf_counter()
    steps = remote.steps(model) if only is None else [_select(remote, model, only).ref.step]
    if not steps:
        remote.select(model)
    done = [_pull_one(store, remote, remote.open_checkpoint(model.at(step)), bar) for step in steps]
    if delete:
        for step in set(store.steps(model)) - set(remote.steps(model)):
            store.delete(store.open(model.at(step)))
    return Moved(
        tuple(steps),
        sum(one.fetched_bytes for one in done),
        sum(one.reused_bytes for one in done),
        time.perf_counter() - started,
    )


def pull_checkpoint(
    store: CheckpointStore, remote: Remote | None, model: ModelRef, *, step: Step, local_path: Path | None, bar: Bar
) -> Path:
    """Make one checkpoint present and give its folder; a `local_path` gets a copy of it."""
    checkpoint = _present(store, remote, model, step, bar)
    if local_path is None:
        return checkpoint.path
    if local_path.exists() and any(local_path.iterdir()):
        raise ConflictError(f"{local_path} is not empty; give a folder that is new.")
    shutil.copytree(checkpoint.path, local_path, dirs_exist_ok=True)
    return local_path


def _present(store: CheckpointStore, remote: Remote | None, model: ModelRef, step: Step, bar: Bar) -> Checkpoint:
    if isinstance(step, int) and (there := store.find(model.at(step))):
        return there
    if remote is not None:
        return _pull_one(store, remote, _select(remote, model, step), bar).checkpoint
    return store.open(model.at(step)) if isinstance(step, int) else store.select(model).checkpoint


def _select(remote: Remote, model: ModelRef, step: Step) -> RemoteCheckpoint:
    return remote.select(model, pick_of(step=step if isinstance(step, int) else None)).checkpoint


def _push_one(remote: Remote, checkpoint: Checkpoint, bar: Bar) -> tuple[int, int]:
    with bar(f"pushing {checkpoint.ref}") as progress:
        pushed = remote.push(checkpoint, progress=progress)
    return pushed.sent_bytes, pushed.there_bytes


def _pull_one(store: CheckpointStore, remote: Remote, checkpoint: RemoteCheckpoint, bar: Bar) -> Fetched:
    with bar(f"pulling {checkpoint.ref}") as progress:
        return remote.fetch(checkpoint, store, progress=progress)


def _rewind_or_restore(
    store: CheckpointStore, remote: Remote, chosen: RemoteCheckpoint, progress: Callable[[int, int], None] | None
) -> RemoteForked:
    """Fork a model onto itself: go back to the step when it is here, bring it when nothing is."""
    there = store.find(chosen.ref)
    if there and there.digest == chosen.digest:
        return RemoteForked(Forked(there, there.ref.step, set_aside=store.rewind(there)), 0, chosen.size_bytes, 0.0)
    if steps := store.steps(chosen.ref.model):
        raise DestinationNotEmptyError(
            f"{chosen.ref.model} has other checkpoints here, at steps {', '.join(map(str, steps))}. "
            f"Fork {chosen.url} into a model of another name."
        )
    fetched = remote.fetch(chosen, store, progress=progress)
    forked = Forked(fetched.checkpoint, fetched.checkpoint.ref.step)
    return RemoteForked(forked, fetched.fetched_bytes, fetched.reused_bytes, fetched.seconds)
