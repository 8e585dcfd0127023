"""A process that is killed at a request to a bucket leaves nothing half done, and the same again finishes it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from art.names import CheckpointRef
from art.ops.place import place_of
from art.ops.verify import verify
from art.remote.remote import Remote
from art.store.history import HistoryStore
from art.store.store import CheckpointStore
from remote.proxy import Call, FaultProxy, Request, is_method
from remote.servers import S3Server
from store.conftest import write_checkpoint, write_run

from .crash import BRANCH, FRESH, MAIN, OPERATIONS

CHANGES = is_method("PUT", "POST", "DELETE")
READING = ("pull", "fork_to_this_disk")
"""What changes nothing in the bucket is killed at what it reads."""
IN_STEPS = ("rewind", "restore", "fork_onto_a_model", "fork_onto_a_step_that_is_taken")
"""A bucket has no rename: these are seen while they go on. Every step is whole, in its place or set aside."""


@dataclass(frozen=True)
class World:
    """A bucket's prefix and a root."""

    remote: Remote
    store: CheckpointStore

    @classmethod
    def at(cls, url: str, root: Path) -> World:
        return cls(Remote.open(url), CheckpointStore(root))

    @property
    def places(self) -> tuple[Remote, CheckpointStore]:
        return self.remote, self.store


class Children:
    """Runs operations in processes that may be killed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, operation: str, world: World, pid: Future[int]) -> int:
        """Run one to its end; gives its exit status, negative for a signal."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{operation}\t{world.remote}\t{world.store.root}\n")
        self._process.stdin.flush()
        pid.set_result(int(self._process.stdout.readline()))
        return int(self._process.stdout.readline())


@pytest.fixture
def children(proxy: FaultProxy) -> Iterator[Children]:
    with subprocess.Popen(
        [sys.executable, "-m", "places.crash"],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "AWS_ENDPOINT_URL": proxy.endpoint},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        yield Children(process)
        process.communicate()
    assert process.returncode == 0


@pytest.fixture
def first(
    children: Children, moto: S3Server, moto_bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> World:
    """A bucket with a model of two steps, and another one that was rewound; a disk has a third."""
    # Only the children pass the proxy.
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto.endpoint)
    world = World.at(f"s3://{moto_bucket}/first", tmp_path / "first")
    remote, store = world.places
    elsewhere = CheckpointStore(tmp_path / "elsewhere")
    for checkpoint in [*write_run(elsewhere, MAIN, 1, 2), *write_run(elsewhere, BRANCH, 1, 2)]:
        remote.push(checkpoint)
    HistoryStore(elsewhere.root).append(MAIN, 1, split="train", metrics={"reward": 0.5})
    remote.push_history(elsewhere, MAIN)
    remote.rewind(remote.open_checkpoint(BRANCH.at(1)))
    write_checkpoint(store, FRESH, 4)
    HistoryStore(store.root).append(FRESH, 4, split="train", metrics={"reward": 0.25})
    return world


@pytest.mark.parametrize(
    "when", ["some", pytest.param("before", marks=pytest.mark.long), pytest.param("after", marks=pytest.mark.long)]
)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.timeout(900)
def test_an_operation_that_is_killed_at_a_request_is_finished_by_the_same_again(
    proxy: FaultProxy, moto: S3Server, children: Children, first: World, operation: str, when: str
):
    client = moto.client()
    whole, before = copy_of(first, client, "whole"), seen(first)
    assert children.run(operation, whole, Future()) == 0
    last = sum(is_point(operation, request) for request in proxy.requests) - 1
    after, afterwards, held_before = seen(whole), written(whole), held(first)

    for point in some_of(last, operation) if when == "some" else range(last + 1):
        world = copy_of(first, client, str(point))
        kill(proxy, children, operation, world, point, asks=when == "after")

        there = seen(world)
        assert (held(world) >= held_before) if operation in IN_STEPS else (there in (before, after)), point
        assert there == before or is_sound(world), point

        if (there, written(world)) != (after, afterwards):
            OPERATIONS[operation](*world.places)
        assert (seen(world), written(world)) == (after, afterwards), point
        assert is_sound(world), point
    assert before != after


def some_of(last: int, operation: str) -> list[int]:
    """Choose a few requests, the last among them, and the first of what goes on in steps."""
    return sorted({0, last // 2, last} if operation in IN_STEPS else {last // 2, last})


def kill(proxy: FaultProxy, children: Children, operation: str, world: World, point: int, *, asks: bool) -> None:
    """Run an operation, and kill its process at one of its requests: before the server sees it, or afterwards."""
    pid: Future[int] = Future()
    act = Call(lambda: os.kill(pid.result(), signal.SIGKILL), asks=asks)
    proxy.fault(act, when=lambda request: is_point(operation, request), skip=point)

    status = children.run(operation, world, pid)

    proxy.heal()
    proxy.wait()
    assert status == -signal.SIGKILL


def is_point(operation: str, request: Request) -> bool:
    return operation in READING or CHANGES(request)


def copy_of(world: World, client: Any, name: str) -> World:
    bucket, prefix = str(world.remote).removeprefix("s3://").split("/")
    root = world.store.root
    for item in client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/")["Contents"]:
        key = f"{name}/{item['Key'].removeprefix(f'{prefix}/')}"
        client.copy_object(Bucket=bucket, Key=key, CopySource={"Bucket": bucket, "Key": item["Key"]})
    return World.at(f"s3://{bucket}/{name}", shutil.copytree(root, root.with_name(name)))


def seen(world: World) -> object:
    """What a user can see: every step with its files and its parent, and what was set aside."""
    return [
        {
            model: (
                [described(place, model.at(step)) for step in place.steps(model)],
                [aside.steps for aside in place.set_aside(model)],
            )
            for model in place.models()
            if place.steps(model)
        }
        for place in world.places
    ]


def described(place: Remote | CheckpointStore, ref: CheckpointRef) -> object:
    manifest = place_of(place).open(ref).manifest
    parent = manifest.parent
    return manifest.ref, manifest.files, parent and (parent.ref, parent.digest)


def held(world: World) -> set[CheckpointRef]:
    """The steps of the bucket that are whole, in their place or set aside."""
    remote, _ = world.places
    asides = {model.at(step) for model in remote.models() for aside in remote.set_aside(model) for step in aside.steps}
    return asides | {model.at(step) for model in remote.models() for step in remote.steps(model)}


def is_sound(world: World) -> bool:
    return not any(report.is_wrong for place in world.places for report in verify(place, place.models()))


def written(world: World) -> object:
    """The histories of both places."""
    return [
        {model: [entry.metrics for entry in place_of(place).entries(model)] for model in place.models()}
        for place in world.places
    ]
