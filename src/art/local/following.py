"""What follows commits and logs: the mirror, the trackers, and the policies that let checkpoints go.

Each works in a thread of its own. Knows the order in which they end; what each does is its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import ExitStack

from art.backend import AnyModel
from art.guard import Guard
from art.local.follower import Follower
from art.local.guarding import Guarding
from art.local.mirror import Mirror
from art.local.reports import Reports
from art.names import CheckpointRef, ModelRef
from art.ops.keep import KeepPolicy, policies_of
from art.ops.removal import remove
from art.ops.retention import plan_retention
from art.remote.remote import Remote
from art.store.store import CheckpointStore

_log = logging.getLogger("art")


class Following:
    """Everything that a backend does after a commit, off the training thread."""

    def __init__(
        self,
        store: CheckpointStore,
        *,
        mirror: Mirror | None,
        reports: Reports,
        tidy: Tidy | None,
        guarding: Guarding | None,
    ) -> None:
        self._store = store
        self.guarding = guarding
        self._mirror = mirror
        self._reports = reports
        self._tidy = tidy

    @classmethod
    def of(
        cls,
        store: CheckpointStore,
        *,
        remote: Remote | None,
        reports: Reports,
        keep: str | Iterable[str] | None,
        guard: Guard | None,
    ) -> Following:
        """Make what a user asked for; raises `ConfigurationError` for a policy that is none."""
        mirror = Mirror(remote, store) if remote else None
        tidy = Tidy(store, policies_of(keep), mirror) if keep else None
        guarding = Guarding(store, guard) if guard else None
        return cls(store, mirror=mirror, reports=reports, tidy=tidy, guarding=guarding)

    def choose(self, model: AnyModel) -> None:
        """Heed which trackers a model names; raises `ConfigurationError` for one that is unknown or not installed."""
        if model.report_metrics is not None:
            self._reports.choose(model.ref, model.report_metrics)

    def catch_up(self, model: ModelRef) -> None:
        """Queue what an earlier process left to be pushed."""
        if self._mirror:
            self._mirror.catch_up(model)

    def hand_on(self, ref: CheckpointRef) -> None:
        """Queue a checkpoint to be pushed."""
        if self._mirror:
            self._mirror.put(ref)

    def committed(self, ref: CheckpointRef) -> None:
        """Queue what follows a commit, once its history is written."""
        self.hand_on(ref)
        self.logged(ref.model)
        if self._tidy:
            self._tidy.put(ref.model)

    def logged(self, model: ModelRef) -> None:
        """Queue what follows a line in a history."""
        self._reports.put(model)

    @property
    def unpushed(self) -> set[CheckpointRef]:
        """The checkpoints that are still to be read by the mirror."""
        return self._mirror.pending if self._mirror else set()

    def close(self) -> None:
        """Wait until all is pushed, let go of what may go, and told; raises what failed."""
        with ExitStack() as stack:
            # The last one that is named here ends first.
            stack.callback(self._reports.close)
            if self.guarding:
                stack.callback(self.guarding.close)
            if self._tidy:
                stack.callback(self._tidy.close)
            if self._mirror:
                stack.callback(self._mirror.close)


class Tidy:
    """Deletes what policies do not keep, after each commit of a model."""

    def __init__(self, store: CheckpointStore, policies: Iterable[KeepPolicy], mirror: Mirror | None) -> None:
        self._store = store
        self._policies = tuple(policies)
        self._mirror = mirror
        self._models: set[ModelRef] = set()
        self._follower = Follower[ModelRef]("art-keep", self._tidy, on_failure=_warn)

    def put(self, model: ModelRef) -> None:
        """Note that a model has another checkpoint. Never waits."""
        self._models.add(model)
        self._follower.put(model)

    def close(self) -> None:
        """Delete what may go now, and stop; raises when something could not be deleted."""
        for model in self._models:
            self._follower.put(model)  # what had to be pushed before is pushed now
        failures = self._follower.close()
        if failures:
            raise failures[min(failures)]

    def _tidy(self, model: ModelRef) -> None:
        needed = self._mirror.pending if self._mirror else ()
        retention = plan_retention(self._store, [model], self._policies, needed=needed)
        for ref in remove(self._store, retention.removal):
            _log.info("%s is deleted: no policy keeps it", ref)


def _warn(model: ModelRef, error: Exception) -> None:
    _log.warning("%s could not be tidied up yet: %s", model, error)
