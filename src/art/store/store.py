"""The checkpoint store of one root folder: stage and commit, open, select, fork, rewind, lineage, delete.

A checkpoint is a write-once folder whose manifest was written last; "newest" is computed by listing, never stored.
A fork is a checkpoint whose parent lies on another model: the same commit, the same files, shared where the file
system can. Knows bytes, names and digests; never sees a tensor or a network.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

from art.errors import (
    ArtError,
    CheckpointExistsError,
    CheckpointNotFoundError,
    ConflictError,
    CorruptCheckpointError,
    DestinationNotEmptyError,
    MetricNotFoundError,
    ModelNotFoundError,
)
from art.format import layout, lineage
from art.format.manifest import FileEntry, Hop, Manifest, Parent, read_manifest, utc_now
from art.format.pick import NEWEST, AtMost, Best, Exact, Pick, candidates
from art.format.selection import Selection, Skipped, absence, choose
from art.names import CheckpointRef, ModelRef
from art.store import disk, journal, regular
from art.store.checkpoint import Checkpoint, check_file, check_manifest, check_size, is_debris, is_whole, look
from art.store.history import History

NAMES_IN_A_MESSAGE = 12
T = TypeVar("T")


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
    problem: str | None = None
    """Why it cannot be brought back: its record is damaged."""


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

        def whole(names: Mapping[int, str]) -> list[int]:
            folder = self.root / layout.checkpoints_path(model)
            return [step for step, name in sorted(names.items()) if is_whole(f"{folder}/{name}")]

        return self._read(model, whole)

    def folders(self, model: ModelRef) -> dict[int, Path]:
        """Map every step that has a folder, committed or not, to where it lies."""
        return self._read(model, partial(self._paths, model))

    def open(self, ref: CheckpointRef) -> Checkpoint:
        """Open one checkpoint; raises `CheckpointNotFoundError` or `CorruptCheckpointError`."""
        found = self._read(ref.model, partial(self._look, ref))
        if isinstance(found, Checkpoint):
            return found
        self._require_model(ref.model)
        reason = f" ({found.reason})" if found else ""
        raise CheckpointNotFoundError(f"There is no checkpoint {ref}{reason}; {self._has(ref.model)}.")

    def require(self, checkpoint: Checkpoint) -> None:
        """Check that a checkpoint is still the one that was opened; raises `CheckpointNotFoundError`."""
        self._require(checkpoint, self.find(checkpoint.ref))

    def find(self, ref: CheckpointRef) -> Checkpoint | None:
        """Open one checkpoint, None when there is none; raises `CorruptCheckpointError`."""
        found = self._read(ref.model, partial(self._look, ref))
        return found if isinstance(found, Checkpoint) else None

    def newest(self, model: ModelRef) -> Checkpoint | None:
        """Open the newest checkpoint, None when the model has none."""
        found = self._choose(model, NEWEST)
        return found.checkpoint if isinstance(found, Selection) else None

    def select(self, model: ModelRef, pick: Pick = NEWEST) -> Selection[Checkpoint]:
        """Choose a checkpoint, the newest unless told. Opens no more than it needs."""
        if isinstance(pick, Exact):
            return Selection(checkpoint=self.open(model.at(pick.step)), pick=pick, considered=1)
        found = self._choose(model, pick)
        if isinstance(found, Selection):
            return found
        self._require_model(model)
        raise CheckpointNotFoundError(absence(pick, model, found, has=self._has(model)))

    def best(self, model: ModelRef, scores: Mapping[int, float]) -> Checkpoint | None:
        """Open the checkpoint with the highest score, the newest of equals; None when no scored step has one."""
        for step in sorted(scores, key=lambda step: (scores[step], step), reverse=True):
            if found := self.find(model.at(step)):
                return found
        return None

    def read(self, checkpoint: Checkpoint, name: str) -> bytes:
        """Read one small file of a checkpoint."""
        with disk.explained("read", checkpoint.path / name):
            return (checkpoint.path / name).read_bytes()

    def verify(self, checkpoint: Checkpoint) -> None:
        """Read every byte again; raises `CorruptCheckpointError` naming the file and both digests."""
        check_manifest(checkpoint)
        for entry in checkpoint.manifest.files:
            check_file(checkpoint.path / entry.path, entry)

    def stage(self, ref: CheckpointRef) -> Stage:
        """Open a folder to write a checkpoint into; leaving it without a commit discards it."""
        return Stage(self, ref)

    def discard(self, stage: Stage) -> None:
        """Delete what a stage did not commit."""
        # Moves that were begun and not finished may need the folder: whoever settles the journal takes it from there.
        if not journal.is_pending(self._folder(stage.ref.model)):
            disk.remove(stage.path)

    def fork(
        self,
        source: Checkpoint,
        destination: ModelRef,
        *,
        pick: Pick = NEWEST,
        reset: Collection[str] = (),
        overwrite: bool = False,
    ) -> Forked:
        """Begin `destination` with a checkpoint of another model, at the same step.

        The same fork repeated does nothing. Any other fork into a model that has checkpoints raises
        `DestinationNotEmptyError`, unless `overwrite` sets those aside.
        """
        hop = lineage.hop_from(source.ref, source.digest, pick=pick, reset=reset)
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

    def publish(self, folder: Path, manifest: Manifest, *, after: Parent | None = None) -> Checkpoint:
        """Give a staged folder its place, unless something else is there, or its model no longer stands at `after`."""
        ref, place = manifest.ref, self.root / layout.checkpoint_path(manifest.ref)
        with self._alone(ref.model) as names:
            there = self._cleared(ref, names)
            if there and there.digest == disk.digest(folder / layout.MANIFEST):
                return there
            newest = self.newest(ref.model)
            if after and not there and (newest is None or newest.digest != after.digest):
                raise ConflictError(
                    f"{ref} continues step {after.step}, but {ref.model} was rewound or replaced meanwhile: "
                    f"{self._has(ref.model)}. The step was not kept; train again from there."
                )
            if there or not disk.publish(folder, place):
                raise CheckpointExistsError(
                    f"{ref} is there already, with other contents; {self._has(ref.model)}. "
                    f"Is another process training {ref.model}?"
                )
            return self.open(ref)

    def publish_fork(self, folder: Path, manifest: Manifest, hop: Hop, *, overwrite: bool = False) -> Forked:
        """Give a staged fork its place: alone in its model, unless the same fork is there already."""
        ref, place = manifest.ref, self.root / layout.checkpoint_path(manifest.ref)
        with self._alone(ref.model) as names:
            if repeated := self.find_fork(ref.model, hop, overwrite=overwrite):
                return repeated
            aside = None
            if all(is_debris(path) for path in self._paths(ref.model, names).values()):
                self._cleared(ref, names)
                disk.publish(folder, place)
            elif overwrite:
                disk.finish(folder)
                reason = f"replaced by a fork at {ref.step}"
                aside = self._set_aside(ref.model, names, kept=None, reason=reason, then=[(folder, place)])
            else:
                raise self._occupied(ref.model)
            return Forked(self.open(ref), ref.step, set_aside=aside)

    def rewind(self, checkpoint: Checkpoint) -> SetAside | None:
        """Make a checkpoint its model's newest again. Later ones are set aside, never deleted; None if none were."""
        model, step = checkpoint.ref.model, checkpoint.ref.step
        with self._alone(model) as names:
            self._require(checkpoint, self._look(checkpoint.ref, names))
            later = {number: name for number, name in names.items() if number > step}
            return self._set_aside(model, later, kept=step, reason=f"rewound to {step}") if later else None

    def set_aside(self, model: ModelRef) -> list[SetAside]:
        """List what was set aside and nobody brought back, oldest first."""
        folder = self._folder(model)
        found = self._read(model, lambda _: [_aside_of(folder, record) for record in journal.records(folder)])
        return [aside for aside in found if aside.steps or aside.problem]

    def restore(self, model: ModelRef, aside_id: int | None = None) -> SetAside:
        """Bring back what was set aside, the last time unless told; what took its place is set aside in turn."""
        with self._alone(model) as names:
            chosen = self._chosen_aside(model, aside_id)
            replaced = {step: name for step, name in names.items() if chosen.kept is None or step > chosen.kept}
            aside = journal.aside(self._folder(model), chosen.id)
            back = [
                (aside / name, self.root / layout.checkpoint_path(model.at(step)))
                for step, name in sorted(layout.folders_by_step(disk.names(aside)).items())
            ]
            self._set_aside(model, replaced, kept=chosen.kept, reason=f"made way for {chosen.id}", then=back)
        return chosen

    def lineage(self, ref: CheckpointRef) -> Iterator[tuple[CheckpointRef, Checkpoint | None]]:
        """Yield `ref` and its ancestors, newest first, across forks; None beside one that is gone."""
        checkpoint: Checkpoint | None = self.open(ref)
        yield ref, checkpoint
        while checkpoint and checkpoint.manifest.parent:
            child, parent = checkpoint.manifest, checkpoint.manifest.parent
            found = self.find(parent.ref)
            # After a rewind another checkpoint may lie where the parent was.
            checkpoint = found if found and found.digest == parent.digest else None
            yield parent.ref, checkpoint
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
        with self._alone(checkpoint.ref.model) as names:
            self._require(checkpoint, self._look(checkpoint.ref, names))
            disk.discard(checkpoint.path)

    def delete_step(self, ref: CheckpointRef) -> None:
        """Delete what counts as the checkpoint of a step, damaged or not; raises `CheckpointNotFoundError`."""
        with self._alone(ref.model) as names:
            path = self._paths(ref.model, names).get(ref.step)
            if path is None or not is_whole(path):
                raise CheckpointNotFoundError(f"There is no checkpoint {ref}; {self._has(ref.model)}.")
            disk.discard(path)

    def unknown(self, model: ModelRef) -> dict[int, Path]:
        """Map the steps whose folder is neither a checkpoint nor debris of ours: nothing reads or deletes it."""

        def unknown_of(names: Mapping[int, str]) -> dict[int, Path]:
            paths = self._paths(model, names)
            return {step: path for step, path in paths.items() if not is_whole(path) and not is_debris(path)}

        return self._read(model, unknown_of)

    def torn(self, model: ModelRef) -> list[Path]:
        """List the folders of a model that hold nothing of a checkpoint, or were being deleted."""
        return self._read(model, partial(self._torn, model))

    def abandoned(self) -> list[Path]:
        """List the staging folders that nobody holds any more."""
        if self.staging.is_symlink():
            return []
        folders = (folder for folder in self.staging.glob("*/") if not folder.is_symlink())
        return [folder for folder in folders if disk.is_abandoned(folder)]

    def debris(self) -> list[Path]:
        """List what nobody misses: step folders without anything of a checkpoint, and abandoned staging folders."""
        abandoned = self.abandoned()
        torn = [path for model in self.models() for path in self.torn(model)]
        return torn + [folder for folder in abandoned if folder.exists()]

    def sweep(self, model: ModelRef) -> list[Path]:
        """Delete the folders of a model that `torn` lists; gives what was deleted."""
        with self._alone(model) as names:
            torn = self._torn(model, names)
            for path in torn:
                disk.discard(path)
            return torn

    def collect(self) -> list[Path]:
        """Delete the debris; gives what was deleted."""
        # Listed before the models settle: what a journal names is then moved away, and not deleted.
        abandoned = self.abandoned()
        deleted = [path for model in self.models() for path in self.sweep(model)]
        return deleted + [folder for folder in abandoned if disk.remove_abandoned(folder)]

    def _folder(self, model: ModelRef) -> Path:
        return self.root / layout.model_path(model)

    def _paths(self, model: ModelRef, names: Mapping[int, str]) -> dict[int, Path]:
        folder = self.root / layout.checkpoints_path(model)
        return {step: folder / name for step, name in sorted(names.items())}

    def _read(self, model: ModelRef, read: Callable[[Mapping[int, str]], T]) -> T:
        """Read the folders of a model's steps, again when a rewind, restore or overwriting fork came in between."""
        folder = self._folder(model)
        while True:
            count = journal.count(folder)
            if journal.is_pending(folder):
                with self._alone(model) as names:
                    return read(names)
            try:
                result = read(self._names(model))
            except ArtError:
                if journal.is_settled_at(folder, count):
                    raise
            else:
                if journal.is_settled_at(folder, count):
                    return result

    @contextmanager
    def _alone(self, model: ModelRef) -> Generator[Mapping[int, str]]:
        """Hold the lock of a model and finish what a crash left half done; gives the folders of its steps."""
        with disk.exclusive(self._folder(model), (layout.CHECKPOINTS, layout.SET_ASIDE)):
            journal.settle(self.root, self._folder(model))
            yield self._names(model)

    def _names(self, model: ModelRef) -> Mapping[int, str]:
        folder = self._folder(model) / layout.CHECKPOINTS
        regular.require_folders([folder])
        return layout.folders_by_step(disk.names(folder))

    def _look(self, ref: CheckpointRef, names: Mapping[int, str]) -> Checkpoint | Skipped | None:
        name = names.get(ref.step)
        return look(ref, self.root / layout.checkpoints_path(ref.model) / name) if name else None

    def _choose(self, model: ModelRef, pick: Pick) -> Selection[Checkpoint] | list[Skipped]:
        scores = self._scores(model, pick.metric) if isinstance(pick, Best) else {}

        def choose_among(names: Mapping[int, str]) -> Selection[Checkpoint] | list[Skipped]:
            return choose(pick, candidates(pick, names, scores), lambda step: self._look(model.at(step), names))

        return self._read(model, choose_among)

    def _scores(self, model: ModelRef, metric: str) -> Mapping[int, float]:
        history, segments = History(self.root), self.segments(model)
        scores = history.scores(segments, metric)
        if not scores:
            self._require_model(model)
            known = sorted({name for entry in history.read_lineage(segments) for name in entry.metrics})
            raise MetricNotFoundError(f"{model} has no metric {metric!r}; it has {', '.join(known) or 'none'}.")
        return scores

    def _torn(self, model: ModelRef, names: Mapping[int, str]) -> list[Path]:
        torn = [path for path in self._paths(model, names).values() if is_debris(path)]
        return torn + disk.discarded(self.root / layout.checkpoints_path(model))

    def _cleared(self, ref: CheckpointRef, names: Mapping[int, str]) -> Checkpoint | None:
        """Give the checkpoint at a step; debris in its place is deleted."""
        there = self._look(ref, names)
        if not isinstance(there, Skipped):
            return there
        place = self.root / layout.checkpoints_path(ref.model) / names[ref.step]
        if not is_debris(place):
            raise CheckpointExistsError(f"{ref} cannot be written, {place} is in its place: {there.reason}.")
        disk.discard(place)
        return None

    def _set_aside(
        self,
        model: ModelRef,
        names: Mapping[int, str],
        *,
        kept: int | None,
        reason: str,
        then: Collection[tuple[Path, Path]] = (),
    ) -> SetAside:
        folder = self._folder(model)
        record_id = journal.next_id(folder)
        aside = journal.aside(folder, record_id)
        out = [(folder / layout.CHECKPOINTS / name, aside / name) for _, name in sorted(names.items())]
        moves = [(_below(self.root, source), _below(self.root, target)) for source, target in [*out, *then]]
        record = journal.Record(id=record_id, time=utc_now(), reason=reason, kept=kept, moves=tuple(moves))
        journal.run(self.root, folder, record)
        return _aside_of(folder, record)

    def _chosen_aside(self, model: ModelRef, aside_id: int | None) -> SetAside:
        candidates = self.set_aside(model)
        chosen = next((aside for aside in reversed(candidates) if aside_id in (None, aside.id)), None)
        if chosen is None:
            asked = "" if aside_id is None else f" as {aside_id}"
            known = ", ".join(str(aside.id) for aside in candidates) or "nothing"
            raise CheckpointNotFoundError(f"{model} has no checkpoints set aside{asked}; it has {known}.")
        if chosen.problem:
            raise CorruptCheckpointError(f"What was set aside as {chosen.id} cannot be brought back: {chosen.problem}")
        return chosen

    def _next_known(self, child: Manifest, below: int) -> Checkpoint | None:
        """Find the newest checkpoint before a step that is gone, in the same model or before the fork it came from."""
        for segment in reversed(lineage.segments(child.ref.model, child)):
            last = below - 1 if segment.last is None else min(below - 1, segment.last)
            if last < segment.first:
                continue
            found = self._choose(segment.model, AtMost(last))
            if isinstance(found, Selection) and found.checkpoint.ref.step >= segment.first:
                return found.checkpoint
        return None

    def _require(self, checkpoint: Checkpoint, there: Checkpoint | Skipped | None) -> None:
        if there != checkpoint:
            model = checkpoint.ref.model
            raise CheckpointNotFoundError(f"{checkpoint.ref} was deleted or replaced meanwhile; {self._has(model)}.")

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
        self.path = self._opened.enter_context(disk.new_staging(self._store.staging))
        return self

    def __exit__(self, *_: object) -> None:
        with self._opened:
            self._store.discard(self)

    def commit(self, *, parent: Checkpoint | None = None, **details: Any) -> Checkpoint:
        """Make what was written a checkpoint that continues `parent`.

        `details` are fields of the manifest: base_model, lora, libraries, environment, metrics.
        """
        manifest = Manifest(
            project=self.ref.model.project,
            model=self.ref.model.name,
            step=self.ref.step,
            created_at=utc_now(),
            files=tuple(_protected(path) for path in sorted(self.path.iterdir())),
            parent=_parent_of(parent.ref, parent.digest) if parent else None,
            ancestry=parent.manifest.ancestry if parent else (),
            **details,
        )
        disk.write_file(self.path / layout.MANIFEST, manifest.to_bytes())
        is_own = manifest.parent is not None and manifest.parent.ref.model == self.ref.model
        return self._store.publish(self.path, manifest, after=manifest.parent if is_own else None)

    def commit_fork(
        self, source: Manifest, hop: Hop, *, share_from: Checkpoint | None = None, overwrite: bool = False
    ) -> Forked:
        """Make this a fork of `source`, with the files of a checkpoint on this disk or with those already staged."""
        manifest = forked_manifest(source, hop, self.ref)
        how = self._share_all(manifest.files, share_from) if share_from else {}
        disk.write_file(self.path / layout.MANIFEST, manifest.to_bytes())
        forked = self._store.publish_fork(self.path, manifest, hop, overwrite=overwrite)
        if forked.repeated:
            return forked
        copied = sum(entry.size_bytes for entry, sharing in how.items() if sharing is disk.Sharing.COPY)
        shared = sum(entry.size_bytes for entry in how) - copied
        return replace(forked, shared_bytes=shared, copied_bytes=copied, sharing=frozenset(how.values()))

    def commit_copy(self, manifest: bytes) -> Checkpoint:
        """Make what was fetched the very checkpoint that its manifest describes."""
        disk.write_file(self.path / layout.MANIFEST, manifest)
        return self._store.publish(self.path, read_manifest(manifest, where=str(self.ref)))

    def share(self, entry: FileEntry, holder: Checkpoint) -> disk.Sharing:
        """Take a file from a checkpoint on this disk."""
        check_size(holder.path / entry.path, entry)
        return disk.share(holder.path / entry.path, self.path / entry.path, immutable=not holder.is_foreign)

    def _share_all(self, entries: Collection[FileEntry], holder: Checkpoint) -> dict[FileEntry, disk.Sharing]:
        try:
            return {entry: self.share(entry, holder) for entry in entries}
        finally:
            # Or these may be files of two checkpoints, or of one that its program wrote again.
            self._store.require(holder)


def _protected(path: Path) -> FileEntry:
    disk.protect(path)
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


def _aside_of(folder: Path, record: journal.Record | journal.DamagedRecord) -> SetAside:
    steps = tuple(sorted(layout.folders_by_step(disk.names(journal.aside(folder, record.id)))))
    if isinstance(record, journal.DamagedRecord):
        return SetAside(record.id, "", "its record is damaged", None, steps, record.problem)
    return SetAside(record.id, record.time, record.reason, record.kept, steps)


def _below(root: Path, path: Path) -> str:
    return str(path.relative_to(root))


def _listed(names: list[str]) -> str:
    if len(names) <= NAMES_IN_A_MESSAGE:
        return ", ".join(names)
    return f"{', '.join(names[: NAMES_IN_A_MESSAGE // 2])}, ... {', '.join(names[-3:])} ({len(names)} in all)"
