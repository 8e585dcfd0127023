"""What a rewind, an overwriting fork or a repair takes out of the way in a bucket, and how it comes back.

A bucket has no rename and no lock. So what is set aside is copied first, into a numbered folder that nobody else writes
(`journal.json` claims its number). When every copy is whole, `record.json` says so. Only then the originals are
deleted, and the journal last. What breaks off before the record has changed nothing; what breaks off behind it is
finished by the next one who comes. An original is deleted only while it is the very checkpoint that was copied.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

from art.errors import (
    ArtError,
    CheckpointExistsError,
    CheckpointNotFoundError,
    ConflictError,
    CorruptCheckpointError,
    RemoteUnavailableError,
)
from art.format import layout
from art.format.manifest import FileEntry, read_manifest, utc_now
from art.names import CheckpointRef, ModelRef, parse_step
from art.remote import transfer
from art.remote.checkpoint import RemoteCheckpoint
from art.remote.copier import Copier, FolderInBucket, entries_of
from art.remote.errors import TakenError
from art.remote.location import Patience
from art.remote.objects import Object, Objects, at_once
from art.remote.shelf import Broken, BucketRecord, Shelf, below, content_of, is_old, record_of, shelves, step_at
from art.remote.transfer import Meter
from art.remote.write import create_or_same, find_claim, write, write_files
from art.store import foreign
from art.store.aside import Cause, SetAside, choose_aside
from art.store.wording import listed_steps

Result = TypeVar("Result")


def made_way_for(aside_id: int) -> str:
    """Say why something was set aside: another was brought back."""
    return f"made way for {aside_id}"


class Asides:
    """What was set aside of one model of a bucket."""

    def __init__(
        self, objects: Objects, patience: Patience, model: ModelRef, *, settled: set[int] | None = None
    ) -> None:
        self._objects, self._patience, self._model = objects, patience, model
        self._folder = f"{layout.model_path(model)}/{layout.SET_ASIDE}"
        self._settled = set[int]() if settled is None else settled
        """Numbers that nothing is left to do for; kept by whoever asks again."""

    def listed(self) -> list[SetAside]:
        """List what nobody brought back, oldest first."""
        all_asides = [self._aside(shelf) for shelf in self._shelves() if shelf.is_recorded]
        return [aside for aside in all_asides if aside.steps or aside.problem]

    def choose(self, aside_id: int | None) -> SetAside:
        """Choose what is brought back: the last, or one whose bringing back broke off; raises when it is not there."""
        candidates = self.listed()
        if aside_id is None and candidates:
            reason = candidates[-1].reason
            aside_id = next((other.id for other in candidates if reason == made_way_for(other.id)), None)
        chosen = choose_aside(candidates, self._model, aside_id)
        if chosen.damaged:
            raise CheckpointExistsError(
                f"What was set aside as {chosen.id} are the damaged files of {listed_steps(chosen.steps)} of "
                f"{self._model}, which was repaired; nothing was changed. They lie in "
                f"{self._objects.place(self._shelf_key(chosen.id))}."
            )
        return chosen

    def put(self, checkpoints: Sequence[RemoteCheckpoint], cause: Cause) -> SetAside:
        """Set checkpoints aside: all of them, or none when this raises before the record is written."""
        others = tuple(each.ref.step for each in checkpoints if each.is_foreign)

        def copy(targets: Sequence[str]) -> None:
            for checkpoint, target in zip(checkpoints, targets, strict=True):
                self._copy(checkpoint, target)

        return self._put({each.ref.step: each.key for each in checkpoints}, cause, copy, others=others)

    def keep(self, ref: CheckpointRef, key: str, items: Sequence[Object], problem: str) -> SetAside:
        """Keep a copy of the damaged files of a step before others take their place; nothing of the step is deleted."""
        entries = [_entry(self._objects, item, key) for item in items]
        cause = Cause(reason=f"repaired: {problem}", kept=ref.step, damaged=True)
        return self._put({ref.step: key}, cause, lambda targets: self._copy_files(entries, key, targets[0]))

    def _put(
        self,
        keys: Mapping[int, str],
        cause: Cause,
        copy: Callable[[Sequence[str]], None],
        *,
        others: tuple[int, ...] = (),
    ) -> SetAside:
        record = self._begin(keys, cause, others)
        try:
            copy([target for _, target in record.moves])
            create_or_same(self._objects, f"{self._shelf_key(record.id)}/{layout.RECORD}", content_of(record))
        except ArtError:
            with suppress(ArtError):
                self._give_up(record.id)
            raise
        self._finish(record)
        return SetAside.of(record, tuple(keys))

    def settle(self) -> list[SetAside]:
        """Finish what was recorded and not finished; gives what that was."""
        pending = [shelf for shelf in self._shelves() if shelf.is_pending]
        for shelf in pending:
            self._finish(self._record(shelf.id))
        return [self._aside(shelf) for shelf in pending]

    def beside_settling(self, read: Callable[[], Result]) -> Result:
        """Read what is about to be written over; once more where a rewind had to be finished first.

        Costs one request, sent at the same time, where nothing was set aside since the last time.
        """
        names, result = at_once(lambda: self._objects.folders(self._folder), read)
        if {parse_step(name) for name in names} <= self._settled:
            return result
        self._settle_unseen()
        return read()

    def _settle_unseen(self) -> None:
        """Finish what was recorded; a record that nobody can finish takes nothing out, and is passed over."""
        for shelf in self._shelves():
            if shelf.is_pending:
                with suppress(CorruptCheckpointError):
                    self._finish(self._record(shelf.id))
            if shelf.is_recorded:
                self._settled.add(shelf.id)

    def settling(self, work: Callable[[], Result]) -> Result:
        """Do some work, and once more when what was in its way is a step that a rewind has not finished to take out."""
        try:
            return work()
        except CheckpointExistsError:
            if not self.settle():
                raise
        return work()

    def has_brought_back(self, aside: SetAside, step: int) -> bool:
        """Tell whether a step in its place came from here, when an earlier attempt broke off."""
        for source, target in self._record(aside.id).moves:
            if step_at(source) != step:
                continue
            if step not in aside.steps:
                return True
            source_manifest, target_manifest = (
                self._objects.find(f"{key}/{layout.MANIFEST}") for key in (source, target)
            )
            return source_manifest is not None and source_manifest == target_manifest
        return False

    def bring_back(self, aside: SetAside) -> None:
        """Put checkpoints back into their place, the lowest first; each leaves here once it is whole there."""
        record = self._record(aside.id)
        for step in aside.steps:
            target = f"{self._shelf_key(aside.id)}/{layout.step_name(step)}"
            self._write_back(step, target, is_foreign=step in record.foreign)
            self._empty(target)

    def broken(self) -> list[Broken]:
        """List what broke off long ago: rewinds before anything was changed, and the end of bringing back."""
        all_shelves = self._shelves()
        begun = [self._broken(shelf) for shelf in all_shelves if not shelf.is_recorded and is_old(shelf)]
        return begun + [self._broken(rest) for shelf in all_shelves if (rest := self._brought_back(shelf))]

    def _brought_back(self, shelf: Shelf) -> Shelf | None:
        """Give what is left of the steps that were brought back, where deleting it here broke off; None for nothing."""
        if not shelf.is_recorded or shelf.is_pending or not shelf.without_manifest:
            return None
        with suppress(CorruptCheckpointError):
            rest = shelf.without(shelf.held(self._record(shelf.id)))
            return rest if rest.steps and is_old(rest) else None
        return None

    def sweep(self) -> list[Broken]:
        """Finish what was recorded, and delete what is broken; gives what was deleted."""
        self.settle()
        broken = self.broken()
        for each in broken:
            self._objects.delete(each.keys)
        return broken

    def _shelf_key(self, aside_id: int) -> str:
        return f"{self._folder}/{layout.step_name(aside_id)}"

    def _shelves(self) -> list[Shelf]:
        return shelves(self._objects, self._folder)

    def _aside(self, shelf: Shelf) -> SetAside:
        try:
            record = self._record(shelf.id)
        except CorruptCheckpointError as error:
            steps, reason = tuple(sorted(shelf.steps)), "its record is damaged"
            return SetAside(id=shelf.id, time="", reason=reason, kept=None, steps=steps, problem=str(error))
        return SetAside.of(record, shelf.held(record))

    def _record(self, aside_id: int) -> BucketRecord:
        """Read a record; raises `CorruptCheckpointError` for one that names anything but steps of this model."""
        key = f"{self._shelf_key(aside_id)}/{layout.RECORD}"
        where = str(self._objects.place(key))
        record = record_of(self._objects.read(key), where=where)
        for source, target in record.moves:
            step = step_at(source)
            if step is None or source.rpartition("/")[0] != str(layout.checkpoints_path(self._model)):
                raise CorruptCheckpointError(f"{where} names {source!r}, which is no step of {self._model}.")
            if target != f"{self._shelf_key(aside_id)}/{layout.step_name(step)}" or record.id != aside_id:
                raise CorruptCheckpointError(
                    f"{where} names {target!r}, which is not its own. Another program wrote it."
                )
        return record

    def _begin(self, keys: Mapping[int, str], cause: Cause, others: tuple[int, ...]) -> BucketRecord:
        """Claim a number that nobody has."""
        number = max((shelf.id for shelf in self._shelves()), default=0)
        while True:
            number += 1
            record = BucketRecord(
                id=number,
                time=utc_now(),
                reason=cause.reason,
                kept=cause.kept,
                moves=tuple((key, f"{self._shelf_key(number)}/{layout.step_name(step)}") for step, key in keys.items()),
                damaged=cause.damaged,
                owner=secrets.token_hex(8),
                foreign=others,
            )
            if self._is_ours(f"{self._shelf_key(number)}/{layout.JOURNAL}", content_of(record)):
                return record

    def _is_ours(self, key: str, content: bytes) -> bool:
        try:
            self._objects.create(key, content)
        except (TakenError, RemoteUnavailableError) as error:
            # The answer may have been lost only: then what lies there is ours.
            stored_content = self._objects.find(key)
            if stored_content is None and isinstance(error, RemoteUnavailableError):
                raise
            return stored_content == content
        return True

    def _copy(self, checkpoint: RemoteCheckpoint, target: str) -> None:
        """Copy a checkpoint, its manifest last; raises `ConflictError` when it was replaced meanwhile."""
        self._copy_files(entries_of(self._objects, checkpoint), checkpoint.key, target)
        if checkpoint.content is None:
            return
        if self._objects.find(f"{checkpoint.key}/{layout.MANIFEST}") != checkpoint.content:
            raise ConflictError(f"{checkpoint.url} was deleted or replaced meanwhile; nothing was changed.")
        create_or_same(self._objects, f"{target}/{layout.MANIFEST}", checkpoint.content)

    def _copy_files(self, entries: Iterable[FileEntry], source: str, target: str) -> None:
        write_files(self._objects, target, entries, self._files_of(source))

    def _files_of(self, key: str) -> FolderInBucket:
        return FolderInBucket(Copier(self._objects, self._objects, Meter(0, None), self._patience), key)

    def _give_up(self, aside_id: int) -> None:
        """Delete what was copied under a number of our own."""
        shelf = next((shelf for shelf in self._shelves() if shelf.id == aside_id), None)
        if shelf and not shelf.is_recorded:
            self._objects.delete(self._broken(shelf).keys)

    def _finish(self, record: BucketRecord) -> None:
        """Delete the originals, the newest first: whoever reads meanwhile sees a shorter run, and never a torn one."""
        # Of what is damaged the originals stay until others take their place.
        moves = () if record.damaged else record.moves
        for source, target in sorted(moves, key=lambda move: step_at(move[0]) or 0, reverse=True):
            self._take_out(source, target, is_foreign=step_at(source) in record.foreign)
        self._objects.delete([f"{self._shelf_key(record.id)}/{layout.JOURNAL}"])

    def _take_out(self, source: str, target: str, *, is_foreign: bool) -> None:
        """Delete an original, the manifest first and the claim last, as long as it is what was copied."""
        find, ref = self._objects.find, self._model.at(step_at(source) or 0)
        (kept, manifest), (original, claim) = at_once(
            lambda: at_once(
                lambda: self._objects.files_below(target),
                lambda: None if is_foreign else find(f"{target}/{layout.MANIFEST}"),
            ),
            lambda: at_once(lambda: find(f"{source}/{layout.MANIFEST}"), lambda: find_claim(self._objects, ref)),
        )
        if not _is_copied(original, manifest, claim, is_foreign=is_foreign):
            return
        self._require_whole(target, manifest, kept)
        self._objects.delete([f"{source}/{layout.MANIFEST}"])
        originals = self._objects.files_below(source).items()
        self._objects.delete_in_any_order(
            [item.key for path, item in originals if path in kept and kept[path].size_bytes == item.size_bytes]
        )
        if claim is not None and claim == manifest == find_claim(self._objects, ref):
            self._objects.delete([str(layout.claim_path(ref))])

    def _require_whole(self, target: str, manifest: bytes | None, kept: Mapping[str, Object]) -> None:
        if manifest is None:
            return
        where = str(self._objects.place(target))
        for entry in read_manifest(manifest, where=where).files:
            if entry.path not in kept or kept[entry.path].size_bytes != entry.size_bytes:
                raise CorruptCheckpointError(f"{where} has no whole {entry.path}; its original stays, nothing is lost.")

    def _write_back(self, step: int, source: str, *, is_foreign: bool) -> None:
        ref = self._model.at(step)
        if is_foreign:
            files = self._objects.files_below(source)
            entries = [_entry(self._objects, files[name], source) for name in foreign.FILES]
            self._copy_files(entries, source, f"{layout.checkpoints_path(self._model)}/{layout.step_name(step)}")
            return
        content = self._objects.read(f"{source}/{layout.MANIFEST}")
        manifest = read_manifest(content, where=str(self._objects.place(source)))
        if manifest.ref != ref:
            raise CheckpointNotFoundError(f"{self._objects.place(source)} holds {manifest.ref}, which is not {ref}.")
        write(self._objects, manifest, content, self._files_of(source))

    def _empty(self, target: str) -> None:
        """Delete what was brought back: first what makes it count."""
        for first in (layout.MANIFEST, layout.ADAPTER_CONFIG):
            self._objects.delete([f"{target}/{first}"])
        self._objects.delete_in_any_order([item.key for item in self._objects.all(target)])

    def _broken(self, shelf: Shelf) -> Broken:
        items = [*below(shelf), *shelf.files.values()]  # the journal last: it holds the number
        key = self._shelf_key(shelf.id)
        return Broken(
            str(self._objects.place(key)), tuple(item.key for item in items), sum(item.size_bytes for item in items)
        )


def _is_copied(original: bytes | None, manifest: bytes | None, claim: bytes | None, *, is_foreign: bool) -> bool:
    """Tell by the manifests of an original and of its copy, and by the step's claim, that nothing new lies there."""
    if manifest is None and not is_foreign:
        return False  # it was brought back already
    if original is not None or claim is not None:
        return (claim if original is None else original) == manifest
    return True


def _entry(objects: Objects, item: Object, folder: str) -> FileEntry:
    digest = transfer.digest_of(objects, item.key, item.size_bytes)
    return FileEntry(path=item.key.removeprefix(f"{folder}/"), size_bytes=item.size_bytes, blake3=digest)
