"""Every committed checkpoint goes to a remote in the background, while training goes on.

What is committed here is safe here; a push that fails is tried again, and on the next start whatever the remote lacks
is pushed. Knows a queue and a thread.
"""

from __future__ import annotations

import logging
import queue
import threading

from art.errors import ArtError, CheckpointExistsError, RemoteUnavailableError
from art.names import CheckpointRef, ModelRef
from art.remote.remote import Remote
from art.store.checkpoint import Checkpoint
from art.store.store import CheckpointStore

WAITING_AT_MOST = 64
ATTEMPTS = 5
PAUSE_S = 2.0
_log = logging.getLogger("art")


class Mirror:
    """Pushes checkpoints to one remote, in the order they were committed."""

    def __init__(self, remote: Remote, store: CheckpointStore) -> None:
        self._remote = remote
        self._store = store
        self._queue: queue.Queue[Checkpoint | None] = queue.Queue(WAITING_AT_MOST)
        self._failures: list[ArtError | OSError] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="art-mirror", daemon=True)
        self._thread.start()

    def put(self, checkpoint: Checkpoint) -> None:
        """Queue a checkpoint; waits when the remote is many checkpoints behind."""
        self._queue.put(checkpoint)

    def catch_up(self, model: ModelRef) -> None:
        """Queue what an earlier process committed and did not push; bring the newest when this disk has none."""
        there, here = set(self._remote.steps(model)), self._store.steps(model)
        if there and not here:
            self._remote.fetch(self._remote.select(model).checkpoint, self._store)
        if both := there & set(here):
            self._require_same(model.at(max(both)))
        for step in here:
            if step not in there:
                self.put(self._store.open(model.at(step)))

    def _require_same(self, ref: CheckpointRef) -> None:
        """Check that disk and remote hold one run: after a rewind the remote still has the one that was left."""
        if self._store.open(ref).digest != self._remote.open_checkpoint(ref).digest:
            raise CheckpointExistsError(
                f"{self._remote} holds another run under {ref}; nothing there is replaced. Give the remote another "
                f"prefix, or continue in a fork: a model of another name."
            )

    def close(self) -> None:
        """Push what is waiting, then stop; raises the first error when a checkpoint could not be pushed."""
        self._stopping.set()
        self._queue.put(None)
        self._thread.join()
        if self._failures:
            raise self._failures[0]

    def _run(self) -> None:
        while (checkpoint := self._queue.get()) is not None:
            try:
                self._push(checkpoint)
            except (ArtError, OSError) as error:
                _log.error("%s is not in %s: %s", checkpoint.ref, self._remote, error)
                self._failures.append(error)

    def _push(self, checkpoint: Checkpoint) -> None:
        there = self._store.find(checkpoint.ref)
        if there is None or there.digest != checkpoint.digest:
            return  # deleted or set aside while it waited
        for attempt in range(1, ATTEMPTS):
            try:
                self._remote.push(checkpoint)
            except RemoteUnavailableError as error:
                _log.warning("%s: attempt %d of %d failed: %s", checkpoint.ref, attempt, ATTEMPTS, error)
                self._stopping.wait(PAUSE_S * 2 ** (attempt - 1))
            else:
                return
        self._remote.push(checkpoint)
