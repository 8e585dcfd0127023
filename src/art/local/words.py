"""What a backend says when asked to be verbose: on stderr, so that stdout stays the script's own."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from art.backend import TrainResult
from art.format.kinds import PARTS
from art.names import ModelRef
from art.ops.fork import ForkOutcome, ForkReport
from art.ops.moving import Moved
from art.ops.progress import Watch, unwatched
from art.ops.update import is_without_signal
from art.store.aside import SetAside
from art.visible import visible

SHOWN = ("reward", "loss", "kl", "entropy", "grad_norm", "learning_rate", "seconds")


def say(*lines: str) -> None:
    """Print lines to stderr, as plain as they are given."""
    for line in lines:
        _console().print(visible(line))


def step_line(model: ModelRef, result: TrainResult) -> str:
    """Tell a training step in one line."""
    shown = [f"{name} {result.metrics[name]:.4g}" for name in SHOWN if name in result.metrics]
    words = ["no update: in every group all rewards were equal"] if is_without_signal(result.metrics) else []
    # Its rewards are those of the weights before it: the step has earned none yet.
    return f"{model}@{result.step}, update from step {result.step - 1}: {', '.join([*words, *shown])}"


def moved_line(what: str, moved: Moved) -> str:
    """Tell a push or a pull in one line."""
    speed = moved.moved_bytes / moved.seconds / 1e6 if moved.seconds else 0.0
    cost = f"{moved.moved_bytes:,} bytes moved, {moved.reused_bytes:,} were there"
    return f"{what}: {len(moved.steps)} checkpoints, {cost}, {moved.seconds:.1f} s ({speed:,.0f} MB/s)"


def fork_lines(report: ForkReport) -> list[str]:
    """Tell a fork, a line for each fact."""
    destination, steps = report.ref.model, _count(report.considered, "step")
    if report.outcome is ForkOutcome.CONTINUED:
        return [f"{destination}: has checkpoints; it goes on at step {report.step}, and nothing was forked"]
    lines = [f"{destination}: fork of {report.source}, chosen among {steps} ({report.pick})"]
    lines += [f"  skipped step {skip.step}: {skip.reason}" for skip in report.skipped]
    if report.repeated:
        return [*lines, f"  this fork was made before; {destination} stands at step {report.step} and goes on there"]
    if report.set_aside:
        lines.append(f"  {_aside(report.set_aside)}")
    if report.outcome is ForkOutcome.REWOUND:
        return [*lines, f"  continues at step {report.step}"]
    carried = report.manifest.carried
    afresh = [part for part in PARTS if part not in carried]
    lines.append(f"  carried {', '.join(carried)}" + (f"; afresh: {', '.join(afresh)}" if afresh else ""))
    lines.append(f"  {_cost(report)} in {report.seconds * 1000:,.0f} ms")
    return [*lines, f"  continues at step {report.step} in {report.where}"]


def bar(*, verbose: bool) -> Watch:
    """Give what draws a bar for bytes that move, or nothing."""
    return _byte_bar if verbose else unwatched


def _cost(report: ForkReport) -> str:
    if not report.sharing:
        speed = report.fetched_bytes / report.seconds / 1e6
        return f"{report.fetched_bytes:,} bytes fetched, {report.reused_bytes:,} were here ({speed:,.0f} MB/s)"
    return f"{report.shared_bytes:,} bytes shared, {report.copied_bytes:,} copied ({', '.join(report.sharing)})"


def _aside(aside: SetAside) -> str:
    return f"set aside {_count(len(aside.steps), 'checkpoint')} as {aside.id}; `art rewind --undo` brings them back"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@contextmanager
def _byte_bar(description: str) -> Generator[Callable[[int, int], None]]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_console(), transient=True) as progress:
        task = progress.add_task(visible(description), total=None)

        def show(done_bytes: int, total: int) -> None:
            progress.update(task, completed=done_bytes, total=total)

        yield show


def _console() -> Console:
    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
