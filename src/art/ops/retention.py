"""What policies keep of the models of a place, and what goes: planned with every reason, then done.

In any case these stay: the newest checkpoint, one that is pinned, one that another model was forked from, one that the
training of the newest compares with, and one that is damaged or of another program.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from art.errors import ArtError
from art.format.lineage import segments
from art.format.manifest import Hop, Manifest
from art.format.pins import Pins
from art.names import CheckpointRef, ModelRef
from art.ops.held import Held
from art.ops.keep import Facts, KeepPolicy, why_kept
from art.ops.place import AnyPlace, Place, place_of
from art.ops.removal import Removal, removal_of


@dataclass(frozen=True, kw_only=True)
class Retention:
    """What goes, and why the rest stays."""

    removal: Removal
    reasons: Mapping[CheckpointRef, tuple[str, ...]]


def plan_retention(
    where: AnyPlace,
    models: Iterable[ModelRef],
    policies: Iterable[KeepPolicy],
    *,
    needed: Collection[CheckpointRef] = (),
    now: datetime | None = None,
) -> Retention:
    """Decide what policies keep of models; changes nothing. `needed` are checkpoints that somebody still reads.

    Raises `ArtError` where any model of the place cannot be listed: it may be a fork of one of these.
    """
    place, policies = place_of(where), tuple(policies)
    hops = _hops(place)
    reasons: dict[CheckpointRef, tuple[str, ...]] = {}
    doomed: list[CheckpointRef] = []
    for model in sorted(models):
        facts = _facts(place, model, _needs(place, model, hops, needed), now=now or datetime.now(UTC))
        kept = why_kept(policies, facts)
        reasons |= {model.at(step): why for step, why in kept.items()}
        doomed += [model.at(step) for step in facts.steps if step not in kept]
    return Retention(removal=removal_of(place, doomed, reasons), reasons=reasons)


@dataclass(frozen=True, kw_only=True)
class _Needs:
    """Who needs what of one model."""

    hops: Iterable[tuple[ModelRef, Hop]]
    pins: Pins
    read: Collection[int]


def _needs(
    place: Place[Any],
    model: ModelRef,
    hops: Iterable[tuple[ModelRef, Hop]],
    needed: Collection[CheckpointRef],
) -> _Needs:
    return _Needs(
        hops=[(fork, hop) for fork, hop in hops if hop.ref.model == model],
        pins=place.pins(model),
        read={ref.step for ref in needed if ref.model == model},
    )


def _hops(place: Place[Any]) -> list[tuple[ModelRef, Hop]]:
    """List the forks in the past of every model's newest checkpoint, those of models in between among them."""
    newest = {model: _newest(place, model) for model in place.models()}
    return [(model, hop) for model, manifest in newest.items() if manifest for hop in manifest.ancestry]


def _newest(place: Place[Any], model: ModelRef) -> Manifest | None:
    # A model that cannot be listed may be a fork of any other: nothing can be deleted then, and the error says so.
    checkpoints = (_open(place, model.at(step)) for step in reversed(place.steps(model)))
    return next((checkpoint.description for checkpoint in checkpoints if checkpoint), None)


def _open(place: Place[Any], ref: CheckpointRef) -> Held | None:
    try:
        return place.open(ref)
    except ArtError:
        return None


def _facts(place: Place[Any], model: ModelRef, needs: _Needs, *, now: datetime) -> Facts:
    steps = place.steps(model)
    place.read_ahead(model.at(step) for step in steps)
    opened = {step: _open(place, model.at(step)) for step in steps}
    newest = next((opened[step] for step in reversed(steps) if opened[step]), None)
    reference = _reference(newest.description) if newest else None
    past = segments(model, newest.description if newest else None)
    return Facts(
        steps=steps,
        created={
            step: datetime.fromisoformat(checkpoint.description.created_at)
            for step, checkpoint in opened.items()
            if checkpoint and checkpoint.digest is not None
        },
        scores=lambda metric: place.scores(past, metric),
        whole=max((step for step, checkpoint in opened.items() if checkpoint), default=None),
        needed={step: _why(opened[step], step, needs, reference=reference) for step in steps},
        now=now,
    )


def _why(checkpoint: Held | None, step: int, needs: _Needs, *, reference: int | None) -> tuple[str, ...]:
    if checkpoint is None:
        return ("damaged",)
    digest = checkpoint.digest
    forks = sorted({str(fork) for fork, hop in needs.hops if hop.step == step and hop.digest == digest})
    reasons = [
        *(["of another program"] if digest is None else []),
        *(["pinned"] if needs.pins.holds(step, digest) else []),
        *(f"{fork} was forked here" for fork in forks),
        *(["compared with in training"] if step == reference else []),
        *(["still being read"] if step in needs.read else []),
    ]
    return tuple(reasons)


def _reference(manifest: Manifest) -> int | None:
    """Give the step that the next update is likely to be compared with, None for the base model or none."""
    settings = manifest.settings
    reference = settings.get("kl_reference")
    is_used = bool(settings.get("beta") or settings.get("kl_penalty_coef"))
    if not is_used or isinstance(reference, bool) or not isinstance(reference, int):
        return None
    return reference if reference >= 0 else max(0, manifest.step + reference)
