"""A root with all that a root may hold, a user's own files beside it, and how to tell that nothing was touched."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from art.errors import ArtError
from art.format import layout
from art.format.certificates import Certificate
from art.names import ModelRef
from art.store.certificates import add_certificate
from art.store.history import HistoryStore
from art.store.liveness import Beacon
from art.store.pins import set_pin
from art.store.state import States
from art.store.store import CheckpointStore
from art.trajectories import Trajectory, TrajectoryGroup
from store.conftest import write_checkpoint, write_foreign, write_run

MAIN, OTHER, STRANGER = ModelRef("shop", "agent-1"), ModelRef("shop", "agent-2"), ModelRef("shop", "stranger")
STEPS = (1, 2, 3)
SLOWEST_S = 5.0
"""Of one example, in seconds of a core; each takes milliseconds."""
HANGS_S = 120.0
"""By the clock, which goes on while a busy machine does something else."""
MEMORY_BYTES = 2 * 1024**3
"""What an example may reserve: libraries and threads take hundreds of megabytes of addresses, a claim takes more."""
LONGEST_ERROR = 2000
Tree = dict[str, object]


class TooSlowError(Exception):
    """An example that does not end."""


def write_world(folder: Path) -> Path:
    """Write a root and, beside it, a user's own files that links in the root lead to; gives the root."""
    outside = folder / "outside"
    (outside / "0007").mkdir(parents=True)
    (outside / "key").write_text("private")
    store = CheckpointStore(folder / "root")
    model = store.root / layout.model_path(MAIN)
    checkpoints = write_run(store, MAIN, *STEPS, 4)
    store.rewind(checkpoints[2])
    write_checkpoint(store, OTHER, 1)
    write_foreign(model / "checkpoints/0005")
    # What another trainer keeps beside its weights, where one may have copied it.
    (model / "checkpoints/0005/trainer_state.json").write_text(json.dumps(TRAINER_STATE))
    _write_notes(store, checkpoints[2].digest)
    write_run(store, STRANGER, 1, 2)
    (store.root / layout.model_path(STRANGER) / layout.JOURNAL).write_text(json.dumps(JOURNAL))
    for above in (model, model / "checkpoints"):
        (above / "linked").symlink_to(outside)
    return store.root


JOURNAL = {
    "id": 1,
    "time": "2026-01-01T00:00:00Z",
    "reason": "rewound to 1",
    "kept": 1,
    "moves": [
        [f"shop/models/stranger/checkpoints/{step}", f"shop/models/stranger/set_aside/0001/{step}"]
        for step in ("0002",)
    ],
}
TRAINER_STATE = {"global_step": 5, "log_history": [{"step": 5, "loss": 0.5, "eval_loss": 1.5, "epoch": 1.0}]}


def _write_notes(store: CheckpointStore, digest: str | None) -> None:
    history = HistoryStore(store.root)
    for step in STEPS:
        history.append(MAIN, step, split="train", metrics={"reward": step / 4, "loss": -0.5})
    history.append(MAIN, 3, split="val", metrics={"reward": 0.5})
    line = group().model_dump_json()
    history.append_trajectories(MAIN, 2, split="train", trajectories=[line, line])
    States(store.root).append(MAIN, store.open(MAIN.at(3)), {"next": 7})
    States(store.root).describe(MAIN, {"learning_rate": 1e-5})
    replayed = Certificate(step=3, checkpoint=digest or "", same=("weights",), time="2026-01-01T00:00:00Z")
    add_certificate(store.root, MAIN, replayed)
    set_pin(store.root, MAIN.at(3), digest, pinned=True)
    Beacon(store.root, MAIN, "2026-01-01T00:00:00Z").beat()
    cursor = store.root / layout.told_path(MAIN, "jsonl")
    cursor.write_text(json.dumps({"run": "agent-1", "told": 1, "index": 1, "end": 0}))


def group() -> TrajectoryGroup:
    """Two rollouts with everything that a message may hold."""
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": "hello", "tool_calls": [call]},
        "logprobs": {"content": [{"token": "token_id:104", "logprob": -0.5, "bytes": None, "top_logprobs": []}]},
        "token_ids": [104],
        "token_logprobs": [-0.5],
    }
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "1", "tool_call_id": "c"},
        choice,
    ]
    each = [
        Trajectory.model_validate({"messages_and_choices": messages, "reward": reward, "metrics": {"right": reward}})
        for reward in (0.25, 1.0)
    ]
    return TrajectoryGroup(each)


def tree(folder: Path) -> Tree:
    """Everything below a folder: bytes of files, targets of links, and folders; nothing is followed."""
    found: Tree = {}
    waiting = [folder]
    while waiting:
        for entry in os.scandir(waiting.pop()):
            name = entry.path.removeprefix(f"{folder}/")
            if entry.is_symlink():
                found[name] = ("link", os.readlink(entry.path))  # noqa: PTH115 - of an entry
            elif entry.is_dir():
                found[name] = "folder"
                waiting.append(Path(entry.path))
            else:
                is_small = entry.is_file() and entry.stat().st_size < 2**24
                found[name] = Path(entry.path).read_bytes() if is_small else "special"
    return found


def changed(before: Tree, after: Tree) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


@contextlib.contextmanager
def copied(world: Path, place: Path) -> Iterator[Path]:
    """Give a copy of a world, and remove it."""
    copy = Path(shutil.copytree(world, place / "copy", symlinks=True))
    try:
        yield copy
    finally:
        shutil.rmtree(copy)


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Let what runs inside neither last nor reserve memory without an end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES, hard))
    previous = signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, HANGS_S)
    began = time.process_time()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    if time.process_time() - began > SLOWEST_S:
        raise TooSlowError(f"{time.process_time() - began:.1f} s")


def check_shown(error: ArtError, *names: str) -> None:
    """Check that an error can be shown on a terminal, is short, and names one of these things, where there are some."""
    text = str(error)
    assert text.isprintable(), repr(error)
    assert len(text) < LONGEST_ERROR, len(text)
    assert not names or any(name in text for name in names), repr(error)


def _stop(*_: object) -> None:
    raise TooSlowError("it does not end")
