"""What keeping another trainer's checkpoint costs, beside a copy of the same folder that is as durable.

Run: `.venv/bin/python bench/bench_commit.py [--mib 1024]`. `art commit` copies or reflinks, digests, syncs and
publishes; `art watch` looks besides until a checkpoint is whole; the copy is `shutil.copytree` and a sync. As root it
makes an image of each file system; else it runs where temporary files lie.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from bench_fork import places
from machine import print_header

from art.names import ModelRef
from art.ops.folders import commit_folder
from art.ops.watching import Watcher
from art.store.store import CheckpointStore

MIB = 1 << 20
FILES = 4
ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024, help="size of the checkpoint")
    size_mib = parser.parse_args().mib
    print_header(f"Keeping a Trainer's checkpoint of {size_mib:,} MiB, {FILES} files")
    print("| file system | copytree and sync | `art commit` (ratio) | `art watch`, its two looks (ratio) |")
    print("|---|---|---|---|")
    for name, folder in places(size_mib):
        print(measure(name, folder, size_mib), flush=True)


def measure(name: str, folder: Path, size_mib: int) -> str:
    out = folder / "out"
    write(out / "checkpoint-1", size_mib)
    copied = median_s(lambda: copy(out / "checkpoint-1", folder / "copy"), folder / "copy")
    committed = median_s(lambda: commit(folder / "root", out / "checkpoint-1"), folder / "root")
    watched = median_s(lambda: watch(folder / "watched", out), folder / "watched")
    ratios = [f"{seconds:.2f} s ({seconds / copied:.2f})" for seconds in (committed, watched)]
    return f"| {name} | {copied:.2f} s | {' | '.join(ratios)} |"


def write(folder: Path, size_mib: int) -> None:
    folder.mkdir(parents=True)
    for index in range(FILES):
        with (folder / f"shard-{index}.bin").open("wb") as file:
            for _ in range(size_mib // FILES):
                file.write(os.urandom(MIB))
    (folder / "trainer_state.json").write_text("{}")
    os.sync()


def median_s(what: Callable[[], None], wrote: Path) -> float:
    """Time some rounds; what each wrote is removed before the next, outside the clock."""
    times: list[float] = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        what()
        times.append(time.perf_counter() - started)
        shutil.rmtree(wrote)
        os.sync()
    return statistics.median(times)


def copy(folder: Path, target: Path) -> None:
    shutil.copytree(folder, target)
    for path in (*target.iterdir(), target):
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


def commit(root: Path, folder: Path) -> None:
    commit_folder(CheckpointStore(root), folder, ModelRef("bench", "run").at(1))


def watch(root: Path, out: Path) -> None:
    watcher = Watcher(CheckpointStore(root), out, ModelRef("bench", "run"))
    watcher.look()
    (event,) = watcher.look()
    assert event.outcome == "committed", event


if __name__ == "__main__":
    main()
