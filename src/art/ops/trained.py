"""How often a branch was trained on each scenario along its past, and the proof: the record of every step, counted.

A checkpoint carries the sums, and each manifest on the way to it names what its step took. A rewound tail is no part of
the way, and a fork's inherited part is what its first checkpoint carries. Opens a place; changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from art.errors import ArtError
from art.format import layout
from art.format.json import parse_object
from art.format.pick import Exact
from art.format.seen import SeenData, SeenSet, read_seen
from art.names import CheckpointRef, ModelRef
from art.ops.held import Held
from art.ops.place import AnyPlace, Place, place_of
from art.ops.recording import read_lines
from art.ops.rollouts import text_of
from art.ops.scenarios import prompt_of, scenarios_of
from art.store.history import TRAIN, HistoryStore
from art.store.store import CheckpointStore

PROMPT_LENGTH = 80


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One scenario: how often the branch and what it was forked from were trained on it, and by which steps."""

    key: str
    total: int
    inherited: int | None
    """How often before the branch began; None where the checkpoint that it began with is gone."""
    steps: tuple[CheckpointRef, ...]
    """The checkpoints whose updates learned from it, as far as they are here."""
    prompt: str | None = None
    """What was asked, where its rollouts are here."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a checkpoint was trained on, and how much of it could be counted again."""

    ref: CheckpointRef
    since: int
    """The step from which on it was counted: 0, but behind checkpoints of a release that counted nothing."""
    scenarios: tuple[Scenario, ...]
    forked_at: CheckpointRef | None
    """Where the branch left another one."""
    data_sets: Mapping[str, SeenSet]
    recounted: tuple[CheckpointRef, ...]
    """The steps whose records were counted again, newest first."""
    counted_from: CheckpointRef | None
    """The checkpoint before them, whose own sums were taken; None where they reach back to the beginning."""
    problems: tuple[str, ...]
    """Where sums and records disagree: none, or something is wrong."""

    @property
    def groups(self) -> int:
        return sum(scenario.total for scenario in self.scenarios)


def read_trained(where: AnyPlace, ref: CheckpointRef, *, prompts: bool = True) -> Trained:
    """Read what a checkpoint was trained on and count it again; raises `CorruptCheckpointError` for altered sums.

    In a bucket the steps are asked for many at once, and what was asked of the model is not read.
    """
    place = place_of(where)
    checkpoint = place.select(ref.model, Exact(ref.step)).checkpoint
    seen = _seen(place, checkpoint)
    steps, before = _way(place, checkpoint)
    counted = Counter(_seen(place, before).trained if before else {})
    by_key: dict[str, list[CheckpointRef]] = {}
    for step in reversed(steps):
        for key in step.manifest.learned_from.scenarios if step.manifest.learned_from else ():
            counted[key] += 1
            by_key.setdefault(key, []).append(step.ref)
    inherited = _inherited(place, checkpoint)
    told = _prompts(where, steps, set(seen.trained)) if prompts and isinstance(where, CheckpointStore) else {}
    hops = checkpoint.description.ancestry
    return Trained(
        ref=checkpoint.ref,
        since=seen.since,
        scenarios=tuple(
            Scenario(
                key=key,
                total=total,
                inherited=None if inherited is None else inherited.get(key, 0),
                steps=tuple(by_key.get(key, ())),
                prompt=told.get(key),
            )
            for key, total in sorted(seen.trained.items())
        ),
        forked_at=hops[-1].ref if hops else None,
        data_sets=seen.data_sets,
        recounted=tuple(step.ref for step in steps),
        counted_from=before.ref if before else None,
        problems=tuple(_problems(seen.trained, counted)),
    )


def _seen(place: Place[Any], checkpoint: Held) -> SeenData:
    """Read the sums of a checkpoint, after comparing their bytes with the manifest."""
    entry = next((entry for entry in checkpoint.manifest.files if entry.path == layout.TRAINER), None)
    if checkpoint.is_foreign or entry is None:
        return SeenData(since=checkpoint.ref.step)
    path = f"{checkpoint.where}/{layout.TRAINER}"
    value = parse_object(place.read(checkpoint, entry), where=path).get("seen")
    return read_seen(value, step=checkpoint.ref.step, where=path)


def _way(place: Place[Any], checkpoint: Held) -> tuple[list[Held], Held | None]:
    """Follow the parents as far as they are here, by their identities.

    Gives the checkpoints that an update led to, newest first, and the one whose own record is not counted again.
    """
    steps: list[Held] = []
    ahead: set[ModelRef] = set()
    while not checkpoint.is_foreign:
        if checkpoint.ref.model not in ahead:
            ahead.add(checkpoint.ref.model)
            earlier = (step for step in place.named_steps(checkpoint.ref.model) if step < checkpoint.ref.step)
            place.read_ahead(checkpoint.ref.model.at(step) for step in earlier)
        manifest, parent = checkpoint.manifest, checkpoint.manifest.parent
        is_fork = parent is not None and parent.ref.model != checkpoint.ref.model
        if is_fork and manifest.ancestry[-1].merge is not None:
            break  # its weights are new, and it carries no sums
        record = manifest.learned_from
        if not is_fork and (record is None or not record.scenarios):
            break  # a release that wrote nothing down, or a step that had no group
        before = _find(place, parent) if parent else None
        if parent and before is None:
            break
        if not is_fork:
            steps.append(checkpoint)
        if before is None:
            return steps, None
        checkpoint = before
    return steps, checkpoint


def _find(place: Place[Any], parent: Any) -> Held | None:
    try:
        checkpoint = place.open(parent.ref)
    except ArtError:
        return None
    return checkpoint if checkpoint.digest == parent.digest else None


def _inherited(place: Place[Any], checkpoint: Held) -> Mapping[str, int] | None:
    """Give what was trained on before the branch began: the sums of its first checkpoint, or of that one's source."""
    hops = checkpoint.description.ancestry
    if not hops:
        return {}
    for ref in (checkpoint.ref.model.at(hops[-1].step), hops[-1].ref):
        try:
            source = place.open(ref)
        except ArtError:
            continue
        if hops[-1].digest in (source.digest, source.manifest.parent and source.manifest.parent.digest):
            return _seen(place, source).trained
    return None


def _problems(carried: Mapping[str, int], counted: Mapping[str, int]) -> Iterator[str]:
    for key in sorted({*carried, *counted}):
        if carried.get(key, 0) != counted.get(key, 0):
            yield f"{key}: the checkpoint says {carried.get(key, 0)}, its steps say {counted.get(key, 0)}"


def _prompts(store: CheckpointStore, steps: Iterable[Held], wanted: set[str]) -> dict[str, str]:
    """Find what was asked in each scenario; a file of rollouts is read only where it has one that is still unknown."""
    history = HistoryStore(store.root)
    prompts: dict[str, str] = {}
    for step in steps:
        record = step.manifest.learned_from
        if not record or not wanted.difference(prompts).intersection(record.scenarios):
            continue
        lines = history.read_trajectories(step.ref.model, step.ref.step - 1, split=TRAIN)
        for group in read_lines(lines):
            for key in scenarios_of([group]):
                prompts.setdefault(key, _last_prompt(group.trajectories[0]))
    return prompts


def _last_prompt(trajectory: Any) -> str:
    last = prompt_of(trajectory)[-1:]
    text = " ".join(text_of(dict(last[0]).get("content")).split()) if last else ""
    return text if len(text) <= PROMPT_LENGTH else f"{text[: PROMPT_LENGTH - 1]}…"
