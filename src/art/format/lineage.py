"""Who came from whom, as far as one manifest knows it: pure functions over its recorded forks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypedDict, Unpack

from pydantic import JsonValue

from art.errors import ConfigurationError
from art.format.kinds import RESETTABLE
from art.format.manifest import Hop, Manifest, Merge
from art.format.pick import Exact, Pick, is_asked_again
from art.names import CheckpointRef, ModelRef


@dataclass(frozen=True)
class Segment:
    """The steps that one model contributes to a lineage, both ends included; no end means up to its newest."""

    model: ModelRef
    first: int
    last: int | None

    def __contains__(self, step: int) -> bool:
        return self.first <= step and (self.last is None or step <= self.last)


def segments(model: ModelRef, newest: Manifest | None) -> list[Segment]:
    """Cut the past of a model at its forks, oldest first.

    The step of a fork belongs to both: each side writes down what the shared weights earned it.
    """
    parts: list[Segment] = []
    first = 0
    for hop in newest.ancestry if newest else ():
        parts.append(Segment(hop.ref.model, first, hop.step))
        first = hop.step
    return [*parts, Segment(model, first, None)]


def locate(model: ModelRef, newest: Manifest | None, step: int) -> list[CheckpointRef]:
    """Name the places where a step of a model's past may lie, the nearest first; two of them at a fork."""
    places: list[CheckpointRef] = []
    holder = model
    for hop in reversed(newest.ancestry if newest else ()):
        if step > hop.step:
            break
        if step == hop.step:
            places.append(holder.at(step))
        holder = hop.ref.model
    return [*places, holder.at(step)]


class ForkTerms(TypedDict, total=False):
    """How a fork is asked for, beside its checkpoint and its destination."""

    pick: Pick
    """How the checkpoint was chosen; left out, it was just this step."""
    reset: Collection[str]
    settings: Mapping[str, JsonValue]
    """What the branch is begun to try."""
    merge: Merge | None
    """The other parent, where there are two."""


def hop_from(
    source: CheckpointRef, digest: str | None, *, remote: str | None = None, **terms: Unpack[ForkTerms]
) -> Hop:
    """Record a fork that leaves `source`; raises `ConfigurationError` for a part that cannot be reset."""
    reset = terms.get("reset", ())
    if unknown := sorted(set(reset) - set(RESETTABLE)):
        raise ConfigurationError(f"{unknown[0]!r} cannot be reset by a fork; these can: {', '.join(RESETTABLE)}.")
    model = source.model
    return Hop(
        project=model.project,
        model=model.name,
        step=source.step,
        digest=digest,
        remote=remote,
        pick=terms.get("pick", Exact(source.step)),
        reset=tuple(sorted(reset)),
        settings=dict(terms.get("settings", {})),
        merge=terms.get("merge"),
    )


def is_same_fork(earlier: Hop, later: Hop) -> bool:
    """Tell whether a fork asks for what was done: of the same checkpoint, or again of a source that moved on."""
    if (earlier.ref.model, earlier.remote, earlier.reset) != (later.ref.model, later.remote, later.reset):
        return False
    if (earlier.settings, earlier.merge) != (later.settings, later.merge):
        return False
    if earlier.step == later.step:
        return earlier.digest == later.digest
    return is_asked_again(earlier.pick, later.pick, chose=earlier.step, chooses=later.step)
