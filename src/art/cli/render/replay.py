"""What `art replay` prints: each thing that was compared, what changed around it, and the first that differs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.text import Text

from art.cli.render import wording
from art.format.certificates import Certificate
from art.ops.replay import Replay, ReplayOutcome, ReplayStage, Way

SHORT = 12


def lines(replay: Replay, duration_s: float) -> Iterator[Text]:
    """Yield what a person reads."""
    if replay.outcome is ReplayOutcome.IMPOSSIBLE:
        yield Text.assemble((f"✗ {replay.ref} cannot be replayed:", "bold red"))
        yield from (Text(f"  {why}") for why in replay.missing)
        return
    yield from _stage_lines(replay)
    for change in replay.changed:
        line = f"  {change.name} was {_shown(change.then)} and is {_shown(change.now)}"
        yield Text(line, "yellow")
    took = (f"  ({wording.seconds(duration_s)})", "dim")
    if replay.outcome is ReplayOutcome.SAME:
        yield Text.assemble((f"✓ {_same(replay)}", "bold green"), took)
    else:
        yield Text.assemble((f"✗ {replay.ref} differs from the {replay.first_difference} on.", "bold red"), took)


def document(replay: Replay, certificate: Certificate | None) -> dict[str, Any]:
    """Give everything as one document."""
    parent = replay.checkpoint.manifest.parent
    return {
        "ref": str(replay.ref),
        "digest": replay.checkpoint.digest,
        "parent": str(parent.ref) if parent else None,
        "way": str(replay.way),
        "outcome": str(replay.outcome),
        "first_difference": replay.first_difference,
        "certificate": certificate.model_dump(mode="json") if certificate else None,
        "missing": list(replay.missing),
        "stages": [
            {"name": stage.name, "same": stage.is_same, "recorded": stage.recorded, "replayed": stage.replayed}
            for stage in replay.stages
        ],
        "changed": [asdict(change) for change in replay.changed],
    }


def _same(replay: Replay) -> str:
    parent = replay.checkpoint.manifest.parent
    if replay.way is Way.FORKED:
        return f"{replay.ref} has the bits of its source{f', {parent.ref}' if parent else ''}."
    return f"{replay.ref} follows from {parent.ref if parent else 'a fresh adapter'}, bit for bit."


def _stage_lines(replay: Replay) -> Iterator[Text]:
    width = max(len(stage.name) for stage in replay.stages)
    for stage in replay.stages:
        yield Text.assemble((f"  {stage.name:<{width}}  ", "dim"), *_verdict(stage))


def _verdict(stage: ReplayStage) -> Iterator[tuple[str, str]]:
    if stage.is_same is None:
        yield "not recorded", "dim"
    elif stage.is_same:
        yield "same", "green"
    else:
        yield f"differs: was {_shown(stage.recorded or '')}, now {_shown(stage.replayed or '')}", "bold red"


def _shown(value: str) -> str:
    return f"{value[:SHORT]}…" if len(value) == 64 else value
