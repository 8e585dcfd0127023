"""Every committed checkpoint goes to a remote in the background, while training goes on.

What is committed is read from the store when its turn comes, so that a remote that is slow or gone holds nothing up. A
push that fails is tried again, and on the next start whatever the remote lacks is pushed. Knows names and a remote.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from art.errors import ArtError, CheckpointExistsError, RemoteError, RemoteUnavailableError
from art.local.follower import Follower
from art.local.guarding import is_by_guard
from art.names import CheckpointRef, ModelRef
from art.remote.remote import Remote
from art.store.store import CheckpointStore
from art.store.wording import listed

ATTEMPTS = 5
PAUSE_S = 2.0
UNREACHED = 3
"""Pushes in a row that did not reach the remote: at the end nobody waits for more of them."""
_log = logging.getLogger("art")


class Mirror:
    """Pushes checkpoints to one remote, in the order they were committed."""

    def __init__(self, remote: Remote, store: CheckpointStore) -> None:
        self._remote = remote
        self._store = store
        self._unreached = list[str]()
        """Why the last pushes did not reach the remote, since one did."""
        self._followed: set[tuple[ModelRef, int]] = set()
        self._follower = Follower[CheckpointRef]("art-mirror", self._push, on_failure=self._warn)

    def put(self, ref: CheckpointRef) -> None:
        """Note that a checkpoint is to be pushed. Never waits."""
        self._follower.put(ref)

    @property
    def pending(self) -> set[CheckpointRef]:
        """The checkpoints that are not in the remote yet."""
        return self._follower.pending

    def catch_up(self, model: ModelRef) -> None:
        """Queue what an earlier process committed and did not push; bring the newest when this disk has none."""
        remote_steps, here = set(self._remote.steps(model)), self._store.steps(model)
        if remote_steps and not here:
            self._remote.fetch(self._remote.select(model).checkpoint, self._store)
            self._remote.fetch_history(self._store, model)
        if self._follow_back(model):
            remote_steps = set(self._remote.steps(model))
        if both := remote_steps & set(here):
            self._require_same(model.at(max(both)))
        for step in here:
            if step not in remote_steps:
                self.put(model.at(step))

    def _follow_back(self, model: ModelRef) -> bool:
        """Take the remote back as a guard took this disk back: what the guard set aside here is set aside there.

        Only the very checkpoints that lie set aside here are moved. Which they are is asked of the disk, so that a
        process that was killed in between is made good by the next one. Tells whether anything was moved.
        """
        moved = False
        for aside in self._store.set_aside(model):
            if (model, aside.id) in self._followed or aside.kept is None or not is_by_guard(aside):
                continue
            digests = self._store.set_aside_digests(model, aside)
            known = set(digests.values())
            later = [step for step in self._remote.steps(model) if step > aside.kept]
            if any(self._remote.open_checkpoint(model.at(step)).digest in known for step in later):
                self._remote.rewind(self._remote.open_checkpoint(model.at(aside.kept)))
                _log.warning("%s went back to step %d in %s too", model, aside.kept, self._remote)
                moved = True
            for step, digest in digests.items():
                self._remote.give_up(model.at(step), digest)  # its push lost the folder that it was reading
            self._followed.add((model, aside.id))
        return moved

    def _require_same(self, ref: CheckpointRef) -> None:
        """Check that disk and remote hold one run: after a rewind the remote still has the one that was left."""
        if self._store.open(ref).digest != self._remote.open_checkpoint(ref).digest:
            raise CheckpointExistsError(
                f"{self._remote} holds another run under {ref}; nothing there is replaced. Give the remote another "
                f"prefix, or continue in a fork: a model of another name."
            )

    def close(self) -> None:
        """Push what is waiting, and once more what failed, then stop; raises when a checkpoint could not be pushed."""
        if failures := self._follower.close():
            raise self._failure(failures)

    def _failure(self, failures: Mapping[CheckpointRef, Exception]) -> ArtError:
        ref, error = min(failures.items(), key=lambda failure: failure[0])
        if isinstance(error, ArtError) and len(failures) == 1:
            return error
        kind = RemoteUnavailableError if isinstance(error, RemoteUnavailableError) else RemoteError
        why = str(error) if isinstance(error, ArtError) else f"{type(error).__name__}: {error}"
        failure = kind(
            f"{listed(sorted(failures))} could not be pushed to {self._remote}. Pushing {ref} raised: "
            f"{why.rstrip('.')}. They stay on this disk; the next start pushes them, and so does `art push`."
        )
        failure.__cause__ = error
        return failure

    def _warn(self, ref: CheckpointRef, error: Exception) -> None:
        _log.error("%s is not in %s: %s", ref, self._remote, error)

    def _push(self, ref: CheckpointRef) -> None:
        """Push a checkpoint; once there will be no more, those that wait for a remote that is gone are not tried."""
        if self._follower.closing.is_set() and len(self._unreached) >= UNREACHED:
            raise RemoteUnavailableError(f"{ref} was not tried again: {self._unreached[-1]}")
        try:
            self._push_now(ref)
        except RemoteUnavailableError as error:
            self._unreached.append(str(error))
            raise
        self._unreached.clear()

    def _push_now(self, ref: CheckpointRef) -> None:
        """Push a checkpoint, again after a passing failure as long as there is time."""
        checkpoint = self._store.find(ref)
        if checkpoint is None:
            return  # deleted or set aside while it waited
        self._follow_back(ref.model)
        for attempt in range(1, ATTEMPTS):
            try:
                self._remote.push(checkpoint)
            except RemoteUnavailableError as error:
                if self._follower.closing.is_set():
                    raise
                _log.warning("%s: attempt %d of %d failed: %s", ref, attempt, ATTEMPTS, error)
                self._follower.closing.wait(PAUSE_S * 2 ** (attempt - 1))
            else:
                return
        self._remote.push(checkpoint)
