"""What a model was trained on, for scripts and notebooks; the same as `art data` says."""

from __future__ import annotations

from art.errors import CheckpointNotFoundError
from art.model import Model
from art.ops.trained import Trained, read_trained
from art.utils.output_dirs import get_default_art_path


def trained_on(model: Model, step: int | None = None, art_path: str | None = None) -> Trained:
    """Count how often a checkpoint of a model on this disk was trained on each scenario; the newest without a step."""
    from art.store.store import CheckpointStore

    store = CheckpointStore(art_path or get_default_art_path())
    newest = store.newest(model.ref) if step is None else None
    if step is None and newest is None:
        raise CheckpointNotFoundError(f"{model.ref} has no checkpoint in {store.root}.")
    return read_trained(store, newest.ref if newest else model.ref.at(step or 0))
