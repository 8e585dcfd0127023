"""A fork as the public API asks for it: choose, check, fork, and say what was done.

Wherever the source lies, what was selected there is what is forked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from art.backend import Trainable
from art.format.manifest import PARTS, BaseModelInfo, Manifest
from art.format.pick import Pick
from art.format.selection import Selection, Skipped
from art.local.compatible import check_base, check_shape
from art.names import ModelRef
from art.store.checkpoint import Checkpoint
from art.store.store import CheckpointStore, Forked, SetAside


@dataclass(frozen=True)
class ForkReport:
    """What a fork did, and what it cost."""

    forked: Forked
    source: str
    pick: Pick
    considered: int
    skipped: tuple[str, ...]
    seconds: float
    fetched_bytes: int = 0
    reused_bytes: int = 0
    """What a fork from a bucket found on this disk already."""

    @property
    def step(self) -> int:
        """Where the destination stands."""
        return self.forked.newest_step


@dataclass(frozen=True)
class ForkRequest:
    """What was asked for."""

    source: ModelRef
    model: Trainable
    """The destination."""
    pick: Pick
    reset: Collection[str]
    overwrite: bool
    base_of: Callable[[], BaseModelInfo]
    """Loads what the destination is based on, where the name alone does not tell."""

    def check(self, manifest: Manifest) -> None:
        """Check that a checkpoint can continue as the destination, before a byte moves."""
        if manifest.base_model and manifest.base_model.id != self.model.base_model:
            check_base(self.model, manifest, self.base_of())
        check_shape(self.model, manifest)


def fork_local(store: CheckpointStore, asked: ForkRequest) -> ForkReport:
    """Fork from a model under the same root; onto itself it is a rewind."""
    started = time.perf_counter()
    selection = store.select(asked.source, asked.pick)
    checkpoint, destination = selection.checkpoint, asked.model.ref
    asked.check(checkpoint.manifest)
    if asked.source == destination:
        forked = Forked(checkpoint, checkpoint.ref.step, set_aside=store.rewind(checkpoint))
    else:
        forked = store.fork(checkpoint, destination, pick=asked.pick, reset=asked.reset, overwrite=asked.overwrite)
    return report_of(forked, selection, seconds=time.perf_counter() - started)


def report_of(forked: Forked, selection: Selection[Checkpoint], *, seconds: float) -> ForkReport:
    """Sum up a fork on this disk."""
    return ForkReport(
        forked, str(selection.checkpoint.ref), selection.pick, selection.considered, reasons(selection.skipped), seconds
    )


def reasons(skipped: Iterable[Skipped]) -> tuple[str, ...]:
    """Say which newer folders were passed over, and why."""
    return tuple(f"step {skip.step}: {skip.reason}" for skip in skipped)


def lines(report: ForkReport, *, destination: ModelRef) -> list[str]:
    """Tell a fork in words, a line each."""
    forked, manifest = report.forked, report.forked.checkpoint.manifest
    said = [
        f"{destination}: fork of {report.source}, chosen among {_count(report.considered, 'step')} as the {report.pick}"
    ]
    said += [f"  skipped {reason}" for reason in report.skipped]
    if forked.repeated:
        return [
            *said,
            f"  this fork was made before; {destination} stands at step {forked.newest_step} and goes on there",
        ]
    if forked.set_aside:
        said.append(f"  {_aside(forked.set_aside)}")
    if report.source == str(forked.checkpoint.ref):
        return [*said, f"  continues at step {forked.newest_step}"]
    afresh = [part for part in PARTS if part not in manifest.carried]
    said.append(f"  carried {', '.join(manifest.carried)}" + (f"; afresh: {', '.join(afresh)}" if afresh else ""))
    said.append(f"  {_cost(report)} in {report.seconds * 1000:,.0f} ms")
    return [*said, f"  continues at step {forked.newest_step} in {forked.checkpoint.path}"]


def _cost(report: ForkReport) -> str:
    forked = report.forked
    if not forked.sharing:
        speed = report.fetched_bytes / report.seconds / 1e6
        return f"{report.fetched_bytes:,} bytes fetched, {report.reused_bytes:,} were here ({speed:,.0f} MB/s)"
    return f"{forked.shared_bytes:,} bytes shared, {forked.copied_bytes:,} copied ({', '.join(sorted(forked.sharing))})"


def _aside(aside: SetAside) -> str:
    return f"set aside {_count(len(aside.steps), 'checkpoint')} as {aside.id}; `art rewind --undo` brings them back"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
