"""What a person sees of a store: every branch with its curve, its state, what it changed, and what went wrong.

A reading of the tree, the histories and the signs of life. Gives values and knows no words.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from art.format.lineage import segments
from art.format.manifest import Manifest
from art.names import ModelRef
from art.ops.histories import Histories
from art.ops.judge import REWARD, Judgement, State, judge
from art.ops.on_disk import OnDisk
from art.ops.series import Series
from art.ops.tree import TreeBranch, read_tree
from art.store.liveness import find_run
from art.store.store import CheckpointStore

OLD_AFTER = timedelta(hours=24)


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
    series: Series
    past: Series
    """Its own rows behind those of its ancestors."""
    judgement: Judgement
    is_running: bool

    @property
    def model(self) -> ModelRef:
        return self.branch.model

    @property
    def first(self) -> int:
        """The step of the fork, or the first one that there is anything of."""
        if self.branch.origin:
            return self.branch.origin.hop.step
        rows = [row.step for row in self.series.rows[:1]]
        return min([*self.branch.steps[:1], *rows], default=0)

    @property
    def newest(self) -> int:
        rows = [row.step for row in self.series.rows[-1:]]
        return max([*self.branch.steps[-1:], *rows, self.first])

    @property
    def last_time(self) -> str | None:
        return self.series.rows[-1].time if self.series.rows else None

    @property
    def last_good(self) -> int | None:
        """The newest checkpoint before any sign of what went wrong; an ancestor may hold it."""
        good = self.judgement.last_good
        own = [step for step in self.branch.steps if good is not None and step <= good]
        return max(own, default=good)


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """A branch that went wrong."""

    lane: Lane
    life: Life
    answered_by: ModelRef | None = None


@dataclass(frozen=True)
class Overview:
    """All branches of a root, and the alarms among them, the most urgent first."""

    lanes: tuple[Lane, ...]
    alarms: tuple[Alarm, ...]
    now: datetime


def read_overview(
    store: CheckpointStore, *, project: str | None = None, histories: Histories | None = None
) -> Overview:
    """Read every branch of a root, or of one project; `histories` keeps what has not changed since the last time."""
    now = datetime.now(UTC)
    histories = histories or Histories(store.root)
    branches = read_tree(OnDisk(store, histories), store.models(project), metric=REWARD)
    levels = _levels(branches)
    lanes = [_lane(store, branch, histories, level=levels[branch.model], now=now) for branch in branches]
    return Overview(tuple(lanes), tuple(_alarms(lanes, now)), now)


def _lane(store: CheckpointStore, branch: TreeBranch, histories: Histories, *, level: int, now: datetime) -> Lane:
    past = histories.past(segments(branch.model, _newest_manifest(branch)))
    run = find_run(store.root, branch.model)
    return Lane(
        branch=branch,
        level=level,
        series=histories.series(branch.model),
        past=past,
        judgement=histories.known(branch.model, past, judge),
        is_running=run is not None and run.is_alive(now),
    )


def _newest_manifest(branch: TreeBranch) -> Manifest | None:
    opened = branch.opened.get(branch.newest) if branch.newest is not None else None
    return opened.manifest if opened else None


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
        return Alarm(lane=lane, life=Life.ANSWERED, answered_by=answer.model)
    is_old = not lane.is_running and (time := _time(lane.last_time)) is not None and now - time > OLD_AFTER
    return Alarm(lane=lane, life=Life.OLD if is_old else Life.OPEN)


def _answers(other: Lane, fallen: Lane) -> bool:
    """Tell whether a branch is a healthy fork from before another one's fall, made after it."""
    origin, good, onset = other.branch.origin, fallen.judgement.last_good, fallen.judgement.onset
    if origin is None or origin.hop.ref.model != fallen.model or good is None or origin.hop.step > good:
        return False
    begun = _time(other.series.rows[0].time) if other.series.rows else None
    fell = next((_time(row.time) for row in fallen.past.rows if row.step == onset), None)
    is_later = begun is not None and (fell is None or begun >= fell)
    return is_later and other.judgement.state is State.HEALTHY


def _time(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
