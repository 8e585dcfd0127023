"""An earlier step of a model, whether it is the model's own or lies before a fork."""

from __future__ import annotations

from art.names import ModelRef
from art.store.checkpoint import Checkpoint
from art.store.store import CheckpointStore


def open_past(store: CheckpointStore, model: ModelRef, *, step: int) -> Checkpoint | None:
    """Open and check a step of the model's past; None is step 0, the base model. Raises `NotFoundError`."""
    is_forked_at_0 = any(0 in segment for segment in store.segments(model)[1:])
    if step == 0 and not is_forked_at_0 and not store.find(model.at(0)):
        return None
    checkpoint = store.ancestor(model, step)
    store.verify(checkpoint)
    return checkpoint
