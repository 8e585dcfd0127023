"""`art status --follow`: the state of every run, said again whenever something was written below the root."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console, Group
from rich.live import Live

from art.cli.render import output
from art.cli.render.status import status_lines
from art.ops import documents
from art.ops.histories import Histories
from art.ops.lanes import Overview, read_overview
from art.ops.on_disk import Memory
from art.store.store import CheckpointStore
from art.ui.watch import SeenRoot, Watch

LOOK_EVERY_S = 0.5
SAID_AGAIN_S = 15.0
"""A state is looked at anew after so long without news: a run stalls in silence."""


def follow(store: CheckpointStore, *, project: str | None, price: float | None, as_json: bool) -> None:
    """Say the state until Ctrl-C: drawn over on a terminal, block after block into a pipe, as JSON lines if asked."""
    if as_json:
        for seen, overview in _states(store, project):
            _print_events(seen, documents.status_document(overview, root=str(store.root), price=price))
        return
    console = Console(highlight=False, emoji=False)
    if not console.is_terminal:
        for _, overview in _states(store, project):
            output.print_lines([*status_lines(overview, price=price), ""])
            sys.stdout.flush()
        return
    with Live(console=console, auto_refresh=False) as live:
        for _, overview in _states(store, project):
            live.update(Group(*map(output.visible_text, status_lines(overview, price=price))), refresh=True)


def _states(store: CheckpointStore, project: str | None) -> Iterator[tuple[SeenRoot, Overview]]:
    """Yield the state now, and again after each change, with what was written."""
    watch, memory = Watch(store), Memory(Histories(store.root))
    seen, waited_s = watch.look(), 0.0
    while True:
        yield seen, read_overview(store, project=project, memory=memory)
        waited_s = 0.0
        while True:
            time.sleep(LOOK_EVERY_S)
            seen, waited_s = watch.look(), waited_s + LOOK_EVERY_S
            if seen.has_changed or waited_s >= SAID_AGAIN_S:
                break


def _print_events(seen: SeenRoot, status: dict[str, Any]) -> None:
    events = [*({"event": "entry", **entry} for entry in seen.entries), {"event": "status", **status}]
    for event in events:
        sys.stdout.write(json.dumps({"schema": output.SCHEMA, **event}, allow_nan=False) + "\n")
    sys.stdout.flush()
