"""What choosing costs among thousands of steps.

Run: `.venv/bin/python bench/bench_select.py [--steps 10000]`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable

from machine import print_header

from art.format.pick import AtMost
from art.names import ModelRef
from art.store.store import CheckpointStore

MODEL = ModelRef("bench", "long")
ROUNDS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000)
    steps = parser.parse_args().steps
    with tempfile.TemporaryDirectory() as folder:
        store = CheckpointStore(folder)
        write_many(store, steps)
        print_header(f"Choosing among {steps:,} steps")
        print("| what | median | slowest |")
        print("|---|---|---|")
        print(row("select the newest", lambda: store.select(MODEL)))
        print(row(f"select not after {steps // 2:,}", lambda: store.select(MODEL, AtMost(steps // 2))))
        print(row("open one step", lambda: store.open(MODEL.at(steps // 3))))
        print(row("list the steps", lambda: store.steps(MODEL)))


def write_many(store: CheckpointStore, steps: int) -> None:
    """Lay out whole checkpoints as the store writes them, without waiting for the disk ten thousand times."""
    with store.stage(MODEL.at(0)) as stage:
        for name in ("adapter_config.json", "adapter_model.safetensors", "optimizer.safetensors", "trainer.json"):
            (stage.path / name).write_text("{}")
        first = stage.commit(metrics={"reward": 0.5})
    for step in range(1, steps + 1):
        folder = first.path.with_name(f"{step:04d}")
        folder.mkdir()
        for entry in first.manifest.files:
            (folder / entry.path).hardlink_to(first.path / entry.path)
        manifest = first.manifest.model_copy(update={"step": step})
        (folder / "checkpoint.json").write_bytes(manifest.to_bytes())


def row(what: str, act: Callable[[], object]) -> str:
    act()
    seconds: list[float] = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - started)
    return f"| {what} | {statistics.median(seconds) * 1e3:.1f} ms | {max(seconds) * 1e3:.1f} ms |"


if __name__ == "__main__":
    main()
