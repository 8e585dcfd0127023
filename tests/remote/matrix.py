"""Every fault in every phase of fork, pull and push, and what became of it.

    python -m tests.remote.matrix > docs/reference/faults.md

Each row is a run against moto behind the fault proxy. An operation ends in one of two ways: it is done, and what it
brought is byte for byte right; or it raised an error, and the disk and the bucket are as a retry needs them.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from art.errors import ArtError
from art.format import layout
from art.format.pick import AtMost
from art.names import ModelRef
from art.remote.location import Patience
from art.remote.remote import Remote
from art.store.checkpoint import Checkpoint
from art.store.store import CheckpointStore

from . import servers
from .making import MODEL, make, tree
from .proxy import (
    Answer,
    CorruptByte,
    CutBody,
    Delay,
    DropAnswer,
    Fault,
    FaultProxy,
    IgnoreRange,
    Predicate,
    Refuse,
    is_get_of,
    is_list,
    is_put_of,
)

PATIENCE = Patience(retries=3, timeout_s=6, silence_s=2)
DESTINATION = ModelRef("shop", "agent 2")
FOREVER = 10_000
IN_RANGES_BYTES = 9_000_000
IN_PARTS_BYTES = 34_000_000

FAULTS: dict[str, Fault] = {
    "connection refused": Refuse(),
    "answer 0.3 s late": Delay(0.3),
    "answer never": Delay(4),
    "body cut after 10 bytes": CutBody(after=10),
    "one byte wrong": CorruptByte(at=10),
    "500 InternalError": Answer(500, "InternalError"),
    "503 SlowDown": Answer(503, "SlowDown"),
    "403 AccessDenied": Answer(403, "AccessDenied"),
    "400 ExpiredToken": Answer(400, "ExpiredToken"),
    "404 NoSuchKey": Answer(404, "NoSuchKey"),
    "404 NoSuchBucket": Answer(404, "NoSuchBucket"),
    "301 PermanentRedirect": Answer(301, "PermanentRedirect", (("x-amz-bucket-region", "eu-west-1"),)),
    "Range ignored (200 for 206)": IgnoreRange(),
    "done, but the answer is lost": DropAnswer(),
}

READING: dict[str, Predicate] = {
    "list steps": is_list,
    "read manifest": is_get_of(layout.MANIFEST),
    "fetch small file": is_get_of(layout.TRAINER),
    "fetch weights": is_get_of(layout.ADAPTER_WEIGHTS),
}
IN_PARTS: dict[str, Predicate] = {
    "begin upload": lambda request: request.method == "POST" and "uploads" in request.query,
    "put a part": lambda request: request.method == "PUT" and "partNumber" in request.query,
    "complete upload": lambda request: request.method == "POST" and "uploadId" in request.query,
}
COPYING: dict[str, Predicate] = {
    "list steps": is_list,
    "read manifest": is_get_of(layout.MANIFEST),
    "claim step": is_put_of("/claims/"),
    "copy weights": is_put_of(layout.ADAPTER_WEIGHTS),
    "put manifest": is_put_of(layout.MANIFEST),
}
WRITING: dict[str, Predicate] = {
    "look for manifest": is_get_of(layout.MANIFEST),
    "claim step": is_put_of("/claims/"),
    "list folder": is_list,
    "put small file": is_put_of(layout.TRAINER),
    "put weights": is_put_of(layout.ADAPTER_WEIGHTS),
    "put manifest": is_put_of(layout.MANIFEST),
}


@dataclass(frozen=True)
class Case:
    """A fault that hits one phase of an operation so many times."""

    operation: str
    phase: str
    when: Predicate
    fault_name: str
    times: int

    @property
    def fault(self) -> Fault:
        return FAULTS[self.fault_name]

    def __str__(self) -> str:
        often = "once" if self.times == 1 else "always"
        return f"{self.operation}, {self.phase}, {self.fault_name}, {often}"


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    case: Case
    error: str | None
    """The class of the error, None when the operation was done."""
    message: str
    seconds: float
    problems: tuple[str, ...]
    """What contradicts "done, or an error and nothing changed"; empty as long as we are right."""


class Bench:
    """A moto server with a fault proxy, and checkpoints to move."""

    def __init__(self, server: servers.S3Server, proxy: FaultProxy, folder: Path) -> None:
        self.server, self.proxy, self.folder = server, proxy, folder
        self.source = CheckpointStore(folder / "source")
        self.checkpoint = make(self.source, MODEL.at(5), size_bytes=IN_RANGES_BYTES, optimizer_bytes=1000)
        self.large = make(self.source, MODEL.at(6), size_bytes=IN_PARTS_BYTES, optimizer_bytes=1000)
        self.files = tree(self.checkpoint.path)
        self._count = 0

    def run(self, case: Case) -> Outcome:
        """Run one case in a bucket and a root of its own."""
        self._count += 1
        bucket = f"case-{self._count}"
        self.proxy.heal()
        self.server.client().create_bucket(Bucket=bucket)
        # What is arranged before and judged after is not hurried.
        calm, hurried = Remote.open(bucket), Remote.open(bucket, patience=PATIENCE)
        arrange = getattr(self, f"_{case.operation.replace(' ', '_')}")
        act, problems = arrange(calm, hurried, CheckpointStore(self.folder / bucket))
        self.proxy.fault(case.fault, when=case.when, times=case.times)
        began = time.monotonic()
        error: ArtError | None = None
        try:
            act()
        except ArtError as raised:
            error = raised
        seconds = time.monotonic() - began
        self.proxy.heal()
        return Outcome(case, type(error).__name__ if error else None, str(error or ""), seconds, tuple(problems(error)))

    def _pull(self, calm: Remote, hurried: Remote, store: CheckpointStore) -> tuple[Callable[..., object], Judge]:
        calm.push(self.checkpoint)

        def act(remote: Remote = hurried) -> object:
            return remote.fetch(remote.select(MODEL).checkpoint, store)

        return act, lambda error: self._judge_reading(store, error, lambda: act(calm), MODEL)

    def _fork(self, calm: Remote, hurried: Remote, store: CheckpointStore) -> tuple[Callable[..., object], Judge]:
        calm.push(self.checkpoint)

        def act(remote: Remote = hurried) -> object:
            return remote.fetch_fork(remote.select(MODEL, AtMost(9)).checkpoint, DESTINATION, store, pick=AtMost(9))

        return act, lambda error: self._judge_reading(store, error, lambda: act(calm), DESTINATION)

    def _push(self, calm: Remote, hurried: Remote, store: CheckpointStore) -> tuple[Callable[..., object], Judge]:
        return self._pushing(calm, hurried, store, self.checkpoint)

    def _push_large(self, calm: Remote, hurried: Remote, store: CheckpointStore) -> tuple[Callable[..., object], Judge]:
        return self._pushing(calm, hurried, store, self.large)

    def _pushing(
        self, calm: Remote, hurried: Remote, store: CheckpointStore, checkpoint: Checkpoint
    ) -> tuple[Callable[..., object], Judge]:
        def act(remote: Remote = hurried) -> object:
            return remote.push(checkpoint)

        def judge(error: ArtError | None) -> Iterator[str]:
            if error and calm.steps(MODEL):
                yield "an error, and yet a checkpoint is there"
            act(calm)
            fetched = calm.fetch(calm.select(MODEL).checkpoint, store)
            if tree(fetched.checkpoint.path) != tree(checkpoint.path):
                yield "the bucket has other bytes"

        return act, judge

    def _fork_there(self, calm: Remote, hurried: Remote, store: CheckpointStore) -> tuple[Callable[..., object], Judge]:
        calm.push(self.checkpoint)

        def act(remote: Remote = hurried) -> object:
            return remote.fork(remote.select(MODEL).checkpoint, DESTINATION)

        def judge(error: ArtError | None) -> Iterator[str]:
            if error and calm.steps(DESTINATION):
                yield "an error, and yet a checkpoint is there"
            act(calm)
            brought = tree(calm.fetch(calm.select(DESTINATION).checkpoint, store).checkpoint.path)
            if any(brought[name] != content for name, content in self.files.items() if name != layout.MANIFEST):
                yield "the bucket has other bytes"

        return act, judge

    def _judge_reading(
        self, store: CheckpointStore, error: ArtError | None, act: Callable[[], object], model: ModelRef
    ) -> Iterator[str]:
        if error and store.root.exists():
            yield f"an error, and yet {store.root.name} exists"
        if error:
            act()
        brought = tree(store.open(model.at(5)).path)
        if any(brought[name] != content for name, content in self.files.items() if name != layout.MANIFEST):
            yield "other bytes arrived"


Judge = Callable[[ArtError | None], Iterator[str]]


def cases() -> Iterator[Case]:
    """Give every fault in every phase it can hit, once and for ever."""
    for operation, phases in (
        ("pull", READING),
        ("fork", READING),
        ("push", WRITING),
        ("push large", IN_PARTS),
        ("fork there", COPYING),
    ):
        for phase, when in phases.items():
            for name, fault in FAULTS.items():
                if not _can_hit(fault, phase):
                    continue
                for times in (1, FOREVER):
                    yield Case(operation, phase, when, name, times)


def _can_hit(fault: Fault, phase: str) -> bool:
    writes = phase.startswith(("put", "claim", "complete", "copy"))
    match fault:
        case IgnoreRange():
            return phase.startswith("fetch")
        case DropAnswer():
            return writes
        case CutBody() | CorruptByte():
            # An answer to a PUT has no body, and a listing is not hashed: TLS is what guards that one.
            return phase.startswith(("fetch", "read"))
        case Delay(seconds) if seconds > 1:
            return phase in ("read manifest", "fetch weights", "put weights")
        case _:
            return True


def main() -> None:
    """Run every case and print the table."""
    with tempfile.TemporaryDirectory() as folder, servers.moto() as server, FaultProxy(server.endpoint) as proxy:
        os.environ.update(server.environment() | {"AWS_ENDPOINT_URL": proxy.endpoint})
        bench = Bench(server, proxy, Path(folder))
        outcomes = [_said(bench.run(case)) for case in cases()]
    sys.stdout.write(table(outcomes))
    if any(outcome.problems for outcome in outcomes):
        raise SystemExit(1)


def _said(outcome: Outcome) -> Outcome:
    sys.stderr.write(f"{outcome.seconds:6.2f} s  {outcome.case}: {outcome.error or 'done'} {outcome.problems or ''}\n")
    return outcome


def table(outcomes: list[Outcome]) -> str:
    """Write the outcomes as a page of Markdown."""
    lines = [
        "# What becomes of a fault",
        "",
        f"{len(outcomes)} runs, each in a bucket and a root folder of its own, against moto behind the fault proxy of",
        f"the tests; requests are tried again {PATIENCE.retries} times within {PATIENCE.timeout_s:g} s (the default is",
        f"{Patience().retries} times within {Patience().timeout_s:g} s). `python -m tests.remote.matrix` writes this",
        "page.",
        "",
        "An operation is *done*, and every byte was compared; or it raised the error named here, and left no folder on",
        "the disk and no checkpoint in the bucket. After an error the operation was run again without the fault, and",
        "was done: no fault leaves anything behind that stands in the way.",
        "",
        "| operation | phase | fault | once | always |",
        "|---|---|---|---|---|",
    ]
    paired: dict[tuple[str, str, str], dict[int, Outcome]] = {}
    for outcome in outcomes:
        case = outcome.case
        paired.setdefault((case.operation, case.phase, case.fault_name), {})[case.times] = outcome
    for (operation, phase, fault), by_times in paired.items():
        once, always = by_times[1], by_times[FOREVER]
        lines.append(f"| {operation} | {phase} | {fault} | {_cell(once)} | {_cell(always)} |")
    lines += ["", "## What the errors say", ""]
    said: dict[str, str] = {}
    for outcome in outcomes:
        if outcome.error and outcome.case.operation == "pull" and outcome.case.times == FOREVER:
            said.setdefault(f"{outcome.case.phase}, {outcome.case.fault_name}", outcome.message)
    lines += [f"- **{what}**: {message}" for what, message in said.items()]
    return "\n".join(lines) + "\n"


def _cell(outcome: Outcome) -> str:
    ending = outcome.error or "done"
    return f"**{ending}: {'; '.join(outcome.problems)}**" if outcome.problems else ending


if __name__ == "__main__":
    main()
