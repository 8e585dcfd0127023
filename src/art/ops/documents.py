"""What a person sees of a store, as JSON documents: the same for the program's `--json`, the page, and a file of it.

Turns values into plain objects, numbers to four significant digits where they are drawn. Opens nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

from art.format.certificates import Edge, edge_of
from art.names import CheckpointRef, ModelRef
from art.ops.compare import Comparison, PairedPrompt
from art.ops.judge import REWARD
from art.ops.lanes import Alarm, Lane, Life, Overview
from art.ops.rollouts import Rollout, RolloutGroup, Turn
from art.ops.series import StepRow
from art.ops.summary import Own
from art.ops.thinning import short, spark, thinned
from art.ops.tree import TreeBranch
from art.program import command, named_root
from art.store.checkpoint import Checkpoint

SCHEMA = 1
HISTORY_POINTS = 1000

Json = dict[str, Any]


def status_document(overview: Overview, *, root: str, price: float | None = None) -> Json:
    """Say what is wrong, since when, and what everything cost; `price` is that of an hour by the clock."""
    lanes = overview.lanes
    return {
        "schema": SCHEMA,
        "root": root,
        "projects": sorted({lane.model.project for lane in lanes}),
        "now": overview.now.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "command_root": named_root(root),
        "alerts": [alert_document(overview, alarm, root=root) for alarm in overview.alarms],
        "states": {str(lane.model): str(lane.judgement.state) for lane in lanes},
        "running": [str(lane.model) for lane in lanes if lane.is_running],
        "stalled": [str(lane.model) for lane in lanes if lane.is_stalled(overview.now)],
        "cost": _cost(lanes, price),
    }


def alert_document(overview: Overview, alarm: Alarm, *, root: str) -> Json:
    """Say what went wrong with one branch, and the command that goes on from before."""
    lane, judgement = alarm.lane, alarm.lane.judgement
    return {
        "project": lane.model.project,
        "model": lane.model.name,
        "state": str(judgement.state),
        "life": str(alarm.life),
        "onset": judgement.onset,
        "since": lane.since,
        "last_good": lane.last_good,
        "go_on_from": str(lane.good) if lane.good else None,
        "level": short(judgement.level),
        "now": short(judgement.now),
        "is_running": lane.is_running,
        "answered_by": str(alarm.answered_by) if alarm.answered_by else None,
        "answered_at": str(alarm.answered_at) if alarm.answered_at else None,
        "evidence": [
            {
                "metric": seen.metric,
                "step": seen.step,
                "value": short(seen.value),
                "baseline": short(seen.baseline),
                "text": seen.text,
            }
            for seen in judgement.evidence
        ],
        "command": None if alarm.life is Life.ANSWERED else fork_command(overview, lane, root=root),
    }


def fork_command(overview: Overview, lane: Lane, *, root: str | Path) -> str | None:
    """Give the command that goes on from before a branch went wrong, under a free name; None where nothing is left."""
    if lane.good is None:
        return None
    taken = {other.model for other in overview.lanes}
    names = chain(["fork"], (f"fork-{number}" for number in count(2)))
    new = next(new for name in names if (new := ModelRef(lane.model.project, f"{lane.model.name}-{name}")) not in taken)
    return command(root, "fork", str(lane.good), str(new))


def tree_document(overview: Overview, *, metric: str = REWARD) -> Json:
    """Give every branch as it is drawn."""
    return {"schema": SCHEMA, "metric": metric, "models": [lane_document(lane, metric) for lane in overview.lanes]}


def lane_document(lane: Lane, metric: str) -> Json:
    """Give one branch as it is drawn: its checkpoints as ranges, its curve as a few points."""
    branch, judgement = lane.branch, lane.judgement
    points = lane.own.rewards if metric == REWARD else lane.series.points(metric)
    newest = branch.opened.get(branch.newest) if branch.newest is not None else None
    manifest = newest.manifest if newest else None
    return {
        "project": lane.model.project,
        "model": lane.model.name,
        "level": lane.level,
        "first": lane.first,
        "newest": lane.newest,
        "best": branch.best,
        "best_value": short(branch.scores.get(branch.best)) if branch.best is not None else None,
        "newest_value": short(points[-1][1]) if points else None,
        "state": str(judgement.state),
        "is_running": lane.is_running,
        "onset": judgement.onset,
        "last_good": lane.last_good,
        "go_on_from": str(lane.good) if lane.good else None,
        "checkpoints": ranges(branch.steps),
        "certified": ranges(branch.certified),
        "pinned": list(branch.pinned),
        "forked_from": _origin_document(lane),
        "problems": {str(step): opened.problem for step, opened in branch.opened.items() if opened.problem},
        "problem": branch.problem,
        "foreign": ranges(step for step, opened in branch.opened.items() if opened.is_foreign),
        "set_aside": _asides(lane, metric),
        "spark": spark(points),
        "base_model": manifest.base_model.id if manifest and manifest.base_model else None,
        "checkpoint_bytes": newest.size_bytes if newest else None,
        "seconds": short(lane.own.seconds),
        "rollout_seconds": short(lane.own.rollout_seconds),
        "clock_seconds": short(lane.own.clock_s),
        **_tokens([lane.own]),
        "last_time": lane.last_time,
    }


def history_document(
    lane: Lane,
    *,
    first: int = 0,
    last: int | None = None,
    metrics: Sequence[str] = (),
    most: int = HISTORY_POINTS,
) -> Json:
    """Give a branch's own rows as columns, `most` at most: of many the extremes of each metric, and some between."""
    part = lane.series.between(first, last)
    names = [name for name in part.names if not metrics or name in metrics]
    rows = thinned(part, names, most=most)
    return {
        "schema": SCHEMA,
        "model": str(lane.model),
        "thinned": len(rows) < len(part.rows),
        "steps": [row.step for row in rows],
        "metrics": {name: [short(row.metrics.get(name)) for row in rows] for name in names},
        "tails": [_tail_document(tail, names) for tail in lane.series.tails],
    }


def step_document(
    lane: Lane, ref: CheckpointRef, checkpoint: Checkpoint | None, *, problem: str | None, recorded: Sequence[int]
) -> Json:
    """Give what the weights of a step earned, beside the step before, and the checkpoint that holds them."""
    rows = lane.past.rows
    place = next((at for at, row in enumerate(rows) if row.step == ref.step), None)
    earned = rows[place].metrics if place is not None else {}
    before = rows[place - 1] if place else None
    return {
        "schema": SCHEMA,
        "ref": str(ref),
        "problem": problem,
        "checkpoint": _checkpoint_document(checkpoint, lane) if checkpoint else None,
        "earned": {name: short(value) for name, value in earned.items()},
        "before": {"step": before.step, "metrics": {name: short(value) for name, value in before.metrics.items()}}
        if before
        else None,
        "rollout_steps": ranges(recorded),
    }


def rollouts_document(ref: CheckpointRef, split: str, groups: Iterable[RolloutGroup]) -> Json:
    """Give the rollouts of a step, the worst prompt first; token ids and log-probabilities are left out."""
    return {"schema": SCHEMA, "ref": str(ref), "split": split, "groups": [group_document(group) for group in groups]}


def group_document(group: RolloutGroup) -> Json:
    """Give one prompt and its rollouts."""
    return {
        "key": group.key,
        "prompt": [_turn_document(turn) for turn in group.prompt],
        "mean": short(group.mean),
        "std": short(group.std),
        "trajectories": [_rollout_document(rollout) for rollout in group.rollouts],
    }


def comparison_document(comparison: Comparison) -> Json:
    """Give two checkpoints side by side."""
    return {
        "schema": SCHEMA,
        "first": str(comparison.first),
        "second": str(comparison.second),
        "part_at": str(comparison.part_at) if comparison.part_at else None,
        "settings": [[change.key, change.before, change.after] for change in comparison.settings],
        "metrics": [[name, short(one), short(other)] for name, (one, other) in comparison.metrics.items()],
        "recorded": list(comparison.recorded),
        "prompts": [_pair_document(pair) for pair in comparison.prompts],
    }


def ranges(steps: Iterable[int]) -> list[list[int]]:
    """Write steps as ranges of neighbours, both ends included."""
    spans: list[list[int]] = []
    for step in sorted(steps):
        if spans and step == spans[-1][1] + 1:
            spans[-1][1] = step
        else:
            spans.append([step, step])
    return spans


def _tail_document(tail: Sequence[StepRow], names: Sequence[str]) -> Json:
    return {
        "steps": [row.step for row in tail],
        "metrics": {name: [short(row.metrics.get(name)) for row in tail] for name in names},
    }


def _checkpoint_document(checkpoint: Checkpoint, lane: Lane) -> Json:
    manifest, step = checkpoint.description, checkpoint.ref.step
    promised = Edge.CERTIFIED if step in lane.branch.certified else edge_of(manifest, checkpoint.digest, {})
    return {
        "edge": None if promised is None else str(promised),
        "path": str(checkpoint.path),
        "digest": checkpoint.digest,
        "foreign": checkpoint.is_foreign,
        "created_at": manifest.created_at,
        "size_bytes": checkpoint.size_bytes,
        "carried": list(manifest.carried),
        "reset": list(manifest.reset),
        "settings": manifest.settings,
        "environment": manifest.environment,
        "update": {name: short(value) for name, value in manifest.metrics.items()},
        "files": [list(file) for file in checkpoint.sizes],
    }


def _asides(lane: Lane, metric: str) -> list[Json]:
    tails = lane.own.tails if metric == REWARD else lane.series.points_of_tails(metric)
    return [
        {
            "id": aside.id,
            "steps": ranges(aside.steps),
            "kept": aside.kept,
            "time": aside.time,
            "reason": aside.reason,
            "spark": spark(tails[at]) if at < len(tails) else [[], []],
        }
        for at, aside in enumerate(lane.branch.set_aside)
    ]


def _origin_document(lane: Lane) -> Json | None:
    origin = lane.branch.origin
    if origin is None:
        return None
    hop = origin.hop
    return {
        "project": hop.project,
        "model": hop.model,
        "step": hop.step,
        "digest": hop.digest,
        "where": str(origin.where),
        "attach": origin.attach,
        "edge": _edge(lane.branch, hop.step),
        "remote": hop.remote,
        "changed": [[change.key, change.before, change.after] for change in lane.branch.changes],
        "reset": list(hop.reset),
        "merged_with": str(hop.merge.other.ref) if hop.merge else None,
    }


def _edge(branch: TreeBranch, step: int) -> str | None:
    """Say what the way to a step promises, as far as it was opened."""
    opened = branch.opened.get(step)
    return str(opened.edge) if opened and opened.edge is not None else None


def _cost(lanes: Iterable[Lane], price: float | None) -> Json:
    owns = [lane.own for lane in lanes]
    clock_s = sum(own.clock_s for own in owns)
    return {
        "steps": sum(own.count for own in owns),
        "seconds": short(sum(own.seconds for own in owns)),
        "rollout_seconds": short(sum(own.rollout_seconds for own in owns)),
        "clock_seconds": short(clock_s),
        **_tokens(owns),
        "price": None if price is None else clock_s / 3600 * price,
    }


def _tokens(owns: Collection[Own]) -> Json:
    return {name: int(sum(getattr(own, name) for own in owns)) for name in ("tokens", "tokens_in", "tokens_out")}


def _rollout_document(rollout: Rollout) -> Json:
    return {
        "reward": short(rollout.reward),
        "advantage": short(rollout.advantage),
        "malformed": rollout.is_malformed,
        "metrics": dict(rollout.metrics),
        "messages": [_turn_document(turn) for turn in rollout.turns],
    }


def _turn_document(turn: Turn) -> Json:
    fields: Mapping[str, Any] = {
        "role": turn.role,
        "text": turn.text,
        "calls": [list(call) for call in turn.calls],
        "finish": turn.finish,
        "tokens": turn.tokens,
    }
    return {name: value for name, value in fields.items() if value not in (None, [])}


def _pair_document(pair: PairedPrompt) -> Json:
    return {
        "key": pair.first.key,
        "split": pair.split,
        "delta": short(pair.delta),
        "a": group_document(pair.first),
        "b": group_document(pair.second),
    }
