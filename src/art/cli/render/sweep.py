"""What `art sweep` prints: the branches that there would be, and what came of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.text import Text

from art.branches.many import Report
from art.branches.task import Outcome, Result, Task
from art.branches.variants import worded
from art.cli.render import wording
from art.cli.render.output import whole
from art.ops.twins import Twins
from art.program import command

MARKS = {Outcome.FINISHED: ("✓", "green"), Outcome.FAILED: ("✗", "red"), Outcome.LOST: ("◌", "red")}


def plan_lines(tasks: Sequence[Task]) -> Iterator[Text]:
    """Yield the branches that there would be."""
    yield Text(f"{wording.count(len(tasks), 'variant')} of {tasks[0].source.ref}, {tasks[0].threads} threads each:")
    width = max(len(task.name) for task in tasks)
    for task in tasks:
        yield Text.assemble("  ", (task.name.ljust(width), "bold cyan"), f"  {worded(task.settings)}")


def plan_document(tasks: Sequence[Task]) -> dict[str, Any]:
    """Give the same as one document."""
    branches = [{"model": str(task.model), "settings": dict(task.settings)} for task in tasks]
    return {"source": str(tasks[0].source.ref), "dry_run": True, "branches": branches, "twins": []}


def lines(report: Report, *, root: Path) -> Iterator[Text]:
    """Yield a line for each branch, its problem below it, and the twins."""
    width = max(len(result.name) for result in report.results)
    for result in report.results:
        yield _line(result, width)
        if result.problem:
            yield Text(f"    {result.problem}", "red")
        if result.unapplied:
            yield Text(f"    its steps were not made with {', '.join(result.unapplied)}", "yellow")
    yield from (twins_line(each) for each in report.twins)
    yield whole(f"The tree: {command(root, 'log', '--graph', str(report.source.model))}", "dim")


def document(report: Report) -> dict[str, Any]:
    """Give what came of a sweep as one document."""
    branches = [
        {"model": str(result.model), **{name: value for name, value in asdict(result).items() if name not in _PARTS}}
        for result in report.results
    ]
    twins = [twins_document(each) for each in report.twins]
    return {"source": str(report.source), "dry_run": False, "branches": branches, "twins": twins}


def twins_document(twins: Twins) -> dict[str, Any]:
    """Give a comparison of two branches as one document."""
    named = {"first": str(twins.first), "second": str(twins.second), "steps": list(twins.steps)}
    return {**asdict(twins), **named, "settled": twins.is_settled}


def twins_line(twins: Twins) -> Text:
    """Say how much more the second earned than the first, how sure that is, and what would settle it."""
    earned = f"{twins.second.name} earns {twins.mean:+.4f} a prompt against {twins.first.name}"
    if twins.low is None or twins.high is None:
        return Text(f"{earned}; one step says nothing yet")
    sure = f"{earned}, 95 % interval {twins.low:+.4f} to {twins.high:+.4f}"
    pairs = f"{wording.count(twins.pairs, 'pair')} in {wording.count(len(twins.steps), 'step')}"
    more = f"; some {twins.further_steps:,} steps more would settle it" if twins.further_steps else ""
    verdict = ("settled", "bold green") if twins.is_settled else (f"not settled{more}", "yellow")
    return Text.assemble(f"{sure} ({pairs}): ", verdict)


_PARTS = ("project", "name")


def _line(result: Result, width: int) -> Text:
    mark, style = MARKS[result.outcome]
    reward = "–" if result.reward is None else wording.value(result.reward)
    return Text.assemble(
        (f"{mark} ", style),
        (result.name.ljust(width), "bold"),
        f"  @{result.step:<6} reward {reward:>7}  {wording.count(result.used.steps, 'step')}, ",
        f"{result.used.tokens:,} tokens, {wording.seconds(result.used.seconds)}",
        (f", restarted {wording.count(result.restarts, 'time')}" if result.restarts else "", "yellow"),
    )
