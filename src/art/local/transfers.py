"""Pushing to and pulling from the bucket that an argument or `BACKUP_BUCKET` names; `verbose` tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from art.dev.meaning import ignore
from art.errors import ConfigurationError
from art.local import moving, words
from art.names import ModelRef
from art.settings import nearest
from art.store.store import CheckpointStore


def push(
    store: CheckpointStore, model: ModelRef, *, bucket: str | None, prefix: str | None, delete: bool, verbose: bool
) -> moving.Moved:
    """Write a model's checkpoints to the bucket; with `delete`, remove those there that are not here."""
    remote = moving.open_remote(bucket, prefix)
    moved = moving.push(store, remote, model, delete=delete, bar=words.bar(verbose=verbose))
    if verbose:
        words.say(words.moved_line(f"{model} -> {remote}", moved))
    return moved


def which(only: moving.Step, older: Mapping[str, Any]) -> moving.Step:
    """Give the step that a pull is limited to, also where ART's deprecated arguments say so."""
    known = {"step", "latest_only", "exclude"}
    for name in older.keys() - known:
        raise ConfigurationError(f"A pull has no {name!r}.{nearest(name, (*known, 'only_step'))}")
    if older.get("exclude"):
        ignore("pull", ["exclude (checkpoints come with their history)"])
    if only is not None:
        return only
    return "latest" if older.get("latest_only") else older.get("step")


class Pulling:
    """Pulls from one bucket into one root."""

    def __init__(self, store: CheckpointStore, *, bucket: str | None, prefix: str | None, verbose: bool) -> None:
        self._store = store
        self._bucket, self._prefix, self._verbose = bucket, prefix, verbose

    def pull(self, model: ModelRef, only: moving.Step, *, delete: bool) -> moving.Moved:
        """Bring a model's checkpoints here: all, one step or the latest; `delete` removes those not there."""
        remote = moving.open_remote(self._bucket, self._prefix)
        bar = words.bar(verbose=self._verbose)
        moved = moving.pull(self._store, remote, model, only=only, delete=delete, bar=bar)
        if self._verbose:
            words.say(words.moved_line(f"{remote} -> {model}", moved))
        return moved

    def pull_checkpoint(self, model: ModelRef, *, step: moving.Step, local_path: Path | None) -> Path:
        """Make one checkpoint present and give its folder, from the bucket where there is one."""
        has_bucket = bool(self._bucket) or moving.has_default_bucket()
        remote = moving.open_remote(self._bucket, self._prefix) if has_bucket else None
        bar = words.bar(verbose=self._verbose)
        folder = moving.pull_checkpoint(self._store, remote, model, step=step, local_path=local_path, bar=bar)
        if self._verbose:
            words.say(f"{model}: {folder}")
        return folder
