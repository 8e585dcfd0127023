"""Where a session stands: at the newest checkpoint of its root, and what is done when that one is damaged.

Also whether the root is still the folder that it was: one that was unmounted, moved or swapped is said, and never
written into as if it were the same.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Collection, Mapping
from typing import Literal

from art.errors import ArtError, CheckpointNotFoundError, ConfigurationError, CorruptCheckpointError, StorageError
from art.names import ModelRef
from art.ops.repair import repair
from art.ops.verify import check
from art.program import command
from art.remote.remote import Remote
from art.store.checkpoint import Checkpoint, Damage, reading
from art.store.store import CheckpointStore
from art.store.wording import listed_steps

OnCorrupt = Literal["raise", "repair", "previous"]
"""What is done when the newest checkpoint is damaged: nothing; it is repaired; or the newest sound one is stood at."""
CHOICES = ("raise", "repair", "previous")
_log = logging.getLogger("art")


class Standing:
    """The newest checkpoints of one root, as sessions see them."""

    def __init__(self, store: CheckpointStore, on_corrupt: OnCorrupt, *, remote: Remote | None) -> None:
        if on_corrupt not in CHOICES:
            raise ConfigurationError(f"on_corrupt={on_corrupt!r} is none of {', '.join(CHOICES)}.")
        self.store = store
        self._on_corrupt = on_corrupt
        self._remote = remote
        self._root: tuple[int, int] | None = None
        """Which folder the root is; None before the first model is opened, and while there is none."""

    def settle(self, model: ModelRef) -> None:
        """Note which folder the root is, and do what was asked for about a damaged newest checkpoint of a model."""
        self._root = self._root or self._identity()
        if self._on_corrupt != "raise":
            self.newest_sound(model, None)

    def newest(self, model: ModelRef, at: Checkpoint | None) -> Checkpoint | None:
        """Open the newest checkpoint for a session that stands at one; raises `StorageError` when all are gone."""
        try:
            newest = self.store.newest(model)
        except CorruptCheckpointError as error:
            newest = self._without(model, error)
        if newest is None and at is not None:
            raise StorageError(
                f"{at.ref} is gone from {self.store.root}, and so is every other checkpoint of {model}; nothing was "
                "trained. Mount or bring back that folder and train again, or register the model with a new backend "
                "to begin anew."
            )
        self._require_root(newest, at)
        return newest

    def newest_sound(self, model: ModelRef, at: Checkpoint | None) -> Checkpoint | None:
        """Open the newest checkpoint and compare every byte of it with its manifest."""
        while newest := self.newest(model, at):
            try:
                with reading(newest):
                    self.store.verify(newest)
            except CheckpointNotFoundError:
                # Another process moved it while it was read.
                continue
            except CorruptCheckpointError as error:
                return self._without(model, error)
            break
        return newest

    def require_root(self, model: ModelRef, at: Checkpoint | None) -> None:
        """Check that the root is the folder that it was; raises `StorageError`."""
        if self._identity() != self._root:
            self._require_root(self.store.newest(model), at)

    def _without(self, model: ModelRef, error: CorruptCheckpointError) -> Checkpoint:
        """Give what is stood at when the newest checkpoint is damaged."""
        if self._on_corrupt == "raise":
            repair = command(self.store.root, "verify", str(model), "--repair")
            raise CorruptCheckpointError(
                f"{error} `{repair}` brings it again where another copy of its bytes "
                'is; LocalBackend(on_corrupt="previous") goes on from the newest checkpoint that is whole.'
            ) from error
        sound, damages = self.store.newest_sound(model)
        unmended = self._repair(model, damages) if self._on_corrupt == "repair" or self._remote else [str(error)]
        if not unmended:
            return self._repaired(model, error)
        if self._on_corrupt == "repair" or sound is None or not damages:
            raise CorruptCheckpointError(f"{error} It could not be repaired: {'; '.join(unmended)}") from error
        aside = self.store.set_damaged_aside(sound, damages)
        later = listed_steps(sorted(damages))
        _log.warning("%s stands at %d; set aside as %d: %s, %s", model, sound.ref.step, aside.id, later, aside.reason)
        self._set_aside_there(sound, set(damages))
        return sound

    def _set_aside_there(self, sound: Checkpoint, steps: Collection[int]) -> None:
        """Set the same steps aside in the remote, which could not repair them: what comes next takes their place."""
        if self._remote is None:
            return
        try:
            remote_copy = self._remote.open_checkpoint(sound.ref)
            later = {step for step in self._remote.steps(sound.ref.model) if step > sound.ref.step}
            # What this root never had is not ours to move.
            if remote_copy.digest == sound.digest and later and later <= {*steps}:
                self._remote.rewind(remote_copy)
                _log.warning("%s are set aside in %s too.", listed_steps(sorted(later)), self._remote)
        except ArtError as error:
            _log.warning("%s may still have what was damaged of %s: %s", self._remote, sound.ref.model, error)

    def _repair(self, model: ModelRef, damages: Mapping[int, Damage]) -> list[str]:
        """Repair what is damaged; gives why something could not be."""
        problems: list[str] = []
        for step in sorted(damages):
            report = repair(self.store, check(self.store, model.at(step)), remote=self._remote, progress=_unheard)
            if report.repair and report.repair.problem:
                problems.append(report.repair.problem)
            elif report.repair:
                files = ", ".join(f"{each.file} from {each.source}" for each in report.repair.brought)
                _log.warning("%s was damaged and is repaired: %s", report.name, files)
        return problems if damages else ["nothing of it says which step is damaged"]

    def _repaired(self, model: ModelRef, error: CorruptCheckpointError) -> Checkpoint:
        newest = self.store.newest(model)
        if newest is None:
            raise error
        self.store.verify(newest)
        return newest

    def _require_root(self, newest: Checkpoint | None, at: Checkpoint | None) -> None:
        now = self._identity()
        if self._root is None or now == self._root:
            self._root = now
        elif at is not None and newest is not None and newest.digest == at.digest:
            _log.warning("%s is another folder than before; it has %s too, so training goes on.", self._where, at.ref)
            self._root = now
        else:
            raise StorageError(
                errno.ESTALE,
                f"{self._where} is another folder than the one that this backend opened: it was moved, replaced or "
                "unmounted. Nothing was committed. Bring the former folder back and train again, or make a new "
                "LocalBackend for the one that is there now.",
            )

    @property
    def _where(self) -> str:
        return str(self.store.root)

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = self.store.root.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino


def _unheard(*_: int) -> None:
    pass
