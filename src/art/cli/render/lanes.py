"""Branches as lanes on one axis of steps, a line for each: how it went, where it was forked, where it went wrong.

Pure: branches in, lines of styled text out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from statistics import fmean

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from art.cli.render import wording
from art.cli.render.status import ICONS
from art.names import ModelRef
from art.ops.judgement import State
from art.ops.lanes import Lane
from art.ops.tree import TreeBranch

NAME_WIDTH, VALUE_WIDTH, LEAST_AXIS, WIDEST_AXIS, LABEL_EVERY = 24, 8, 16, 60, 8
CHANGES_WIDTH = 24
"""What is kept for the words at the end of a line; a pipe takes all of them."""
FORK, GOOD, ONSET, TAIL, LINE = "◆", "⚑", "✕", "┄", "│"
STYLES = {FORK: "magenta", GOOD: "green", ONSET: "red", TAIL: "yellow", LINE: "dim"}


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The steps that all lanes share, and the character that a step falls on."""

    first: int
    last: int
    width: int

    def column(self, step: int) -> int:
        return (step - self.first) * (self.width - 1) // max(1, self.last - self.first)

    def labels(self) -> str:
        """Write round steps above the characters they fall on."""
        text = ""
        for step in range(self.first - self.first % self._stride, self.last + 1, self._stride):
            at = self.column(max(step, self.first))
            if step >= self.first and at >= len(text):
                text = text.ljust(at) + f"{step} "
        return text.rstrip()

    @property
    def _stride(self) -> int:
        """The least round number of steps whose labels do not meet."""
        steps_a_label = (self.last - self.first) * LABEL_EVERY / self.width
        strides = (times * 10**power for power in range(10) for times in (1, 2, 5))
        return next(stride for stride in strides if stride >= steps_a_label)


@dataclass(kw_only=True)
class _Row:
    """A branch and the characters of its lane."""

    branch: TreeBranch
    level: int
    lane: Lane | None
    scores: Mapping[int, float]
    """Those of its steps, and of steps whose checkpoints are gone; not of what a rewind set aside."""
    cells: dict[int, str] = field(default_factory=dict[int, str])


def lane_lines(
    branches: Sequence[TreeBranch], lanes: Mapping[ModelRef, Lane], *, metric: str, width: int
) -> Iterator[Text]:
    """Yield every project and a line for each of its branches; `lanes` has the verdicts, as far as there are any."""
    for project, members in groupby(branches, key=lambda branch: branch.model.project):
        rows = _latest_fork_first([_row(branch, lanes.get(branch.model)) for branch in members])
        names = max(len("branch"), min(NAME_WIDTH, max(cell_len(_name(row)) for row in rows)))
        axis = _axis(rows, room=width - names - VALUE_WIDTH - CHANGES_WIDTH - 4)
        if axis is None:
            yield Text.assemble((project, "bold underline"), "  no steps yet")
            continue
        _draw(rows, axis)
        yield Text.assemble((project, "bold underline"), (f"   {metric}", "dim"))
        yield Text()
        yield Text("  " + set_cell_size("branch", names + 2) + axis.labels(), "dim")
        for row in rows:
            yield _line(row, axis, names=names)
        yield Text()


def _row(branch: TreeBranch, lane: Lane | None) -> _Row:
    gone = {step for aside in branch.set_aside for step in aside.steps} - {*branch.steps}
    scores = {step: score for step, score in branch.scores.items() if step not in gone}
    return _Row(branch=branch, level=0, lane=lane, scores=scores)


def _latest_fork_first(rows: Sequence[_Row]) -> list[_Row]:
    """Put each branch below its source, the latest fork first, so that no connector crosses another lane."""
    by_model = {row.branch.model: row for row in rows}
    children: dict[ModelRef | None, list[_Row]] = {}
    for row in rows:
        origin = row.branch.origin
        source = origin.hop.ref.model if origin and origin.hop.ref.model in by_model else None
        children.setdefault(source, []).append(row)
    ordered: dict[ModelRef, _Row] = {}
    # Two models that were forked onto each other in turn have no root: they follow in their own order.
    pending = [(row, 0) for row in (*reversed(rows), *reversed(children.get(None, [])))]
    while pending:
        row, level = pending.pop()
        if row.branch.model in ordered:
            continue
        ordered[row.branch.model] = row
        row.level = level
        grown = sorted(children.get(row.branch.model, []), key=lambda each: (_start(each.branch), each.branch.model))
        pending += [(each, level + 1) for each in grown]
    return list(ordered.values())


def _axis(rows: Iterable[_Row], *, room: int) -> Axis | None:
    steps = [step for row in rows for step in (*row.branch.steps, *row.scores)]
    steps += [step for row in rows for aside in row.branch.set_aside for step in aside.steps]
    if not steps:
        return None
    first, last = min(steps), max(steps)
    return Axis(first=first, last=last, width=max(LEAST_AXIS, min(room, WIDEST_AXIS)))


def _draw(rows: Sequence[_Row], axis: Axis) -> None:
    """Fill the characters of all lanes: curves on one common scale, marks over them, connectors where nothing is."""
    values = [value for row in rows for value in row.scores.values()]
    low, high = min(values, default=0.0), max(values, default=1.0)
    places = {row.branch.model: place for place, row in enumerate(rows)}
    for row in rows:
        row.cells.update(_curve(row, axis, low=low, high=high))
        row.cells.update(_tails(row, axis))
        row.cells.update(_marks(row, axis))
    for place, row in enumerate(rows):
        origin = row.branch.origin
        source = places.get(origin.hop.ref.model) if origin else None
        if source is not None and source < place:
            for between in rows[source + 1 : place]:
                between.cells.setdefault(axis.column(_start(row.branch)), LINE)


def _curve(row: _Row, axis: Axis, *, low: float, high: float) -> Iterator[tuple[int, str]]:
    """Give the height of each character: the mean of its values, or that of the character before where it has none."""
    own = sorted(step for step in {*row.branch.steps, *row.scores} if step >= _start(row.branch))
    if not own:
        return
    scored = [(axis.column(step), row.scores[step]) for step in own if step in row.scores]
    means = {column: fmean(value for _, value in group) for column, group in groupby(scored, key=itemgetter(0))}
    height = "·"
    for column in range(axis.column(own[0]), axis.column(own[-1]) + 1):
        if column in means:
            height = wording.sparkline([means[column]], low, high, width=1)
        yield column, height


def _tails(row: _Row, axis: Axis) -> Iterator[tuple[int, str]]:
    """Draw what rewinds set aside, behind the newest step that is there."""
    end = max((axis.column(step) for step in (*row.branch.steps, *row.scores)), default=-1)
    aside = [axis.column(step) for each in row.branch.set_aside for step in each.steps]
    yield from ((column, TAIL) for column in range(end + 1, max(aside, default=end) + 1))


def _marks(row: _Row, axis: Axis) -> Iterator[tuple[int, str]]:
    judgement = row.lane.judgement if row.lane else None
    if row.branch.origin and axis.first <= _start(row.branch) <= axis.last:
        yield axis.column(_start(row.branch)), FORK
    if row.lane is None or judgement is None or not judgement.is_alarm or judgement.onset is None:
        return
    onset = axis.column(judgement.onset)
    good = row.lane.last_good
    if good is not None and good >= _start(row.branch):
        yield min(axis.column(good), onset - 1), GOOD
    yield onset, ONSET


def _line(row: _Row, axis: Axis, *, names: int) -> Text:
    icon, style = _icon(row.lane)
    name = _name(row)
    shown = name if cell_len(name) <= names else set_cell_size(name, names - 1) + "…"
    line = Text.assemble((f"{icon} ", style), (set_cell_size(shown, names + 2), "bold"))
    for column in range(axis.width):
        cell = row.cells.get(column, " ")
        line.append(cell, STYLES.get(cell, "blue"))
    newest = max(row.scores, default=None)
    value = "–" if newest is None else wording.value(row.scores[newest])
    line.append(f"  {value:>{VALUE_WIDTH}}", "dim" if newest is None else "")
    for words, words_style in _words(row):
        line.append("  ").append(words, words_style)
    return line


def _words(row: _Row) -> Iterator[tuple[str, str]]:
    if row.branch.problem:
        yield row.branch.problem, "red"
    if row.branch.changes:
        yield ", ".join(f"{each.key} {wording.setting(each.after)}" for each in row.branch.changes), "magenta"


def _icon(lane: Lane | None) -> tuple[str, str]:
    if lane is None or lane.judgement.state is State.UNKNOWN:
        return " ", ""
    if lane.judgement.is_alarm:
        return ICONS[lane.judgement.state]
    return ("▶", "green") if lane.is_running else ("✓", "green")


def _name(row: _Row) -> str:
    return "  " * row.level + row.branch.model.name


def _start(branch: TreeBranch) -> int:
    """The step that a branch was forked at, or its first one."""
    if branch.origin:
        return branch.origin.hop.step
    return min((*branch.steps[:1], *branch.scores), default=0)
