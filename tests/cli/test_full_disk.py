"""A disk that is full, or that nobody may write to: each command says so in one line, or needs no room at all.

The store is as before, and the same command works once there is room.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from art.cli.group import COMMANDS
from art.names import ModelRef
from art.remote.remote import Remote
from art.store.history import HistoryStore
from art.store.store import CheckpointStore
from fuzz.world import group, tree
from store.conftest import safetensors, write_checkpoint, write_run

from .conftest import Art

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root"),
]

MAIN, FAR = ModelRef("shop", "agent-1"), ModelRef("shop", "far")
BUCKET = "file://{tmp}/bucket"
READS = {
    "log": "log", "show": "show agent-1@2", "status": "status", "suggest": "suggest agent-1",
    "diff": "diff agent-1@2 agent-1@3", "verify": "verify", "data": "data agent-1@2",
}  # fmt: skip
WRITES = {
    "fork": "fork agent-1@2 fork",
    "fork from a bucket": f"fork {BUCKET}::shop/far fork",
    "merge": "merge agent-1@2 agent-1@3 --into merged",
    "rewind": "rewind agent-1@1",
    "rewind --undo": "rewind agent-1 --undo",
    "rm": "rm agent-1@1 --yes",
    "gc": "gc",
    "gc --keep": "gc --keep newest:1 --yes",
    "pin": "pin agent-1@1",
    "unpin": "unpin agent-1@3",
    "push": "push agent-1@3 file://{disk}/bucket",
    "pull": f"pull {BUCKET}::shop/far",
    "export": "export agent-1@2 {disk}/out",
    "export --to": "export agent-1 --to jsonl",
    "export --to tensorboard": "export agent-1 --to tensorboard",
    "checkout": "checkout agent-1@2 {disk}/out",
    "commit": "commit {tmp}/run/checkpoint-10 run@10",
    "verify --repair": f"verify damaged --repair --from {BUCKET}",
    "sign": "sign agent-1@2 --key {tmp}/key",
    "ui --export": "ui --export {disk}/page.html",
}
WITHOUT_ROOM = {"rm", "gc", "gc --keep"}
"""What needs no room: deleting always works."""
ELSEWHERE = {"serve", "chat", "ui", "mcp", "replay", "sweep", "watch", "certify", "plan"}
"""Commands that serve, train or write no store by themselves; `watch` commits as `commit` does."""
FRACTION = b"x" * 4096


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(folder)]
    if subprocess.run(mounted, capture_output=True, check=False).returncode:
        pytest.skip("no tmpfs can be mounted")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def small(tmp_path: Path, disk: Path) -> CheckpointStore:
    """A store on the small disk, and beside the disk what commands bring into it."""
    store, elsewhere = CheckpointStore(disk / "root"), CheckpointStore(tmp_path / "elsewhere")
    write_run(store, MAIN, 1, 2, 3, 4)
    store.rewind(store.open(MAIN.at(3)))
    for step in (1, 2, 3):
        HistoryStore(store.root).append(MAIN, step, split="train", metrics={"reward": step / 4})
    HistoryStore(store.root).append_trajectories(MAIN, 2, split="train", trajectories=[group().model_dump_json()])
    (store.root / "shop/models/agent-1/checkpoints/0009").mkdir()
    (tmp_path / "bucket").mkdir()
    (disk / "bucket").mkdir()
    remote = Remote.open(f"file://{tmp_path}/bucket")
    remote.push(write_checkpoint(elsewhere, FAR, 7))
    damaged = write_checkpoint(store, ModelRef("shop", "damaged"), 1)
    remote.push(damaged)
    (damaged.path / "adapter_model.safetensors").unlink()
    folder = tmp_path / "run/checkpoint-10"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(safetensors(b"x" * 9999))
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 10, "log_history": []}))
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    (tmp_path / "key").write_bytes(key)
    return store


def fill(disk: Path) -> Callable[[], None]:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(FRACTION):
                pass
        except OSError:
            pass
    return filler.unlink


def forbid(disk: Path) -> Callable[[], None]:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    return lambda: subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True) and None


def words(command: str, tmp_path: Path, disk: Path) -> list[str]:
    return command.format(tmp=tmp_path, disk=disk).split()


def test_every_command_is_tried_or_writes_elsewhere():
    tried = {command.split()[0] for command in (*READS.values(), *WRITES.values())}

    assert tried | ELSEWHERE == COMMANDS.keys()


@pytest.mark.parametrize("close", [fill, forbid])
def test_looking_needs_no_room(
    art: Art, small: CheckpointStore, tmp_path: Path, disk: Path, close: Callable[[Path], Callable[[], None]]
):
    answers = {name: art(*words(command, tmp_path, disk), root=small.root) for name, command in READS.items()}
    close(disk)
    before = tree(disk)

    again = {name: art(*words(command, tmp_path, disk), root=small.root) for name, command in READS.items()}

    assert {name: each.returncode for name, each in again.items()} == {
        name: each.returncode for name, each in answers.items()
    }
    assert not any("space" in each.stderr or "read-only" in each.stderr for each in again.values())
    assert tree(disk) == before


@pytest.mark.parametrize("close", [fill, forbid])
@pytest.mark.parametrize("name", WRITES)
def test_a_command_that_finds_no_room_says_so_in_one_line_and_works_later(
    art: Art, small: CheckpointStore, tmp_path: Path, disk: Path, name: str, close: Callable[[Path], Callable[[], None]]
):
    command = words(WRITES[name], tmp_path, disk)
    reopen = close(disk)
    before = tree(disk)

    refused = art(*command, root=small.root)

    if close is fill and name in WITHOUT_ROOM:
        assert refused.returncode == 0, refused.stderr
        return
    # One model that cannot be cleaned keeps nobody from the others.
    assert refused.returncode == (0 if name == "gc" else 1)
    said = refused.stderr or refused.stdout
    assert refused.stderr.count("\n") <= 1
    assert str(disk) in said
    assert any(why in said for why in ("no space", "No space", "bytes on", "read-only", "Read-only")), said
    assert kept(tree(disk)) == kept(before)
    reopen()
    assert art(*command, root=small.root).returncode == 0


def kept(found: dict[str, object]) -> dict[str, object]:
    """Leave out what holds nothing: a folder, and a file that was opened for lines which did not come."""
    return {name: what for name, what in found.items() if what not in ("folder", b"")}
