"""Verdicts and suggestions as lines for a terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path

from rich.text import Text

from art.cli.render import wording
from art.cli.render.output import whole
from art.ops.documents import fork_command
from art.ops.judge import State
from art.ops.lanes import Alarm, Lane, Life, Overview
from art.ops.summary import Own

ICONS = {
    State.COLLAPSED: ("✕", "red"),
    State.HELD_OUT_FELL: ("▲", "yellow"),
    State.NO_SIGNAL: ("▲", "yellow"),
    State.DRIFTED: ("▲", "yellow"),
}
MOST_LINES = 12
WHAT = {
    State.COLLAPSED: "collapsed at step {onset}: reward {level} → {now}",
    State.HELD_OUT_FELL: "held-out reward fell from step {onset}: {level} → {now}",
    State.DRIFTED: "trainer and sampler drifted apart from step {onset}: {level} → {now} nats a token",
    State.NO_SIGNAL: "learns nothing since step {onset}: all answers of a group earn the same",
}


def status_lines(overview: Overview, *, root: Path, price: float | None = None) -> Iterator[Text]:
    """Yield a line for each alarm, with its way out where it is open, one for each other run, and one for all."""
    for alarm in overview.alarms:
        if alarm.life is not Life.OLD:
            yield from _alarm_lines(alarm, overview, root)
    wrong = {alarm.lane.model for alarm in overview.alarms}
    others = [lane for lane in overview.lanes if lane.model not in wrong and lane.is_recent(overview.now)]
    others.sort(key=lambda lane: (lane.is_running, lane.last_time or ""), reverse=True)
    for lane in others[:MOST_LINES]:
        yield _run_line(lane, overview.now)
    if len(others) > MOST_LINES:
        yield Text(f"  and {len(others) - MOST_LINES} more: art log --lanes", "dim")
    yield _cost_line(overview, price)


def suggestion_lines(overview: Overview, lane: Lane, alarm: Alarm | None, *, root: Path) -> Iterator[Text]:
    """Yield what went wrong with one branch in order of time, and the command that goes on from before."""
    judgement = lane.judgement
    if not judgement.is_alarm:
        newest = "no rewards yet" if judgement.now is None else f"reward {wording.value(judgement.now)}"
        yield Text.assemble((str(lane.model), "bold"), f" is {judgement.state}: {newest}. There is nothing to suggest.")
        return
    yield _what(lane)
    if lane.last_good is not None:
        yield Text(f"  {lane.last_good:>6}  last good step: everything is in its usual range", "green")
    for seen in judgement.evidence:
        values = f"{wording.value(seen.baseline)} → {wording.value(seen.value)}"
        yield Text.assemble(f"  {seen.step:>6}  {seen.text}  ", (values, "dim"))
    if alarm and alarm.answered_by:
        answer = f"{alarm.answered_by} was forked at {alarm.answered_at} and is healthy"
        yield Text.assemble(("  ✓ answered: ", "green"), f"{answer}.")
    elif command := fork_command(overview, lane, root=root):
        yield whole(f"  {command}", "bold")
    elif lane.last_good is not None:
        yield Text("  No checkpoint is left from before; what trained it has to begin again.", "yellow")


def _alarm_lines(alarm: Alarm, overview: Overview, root: Path) -> Iterator[Text]:
    line = _what(alarm.lane)
    if alarm.answered_by:
        yield line.append(f" · answered by {alarm.answered_by.name}")
        return
    past = f", begun {wording.age(alarm.lane.since, overview.now)}" if alarm.lane.since else ""
    yield line.append(f", {'still running' if alarm.lane.is_running else 'ended'}{past}")
    yield Text("  " + " · ".join(_facts(alarm.lane)))
    if command := fork_command(overview, alarm.lane, root=root):
        yield whole(f"  {command}", "bold")


def _run_line(lane: Lane, now: datetime) -> Text:
    """Say how a run stands that nothing is wrong with."""
    judgement, last = lane.judgement, wording.age(lane.last_time, now) if lane.last_time else ""
    if lane.is_stalled(now):
        icon, words = ("■ ", "yellow"), f"stalled at step {lane.newest}: its process lives, its last step came {last}"
    elif lane.is_running and not last:
        icon, words = ("▶ ", "green"), "is running, waiting for its first step"
    elif lane.is_running:
        icon, words = ("▶ ", "green"), f"is running at step {lane.newest}, the last one {last}"
    else:
        icon, words = ("✓ ", "green"), f"ended at step {lane.newest}, {last}"
    best = lane.branch.best
    parts = [
        "without rewards" if judgement.now is None else f"reward {wording.value(judgement.now)}",
        f"best {wording.value(lane.branch.scores[best])} at {best}" if best is not None else "",
        wording.worked(lane.own.clock_s),
        _tokens([lane.own]),
    ]
    return Text.assemble(icon, (str(lane.model), "bold"), f" {words}", (" · " + " · ".join(filter(None, parts)), "dim"))


def _what(lane: Lane) -> Text:
    judgement = lane.judgement
    icon, style = ICONS[judgement.state]
    level, now = ("–" if value is None else wording.value(value) for value in (judgement.level, judgement.now))
    words = WHAT[judgement.state].format(onset=judgement.onset, level=level, now=now)
    return Text.assemble((f"{icon} ", style), (str(lane.model), "bold"), f" {words}")


def _facts(lane: Lane) -> Iterator[str]:
    if lane.last_good is not None:
        yield f"last good step {lane.last_good}"
    first = lane.judgement.evidence[0]
    yield f"first sign: {first.text} at {first.step}"
    if lane.branch.origin:
        changes = ", ".join(f"{change.key} {change.after}" for change in lane.branch.changes)
        yield f"forked from {lane.branch.origin.hop.ref}" + (f" with {changes}" if changes else "")


def _cost_line(overview: Overview, price: float | None) -> Text:
    lanes = overview.lanes
    healthy = [lane for lane in lanes if lane.judgement.state is State.HEALTHY]
    running = sum(1 for lane in healthy if lane.is_running)
    steps = sum(lane.own.count for lane in lanes)
    clock_s = sum(lane.own.clock_s for lane in lanes)
    rollouts_s, training_s = (sum(getattr(lane.own, name) for lane in lanes) for name in ("rollout_seconds", "seconds"))
    parts = [f"{wording.worked(rollouts_s)} of rollouts"] if rollouts_s else []
    took = ", ".join([f"{wording.worked(clock_s)} by the clock", *parts, f"{wording.worked(training_s)} of training"])
    paid = "" if price is None else f" · {clock_s / 3600 * price:,.2f} at {price:g} an hour"
    return Text.assemble(
        ("▶ " if running else "✓ ", "green"),
        f"{running} running and healthy, {len(healthy)} of {wording.count(len(lanes), 'model')} healthy",
        (f" · {wording.count(steps, 'step')} · {took} · {_tokens([lane.own for lane in lanes])}{paid}", "dim"),
    )


def _tokens(owns: Collection[Own]) -> str:
    """Say what rollouts read and wrote; of releases that did not count that, what counted in a loss."""
    read, written = (int(sum(getattr(own, name) for own in owns)) for name in ("tokens_in", "tokens_out"))
    learned = int(sum(own.tokens for own in owns))
    if not written:
        return f"{wording.amount(learned)} tokens"
    return f"{wording.amount(read)} → {wording.amount(written)} tokens"
