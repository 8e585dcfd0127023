"""What branches ask of a bucket: requests by kind, counted by a proxy in front of an emulator of S3.

Run: `.venv/bin/python bench/bucket_requests.py [--branches 8] [--steps 20]`. It does what workers do, with small files:
each begins its branch from the bucket on a disk of its own, pushes every step, and goes on once on a disk elsewhere.
Counts are exact and the same everywhere; no time is measured. docs/design/thousand-branches.md builds on them.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from machine import print_header

from art.branches.beginning import begin
from art.branches.many import plan_tasks
from art.branches.task import Budget, Task
from art.local.mirror import Mirror
from art.names import ModelRef
from art.remote.remote import Remote
from art.store.checkpoint import Checkpoint
from art.store.store import CheckpointStore
from remote.proxy import FaultProxy, Request
from remote.servers import moto
from store.conftest import write_checkpoint, write_run

TRUNK = ModelRef("bench", "trunk")
BUCKET = "bench"
KINDS = ("PUT", "GET", "HEAD", "LIST", "POST", "DELETE")
Counts = dict[str, Counter[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--branches", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    asked = parser.parse_args()
    counts = count(branches=asked.branches, steps=asked.steps)
    if asked.json:
        print(json.dumps(counts))
        return
    print_header(f"Requests of {asked.branches} branches of {asked.steps} steps")
    print(f"| | {' | '.join(KINDS)} |\n|---|{'---|' * len(KINDS)}")
    for what, counted in counts.items():
        print(f"| {what} | {' | '.join(str(counted[kind]) for kind in KINDS)} |")


def count(*, branches: int, steps: int) -> Counts:
    """Count the requests of planning, and those of one branch: its beginning, a step, and going on elsewhere."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    found: Counts = {}
    with bucket() as proxy, tempfile.TemporaryDirectory() as folder:
        trunk = CheckpointStore(Path(folder, "trunk"))
        remote = Remote.open(f"s3://{BUCKET}")
        for checkpoint in write_run(trunk, TRUNK, 1, 2, 3):
            remote.push(checkpoint)
        proxy.forget()
        tasks = planned(Path(folder, "driver"), branches)
        found["the plan"] = take(proxy)
        stores = [CheckpointStore(Path(folder, f"site-{number}")) for number in range(branches)]
        tasks = [replaced(task, store) for task, store in zip(tasks, stores, strict=True)]
        for task in tasks:
            begin(task)
        found["a branch begins"] = divided(take(proxy), branches)
        for task, store in zip(tasks, stores, strict=True):
            remote.push(newest(store, task))
        found["its fork is pushed"] = divided(take(proxy), branches)
        for task, store in zip(tasks, stores, strict=True):
            push_all(remote, store, task, range(4, 4 + steps))
        found["a step"] = divided(take(proxy), branches * steps)
        for number, task in enumerate(tasks):
            elsewhere = CheckpointStore(Path(folder, f"other-{number}"))
            begin(replaced(task, elsewhere))
            Mirror(remote, elsewhere).catch_up(task.model)
        found["a branch goes on elsewhere"] = divided(take(proxy), branches)
    return found


def push_all(remote: Remote, store: CheckpointStore, task: Task, steps: range) -> None:
    """Take steps as a trainer does, and push each as the mirror does."""
    parent = newest(store, task)
    for step in steps:
        parent = write_checkpoint(store, task.model, step, parent=parent)
        remote.push(parent)


def newest(store: CheckpointStore, task: Task) -> Checkpoint:
    checkpoint = store.newest(task.model)
    assert checkpoint is not None
    return checkpoint


def planned(root: Path, branches: int) -> list[Task]:
    backend = {"path": str(root), "remote": f"s3://{BUCKET}"}
    variants = [{"seed": number} for number in range(branches)]
    return plan_tasks("bench/trunk@3", variants, backend=backend, budget=Budget(), threads=1)


def replaced(task: Task, store: CheckpointStore) -> Task:
    """Give the same task to a machine with a disk of its own."""
    return replace(task, backend={**task.backend, "path": str(store.root)})


@contextmanager
def bucket() -> Iterator[FaultProxy]:
    with moto() as server, FaultProxy(server.endpoint) as proxy:
        server.client().create_bucket(Bucket=BUCKET)
        os.environ.update(server.environment(), AWS_ENDPOINT_URL=proxy.endpoint)
        yield proxy


def take(proxy: FaultProxy) -> Counter[str]:
    counted = Counter(map(kind_of, proxy.requests))
    proxy.forget()
    return counted


def kind_of(request: Request) -> str:
    return "LIST" if request.method == "GET" and "list-type" in request.query else request.method


def divided(counted: Counter[str], by: int) -> Counter[str]:
    """Give the requests of one; what is not the same for each is rounded up."""
    return Counter({kind: -(-number // by) for kind, number in counted.items()})


if __name__ == "__main__":
    main()
