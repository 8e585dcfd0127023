"""The same checkpoints in an object store: select, fetch, push, fork, delete.

One relative path holds under a root folder and under a bucket's prefix. Knows listings, manifests and names;
how bytes move is `transfer`'s, what a server's refusal means `remote_errors`'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

from art.errors import CheckpointNotFoundError, ConfigurationError, ConflictError
from art.format import layout
from art.format.lineage import ForkTerms
from art.format.manifest import digest_bytes
from art.format.pick import Exact
from art.format.pins import pin_line
from art.names import CheckpointRef, ModelRef
from art.remote.aside import Asides, made_way_for
from art.remote.checkpoint import RemoteCheckpoint, RemoteFile
from art.remote.clients import require_folder
from art.remote.copy import Copied, FolderOnDisk, Receiver, fork_between, fork_from_disk, move_between
from art.remote.fetch import Fetching
from art.remote.history import add_lines, copy_history, fetch_history, send_history
from art.remote.location import Patience, parse_location
from art.remote.mending import Elsewhere, Mend, mend
from art.remote.objects import Objects, at_once
from art.remote.reading import RemoteReader
from art.remote.shelf import Broken
from art.remote.signatures import find_signatures
from art.remote.transfer import Meter, Progress
from art.remote.write import StepBefore, Written, find_claim, read_step, write
from art.store.aside import Cause, SetAside
from art.store.checkpoint import Checkpoint, find_manifest
from art.store.store import CheckpointStore
from art.store.wording import listed_steps


class Remote(RemoteReader, Fetching):
    """The checkpoints below one prefix of a bucket."""

    def __init__(self, objects: Objects, patience: Patience | None = None) -> None:
        RemoteReader.__init__(self, objects, patience)
        self._settled_numbers = dict[ModelRef, set[int]]()

    @classmethod
    def open(cls, url_or_bucket: str, *, prefix: str | None = None, patience: Patience | None = None) -> Remote:
        """Open `bucket`, `s3://bucket/prefix`, `gs://`, `az://`, `file:///` or `memory://`. Sends no request.

        Raises `ConfigurationError`, or `RemoteNotFoundError` for a folder that is not there. What signs requests is
        looked for by the first of them, which raises `RemoteAccessError` when there is nothing.
        """
        location = parse_location(url_or_bucket, prefix=prefix)
        if location.scheme == "hf":
            raise ConfigurationError(
                f"{location} is on the Hub, which is read and never written: `art fork {location} project/model`."
            )
        if location.scheme == "file":
            require_folder(location)
        return cls(Objects(location, patience or Patience()), patience)

    def push(self, checkpoint: Checkpoint, *, progress: Progress | None = None) -> Written:
        """Write a checkpoint of this disk here, or the rest of it after a push that broke off.

        A foreign checkpoint gets a manifest on the way, so that what arrives can be checked from then on.
        Raises `CheckpointExistsError`, naming the key, when something else has its place.
        """
        content = _manifest_bytes(checkpoint)
        files = FolderOnDisk(checkpoint, self._objects, Meter(checkpoint.manifest.size_bytes, progress))

        def work() -> Written:
            before = self._before(checkpoint.ref)
            return write(self._objects, checkpoint.manifest, content, files, before=before)

        return self._asides(checkpoint.ref.model).settling(work)

    def fork(
        self,
        checkpoint: RemoteCheckpoint,
        destination: ModelRef,
        *,
        to: Remote | None = None,
        overwrite: bool = False,
        progress: Progress | None = None,
        **terms: Unpack[ForkTerms],
    ) -> Copied:
        """Begin a model in this bucket, or in another one, with a checkpoint of this one.

        The server copies the bytes where it can; the rest passes through this machine and is checked.
        """
        return (to or self).receive(
            destination.at(checkpoint.ref.step),
            lambda receiver: fork_between(self._objects, checkpoint, receiver, progress=progress, **terms),
            overwrite=overwrite,
        )

    def push_from(self, source: Remote, checkpoint: RemoteCheckpoint, *, progress: Progress | None = None) -> Written:
        """Write a checkpoint of another bucket here, as `push` does; the server copies the bytes where it can."""

        def work() -> Written:
            before = self._before(checkpoint.ref)
            return move_between(
                source._objects,
                checkpoint,
                self._objects,
                patience=self._patience,
                before=before,
                progress=progress,
            )

        return self._asides(checkpoint.ref.model).settling(work)

    def receive(self, ref: CheckpointRef, begin: Callable[[Receiver], Copied], *, overwrite: bool) -> Copied:
        """Begin a model in this bucket; what a rewind left in the way of it is taken out first."""

        def work() -> Copied:
            return begin(self.overwriting_receiver(ref) if overwrite else self.receiver(ref))

        return self._asides(ref.model).settling(work)

    def receiver(self, ref: CheckpointRef) -> Receiver:
        """Say what a fork into a model of this bucket finds."""
        folders, claim = self._asides(ref.model).beside_settling(
            lambda: at_once(lambda: self._folders(ref.model), lambda: self.claimed(ref))
        )
        newest = self._newest(ref.model, folders)
        # Whoever writes a step claims it first: where no folder is, there is no manifest and no file.
        before = read_step(self._objects, ref) if folders and not newest else StepBefore(claim=claim)
        return Receiver(
            objects=self._objects, patience=self._patience, ref=ref, newest=newest, before=before, clear=None
        )

    def overwriting_receiver(self, ref: CheckpointRef) -> Receiver:
        """Say what a fork finds that sets aside what is in its way; finishes what broke off first."""
        model, asides = ref.model, self._asides(ref.model)
        finished = asides.settle()
        newest = self.newest(model)

        def clear(reason: str) -> SetAside | None:
            if newest is None:
                return next(reversed(finished), None)
            everything = [self.open_checkpoint(model.at(step)) for step in self.steps(model)]
            return asides.put(everything, Cause(reason=reason, kept=None))

        return Receiver(
            objects=self._objects, patience=self._patience, ref=ref, newest=newest, before=None, clear=clear
        )

    def rewind(self, checkpoint: RemoteCheckpoint) -> SetAside | None:
        """Make a checkpoint its model's newest again. Later ones are set aside, never deleted; None if none were.

        One that broke off is finished by the next rewind, restore or overwriting fork of the model, and by a push or a
        fork whose step it has not left yet.
        """
        model, step, asides = checkpoint.ref.model, checkpoint.ref.step, self._asides(checkpoint.ref.model)
        finished = next((aside for aside in reversed(asides.settle()) if aside.kept == step), None)
        if self.open_checkpoint(checkpoint.ref).digest != checkpoint.digest:
            raise CheckpointNotFoundError(f"{checkpoint.url} was deleted or replaced meanwhile; nothing was changed.")
        later = [self.open_checkpoint(model.at(number)) for number in self.steps(model) if number > step]
        aside = asides.put(later, Cause(reason=f"rewound to {step}", kept=step)) if later else finished
        if further := [number for number in self.steps(model) if number > step]:
            raise ConflictError(
                f"{model} got {listed_steps(further)} in {self} while it was rewound to {step}: another process pushes "
                "it. Stop that one, then rewind again."
            )
        return aside

    def set_aside(self, model: ModelRef) -> list[SetAside]:
        """List what was set aside in the bucket and nobody brought back, oldest first."""
        return self._asides(model).listed()

    def restore(self, model: ModelRef, aside_id: int | None = None) -> SetAside:
        """Bring back what was set aside, the last time unless told; what took its place is set aside in turn."""
        asides = self._asides(model)
        asides.settle()
        chosen = asides.choose(aside_id)
        place = [step for step in self.steps(model) if chosen.kept is None or step > chosen.kept]
        if replaced := [step for step in place if not asides.has_brought_back(chosen, step)]:
            cause = Cause(reason=made_way_for(chosen.id), kept=chosen.kept)
            asides.put([self.open_checkpoint(model.at(step)) for step in replaced], cause)
        asides.bring_back(chosen)
        return chosen

    def claimed(self, ref: CheckpointRef) -> bytes | None:
        """Read the manifest that a push claimed a step with: a second copy of the checkpoint's own."""
        return find_claim(self._objects, ref)

    def source(self, file: RemoteFile) -> Elsewhere:
        """Say where a file lies, for a repair."""
        return Elsewhere(self._objects, file.key)

    def folder(self, ref: CheckpointRef) -> str | None:
        """Give the key of a step's folder, whatever lies in it; None when there is none."""
        name = self._folders(ref.model).get(ref.step)
        return f"{layout.checkpoints_path(ref.model)}/{name}" if name else None

    def mend(self, wanted: Mend, *, progress: Progress | None = None) -> SetAside | None:
        """Make a damaged checkpoint whole; gives what was set aside, None where nothing was there to keep."""
        return mend(self._objects, self._asides(wanted.ref.model), wanted, patience=self._patience, progress=progress)

    def broken_asides(self, model: ModelRef) -> list[Broken]:
        """List what rewinds that broke off long ago left, which nobody misses."""
        return self._asides(model).broken()

    def sweep(self, model: ModelRef) -> list[Broken]:
        """Finish the moves that were begun, and delete what `broken_asides` lists; gives what was deleted."""
        return self._asides(model).sweep()

    def _before(self, ref: CheckpointRef) -> StepBefore:
        return self._asides(ref.model).beside_settling(lambda: read_step(self._objects, ref))

    def _asides(self, model: ModelRef) -> Asides:
        return Asides(self._objects, self._patience, model, settled=self._settled_numbers.setdefault(model, set()))

    def set_pin(self, ref: CheckpointRef, digest: str | None, *, pinned: bool) -> None:
        """Pin a checkpoint in the bucket, or take its pin out."""
        key = str(layout.pins_path(ref.model))
        known = (self._objects.find(key) or b"").split(b"\n")
        add_lines(self._objects, key, pin_line(ref.step, digest, pinned=pinned, lines=known) + b"\n")

    def signatures(self, model: ModelRef, digest: str | None) -> dict[str, str]:
        """Map where the signatures of a checkpoint lie to their keys."""
        keys = [item.key for item in find_signatures(self._objects, model, digest)]
        return {str(self._objects.place(key)): key for key in keys}

    def read_signature(self, key: str) -> bytes:
        """Read what `signatures` names."""
        return self._objects.read(key)

    def write_signature(self, model: ModelRef, name: str, content: bytes) -> str:
        """Write a signature, over an earlier one of the same key; gives where it lies."""
        key = str(layout.signatures_path(model) / name)
        self._objects.overwrite(key, content)
        return str(self._objects.place(key))

    def push_history(self, store: CheckpointStore, model: ModelRef) -> int:
        """Add to this bucket what only this disk knows of a model's history; gives the bytes of it."""
        return send_history(self._objects, store.root, model)

    def copy_history(self, source: Remote, model: ModelRef) -> int:
        """Add to this bucket what only another one knows of a model's history; gives the bytes of it."""
        return copy_history(source._objects, self._objects, model)

    def fetch_history(self, store: CheckpointStore, model: ModelRef) -> int:
        """Add to this disk what only this bucket knows of a model's history; gives the bytes of it."""
        return fetch_history(self._objects, store.root, model)

    def push_fork(
        self,
        checkpoint: Checkpoint,
        destination: ModelRef,
        *,
        overwrite: bool = False,
        progress: Progress | None = None,
        **terms: Unpack[ForkTerms],
    ) -> Copied:
        """Begin a model in this bucket with a checkpoint of this disk."""
        return self.receive(
            destination.at(checkpoint.ref.step),
            lambda receiver: fork_from_disk(checkpoint, receiver, progress=progress, **terms),
            overwrite=overwrite,
        )

    def give_up(self, ref: CheckpointRef, digest: str) -> None:
        """Delete what a push of this very checkpoint left that broke off; a whole one, and another push's, stay."""
        claim = self.claimed(ref)
        if claim is not None and digest_bytes(claim) == digest and ref.step not in self.steps(ref.model):
            self.delete(ref)

    def has_remains(self, ref: CheckpointRef) -> bool:
        """Tell whether a push or a deletion of a step broke off here, or goes on: `delete` takes it away."""
        return ref.step not in self.steps(ref.model) and self.claimed(ref) is not None

    def delete(self, ref: CheckpointRef) -> None:
        """Delete a checkpoint, or what a broken push of it left: the manifest first, the claim last."""
        folder = self._folders(ref.model).get(ref.step)
        if folder is None and self.claimed(ref) is None:
            raise self._absence(Exact(ref.step), ref.model, self._folders(ref.model))
        key = f"{layout.checkpoints_path(ref.model)}/{folder or layout.step_name(ref.step)}"
        self._objects.delete([f"{key}/{layout.MANIFEST}"])
        self._objects.delete_in_any_order([item.key for item in self._objects.all(key)])
        self._objects.delete([str(layout.claim_path(ref))])


def _manifest_bytes(checkpoint: Checkpoint) -> bytes:
    if checkpoint.is_foreign:
        return checkpoint.manifest.to_bytes()
    content = find_manifest(checkpoint.path)
    if content is None or digest_bytes(content) != checkpoint.digest:
        raise CheckpointNotFoundError(f"{checkpoint.ref} was deleted or replaced meanwhile; it was not pushed.")
    return content
