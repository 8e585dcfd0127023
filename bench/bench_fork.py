"""What a fork costs beside a copy of the same checkpoint, on ext4, XFS and btrfs.

Run: `.venv/bin/python bench/bench_fork.py [--mib 1024]`. As root it makes an image of each file system; else it runs
where temporary files lie.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from machine import print_header

from art.names import ModelRef
from art.store import disk
from art.store.checkpoint import Checkpoint
from art.store.store import CheckpointStore
from filesystems import KINDS, missing, mounted

MIB = 1 << 20
FORKS = 15
COPIES = 3
ROOM = 3.5
"""How many times the checkpoint the image holds: it, one copy, and the file system's own needs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024, help="size of the checkpoint")
    size_mib = parser.parse_args().mib
    print_header(f"A fork of a {size_mib:,} MiB checkpoint inside one file system")
    print(
        "A fork is on the disk when it returns; `shutil.copytree` leaves that to later, so it is timed with a sync "
        "too.\n"
    )
    print(
        "| file system | shared by | fork, median (slowest) | copytree (ratio) | copytree and sync (ratio) "
        "| a fork added |"
    )
    print("|---|---|---|---|---|---|")
    for name, folder in places(size_mib):
        print(measure(name, folder, size_mib), flush=True)


def places(size_mib: int) -> Iterator[tuple[str, Path]]:
    """Yield a folder on each file system that can be had here."""
    with tempfile.TemporaryDirectory() as folder:
        possible = [kind for kind in KINDS.values() if missing(kind) is None]
        for kind in possible:
            large = replace(kind, size_mib=int(size_mib * ROOM) + 256)
            with mounted(large, Path(folder)) as mount:
                yield kind.name, mount.path
        if not possible:
            yield "temporary files", Path(folder)


def measure(name: str, folder: Path, size_mib: int) -> str:
    store = CheckpointStore(folder / "root")
    source = write_large(store, size_mib)
    copies = [timed_copy(source.path, folder / "copy") for _ in range(COPIES)]
    copy_s, durable_copy_s = (statistics.median(seconds) for seconds in zip(*copies, strict=True))
    before = used_bytes(folder)
    forks = [timed_fork(store, source, number) for number in range(FORKS + 1)][1:]
    added = (used_bytes(folder) - before) / (FORKS + 1)
    fork_s = statistics.median(forks)
    how = " and ".join(store.fork(source, ModelRef("bench", "last")).sharing)
    return (
        f"| {name} | {how} | {fork_s * 1e3:.1f} ms ({max(forks) * 1e3:.1f}) | {copy_s:.2f} s ({copy_s / fork_s:,.0f}) "
        f"| {durable_copy_s:.2f} s ({durable_copy_s / fork_s:,.0f}) | {added / 1024:.0f} KiB |"
    )


def write_large(store: CheckpointStore, size_mib: int) -> Checkpoint:
    """Commit a checkpoint in the proportions of a real one: a third adapter, two thirds moments."""
    parts = {"adapter_model.safetensors": size_mib // 3, "optimizer.safetensors": size_mib - size_mib // 3}
    with store.stage(ModelRef("bench", "source").at(500)) as stage:
        for name, mib in parts.items():
            with (stage.path / name).open("wb") as file:
                for _ in range(mib):
                    file.write(os.urandom(MIB))
        (stage.path / "adapter_config.json").write_text("{}")
        (stage.path / "trainer.json").write_text("{}")
        return stage.commit()


def timed_fork(store: CheckpointStore, source: Checkpoint, number: int) -> float:
    started = time.perf_counter()
    store.fork(source, ModelRef("bench", f"fork-{number}"))
    return time.perf_counter() - started


def timed_copy(source: Path, target: Path) -> tuple[float, float]:
    """Give the seconds until `shutil.copytree` returns, and until its copy is on the disk."""
    os.sync()
    started = time.perf_counter()
    shutil.copytree(source, target)
    copied = time.perf_counter()
    for path in (*target.iterdir(), target, target.parent):
        disk.sync(path)
    durable = time.perf_counter()
    shutil.rmtree(target)
    return copied - started, durable - started


def used_bytes(folder: Path) -> int:
    os.sync()
    return shutil.disk_usage(folder).used


if __name__ == "__main__":
    main()
