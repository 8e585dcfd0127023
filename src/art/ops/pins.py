"""Keeping a checkpoint whatever the policies say, in any place that is written to."""

from __future__ import annotations

from art.format.pick import Exact
from art.names import CheckpointRef
from art.ops.held import Held
from art.ops.place import AnyPlace, place_of


def set_pin(where: AnyPlace, ref: CheckpointRef, *, pinned: bool) -> Held:
    """Pin a checkpoint, or take its pin out; gives the checkpoint. Raises `CheckpointNotFoundError`."""
    place = place_of(where)
    checkpoint: Held = place.select(ref.model, Exact(ref.step)).checkpoint
    place.set_pin(ref, checkpoint.digest, pinned=pinned)
    return checkpoint
