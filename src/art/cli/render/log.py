"""What `art log` prints: a list of models or a graph, as lines of styled text, or as a document.

Pure: branches in, lines out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from art.cli.render import wording
from art.cli.render.graph import Beside, GraphLine, Problem, Stroke, draw
from art.format.certificates import Edge
from art.format.manifest import Hop
from art.names import CheckpointRef, ModelRef
from art.ops.condense import Gap
from art.ops.tree import BranchStep, Origin, TreeBranch, Whereabouts
from art.store.aside import SetAside
from art.store.history import TRAIN

COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "bright_red", "bright_cyan", "bright_magenta")
BAR_WIDTH = 8
LABEL_WIDTH = 30
FORKS_NAMED = 3
EDGES = {
    Edge.CERTIFIED: ("certified", "bold green"),
    Edge.CONTINUES: ("continues", "dim"),
    Edge.WEIGHTS_ONLY: ("weights only", "yellow"),
}


@dataclass(frozen=True)
class Scale:
    """The span of a metric over everything shown, so that all bars are comparable."""

    low: float
    high: float

    def fraction(self, value: float) -> float:
        return (value - self.low) / ((self.high - self.low) or 1.0)


def scale_of(branches: Iterable[TreeBranch]) -> Scale | None:
    values = [value for branch in branches for value in branch.scores.values()]
    return Scale(min(0.0, *values), max(0.0, *values)) if values else None


def list_lines(branches: Sequence[TreeBranch], *, metric: str, now: datetime) -> Iterator[Text]:
    """Yield every project, its models and their steps, newest first."""
    scale = scale_of(branches)
    for project, members in groupby(branches, key=lambda branch: branch.model.project):
        yield _title(project, metric, scale)
        for number, branch in enumerate(members):
            yield Text()
            yield from _heading(branch, COLOURS[number % len(COLOURS)], metric)
            drawn = [GraphLine((Stroke("  "),), branch, beside) for beside in _from_newest(branch)]
            yield from _table(drawn, scale, now, in_graph=False)
        yield Text()


def graph_lines(branches: Sequence[TreeBranch], *, metric: str, now: datetime) -> Iterator[Text]:
    """Yield the drawing of every project."""
    scale = scale_of(branches)
    for project, members in groupby(branches, key=lambda branch: branch.model.project):
        yield _title(project, metric, scale)
        yield Text()
        yield from _table(list(draw(list(members))), scale, now, in_graph=True)
        yield Text()


def document(branches: Sequence[TreeBranch], *, root: str, metric: str) -> dict[str, Any]:
    """Give everything `art log` knows as one document."""
    return {"root": root, "metric": metric, "models": [_model_document(branch) for branch in branches]}


def _title(project: str, metric: str, scale: Scale | None) -> Text:
    """Name a project, and say what the numbers beside its steps are."""
    title = Text.assemble((project, "bold underline"))
    if scale is None:
        return title
    is_of_update = "/" not in metric or metric.startswith(f"{TRAIN}/")
    return title.append(f"   {metric} {'of the update from each step' if is_of_update else 'of each step'}", "dim")


def _from_newest(branch: TreeBranch) -> Iterator[Beside]:
    yield from reversed(branch.set_aside)
    for item in reversed(branch.items):
        yield item if isinstance(item, Gap) else branch.opened[item]


def _heading(branch: TreeBranch, colour: str, metric: str) -> Iterator[Text]:
    facts = [wording.count(len(branch.steps), "checkpoint")]
    if branch.best is not None:
        facts.append(f"best {metric} {wording.value(branch.scores[branch.best])} at {branch.best}")
    yield Text.assemble((branch.model.name, f"bold {colour}"), ("  " + " · ".join(facts), "dim"))
    if branch.origin:
        name, where = _origin_name(branch.origin, branch.model), _whereabouts(branch.origin)
        yield Text.assemble("  forked from ", (name, "bold"), (where, "yellow"))
    if branch.problem:
        yield Text(f"  ✗ cannot be listed: {branch.problem}", "red")


def _table(lines: Sequence[GraphLine], scale: Scale | None, now: datetime, *, in_graph: bool) -> Iterator[Text]:
    """Lay out lines in columns: gutter and label, score, bar, age, notes."""
    columns = [_label(line, in_graph=in_graph) for line in lines]
    wide = max((_gutter_width(line) + cell_len(label) for line, label in zip(lines, columns, strict=True)), default=0)
    for line, label in zip(lines, columns, strict=True):
        text = Text()
        for stroke in line.gutter:
            colour = "dim" if stroke.colour is None else COLOURS[stroke.colour % len(COLOURS)]
            text.append(stroke.text, f"bold {colour}" if stroke.text in "●◆○✗" else colour)
        if line.beside is None:
            yield text
            continue
        if in_graph:
            text.append("  ")
        text.append(set_cell_size(label, wide - _gutter_width(line)), _label_style(line))
        text.append_text(_beside(line, scale, now, in_graph=in_graph))
        text.rstrip()
        yield text


def _gutter_width(line: GraphLine) -> int:
    return sum(cell_len(stroke.text) for stroke in line.gutter)


def _label(line: GraphLine, *, in_graph: bool) -> str:
    match line.beside:
        case BranchStep():
            label = _named(line.branch.model.name, str(line.beside.step)) if in_graph else f"{line.beside.step:>6}"
        case Gap():
            label = wording.count(len(line.beside.steps), "step") if in_graph else f"{'┆':>6}"
        case SetAside():
            label = _named(line.branch.model.name, wording.span(line.beside.steps)) if in_graph else f"{'◌':>6}"
        case Origin():
            name, _, step = _origin_name(line.beside, line.branch.model).rpartition("@")
            label = _named(name, step)
        case Problem():
            label = _named(line.branch.model.name, "?") if in_graph else ""
        case None:
            label = ""
    return label


def _named(model: str, steps: str) -> str:
    """Join a model's name and its steps, the name cut where both together are too wide."""
    room = max(8, LABEL_WIDTH - 1 - cell_len(steps))
    return f"{model if cell_len(model) <= room else set_cell_size(model, room - 1) + '…'}@{steps}"


def _label_style(line: GraphLine) -> str:
    if not isinstance(line.beside, BranchStep):
        return "dim"
    return "bold" if line.beside.step in (line.branch.newest, line.branch.best) else ""


def _beside(line: GraphLine, scale: Scale | None, now: datetime, *, in_graph: bool) -> Text:
    match line.beside:
        case BranchStep():
            return _step(line.beside, line.branch, scale, now, in_graph=in_graph)
        case Gap():
            return _gap(line.beside, line.branch, scale, in_graph=in_graph)
        case SetAside():
            return _set_aside(line.beside, line.branch, now, in_graph=in_graph)
        case Origin():
            return Text(_whereabouts(line.beside), "yellow")
        case Problem():
            return Text(f"  cannot be listed: {line.beside.text}", "red")
        case None:
            return Text()


def _step(step: BranchStep, branch: TreeBranch, scale: Scale | None, now: datetime, *, in_graph: bool) -> Text:
    if step.problem:
        return Text(f"  damaged: {step.problem}", "red")
    text = Text()
    if scale:
        score = branch.scores.get(step.step)
        text.append(f"{'–' if score is None else wording.value(score):>9}  ", "dim" if score is None else "")
        drawn = "" if score is None else wording.bar(scale.fraction(score), BAR_WIDTH)
        text.append(drawn.ljust(BAR_WIDTH), "green" if step.step == branch.best else "blue")
    written = wording.age(step.manifest.created_at, now) if step.manifest else ""
    text.append(f"  {written:<10}", "dim")
    notes = list(_notes(step, branch, in_graph=in_graph))
    for number, (note, style) in enumerate(notes):
        text.append(" · " if number else "  ", "dim").append(note, style)
    return text


def _notes(step: BranchStep, branch: TreeBranch, *, in_graph: bool) -> Iterator[tuple[str, str]]:
    if step.step == branch.newest:
        yield "newest", "bold"
    if step.step == branch.best:
        yield "best", "bold green"
    if step.step in branch.pinned:
        yield "pinned", "bold yellow"
    if step.is_foreign:
        yield "foreign", "yellow"
    if step.is_without_signal:
        yield "weights as one step before: all its groups had equal rewards", "yellow"
    origin = branch.origin
    if origin and origin.hop.step == step.step:
        yield _beginning(origin.hop, branch), "magenta"
        # A fork that reset the optimizer has said so.
        if step.edge is not None and "optimizer" not in origin.hop.reset:
            yield EDGES[step.edge]
    elif step.edge is not None and step.edge is not Edge.CONTINUES:
        # A step continues unless something else is said.
        yield EDGES[step.edge]
    for child in branch.merges.get(step.step, ()):
        yield f"┄┄▸ {_ref_name(child, branch.model)}", "magenta"
    project = branch.model.project
    forks = [other for other in branch.forks.get(step.step, ()) if not in_graph or other.project != project]
    if len(forks) > FORKS_NAMED:
        yield f"forked by {len(forks)} models", "magenta"
    elif forks:
        named = [other.name if other.project == project else str(other) for other in forks]
        yield f"forked by {', '.join(named)}", "magenta"


def _beginning(hop: Hop, branch: TreeBranch) -> str:
    """Say how a branch began: as the merge of two, which resets all but the weights, or as a fork that changed what."""
    if hop.merge:
        return f"merged with {_ref_name(hop.merge.other.ref, branch.model)} ({hop.merge.method})"
    changes = {
        change.key: f"{change.key} {wording.setting(change.before)} → {wording.setting(change.after)}"
        for change in branch.changes
    }
    declared = {name: f"{name}={value}" for name, value in hop.settings.items() if name not in changes}
    tries = "".join(f", {words}" for words in (*declared.values(), *changes.values()))
    return "fork" + tries + "".join(f", {part} reset" for part in hop.reset)


def _gap(gap: Gap, branch: TreeBranch, scale: Scale | None, *, in_graph: bool) -> Text:
    span = f"{gap.steps[0]} … {gap.steps[-1]}"
    values = [branch.scores[step] for step in gap.steps if step in branch.scores]
    spark = wording.sparkline(values, scale.low, scale.high, width=BAR_WIDTH) if scale and values else ""
    text = Text(" " * 11 if scale else "  ")
    text.append(spark.ljust(BAR_WIDTH) if scale else "", "blue")
    words = span if in_graph else f"{wording.count(len(gap.steps), 'step')}, {span}"
    return text.append(f"  {words}", "dim")


def _set_aside(aside: SetAside, branch: TreeBranch, now: datetime, *, in_graph: bool) -> Text:
    what = "" if in_graph else f"{wording.span(aside.steps)} "
    text = Text(f"  {what}set aside {wording.age(aside.time, now)}: {aside.reason}", "yellow")
    return text.append(f" (id {aside.id})", "dim")


def _origin_name(origin: Origin, model: ModelRef) -> str:
    return _ref_name(origin.hop.ref, model)


def _ref_name(ref: CheckpointRef, model: ModelRef) -> str:
    return str(ref) if ref.model.project != model.project else f"{ref.model.name}@{ref.step}"


def _whereabouts(origin: Origin) -> str:
    match origin.where:
        case Whereabouts.HERE:
            return ""
        case Whereabouts.SET_ASIDE:
            return "  set aside since"
        case Whereabouts.GONE:
            return "  gone since"
        case Whereabouts.ELSEWHERE:
            return f"  in {origin.hop.remote}" if origin.hop.remote else ""


def _model_document(branch: TreeBranch) -> dict[str, Any]:
    origin = branch.origin
    fork = {**origin.hop.model_dump(mode="json"), "where": str(origin.where)} if origin else None
    return {
        "project": branch.model.project,
        "model": branch.model.name,
        "problem": branch.problem,
        "newest": branch.newest,
        "best": branch.best,
        "forked_from": fork,
        "changed": [[change.key, change.before, change.after] for change in branch.changes],
        "pinned": list(branch.pinned),
        "checkpoints": [_step_document(step, branch) for _, step in sorted(branch.opened.items())],
        "set_aside": [asdict(aside) for aside in branch.set_aside],
    }


def _step_document(step: BranchStep, branch: TreeBranch) -> dict[str, Any]:
    manifest = step.manifest
    return {
        "step": step.step,
        "score": branch.scores.get(step.step),
        "created_at": manifest.created_at if manifest else None,
        "size_bytes": step.size_bytes,
        "digest": step.digest,
        "foreign": step.is_foreign,
        "edge": None if step.edge is None else str(step.edge),
        "without_signal": step.is_without_signal,
        "problem": step.problem,
        "forks": [str(other) for other in branch.forks.get(step.step, ())],
    }
