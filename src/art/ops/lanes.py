"""What a person sees of a store: every branch with its curve, its state, what it changed, and what went wrong.

A reading of the tree, the histories and the signs of life. Gives values and knows no words.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from art.errors import ModelNotFoundError
from art.format.lineage import Segment, segments
from art.names import CheckpointRef, ModelRef
from art.ops.histories import Histories
from art.ops.judge import REWARD, Judgement, State
from art.ops.on_disk import Memory, OnDisk
from art.ops.series import Series
from art.ops.summary import LEAST_PAUSE_S, PAUSE, Own, moment_of
from art.ops.tree import TreeBranch, read_tree
from art.store.liveness import find_run
from art.store.store import CheckpointStore

OLD_AFTER = timedelta(hours=24)
StepsOf = Callable[[ModelRef], Sequence[int]]


class Life(StrEnum):
    """What an alarm still asks of anybody."""

    OPEN = "open"
    ANSWERED = "answered"
    """A healthy branch was forked before the fall."""
    OLD = "old"


@dataclass(frozen=True, kw_only=True)
class Lane:
    """One branch as it is drawn."""

    branch: TreeBranch
    level: int
    """How many forks lie between it and a branch that grows from nothing."""
    own: Own
    """What its own history says, in short."""
    judgement: Judgement
    since: str | None
    """When the first bad step was written down."""
    is_running: bool
    good: CheckpointRef | None
    """The newest checkpoint before any sign of what went wrong: its own, or of the ancestor that has it."""
    histories: Histories = field(repr=False, compare=False)

    @property
    def model(self) -> ModelRef:
        return self.branch.model

    @property
    def series(self) -> Series:
        """Its own rows, read from its history."""
        return self.histories.series(self.model)

    @property
    def past(self) -> Series:
        """Its own rows behind those of its ancestors."""
        return self.histories.past(past_of(self.branch))

    @property
    def first(self) -> int:
        """The step of the fork, or the first one that there is anything of."""
        if self.branch.origin:
            return self.branch.origin.hop.step
        rows = [] if self.own.first is None else [self.own.first]
        return min([*self.branch.steps[:1], *rows], default=0)

    @property
    def newest(self) -> int:
        rows = [] if self.own.newest is None else [self.own.newest]
        return max([*self.branch.steps[-1:], *rows, self.first])

    @property
    def last_time(self) -> str | None:
        return self.own.last_time

    def is_stalled(self, now: datetime) -> bool:
        """Tell whether its process lives, and has written nothing for far longer than a step takes."""
        last = moment_of(self.own.last_time)
        if not self.is_running or last is None:
            return False
        pace_s = self.own.clock_s / max(1, self.own.count - 1)
        return (now - last).total_seconds() > max(LEAST_PAUSE_S, PAUSE * pace_s)

    def is_recent(self, now: datetime) -> bool:
        """Tell whether it runs, or wrote something within a day."""
        last = moment_of(self.own.last_time)
        return self.is_running or (last is not None and now - last <= OLD_AFTER)

    @property
    def last_good(self) -> int | None:
        """The step of `good`; where no checkpoint is left from before, the last step that was in range."""
        return self.good.step if self.good else self.judgement.last_good


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """A branch that went wrong."""

    lane: Lane
    life: Life
    answered_by: ModelRef | None = None
    answered_at: CheckpointRef | None = None
    """Where that branch was forked."""


@dataclass(frozen=True)
class Overview:
    """All branches of a root, and the alarms among them, the most urgent first."""

    lanes: tuple[Lane, ...]
    alarms: tuple[Alarm, ...]
    now: datetime

    def of(self, models: Collection[ModelRef]) -> Overview:
        """Leave out all other branches."""
        lanes = tuple(lane for lane in self.lanes if lane.model in models)
        return Overview(lanes, tuple(alarm for alarm in self.alarms if alarm.lane in lanes), self.now)

    def lane(self, model: ModelRef) -> Lane:
        """Give the lane of a model; raises `ModelNotFoundError`, with those that there are."""
        lane = next((lane for lane in self.lanes if lane.model == model), None)
        if lane is None:
            known = ", ".join(sorted(str(each.model) for each in self.lanes)) or "none"
            raise ModelNotFoundError(f"There is no model {model}; there are {known}.")
        return lane


def read_overview(
    store: CheckpointStore, *, project: str | None = None, metric: str = REWARD, memory: Memory | None = None
) -> Overview:
    """Read every branch of a root, or of one project, with its scores by a metric.

    `memory` keeps what has not changed since the last time. A branch is judged by its rewards, whatever the metric.
    """
    now = datetime.now(UTC)
    memory = memory or Memory(Histories(store.root))
    histories = memory.histories
    branches = read_tree(OnDisk(store, memory), store.models(project), metric=metric)
    levels = _levels(branches)
    steps_of = _steps_of(store, branches)
    lanes = [_lane(store, each, histories, level=levels[each.model], steps_of=steps_of, now=now) for each in branches]
    histories.keep()
    return Overview(tuple(lanes), tuple(_alarms(lanes, now)), now)


def _lane(
    store: CheckpointStore, branch: TreeBranch, histories: Histories, *, level: int, steps_of: StepsOf, now: datetime
) -> Lane:
    run = find_run(store.root, branch.model)
    judged = histories.judged(branch.model, past_of(branch))
    return Lane(
        branch=branch,
        level=level,
        own=histories.own(branch.model),
        judgement=judged.judgement,
        since=judged.since,
        is_running=run is not None and run.is_alive(now),
        good=_good(branch, judged.judgement, steps_of),
        histories=histories,
    )


def _steps_of(store: CheckpointStore, branches: Iterable[TreeBranch]) -> StepsOf:
    """Give what lists the steps of a model that can be forked, as far as anybody looked at them."""
    known = {branch.model: branch for branch in branches}

    def steps_of(model: ModelRef) -> Sequence[int]:
        branch = known.get(model)
        if branch is None:
            # Of another project, or gone.
            return store.steps(model)
        damaged = {step for step, opened in branch.opened.items() if opened.problem}
        return [step for step in branch.steps if step not in damaged]

    return steps_of


def _good(branch: TreeBranch, judgement: Judgement, steps_of: StepsOf) -> CheckpointRef | None:
    last_good = judgement.last_good
    if last_good is None:
        return None
    for part in reversed(past_of(branch)):
        if steps := [step for step in steps_of(part.model) if step in part and step <= last_good]:
            return part.model.at(max(steps))
    return None


def past_of(branch: TreeBranch) -> list[Segment]:
    """Cut the past of a branch at its forks."""
    opened = branch.opened.get(branch.newest) if branch.newest is not None else None
    return segments(branch.model, opened.manifest if opened else None)


def _levels(branches: Iterable[TreeBranch]) -> dict[ModelRef, int]:
    levels: dict[ModelRef, int] = {}
    for branch in branches:
        # Sources come before their forks.
        source = branch.origin.hop.ref.model if branch.origin else None
        levels[branch.model] = levels[source] + 1 if source in levels else 0
    return levels


def _alarms(lanes: Iterable[Lane], now: datetime) -> list[Alarm]:
    """Sort: what is open first, of that what still runs, then the newest."""
    lanes = list(lanes)
    alarms = [_alarm(lane, lanes, now) for lane in lanes if lane.judgement.is_alarm]
    order = (Life.OPEN, Life.ANSWERED, Life.OLD)
    alarms.sort(key=lambda alarm: alarm.lane.last_time or "", reverse=True)
    return sorted(alarms, key=lambda alarm: (order.index(alarm.life), not alarm.lane.is_running))


def _alarm(lane: Lane, lanes: list[Lane], now: datetime) -> Alarm:
    answer = next((other for other in lanes if _answers(other, lane)), None)
    if answer:
        forked_at = answer.branch.origin.hop.ref if answer.branch.origin else None
        return Alarm(lane=lane, life=Life.ANSWERED, answered_by=answer.model, answered_at=forked_at)
    is_old = not lane.is_running and (time := moment_of(lane.last_time)) is not None and now - time > OLD_AFTER
    return Alarm(lane=lane, life=Life.OLD if is_old else Life.OPEN)


def _answers(other: Lane, fallen: Lane) -> bool:
    """Tell whether a branch is a healthy fork from before another one's fall, made after it.

    A branch that fell at once has nothing from before: its way out begins with the ancestor that has.
    """
    origin, good = other.branch.origin, fallen.judgement.last_good
    sources = {fallen.model, fallen.good.model} if fallen.good else {fallen.model}
    if origin is None or origin.hop.ref.model not in sources or good is None or origin.hop.step > good:
        return False
    begun = moment_of(other.own.first_time)
    fell = moment_of(fallen.since)
    is_later = begun is not None and (fell is None or begun >= fell)
    return is_later and other.judgement.state is State.HEALTHY
