"""A branch as a notebook shows it: the verdict, the curve, and the command that goes on from before."""

from __future__ import annotations

from art import drawing
from art.names import ModelRef
from art.ops.documents import fork_command
from art.ops.judge import HELD_OUT, REWARD
from art.ops.lanes import Lane, read_overview
from art.store.store import CheckpointStore


def draw_model(store: CheckpointStore, model: ModelRef) -> str:
    """Draw a model as its branch: where it came from, where it stands, and whether it is well."""
    overview = read_overview(store, project=model.project)
    lane = next((lane for lane in overview.lanes if lane.model == model), None)
    if lane is None:
        return drawing.box(str(model), facts={"steps": "none yet"})
    facts: dict[str, object] = {"stands at": lane.newest, "is": lane.judgement.state}
    if lane.branch.origin:
        hop = lane.branch.origin.hop
        facts["forked from"] = f"{hop.project}/{hop.model}@{hop.step}"
    facts.update({change.key: f"{change.before} → {change.after}" for change in lane.branch.changes})
    if lane.branch.best is not None:
        facts["best"] = lane.branch.best
    way_out = _way_out(lane, fork_command(overview, lane, root=store.root))
    return drawing.box(str(model), *_curves(lane), way_out, facts=facts)


def _curves(lane: Lane) -> list[str]:
    return [drawing.curve(lane.past.points(metric), label=metric) for metric in (HELD_OUT, REWARD)]


def _way_out(lane: Lane, command: str | None) -> str:
    judgement = lane.judgement
    if not judgement.is_alarm:
        return ""
    seen = "".join(
        f"<li>step {evidence.step}: {drawing.text(evidence.text)}, {drawing.number(evidence.baseline)} to "
        f"{drawing.number(evidence.value)}</li>"
        for evidence in judgement.evidence
    )
    return f"<ul>{seen}</ul>" + (f"<code>{drawing.text(command)}</code>" if command else "")
