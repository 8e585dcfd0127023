"""Which checkpoints of a model stay when a script lets go of the others: the newest, and the best by a metric."""

from __future__ import annotations

from art.format.pick import Best, Mode, candidates
from art.local.logbook import Logbook
from art.names import ModelRef
from art.store.history import History
from art.store.store import CheckpointStore


def prune(store: CheckpointStore, model: ModelRef, *, metric: str | None, mode: Mode | None) -> None:
    """Delete all checkpoints but the newest and the best; without a metric, the logbook says which one judges."""
    judge = Logbook(store).judged_by(model, metric)
    best = _best_step(store, model, Best(judge, mode)) if judge else None
    for step in store.steps(model)[:-1]:
        if step != best:
            store.delete(store.open(model.at(step)))


def _best_step(store: CheckpointStore, model: ModelRef, best: Best) -> int | None:
    scores = History(store.root).scores(store.segments(model), best.metric)
    preferred = candidates(best, store.steps(model), scores)
    return next((step for step in preferred if store.find(model.at(step))), None)
