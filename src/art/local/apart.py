"""How far apart the adapters of two checkpoints are, or why that cannot be said."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from art.errors import CorruptCheckpointError, LoRAShapeMismatchError
from art.format.kinds import ADAPTER
from art.store.checkpoint import Checkpoint

if TYPE_CHECKING:
    from art.adapter.distance import AdapterDistance, Distance


@dataclass(frozen=True)
class Apart:
    """A distance, or the reason that there is none."""

    distance: AdapterDistance | None = None
    problem: str | None = None


def apart(first: Checkpoint, second: Checkpoint) -> Apart:
    """Compare the updates of two checkpoints of one base; what cannot be read is a reason, and no failure."""
    for each in (first, second):
        if each.manifest.kind != ADAPTER:
            return Apart(problem=f"{each.ref} is of kind {each.manifest.kind}; only adapters of one base are compared.")
    bases = [each.manifest.base_model.fingerprint if each.manifest.base_model else None for each in (first, second)]
    if all(bases) and bases[0] != bases[1]:
        return Apart(problem=f"{first.ref} and {second.ref} are adapters of different base models.")
    from art.adapter.distance import adapter_distance

    try:
        return Apart(distance=adapter_distance(first.path, second.path))
    except (CorruptCheckpointError, LoRAShapeMismatchError) as error:
        return Apart(problem=str(error))


def apart_document(apart: Apart) -> dict[str, Any]:
    """Give the same as JSON."""
    distance = apart.distance
    return {
        "problem": apart.problem,
        "whole": _document(distance.whole) if distance else None,
        "layers": [{"layer": name, **_document(each)} for name, each in distance.layers.items()] if distance else [],
    }


def _document(distance: Distance) -> dict[str, float | None]:
    values = {
        "first": distance.first,
        "second": distance.second,
        "difference": distance.difference,
        "cosine": distance.cosine,
        "optimizer": distance.moments,
    }
    # Weights that are no numbers any more have no distance, and JSON has no word for it.
    return {name: value if value is None or math.isfinite(value) else None for name, value in values.items()}
