"""Which checkpoints of a model stay when a script lets go of the others: the newest, and the best by a metric."""

from __future__ import annotations

from collections.abc import Collection

from art.format.pick import Best, Mode
from art.local.logbook import Logbook
from art.names import CheckpointRef, ModelRef
from art.ops.keep import KeepBest
from art.ops.removal import remove
from art.ops.retention import plan_retention
from art.store.store import CheckpointStore


def prune(
    store: CheckpointStore, model: ModelRef, *, metric: str | None, mode: Mode | None, needed: Collection[CheckpointRef]
) -> None:
    """Delete all checkpoints but the newest, the best by a metric, and those that somebody needs.

    Without a metric the logbook says which one judges.
    """
    judge = Logbook(store).judged_by(model, metric)
    policies = [KeepBest(Best(judge, mode))] if judge else []
    for _ in remove(store, plan_retention(store, [model], policies, needed=needed).removal):
        pass  # each is gone by then
