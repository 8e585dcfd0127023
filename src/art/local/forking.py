"""A fork as the public API asks for it: choose, check, fork, and say what was done.

Wherever the source lies, what was selected there is what is forked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from art.backend import Trainable
from art.local.compatible import check_base, check_shape
from art.names import ModelRef
from art.store.checkpoints import CheckpointStore, Forked, Selection, SetAside
from art.store.manifest import PARTS, BaseModelInfo, Manifest


@dataclass(frozen=True)
class ForkReport:
    """What a fork did, and what it cost."""

    forked: Forked
    source: str
    considered: int
    skipped: tuple[str, ...]
    seconds: float

    @property
    def step(self) -> int:
        """Where the destination stands."""
        return self.forked.newest_step


def fork_local(
    store: CheckpointStore,
    source: ModelRef,
    model: Trainable,
    *,
    not_after: int | None,
    reset: Collection[str],
    overwrite: bool,
    base_of: Callable[[], BaseModelInfo],
) -> ForkReport:
    """Fork from a model under the same root; onto itself it is a rewind. `base_of` loads what `model` is based on."""
    started = time.perf_counter()
    selection = store.select(source, not_after=not_after)
    checkpoint = selection.checkpoint
    check_continues(model, checkpoint.manifest, base_of)
    if source == model.ref:
        forked = Forked(checkpoint, checkpoint.ref.step, set_aside=store.rewind(checkpoint))
    else:
        forked = store.fork(checkpoint, model.ref, not_after=not_after, reset=reset, overwrite=overwrite)
    return report_of(forked, selection, seconds=time.perf_counter() - started)


def check_continues(model: Trainable, manifest: Manifest, base_of: Callable[[], BaseModelInfo]) -> None:
    """Check that a checkpoint can continue as `model`; loads its base only when the names differ."""
    if manifest.base_model and manifest.base_model.id != model.base_model:
        check_base(model, manifest, base_of())
    check_shape(model, manifest)


def report_of(forked: Forked, selection: Selection, *, seconds: float) -> ForkReport:
    skipped = tuple(f"step {skip.step}: {skip.reason}" for skip in selection.skipped)
    return ForkReport(forked, str(selection.checkpoint.ref), selection.considered, skipped, seconds)


def lines(report: ForkReport, *, destination: ModelRef) -> list[str]:
    """Tell a fork in words, a line each."""
    forked, manifest = report.forked, report.forked.checkpoint.manifest
    said = [f"{destination}: fork of {report.source}, chosen among {_count(report.considered, 'step')}"]
    said += [f"  skipped {reason}" for reason in report.skipped]
    if forked.repeated:
        return [
            *said,
            f"  this fork was made before; {destination} stands at step {forked.newest_step} and goes on there",
        ]
    if forked.set_aside:
        said.append(f"  {_aside(forked.set_aside)}")
    if forked.checkpoint.manifest.parent and not forked.shared_bytes + forked.copied_bytes:
        return [*said, f"  continues at step {forked.newest_step}"]
    afresh = [part for part in PARTS if part not in manifest.carried]
    said.append(f"  carried {', '.join(manifest.carried)}" + (f"; afresh: {', '.join(afresh)}" if afresh else ""))
    how, took = ", ".join(sorted(forked.sharing)), f"{report.seconds * 1000:.0f} ms"
    said.append(f"  {forked.shared_bytes:,} bytes shared, {forked.copied_bytes:,} copied ({how}) in {took}")
    return [*said, f"  continues at step {forked.newest_step} in {forked.checkpoint.path}"]


def _aside(aside: SetAside) -> str:
    return f"set aside {_count(len(aside.steps), 'checkpoint')} as {aside.id}; `art rewind --undo` brings them back"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
