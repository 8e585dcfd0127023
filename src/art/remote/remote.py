"""The same checkpoints in an object store: select, fetch, push, fork, delete.

One relative path holds under a root folder and under a bucket's prefix. Knows listings, manifests and names;
how bytes move is `transfer`'s, what a server's refusal means `remote_errors`'.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from blake3 import blake3

from art.errors import (
    CheckpointNotFoundError,
    ConfigurationError,
    MetricNotFoundError,
    ModelNotFoundError,
)
from art.format import layout
from art.format.lineage import Asked
from art.format.manifest import FileEntry
from art.format.pick import NEWEST, Best, Exact, Pick, candidates
from art.format.pins import Pins, pin_line, read_pins
from art.format.selection import Selection, Skipped, absence, choose
from art.names import CheckpointRef, ModelRef, parse_step
from art.remote import transfer
from art.remote.checkpoint import RemoteCheckpoint, RemoteFile, claim_key, claims_key, look
from art.remote.clients import require_folder
from art.remote.copy import Copied, fork_between, fork_from_disk
from art.remote.errors import MissingError
from art.remote.fetch import Fetched, RemoteForked, fetch_copy, fetch_file, fetch_fork
from art.remote.history import add_lines, fetch_history, send_history
from art.remote.location import Location, Patience, parse_location
from art.remote.objects import Objects
from art.remote.transfer import Meter, Progress
from art.remote.write import Written, checkpoint_key, checkpoints_key, write
from art.store import foreign
from art.store.checkpoint import Checkpoint
from art.store.history import Entry, parse_line
from art.store.store import CheckpointStore
from art.store.wording import listed, listed_steps

BLOCK_BYTES = 8 * 1024**2


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What a push did."""

    ref: CheckpointRef
    url: str
    digest: str | None
    sent_bytes: int
    there_bytes: int
    """What an earlier push had sent already."""
    seconds: float

    @property
    def bytes_per_s(self) -> float:
        return self.sent_bytes / self.seconds if self.seconds else 0.0


class Remote:
    """The checkpoints below one prefix of a bucket."""

    def __init__(self, objects: Objects, patience: Patience | None = None) -> None:
        self._objects = objects
        self._patience = patience or Patience()

    @classmethod
    def open(cls, url_or_bucket: str, *, prefix: str | None = None, patience: Patience | None = None) -> Remote:
        """Open `bucket`, `s3://bucket/prefix`, `gs://`, `az://`, `file:///` or `memory://`. Sends no request.

        Raises `ConfigurationError`, or `RemoteNotFoundError` for a folder that is not there. What signs requests is
        looked for by the first of them, which raises `RemoteAccessError` when there is nothing.
        """
        location = parse_location(url_or_bucket, prefix=prefix)
        if location.scheme == "hf":
            raise ConfigurationError(f"{location} can be forked from, not opened as a remote; see art.remote.hub.")
        if location.scheme == "file":
            require_folder(location)
        return cls(Objects(location, patience or Patience()), patience)

    @property
    def location(self) -> Location:
        return self._objects.location

    def __str__(self) -> str:
        return str(self.location)

    def models(self, project: str | None = None) -> list[ModelRef]:
        """List the models of one project, or of all."""
        projects = self._objects.folders("") if project is None else [project]
        names = [(folder, name) for folder in projects for name in self._objects.folders(f"{folder}/{layout.MODELS}")]
        if not names:
            self._objects.require_server("")
        return sorted(model for folder, name in names if (model := layout.model_at(folder, name)))

    def steps(self, model: ModelRef) -> list[int]:
        """List the steps that have a checkpoint, ours or foreign, lowest first; by the names of their files alone."""
        files: dict[str, set[str]] = {}
        for path in self._objects.files_below(checkpoints_key(model)):
            folder, _, name = path.partition("/")
            files.setdefault(folder, set()).add(name)
        if not files:
            self._objects.require_server(checkpoints_key(model))
        ours = [name for name, found in files.items() if layout.MANIFEST in found]
        others = layout.folders_by_step(name for name, found in files.items() if found >= set(foreign.FILES))
        return sorted({*layout.folders_by_step(ours), *(set(others) - self._begun(model, others))})

    def open_checkpoint(self, ref: CheckpointRef) -> RemoteCheckpoint:
        """Open one checkpoint; raises `CheckpointNotFoundError` or `CorruptCheckpointError`."""
        found = look(self._objects, ref, checkpoint_key(ref))
        if isinstance(found, Skipped):
            folders = self._folders(ref.model)
            found = self._look(ref, folders) if ref.step in folders else found
            if isinstance(found, Skipped):
                raise self._absence(Exact(ref.step), ref.model, folders, [found] if ref.step in folders else [])
        return found

    def select(self, model: ModelRef, pick: Pick = NEWEST) -> Selection[RemoteCheckpoint]:
        """Choose a checkpoint, the newest unless told.

        Reads the manifest of the one it chooses and no other, except for the best, which reads them all.
        """
        if isinstance(pick, Exact):
            return Selection(checkpoint=self.open_checkpoint(model.at(pick.step)), pick=pick, considered=1)
        folders = self._folders(model)
        scores = self._scores(model, pick.metric, folders) if isinstance(pick, Best) else {}
        found = choose(pick, candidates(pick, folders, scores), lambda step: self._look(model.at(step), folders))
        if isinstance(found, Selection):
            return found
        raise self._absence(pick, model, folders, found)

    def measure(self, checkpoint: RemoteCheckpoint, name: str) -> tuple[int, str] | None:
        """Read a file from the server; gives its size and its BLAKE3 digest, None when it is gone."""
        size_bytes, digest = 0, blake3()
        try:
            for block in self._objects.stream(f"{checkpoint.key}/{name}", BLOCK_BYTES):
                size_bytes += len(bytes(block))
                digest.update(block)
        except MissingError:
            return None
        return size_bytes, digest.hexdigest()

    def fetch(
        self, checkpoint: RemoteCheckpoint, store: CheckpointStore, *, progress: Progress | None = None
    ) -> Fetched:
        """Make a checkpoint present on this disk, every byte checked, as a whole or not at all."""
        return fetch_copy(self._objects, checkpoint, store, progress)

    def fetch_file(
        self, checkpoint: RemoteCheckpoint, file: RemoteFile, target: Path, *, progress: Progress | None = None
    ) -> None:
        """Bring one file to a new place on this disk; raises `CorruptCheckpointError` when its bytes are wrong."""
        fetch_file(self._objects, checkpoint, file, target, progress)

    def fetch_fork(
        self,
        checkpoint: RemoteCheckpoint,
        destination: ModelRef,
        store: CheckpointStore,
        *,
        overwrite: bool = False,
        progress: Progress | None = None,
        **asked: Unpack[Asked],
    ) -> RemoteForked:
        """Begin a model on this disk with a checkpoint of this remote; the rules are `CheckpointStore.fork`'s."""
        return fetch_fork(
            self._objects,
            checkpoint,
            destination,
            store,
            overwrite=overwrite,
            progress=progress,
            **asked,
        )

    def push(self, checkpoint: Checkpoint, *, progress: Progress | None = None) -> Pushed:
        """Write a checkpoint of this disk here, or the rest of it after a push that broke off.

        A foreign checkpoint gets a manifest on the way, so that what arrives can be checked from then on.
        Raises `CheckpointExistsError`, naming the key, when something else has its place.
        """
        began = time.monotonic()
        meter = Meter(checkpoint.manifest.size_bytes, progress)
        content = _manifest_bytes(checkpoint)

        def put_file(entry: FileEntry, key: str) -> None:
            transfer.send(self._objects, key, checkpoint.path / entry.path, entry, meter)

        written = write(self._objects, checkpoint.manifest, content, put_file)
        return self._pushed(checkpoint, written, time.monotonic() - began)

    def fork(
        self,
        checkpoint: RemoteCheckpoint,
        destination: ModelRef,
        *,
        to: Remote | None = None,
        progress: Progress | None = None,
        **asked: Unpack[Asked],
    ) -> Copied:
        """Begin a model in this bucket, or in another one, with a checkpoint of this one.

        The server copies the bytes where it can; the rest passes through this machine and is checked.
        """
        target = to or self
        return fork_between(
            self._objects,
            checkpoint,
            target._objects,
            destination,
            newest=target.newest(destination),
            patience=target._patience,
            progress=progress,
            **asked,
        )

    def history(self, model: ModelRef) -> list[Entry]:
        """Read the metrics that pushes of a model took along."""
        content = self._objects.find(str(layout.history_path(model))) or b""
        return [entry for line in content.split(b"\n") if (entry := parse_line(model, line))]

    def pins(self, model: ModelRef) -> Pins:
        """Read the pins of a model in the bucket."""
        return read_pins((self._objects.find(str(layout.pins_path(model))) or b"").split(b"\n"))

    def set_pin(self, ref: CheckpointRef, digest: str | None, *, pinned: bool) -> None:
        """Pin a checkpoint in the bucket, or take its pin out."""
        line = pin_line(ref.step, digest, pinned=pinned)
        add_lines(self._objects, str(layout.pins_path(ref.model)), line + b"\n")

    def push_history(self, store: CheckpointStore, model: ModelRef) -> int:
        """Add to this bucket what only this disk knows of a model's history; gives the bytes of it."""
        return send_history(self._objects, store.root, model)

    def fetch_history(self, store: CheckpointStore, model: ModelRef) -> int:
        """Add to this disk what only this bucket knows of a model's history; gives the bytes of it."""
        return fetch_history(self._objects, store.root, model)

    def push_fork(
        self,
        checkpoint: Checkpoint,
        destination: ModelRef,
        *,
        progress: Progress | None = None,
        **asked: Unpack[Asked],
    ) -> Copied:
        """Begin a model in this bucket with a checkpoint of this disk."""
        return fork_from_disk(
            checkpoint,
            self._objects,
            destination,
            newest=self.newest(destination),
            progress=progress,
            **asked,
        )

    def read(self, checkpoint: RemoteCheckpoint, name: str) -> bytes:
        """Read one small file of a checkpoint."""
        return self._objects.read(f"{checkpoint.key}/{name}")

    def newest(self, model: ModelRef) -> RemoteCheckpoint | None:
        """Open the newest checkpoint, None when the model has none."""
        found = self._newest_first(model, self._folders(model))
        return next((checkpoint for checkpoint in found if isinstance(checkpoint, RemoteCheckpoint)), None)

    def size_bytes(self, ref: CheckpointRef) -> int:
        """Give how many bytes lie at a step, whole or not."""
        folder = self._folders(ref.model).get(ref.step)
        return (
            sum(item.size_bytes for item in self._objects.all(f"{checkpoints_key(ref.model)}/{folder}"))
            if folder
            else 0
        )

    def delete(self, ref: CheckpointRef) -> None:
        """Delete a checkpoint, or what a broken push of it left: the manifest first, the claim last."""
        folder = self._folders(ref.model).get(ref.step)
        if folder is None and self._objects.find(claim_key(ref)) is None:
            raise self._absence(Exact(ref.step), ref.model, self._folders(ref.model))
        key = f"{checkpoints_key(ref.model)}/{folder or layout.step_name(ref.step)}"
        self._objects.delete([f"{key}/{layout.MANIFEST}"])
        self._objects.delete([item.key for item in self._objects.all(key)])
        self._objects.delete([claim_key(ref)])

    def _begun(self, model: ModelRef, steps: Collection[int]) -> set[int]:
        """Give the steps that a push of ours began: without a manifest they are not whole, and not foreign either."""
        claims = self._objects.files(claims_key(model)) if steps else {}
        return {step for name in claims if (step := parse_step(name.removesuffix(".json"))) is not None}

    def _folders(self, model: ModelRef) -> Mapping[int, str]:
        return layout.folders_by_step(self._objects.folders(checkpoints_key(model)))

    def _look(self, ref: CheckpointRef, folders: Mapping[int, str]) -> RemoteCheckpoint | Skipped:
        return look(self._objects, ref, f"{checkpoints_key(ref.model)}/{folders[ref.step]}")

    def _newest_first(self, model: ModelRef, folders: Mapping[int, str]) -> Iterator[RemoteCheckpoint | Skipped]:
        for step in candidates(NEWEST, folders, {}):
            yield self._look(model.at(step), folders)

    def _scores(self, model: ModelRef, metric: str, folders: Mapping[int, str]) -> Mapping[int, float]:
        found = [item for item in self._newest_first(model, folders) if isinstance(item, RemoteCheckpoint)]
        metrics = {item.ref.step: item.manifest.metrics for item in found}
        scores = {step: score for step, named in metrics.items() if (score := named.get(metric)) is not None}
        if found and not scores:
            known = sorted({name for named in metrics.values() for name in named})
            raise MetricNotFoundError(f"No checkpoint of {model} in {self} has {metric!r}; they have {known}.")
        return scores

    def _absence(
        self, pick: Pick, model: ModelRef, folders: Mapping[int, str], skipped: Sequence[Skipped] = ()
    ) -> ModelNotFoundError | CheckpointNotFoundError:
        if not folders:
            known = [str(other) for other in self.models(model.project)]
            has = f"project {model.project} has {listed(known)}" if known else f"project {model.project} has no models"
            return ModelNotFoundError(f"There is no model {model} in {self}; {has} there.")
        has = f"it has {listed_steps(sorted(folders))}"
        return CheckpointNotFoundError(absence(pick, model, skipped, where=f" in {self}", has=has))

    def _pushed(self, checkpoint: Checkpoint, written: Written, seconds: float) -> Pushed:
        url = str(self._objects.place(checkpoint_key(checkpoint.ref)))
        return Pushed(
            ref=checkpoint.ref,
            url=url,
            digest=written.digest,
            sent_bytes=written.sent_bytes,
            there_bytes=written.there_bytes,
            seconds=seconds,
        )


def _manifest_bytes(checkpoint: Checkpoint) -> bytes:
    if checkpoint.is_foreign:
        return checkpoint.manifest.to_bytes()
    return (checkpoint.path / layout.MANIFEST).read_bytes()
