"""Going back to an earlier step, and bringing back what that set aside, in any place that is written to."""

from __future__ import annotations

from dataclasses import dataclass

from art.format.pick import Exact
from art.names import CheckpointRef, ModelRef
from art.ops.place import AnyPlace, place_of
from art.store.aside import SetAside


@dataclass(frozen=True, kw_only=True)
class Rewound:
    """Where a model stands now, and what was moved for that."""

    ref: CheckpointRef
    moved: SetAside | None
    """What was set aside, or brought back; None when nothing was later."""

    @property
    def steps(self) -> tuple[int, ...]:
        return self.moved.steps if self.moved else ()


def rewind(where: AnyPlace, ref: CheckpointRef) -> Rewound:
    """Make an earlier step the newest again. Later ones are set aside, never deleted."""
    place = place_of(where)
    checkpoint = place.select(ref.model, Exact(ref.step)).checkpoint
    return Rewound(ref=ref, moved=place.rewind(checkpoint))


def restore(where: AnyPlace, model: ModelRef, aside_id: int | None = None) -> Rewound:
    """Bring back what was set aside, the last time unless told; what took its place is set aside in turn."""
    place = place_of(where)
    moved = place.restore(model, aside_id)
    return Rewound(ref=model.at(place.steps(model)[-1]), moved=moved)
