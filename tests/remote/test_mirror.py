"""A mirror holds nothing up and forgets nothing: what could not be pushed is tried again, or raised when it closes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from art.errors import RemoteError, RemoteUnavailableError
from art.local.mirror import Mirror
from art.remote.location import Patience
from art.remote.objects import Objects
from art.remote.remote import Remote
from art.remote.write import Written
from art.store.checkpoint import Checkpoint
from art.store.store import CheckpointStore

from .making import MODEL, make
from .proxy import Answer, Delay, FaultProxy, is_put_of


class FailingRemote(Remote):
    """A remote whose first pushes raise what nobody foresaw."""

    def __init__(self, objects: Objects, times: float) -> None:
        super().__init__(objects)
        self.times = times

    def push(self, checkpoint: Checkpoint, **options: object) -> Written:
        self.times -= 1
        if self.times >= 0:
            raise ZeroDivisionError("nobody foresaw this")
        return super().push(checkpoint)


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "here")


def failing(times: float) -> FailingRemote:
    return FailingRemote(Remote.open("memory://")._objects, times)


@pytest.mark.parametrize("times", [1, 3])
def test_an_unforeseen_error_stops_no_mirror_and_its_checkpoints_are_pushed_again(store: CheckpointStore, times: int):
    remote = failing(times)
    mirror = Mirror(remote, store)
    for step in range(1, 6):
        mirror.put(make(store, MODEL.at(step)).ref)

    mirror.close()

    assert remote.steps(MODEL) == [1, 2, 3, 4, 5]


def test_what_cannot_be_pushed_in_the_end_is_raised_when_the_mirror_closes(store: CheckpointStore):
    mirror = Mirror(failing(float("inf")), store)
    for step in (1, 2):
        mirror.put(make(store, MODEL.at(step)).ref)

    with pytest.raises(RemoteError, match=r"@1, .*@2 could not be pushed.*ZeroDivisionError.*`art push`"):
        mirror.close()


def test_a_damaged_checkpoint_is_raised_and_the_others_are_pushed(store: CheckpointStore):
    remote = Remote.open("memory://")
    mirror = Mirror(remote, store)
    damaged, whole = make(store, MODEL.at(1)), make(store, MODEL.at(2))
    path = damaged.path / "trainer.json"
    path.chmod(0o600)
    path.write_text("altered")
    for checkpoint in (damaged, whole):
        mirror.put(checkpoint.ref)

    with pytest.raises(OSError, match=r"trainer\.json"):
        mirror.close()

    assert remote.steps(MODEL) == [2]


def test_a_remote_that_is_slow_holds_no_commit_up(proxy: FaultProxy, moto_bucket: str, store: CheckpointStore):
    rule = proxy.fault(Delay(1), when=is_put_of("/claims/"), times=1)
    mirror = Mirror(Remote.open(moto_bucket), store)
    ref = make(store, MODEL.at(1)).ref
    mirror.put(ref)
    while not rule.hits:
        time.sleep(0.01)
    began = time.monotonic()

    for step in range(2, 1002):
        mirror.put(MODEL.at(step))

    assert time.monotonic() - began < 0.5
    mirror.close()
    assert Remote.open(moto_bucket).steps(MODEL) == [1]


def test_a_remote_that_comes_back_gets_what_it_missed(proxy: FaultProxy, moto_bucket: str, store: CheckpointStore):
    proxy.fault(Answer(403, "AccessDenied"), when=is_put_of("/claims/"), times=2)
    remote = Remote.open(moto_bucket, patience=Patience(retries=0, timeout_s=5))
    mirror = Mirror(remote, store)
    for step in (1, 2, 3):
        mirror.put(make(store, MODEL.at(step)).ref)

    mirror.close()

    assert remote.steps(MODEL) == [1, 2, 3]


def test_a_remote_that_is_gone_is_not_waited_for_with_every_checkpoint(
    proxy: FaultProxy, moto_bucket: str, store: CheckpointStore
):
    rule = proxy.fault(Answer(503, "SlowDown"), when=lambda request: True, times=10_000)
    mirror = Mirror(Remote.open(moto_bucket, patience=Patience(retries=0, timeout_s=5)), store)
    refs = [make(store, MODEL.at(step)).ref for step in range(1, 21)]
    mirror.put(refs[0])
    while not rule.hits:
        time.sleep(0.01)
    for ref in refs:
        mirror.put(ref)

    with pytest.raises(
        RemoteUnavailableError, match=r"@1, .*@20 \(20 in all\) could not be pushed.*SlowDown.*`art push`"
    ):
        mirror.close()

    assert rule.hits < 10


def test_a_mirror_that_got_nothing_closes_at_once(store: CheckpointStore):
    Mirror(Remote.open("memory://"), store).close()
