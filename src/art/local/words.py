"""What a backend says when asked to be verbose: on stderr, so that stdout stays the script's own."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from art.backend import TrainResult
from art.local.moving import Bar, Moved
from art.names import ModelRef
from art.ops.update import is_without_signal
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


def bar(*, verbose: bool) -> Bar:
    """Give what draws a bar for bytes that move, or nothing."""
    return _byte_bar if verbose else lambda _: nullcontext()


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

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield show


def _console() -> Console:
    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
