"""The checkpoint store of one root folder: what changes it. Stage and commit, fork, rewind, delete, collect.

A checkpoint is a write-once folder whose manifest was written last. A fork is a checkpoint whose parent lies on
another model: the same commit, the same files, shared where the file system can. Knows bytes, names and digests;
never sees a tensor or a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from art.errors import CheckpointExistsError, CheckpointNotFoundError, ConflictError, DestinationNotEmptyError
from art.format import layout, lineage
from art.format.lineage import ForkTerms
from art.format.manifest import Hop, Parent, digest_bytes
from art.format.selection import Skipped
from art.names import CheckpointRef, ModelRef
from art.store import disk, journal, staging
from art.store.aside import Cause, SetAside, asides, choose_aside, folders_of, put_aside
from art.store.checkpoint import Checkpoint, Damage, find_manifest, is_debris, is_whole, stamp
from art.store.listing import folders_in
from art.store.reading import CheckpointReader
from art.store.wording import listed_steps

if TYPE_CHECKING:
    # Whoever reads a root imports nothing that writes.
    from art.store.stage import Draft, Forked, Stage


class CheckpointStore(CheckpointReader):
    """The checkpoints below one root folder. Holds no state: any number of processes may use the same root."""

    def __init__(self, root: Path | str) -> None:
        super().__init__(root)
        self.staging = self.root / layout.STAGING

    def stage(self, ref: CheckpointRef) -> Stage:
        """Open a folder to write a checkpoint into; leaving it without a commit discards it."""
        from art.store.stage import Stage

        return Stage(self, ref)

    def fork(
        self,
        source: Checkpoint,
        destination: ModelRef,
        *,
        overwrite: bool = False,
        **terms: Unpack[ForkTerms],
    ) -> Forked:
        """Begin `destination` with a checkpoint of another model, at the same step.

        The same fork repeated does nothing. Any other fork into a model that has checkpoints raises
        `DestinationNotEmptyError`, unless `overwrite` sets those aside. `terms` is what the fork records: the `pick`,
        the parts to `reset`, and the `settings` that the branch is begun to try.
        """
        hop = lineage.hop_from(source.ref, source.digest, **terms)
        if repeated := self.find_fork(destination, hop, overwrite=overwrite):
            return repeated
        with self.stage(destination.at(source.ref.step)) as stage:
            return stage.commit_fork(source.manifest, hop, share_from=source, overwrite=overwrite)

    def find_fork(self, destination: ModelRef, hop: Hop, *, overwrite: bool = False) -> Forked | None:
        """Find the same fork, done earlier; None when it is still to do; raises when something else is in its place."""
        from art.store.stage import Forked

        newest = self.newest(destination)
        if newest is None:
            return None
        forks = newest.description.ancestry
        if forks and lineage.is_same_fork(forks[-1], hop):
            checkpoint = self.find(destination.at(forks[-1].step)) or newest
            return Forked(checkpoint=checkpoint, newest_step=newest.ref.step, repeated=True)
        if overwrite:
            return None
        raise self._occupied(destination)

    def publish(self, draft: Draft, *, after: Parent | None = None) -> Checkpoint:
        """Give a draft its place, unless something else is there, or its model no longer stands at `after`."""
        ref = draft.ref
        with self._alone(ref.model) as names:
            occupant = self._cleared(ref, names)
            if occupant and occupant.digest == draft.digest:
                return occupant
            newest = self.newest(ref.model)
            if after and not occupant and (newest is None or newest.digest != after.digest):
                raise ConflictError(
                    f"{ref} continues step {after.step}, but {ref.model} was rewound or replaced meanwhile: "
                    f"{self._has(ref.model)}. The step was not kept; train again from there."
                )
            if occupant or not self._publish(draft):
                raise CheckpointExistsError(
                    f"{ref} is there already, with other contents; {self._has(ref.model)}. "
                    f"Is another process training {ref.model}?"
                )
            return self._placed(draft)

    def publish_fork(self, draft: Draft, hop: Hop, *, overwrite: bool = False) -> Forked:
        """Give the draft of a fork its place: alone in its model, unless the same fork is there already."""
        from art.store.stage import Forked

        ref = draft.ref
        with self._alone(ref.model) as names:
            if repeated := self.find_fork(ref.model, hop, overwrite=overwrite):
                return repeated
            aside = None
            if all(is_debris(path) for path in self._paths(ref.model, names).values()):
                self._cleared(ref, names)
                self._publish(draft)
            elif overwrite:
                aside = self._replace(draft, names, Cause(reason=f"replaced by a fork at {ref.step}", kept=None))
            else:
                raise self._occupied(ref.model)
            return Forked(checkpoint=self._placed(draft), newest_step=ref.step, set_aside=aside)

    def publish_repaired(self, draft: Draft, damage: Damage) -> SetAside:
        """Give a draft the place of a damaged folder, which is set aside: both or neither."""
        ref = draft.ref
        with self._alone(ref.model) as names:
            self._require_unchanged(ref, damage, names)
            cause = Cause(reason=f"repaired: {damage.problem}", kept=max(names), damaged=True)
            return self._replace(draft, {ref.step: damage.path.name}, cause)

    def set_damaged_aside(self, checkpoint: Checkpoint, damages: Mapping[int, Damage]) -> SetAside:
        """Make a checkpoint its model's newest again: the later ones, all damaged, are set aside."""
        model, step = checkpoint.ref.model, checkpoint.ref.step
        with self._alone(model) as names:
            self._require(checkpoint, self._look(checkpoint.ref, names))
            later = {number: name for number, name in names.items() if number > step and number in damages}
            for number in later:
                self._require_unchanged(model.at(number), damages[number], names)
            reason = "damaged: " + "; ".join(damages[number].problem for number in later)
            return put_aside(self.root, model, later, Cause(reason=reason, kept=step, damaged=True))

    def rewind(self, checkpoint: Checkpoint, *, why: str = "") -> SetAside | None:
        """Make a checkpoint its model's newest again. Later ones are set aside, never deleted; None if none were."""
        model, step = checkpoint.ref.model, checkpoint.ref.step
        with self._alone(model) as names:
            self._require(checkpoint, self._look(checkpoint.ref, names))
            later = {number: name for number, name in names.items() if number > step}
            reason = f"rewound to {step}: {why}" if why else f"rewound to {step}"
            return put_aside(self.root, model, later, Cause(reason=reason, kept=step)) if later else None

    def set_aside(self, model: ModelRef) -> list[SetAside]:
        """List what was set aside and nobody brought back, oldest first."""
        return self._read(model, lambda _: asides(self._folder(model)))

    def set_aside_digests(self, model: ModelRef, aside: SetAside) -> dict[int, str]:
        """Map the steps that were set aside to their identities; foreign ones have none."""
        contents = {step: find_manifest(path) for step, path in folders_of(self._folder(model), aside).items()}
        return {step: digest_bytes(content) for step, content in contents.items() if content is not None}

    def restore(self, model: ModelRef, aside_id: int | None = None) -> SetAside:
        """Bring back what was set aside, the last time unless told; what took its place is set aside in turn."""
        with self._alone(model) as names:
            chosen = choose_aside(self.set_aside(model), model, aside_id)
            self._require_room(model, chosen, names)
            replaced = {step: name for step, name in names.items() if chosen.kept is None or step > chosen.kept}
            back = [
                (path, self.root / layout.checkpoint_path(model.at(step)))
                for step, path in folders_of(self._folder(model), chosen).items()
            ]
            put_aside(
                self.root, model, replaced, Cause(reason=f"made way for {chosen.id}", kept=chosen.kept), then=back
            )
        return chosen

    def delete(self, checkpoint: Checkpoint) -> None:
        """Delete one checkpoint; files that a fork shares stay with the fork."""
        with self._alone(checkpoint.ref.model) as names:
            self._require(checkpoint, self._look(checkpoint.ref, names))
            disk.discard(checkpoint.path)

    def delete_step(self, ref: CheckpointRef, seen: object) -> None:
        """Delete what counts as the checkpoint of a step, damaged or not; raises `CheckpointNotFoundError`.

        Raises `ConflictError` where another folder lies there than the one that had the stamp `seen`.
        """
        with self._alone(ref.model) as names:
            path = self._paths(ref.model, names).get(ref.step)
            if path is None or not is_whole(path):
                raise CheckpointNotFoundError(f"There is no checkpoint {ref}; {self._has(ref.model)}.")
            if stamp(path) != seen:
                raise ConflictError(f"{ref} was replaced by another checkpoint meanwhile, which stays.")
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
        folders = (folder for folder in folders_in(self.staging) if not folder.is_symlink())
        return [folder for folder in folders if staging.is_abandoned(folder)]

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
        return deleted + [folder for folder in abandoned if staging.remove_abandoned(folder)]

    def _publish(self, draft: Draft) -> bool:
        """Give a draft its place in one step; False, and nothing changed, when something is there."""
        disk.write_file(draft.folder / layout.MANIFEST, draft.content)
        return disk.publish(draft.folder, self._place(draft.ref))

    def _replace(self, draft: Draft, names: Mapping[int, str], cause: Cause) -> SetAside:
        """Set folders aside and give a draft its place: both or neither."""
        disk.write_file(draft.folder / layout.MANIFEST, draft.content)
        disk.finish_in_place(draft.folder)
        then = [(draft.folder, self._place(draft.ref))]
        return put_aside(self.root, draft.ref.model, names, cause, then=then)

    def _placed(self, draft: Draft) -> Checkpoint:
        return Checkpoint(ref=draft.ref, path=self._place(draft.ref), description=draft.manifest, digest=draft.digest)

    def _place(self, ref: CheckpointRef) -> Path:
        return self.root / layout.checkpoint_path(ref)

    def _require_unchanged(self, ref: CheckpointRef, damage: Damage, names: Mapping[int, str]) -> None:
        if self._paths(ref.model, names).get(ref.step) != damage.path or stamp(damage.path) != damage.stamp:
            raise ConflictError(f"{ref} was replaced or deleted meanwhile; nothing was changed.")

    def _require_room(self, model: ModelRef, chosen: SetAside, names: Mapping[int, str]) -> None:
        """Refuse to bring back the damaged folder of a step that was repaired."""
        taken = [step for step in chosen.steps if step in names and chosen.kept is not None and step <= chosen.kept]
        if taken:
            lies = journal.aside(self._folder(model), chosen.id)
            raise CheckpointExistsError(
                f"What was set aside as {chosen.id} is the damaged copy of {listed_steps(taken)} of {model}, which was "
                f"repaired; nothing was changed. Its files lie in {lies}."
            )

    def _torn(self, model: ModelRef, names: Mapping[int, str]) -> list[Path]:
        torn = [path for path in self._paths(model, names).values() if is_debris(path)]
        return torn + disk.discarded(self.root / layout.checkpoints_path(model))

    def _cleared(self, ref: CheckpointRef, names: Mapping[int, str]) -> Checkpoint | None:
        """Give the checkpoint at a step; debris in its place is deleted."""
        occupant = self._look(ref, names)
        if not isinstance(occupant, Skipped):
            return occupant
        place = self.root / layout.checkpoints_path(ref.model) / names[ref.step]
        if not is_debris(place):
            raise CheckpointExistsError(f"{ref} cannot be written, {place} is in its place: {occupant.reason}.")
        disk.discard(place)
        return None

    def _occupied(self, destination: ModelRef) -> DestinationNotEmptyError:
        return DestinationNotEmptyError(
            f"{destination} cannot be forked into: {self._has(destination)}. {DestinationNotEmptyError.WAYS_OUT}"
        )
