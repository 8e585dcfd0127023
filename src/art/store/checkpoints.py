"""The checkpoint store of one root folder: stage and commit, open, select, fork, rewind, lineage, delete.

A checkpoint is a write-once folder whose manifest was written last; "newest" is computed by listing, never stored.
A fork is a checkpoint whose parent lies on another model: the same commit, the same files, shared where the file
system can. Knows bytes, names and digests; never sees a tensor or a network.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from art.errors import CheckpointExistsError, CheckpointNotFoundError, DestinationNotEmptyError, ModelNotFoundError
from art.names import CheckpointRef, ModelRef
from art.store import disk, journal, layout, lineage
from art.store.manifest import FileEntry, Hop, Manifest, Parent, read_manifest, utc_now
from art.store.opening import Checkpoint, Skipped, check_file, look, looks_whole

NAMES_IN_A_MESSAGE = 12


@dataclass(frozen=True)
class Selection:
    """A checkpoint that was chosen, among how many steps, and which newer folders were passed over."""

    checkpoint: Checkpoint
    considered: int
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True)
class Forked:
    """What a fork did."""

    checkpoint: Checkpoint
    newest_step: int
    """Where the destination stands: beyond the fork when the same fork is repeated after training went on."""
    repeated: bool = False
    """The very same fork was there already; nothing was done."""
    shared_bytes: int = 0
    copied_bytes: int = 0
    sharing: frozenset[disk.Sharing] = frozenset()
    set_aside: SetAside | None = None


@dataclass(frozen=True)
class SetAside:
    """Checkpoints that a rewind or an overwriting fork took out of the way; `restore` brings them back."""

    id: int
    time: str
    reason: str
    kept: int | None
    """The newest step that stayed, None when none did."""
    steps: tuple[int, ...]


class CheckpointStore:
    """The checkpoints below one root folder. Holds no state: any number of processes may use the same root."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).expanduser().absolute()
        self.staging = self.root / layout.STAGING

    def models(self, project: str | None = None) -> list[ModelRef]:
        """List the models of one project, or of all."""
        folders = self.root.glob(f"*/{layout.MODELS}/*/")
        return sorted(
            model
            for folder in folders
            if (model := layout.model_at(folder.parent.parent.name, folder.name)) and project in (None, model.project)
        )

    def steps(self, model: ModelRef) -> list[int]:
        """List the steps that have a checkpoint, ours or foreign, lowest first."""
        folder = self.root / layout.checkpoints_path(model)
        return sorted(step for step, name in self._folders(model).items() if looks_whole(folder / name))

    def folders(self, model: ModelRef) -> dict[int, Path]:
        """Map every step that has a folder, committed or not, to where it lies."""
        folder = self.root / layout.checkpoints_path(model)
        return {step: folder / name for step, name in sorted(self._folders(model).items())}

    def open(self, ref: CheckpointRef) -> Checkpoint:
        """Open one checkpoint; raises `CheckpointNotFoundError` or `CorruptCheckpointError`."""
        found = self._look(ref, self._folders(ref.model))
        if isinstance(found, Checkpoint):
            return found
        self._require_model(ref.model)
        reason = f" ({found.reason})" if found else ""
        raise CheckpointNotFoundError(f"There is no checkpoint {ref}{reason}; {self._has(ref.model)}.")

    def find(self, ref: CheckpointRef) -> Checkpoint | None:
        """Open one checkpoint, None when there is none; raises `CorruptCheckpointError`."""
        found = self._look(ref, self._folders(ref.model))
        return found if isinstance(found, Checkpoint) else None

    def newest(self, model: ModelRef) -> Checkpoint | None:
        """Open the newest checkpoint, None when the model has none."""
        found = self._newest_first(model, self._folders(model))
        return next((checkpoint for checkpoint in found if isinstance(checkpoint, Checkpoint)), None)

    def select(self, model: ModelRef, *, not_after: int | None = None) -> Selection:
        """Choose the newest checkpoint, or the newest at or before a step. Opens no more than it needs."""
        folders = {step: name for step, name in self._folders(model).items() if not_after is None or step <= not_after}
        skipped: list[Skipped] = []
        for found in self._newest_first(model, folders):
            if isinstance(found, Checkpoint):
                return Selection(found, len(folders), tuple(skipped))
            skipped.append(found)
        self._require_model(model)
        limit = "" if not_after is None else f" at or before step {not_after}"
        passed = "".join(f" Step {skip.step} was skipped: {skip.reason}." for skip in skipped)
        raise CheckpointNotFoundError(f"No checkpoint of {model}{limit}; {self._has(model)}.{passed}")

    def best(self, model: ModelRef, scores: Mapping[int, float]) -> Checkpoint | None:
        """Open the checkpoint with the highest score, the newest of equals; None when no scored step has one."""
        for step in sorted(scores, key=lambda step: (scores[step], step), reverse=True):
            if found := self.find(model.at(step)):
                return found
        return None

    def verify(self, checkpoint: Checkpoint) -> None:
        """Read every byte again; raises `CorruptCheckpointError` naming the file and both digests."""
        for entry in checkpoint.manifest.files:
            check_file(checkpoint.path / entry.path, entry)

    def stage(self, ref: CheckpointRef) -> Stage:
        """Open a folder to write a checkpoint into; leaving it without a commit discards it."""
        return Stage(self, ref)

    def fork(
        self,
        source: Checkpoint,
        destination: ModelRef,
        *,
        not_after: int | None = None,
        reset: Collection[str] = (),
        overwrite: bool = False,
    ) -> Forked:
        """Begin `destination` with a checkpoint of another model, at the same step.

        The same fork repeated does nothing. Any other fork into a model that has checkpoints raises
        `DestinationNotEmptyError`, unless `overwrite` sets those aside.
        """
        hop = lineage.hop_from(source.ref, source.digest, not_after=not_after, reset=reset)
        if repeated := self.find_fork(destination, hop, overwrite=overwrite):
            return repeated
        with self.stage(destination.at(source.ref.step)) as stage:
            return stage.commit_fork(source.manifest, hop, share_from=source, overwrite=overwrite)

    def find_fork(self, destination: ModelRef, hop: Hop, *, overwrite: bool = False) -> Forked | None:
        """Find the same fork, done earlier; None when it is still to do; raises when something else is in its place."""
        newest = self.newest(destination)
        if newest is None:
            return None
        forks = newest.manifest.ancestry
        if forks and lineage.is_same_fork(forks[-1], hop):
            there = self.find(destination.at(forks[-1].step)) or newest
            return Forked(there, newest.ref.step, repeated=True)
        if overwrite:
            return None
        raise self._occupied(destination)

    def publish(
        self, folder: Path, manifest: Manifest, *, overwrite: bool = False, is_copy: bool = False
    ) -> tuple[Checkpoint, SetAside | None]:
        """Give a staged folder its place, unless something else is there.

        A copy from a remote belongs beside the other steps of its model, also where it once was a fork.
        """
        ref, place = manifest.ref, self.root / layout.checkpoint_path(manifest.ref)
        with disk.exclusive(self._folder(ref.model)):
            folders = self._settled_folders(ref.model)
            there = self._look(ref, folders)
            if isinstance(there, Checkpoint) and there.digest == disk.digest(folder / layout.MANIFEST):
                return there, None
            if isinstance(there, Skipped):
                disk.discard(place.with_name(folders[ref.step]), self.staging)
            replaced = [] if is_copy else self._replaced_by(manifest, folders, overwrite=overwrite)
            if replaced:
                reason = f"replaced by a fork at {ref.step}"
                aside = self._set_aside(ref.model, replaced, kept=None, reason=reason, then=[(folder, place)])
                return self.open(ref), aside
            if isinstance(there, Checkpoint) or not disk.publish(folder, place):
                raise CheckpointExistsError(
                    f"{ref} is there already, with other contents; {self._has(ref.model)}. "
                    f"Is another process training {ref.model}?"
                )
            return self.open(ref), None

    def rewind(self, checkpoint: Checkpoint) -> SetAside | None:
        """Make a checkpoint its model's newest again. Later ones are set aside, never deleted; None if none were."""
        model, step = checkpoint.ref.model, checkpoint.ref.step
        with disk.exclusive(self._folder(model)):
            later = [number for number in self._settled_folders(model) if number > step]
            return self._set_aside(model, later, kept=step, reason=f"rewound to {step}") if later else None

    def set_aside(self, model: ModelRef) -> list[SetAside]:
        """List what was set aside and nobody brought back, oldest first."""
        folder = self._folder(model)
        found = [_aside_of(folder, record) for record in journal.records(folder)]
        return [aside for aside in found if aside.steps]

    def restore(self, model: ModelRef, aside_id: int | None = None) -> SetAside:
        """Bring back what was set aside, the last time unless told; what took its place is set aside in turn."""
        folder, candidates = self._folder(model), self.set_aside(model)
        chosen = next((aside for aside in reversed(candidates) if aside_id in (None, aside.id)), None)
        if chosen is None:
            asked = "" if aside_id is None else f" as {aside_id}"
            known = ", ".join(str(aside.id) for aside in candidates) or "nothing"
            raise CheckpointNotFoundError(f"{model} has no checkpoints set aside{asked}; it has {known}.")
        with disk.exclusive(folder):
            replaced = [step for step in self._settled_folders(model) if chosen.kept is None or step > chosen.kept]
            aside = journal.aside(folder, chosen.id)
            names = layout.folders_by_step(disk.names(aside))
            back = [
                (aside / name, self.root / layout.checkpoint_path(model.at(step)))
                for step, name in sorted(names.items())
            ]
            reason = f"made way for {chosen.id}"
            self._set_aside(model, replaced, kept=chosen.kept, reason=reason, then=back)
        return chosen

    def lineage(self, ref: CheckpointRef) -> Iterator[tuple[CheckpointRef, Checkpoint | None]]:
        """Yield `ref` and its ancestors, newest first, across forks; None beside one that is gone."""
        checkpoint: Checkpoint | None = self.open(ref)
        yield ref, checkpoint
        while checkpoint and checkpoint.manifest.parent:
            child, parent = checkpoint.manifest, checkpoint.manifest.parent.ref
            checkpoint = self.find(parent)
            yield parent, checkpoint
            if checkpoint is None and (checkpoint := self._next_known(child, parent.step)):
                yield checkpoint.ref, checkpoint

    def segments(self, model: ModelRef) -> list[lineage.Segment]:
        """Cut the past of a model at its forks, oldest first."""
        newest = self.newest(model)
        return lineage.segments(model, newest.manifest if newest else None)

    def ancestor(self, model: ModelRef, step: int) -> Checkpoint:
        """Open a step of a model's past, also one from before a fork; raises `CheckpointNotFoundError`."""
        newest = self.newest(model)
        places = lineage.locate(model, newest.manifest if newest else None, step)
        return next(filter(None, map(self.find, places)), None) or self.open(places[-1])

    def delete(self, checkpoint: Checkpoint) -> None:
        """Delete one checkpoint; files that a fork shares stay with the fork."""
        with disk.exclusive(self._folder(checkpoint.ref.model)):
            disk.discard(checkpoint.path, self.staging)

    def debris(self) -> list[Path]:
        """List what no reader counts: step folders that are no checkpoint, and abandoned staging folders."""
        found: list[Path] = []
        for model in self.models():
            folders = self._folders(model)
            torn = [step for step in folders if isinstance(self._look(model.at(step), folders), Skipped)]
            found += [self.root / layout.checkpoints_path(model) / folders[step] for step in torn]
        return found + [path for path in self.staging.glob("*/") if disk.is_abandoned(path)]

    def collect(self) -> list[Path]:
        """Delete the debris; gives what was deleted."""
        found = self.debris()
        for path in found:
            disk.discard(path, self.staging)
        return found

    def _folder(self, model: ModelRef) -> Path:
        return self.root / layout.model_path(model)

    def _folders(self, model: ModelRef) -> Mapping[int, str]:
        folder = self._folder(model)
        if journal.is_pending(folder):
            with disk.exclusive(folder):
                return self._settled_folders(model)
        return layout.folders_by_step(disk.names(folder / layout.CHECKPOINTS))

    def _settled_folders(self, model: ModelRef) -> Mapping[int, str]:
        journal.settle(self.root, self._folder(model))
        return layout.folders_by_step(disk.names(self._folder(model) / layout.CHECKPOINTS))

    def _look(self, ref: CheckpointRef, folders: Mapping[int, str]) -> Checkpoint | Skipped | None:
        name = folders.get(ref.step)
        return look(ref, self.root / layout.checkpoints_path(ref.model) / name) if name else None

    def _newest_first(self, model: ModelRef, folders: Mapping[int, str]) -> Iterator[Checkpoint | Skipped]:
        # By number: "10000" < "9999" as text.
        for step in sorted(folders, reverse=True):
            if found := self._look(model.at(step), folders):
                yield found

    def _replaced_by(self, manifest: Manifest, folders: Mapping[int, str], *, overwrite: bool) -> list[int]:
        """Give the steps that a fork sets aside: none unless it is a fork and may; raises when it may not."""
        model = manifest.ref.model
        if manifest.parent is None or manifest.parent.ref.model == model:
            return []
        taken = [step for step in folders if isinstance(self._look(model.at(step), folders), Checkpoint)]
        if taken and not overwrite:
            raise self._occupied(model)
        return taken

    def _set_aside(
        self,
        model: ModelRef,
        steps: Collection[int],
        *,
        kept: int | None,
        reason: str,
        then: Collection[tuple[Path, Path]] = (),
    ) -> SetAside:
        folder = self._folder(model)
        names = layout.folders_by_step(disk.names(folder / layout.CHECKPOINTS))
        record_id = journal.next_id(folder)
        aside = journal.aside(folder, record_id)
        out = [(folder / layout.CHECKPOINTS / names[step], aside / names[step]) for step in sorted(steps)]
        moves = [(_below(self.root, source), _below(self.root, target)) for source, target in [*out, *then]]
        record = journal.Record(record_id, utc_now(), reason, kept, tuple(moves))
        journal.run(self.root, folder, record)
        return _aside_of(folder, record)

    def _next_known(self, child: Manifest, below: int) -> Checkpoint | None:
        """Find the newest checkpoint before a step that is gone, in the same model or before the fork it came from."""
        for segment in reversed(lineage.segments(child.ref.model, child)):
            folders = self._folders(segment.model)
            here = {step: name for step, name in folders.items() if step in segment and step < below}
            for found in self._newest_first(segment.model, here):
                if isinstance(found, Checkpoint):
                    return found
        return None

    def _require_model(self, model: ModelRef) -> None:
        if self._folder(model).is_dir():
            return
        known = [str(other) for other in self.models()]
        has = f"there are {_listed(known)}" if known else f"{self.root} has no models"
        raise ModelNotFoundError(f"There is no model {model}; {has}.")

    def _has(self, model: ModelRef) -> str:
        steps = self.steps(model)
        if not steps:
            return "it has no checkpoints"
        return f"it has step{'s' if len(steps) > 1 else ''} {_listed([str(step) for step in steps])}"

    def _occupied(self, destination: ModelRef) -> DestinationNotEmptyError:
        return DestinationNotEmptyError(
            f"{destination} cannot be forked into: {self._has(destination)}. "
            "Choose a new name, or set those aside with overwrite=True."
        )


class Stage:
    """A folder that becomes a checkpoint as a whole or not at all."""

    def __init__(self, store: CheckpointStore, ref: CheckpointRef) -> None:
        self.ref = ref
        self.path = store.staging
        self._store = store
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        self.path = disk.new_staging(self._store.staging)
        self._opened.callback(disk.remove, self.path)
        self._opened.enter_context(disk.held(self.path))
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def commit(self, *, parent: Checkpoint | None = None, **details: Any) -> Checkpoint:
        """Make what was written a checkpoint that continues `parent`.

        `details` are fields of the manifest: base_model, lora, libraries, environment, metrics.
        """
        manifest = Manifest(
            project=self.ref.model.project,
            model=self.ref.model.name,
            step=self.ref.step,
            created_at=utc_now(),
            files=tuple(_sealed(path) for path in sorted(self.path.iterdir())),
            parent=_parent_of(parent.ref, parent.digest) if parent else None,
            ancestry=parent.manifest.ancestry if parent else (),
            **details,
        )
        return self._publish(manifest)[0]

    def commit_fork(
        self, source: Manifest, hop: Hop, *, share_from: Checkpoint | None = None, overwrite: bool = False
    ) -> Forked:
        """Make this a fork of `source`, with the files of a checkpoint on this disk or with those already staged."""
        manifest = forked_manifest(source, hop, self.ref)
        how = {entry: self.share(entry, share_from) for entry in manifest.files} if share_from else {}
        try:
            checkpoint, aside = self._publish(manifest, overwrite=overwrite)
        except DestinationNotEmptyError:
            if repeated := self._store.find_fork(self.ref.model, hop):
                return repeated
            raise
        copied = sum(entry.size_bytes for entry, sharing in how.items() if sharing is disk.Sharing.COPY)
        shared = sum(entry.size_bytes for entry in how) - copied
        return Forked(
            checkpoint,
            self.ref.step,
            shared_bytes=shared,
            copied_bytes=copied,
            sharing=frozenset(how.values()),
            set_aside=aside,
        )

    def commit_copy(self, manifest: bytes) -> Checkpoint:
        """Make what was fetched the very checkpoint that its manifest describes."""
        disk.write_file(self.path / layout.MANIFEST, manifest)
        return self._store.publish(self.path, read_manifest(manifest, where=str(self.ref)), is_copy=True)[0]

    def share(self, entry: FileEntry, holder: Checkpoint) -> disk.Sharing:
        """Take a file from a checkpoint on this disk."""
        return disk.share(holder.path / entry.path, self.path / entry.path, immutable=not holder.is_foreign)

    def _publish(self, manifest: Manifest, *, overwrite: bool = False) -> tuple[Checkpoint, SetAside | None]:
        disk.write_file(self.path / layout.MANIFEST, manifest.to_bytes())
        return self._store.publish(self.path, manifest, overwrite=overwrite)


def _sealed(path: Path) -> FileEntry:
    disk.seal(path)
    return FileEntry(path=path.name, size_bytes=path.stat().st_size, blake3=disk.digest(path))


def forked_manifest(source: Manifest, hop: Hop, destination: CheckpointRef) -> Manifest:
    """Describe the fork of a checkpoint: its files and all that is known of it, under another name and parent."""
    reset = tuple(sorted({*source.reset, *hop.reset}))
    left_out = {layout.OPTIMIZER} if "optimizer" in hop.reset else set[str]()
    return source.model_copy(
        update={
            "project": destination.model.project,
            "model": destination.model.name,
            "created_at": utc_now(),
            "files": tuple(entry for entry in source.files if entry.path not in left_out),
            "parent": _parent_of(hop.ref, hop.digest, remote=hop.remote),
            "ancestry": (*source.ancestry, hop),
            "carried": tuple(part for part in source.carried if part not in reset),
            "reset": reset,
        }
    )


def _parent_of(ref: CheckpointRef, digest: str | None, *, remote: str | None = None) -> Parent:
    return Parent(project=ref.model.project, model=ref.model.name, step=ref.step, digest=digest, remote=remote)


def _aside_of(folder: Path, record: journal.Record) -> SetAside:
    steps = layout.folders_by_step(disk.names(journal.aside(folder, record.id)))
    return SetAside(record.id, record.time, record.reason, record.kept, tuple(sorted(steps)))


def _below(root: Path, path: Path) -> str:
    return str(path.relative_to(root))


def _listed(names: list[str]) -> str:
    if len(names) <= NAMES_IN_A_MESSAGE:
        return ", ".join(names)
    return f"{', '.join(names[: NAMES_IN_A_MESSAGE // 2])}, ... {', '.join(names[-3:])} ({len(names)} in all)"
