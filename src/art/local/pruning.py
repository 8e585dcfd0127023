"""Which checkpoints of a model stay when a script lets go of the others: the newest, and the best by a metric."""

from __future__ import annotations

import logging
from collections.abc import Collection

from art.errors import MetricNotFoundError
from art.format.pick import Best, Mode
from art.local.logbook import Logbook
from art.names import CheckpointRef, ModelRef
from art.ops.keep import KeepBest
from art.ops.removal import remove
from art.ops.retention import plan_retention
from art.store.store import CheckpointStore

_log = logging.getLogger("art")


def prune(
    store: CheckpointStore, model: ModelRef, *, metric: str | None, mode: Mode | None, needed: Collection[CheckpointRef]
) -> None:
    """Delete all checkpoints but the newest, the best by a metric, and those that somebody needs.

    Without a metric the logbook says which one judges. As long as nobody has logged the one that is named, everything
    stays: a script that validates now and then goes on, and loses nothing by a name that is misspelt.
    """
    try:
        judge = Logbook(store).judged_by(model, metric)
    except MetricNotFoundError as error:
        _log.warning("delete_checkpoints: %s Nothing is deleted until it is logged.", error)
        return
    policies = [KeepBest(Best(judge, mode))] if judge else []
    for _ in remove(store, plan_retention(store, [model], policies, needed=needed).removal):
        pass  # each is gone by then
