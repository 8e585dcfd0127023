"""Every committed checkpoint goes to a remote in the background, while training goes on.

What is committed is read from the store when its turn comes, so that a remote that is slow or gone holds nothing up. A
push that fails is tried again, and on the next start whatever the remote lacks is pushed. Knows a thread and names.
"""

from __future__ import annotations

import logging
import threading

from art.errors import ArtError, CheckpointExistsError, RemoteError, RemoteUnavailableError
from art.names import CheckpointRef, ModelRef
from art.remote.remote import Remote
from art.store.store import CheckpointStore

ATTEMPTS = 5
PAUSE_S = 2.0
_log = logging.getLogger("art")


class Mirror:
    """Pushes checkpoints to one remote, in the order they were committed. Its thread begins with the first of them."""

    def __init__(self, remote: Remote, store: CheckpointStore) -> None:
        self._remote = remote
        self._store = store
        self._waiting: dict[CheckpointRef, None] = {}
        self._failures: dict[CheckpointRef, Exception] = {}
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._is_last_round = False
        self._thread: threading.Thread | None = None

    def put(self, ref: CheckpointRef) -> None:
        """Note that a checkpoint is to be pushed. Never waits."""
        with self._changed:
            self._waiting[ref] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="art-mirror", daemon=True)
                self._thread.start()
            self._changed.notify()

    def catch_up(self, model: ModelRef) -> None:
        """Queue what an earlier process committed and did not push; bring the newest when this disk has none."""
        there, here = set(self._remote.steps(model)), self._store.steps(model)
        if there and not here:
            self._remote.fetch(self._remote.select(model).checkpoint, self._store)
            self._remote.fetch_history(self._store, model)
        if both := there & set(here):
            self._require_same(model.at(max(both)))
        for step in here:
            if step not in there:
                self.put(model.at(step))

    def _require_same(self, ref: CheckpointRef) -> None:
        """Check that disk and remote hold one run: after a rewind the remote still has the one that was left."""
        if self._store.open(ref).digest != self._remote.open_checkpoint(ref).digest:
            raise CheckpointExistsError(
                f"{self._remote} holds another run under {ref}; nothing there is replaced. Give the remote another "
                f"prefix, or continue in a fork: a model of another name."
            )

    def close(self) -> None:
        """Push what is waiting, and once more what failed, then stop; raises when a checkpoint could not be pushed."""
        with self._changed:
            self._closing.set()
            self._changed.notify()
        if self._thread:
            self._thread.join()
        if self._failures:
            raise self._failure()

    def _failure(self) -> ArtError:
        ref, error = min(self._failures.items())
        if isinstance(error, ArtError):
            return error
        refs = ", ".join(map(str, sorted(self._failures)))
        failure = RemoteError(
            f"{refs} could not be pushed to {self._remote}: pushing {ref} raised {type(error).__name__}: {error}. "
            "They are whole on this disk; the next start pushes them, and so does `art push`."
        )
        failure.__cause__ = error
        return failure

    def _run(self) -> None:
        while ref := self._next():
            error = self._try_to_push(ref)
            with self._changed:
                self._failures.pop(ref, None)
                if error:
                    self._failures[ref] = error

    def _next(self) -> CheckpointRef | None:
        """Wait for a checkpoint; gives None when all are pushed and the mirror is closing."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing.is_set())
            if not self._waiting and not self._is_last_round:
                self._is_last_round = True
                self._waiting |= dict.fromkeys(self._failures)
            ref = next(iter(self._waiting), None)
            if ref:
                del self._waiting[ref]
            return ref

    def _try_to_push(self, ref: CheckpointRef) -> Exception | None:
        """Push a checkpoint, again after a passing failure; gives the error when it is not there in the end."""
        try:
            self._push(ref)
        except Exception as error:  # noqa: BLE001 - whatever it is, `close` raises it and the thread goes on
            _log.error("%s is not in %s: %s", ref, self._remote, error)
            return error
        return None

    def _push(self, ref: CheckpointRef) -> None:
        checkpoint = self._store.find(ref)
        if checkpoint is None:
            return  # deleted or set aside while it waited
        for attempt in range(1, ATTEMPTS):
            try:
                self._remote.push(checkpoint)
            except RemoteUnavailableError as error:
                _log.warning("%s: attempt %d of %d failed: %s", ref, attempt, ATTEMPTS, error)
                self._closing.wait(PAUSE_S * 2 ** (attempt - 1))
            else:
                return
        self._remote.push(checkpoint)
