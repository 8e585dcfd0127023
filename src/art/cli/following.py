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
LOOKS = 30
"""After so many looks without a change a state is read anew: a run stalls in silence."""


def follow(store: CheckpointStore, *, project: str | None, price: float | None, as_json: bool) -> None:
    """Say the state until Ctrl-C: drawn over on a terminal, block after block into a pipe, as JSON lines if asked."""
    console = Console(highlight=False, emoji=False)
    if as_json or not console.is_terminal:
        for seen, overview, document in news(store, project=project, price=price):
            if as_json:
                _print_events(seen, document)
            else:
                output.print_lines([*status_lines(overview, root=store.root, price=price), ""])
            sys.stdout.flush()
        return
    with Live(console=console, auto_refresh=False) as live:
        for _, overview in _states(store, project):
            lines = status_lines(overview, root=store.root, price=price)
            live.update(Group(*map(output.visible_text, lines)), refresh=True)


def news(
    store: CheckpointStore, *, project: str | None = None, price: float | None = None
) -> Iterator[tuple[SeenRoot, Overview, dict[str, Any]]]:
    """Yield the state now, and again when something was written or what is said has changed, as values and document."""
    told: dict[str, Any] = {}
    for seen, overview in _states(store, project):
        document = documents.status_document(overview, root=str(store.root), price=price)
        timeless = {name: value for name, value in document.items() if name != "now"}
        if seen.entries or timeless != told:
            told = timeless
            yield seen, overview, document


def _states(store: CheckpointStore, project: str | None) -> Iterator[tuple[SeenRoot, Overview]]:
    """Yield the state now, again after each change, with what was written, and now and then without one."""
    watch, memory = Watch(store), Memory(Histories(store.root))
    seen = watch.look()
    while True:
        yield seen, read_overview(store, project=project, memory=memory)
        for _ in range(LOOKS):
            time.sleep(LOOK_EVERY_S)
            seen = watch.look()
            if seen.has_changed:
                break


def _print_events(seen: SeenRoot, status: dict[str, Any]) -> None:
    for event in (*({"event": "entry", **entry} for entry in seen.entries), {"event": "status", **status}):
        sys.stdout.write(json.dumps({"schema": output.SCHEMA, **event}, allow_nan=False) + "\n")
