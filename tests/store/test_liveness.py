"""Signs of life: whether a model is being trained, and what a strange file of that name does."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from art.format.manifest import utc_now
from art.names import ModelRef
from art.store.liveness import ENDED, RUNNING, Beacon, LiveRun, find_run, run_path
from art.store.store import CheckpointStore

from .conftest import write_checkpoint


@pytest.fixture
def beacon(store: CheckpointStore, main: ModelRef) -> Beacon:
    write_checkpoint(store, main, 1)
    return Beacon(store.root, main, utc_now())


def test_a_process_that_beats_is_alive_until_it_says_that_it_ended(beacon: Beacon):
    beacon.beat()
    alive = found(beacon)
    beacon.beat(ENDED)

    assert alive.is_alive(datetime.now(UTC))
    assert not found(beacon).is_alive(datetime.now(UTC))


def test_a_process_that_is_gone_is_not_alive(beacon: Beacon):
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    beacon.beat()
    run = found(beacon).model_copy(update={"pid": gone.pid})

    assert not run.is_alive(datetime.now(UTC))


def test_another_machine_is_believed_for_a_while(beacon: Beacon):
    now = utc_now()
    beat = datetime.fromisoformat(now)
    run = LiveRun(host="elsewhere", pid=os.getpid(), started=now, beat=now, word=RUNNING)

    assert run.is_alive(beat + timedelta(minutes=5))
    assert not run.is_alive(beat + timedelta(hours=1))


def test_a_model_without_a_folder_gets_none(store: CheckpointStore, branch: ModelRef):
    Beacon(store.root, branch, utc_now()).beat()

    assert not store.root.exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"pid": "1"}', b"\xff", b"x" * 5000])
def test_what_is_no_sign_of_life_is_none(beacon: Beacon, content: bytes):
    run_path(beacon.root, beacon.model).write_bytes(content)

    assert find_run(beacon.root, beacon.model) is None


def test_a_link_or_a_pipe_in_its_place_is_neither_read_nor_followed(beacon: Beacon, tmp_path: Path):
    path = run_path(beacon.root, beacon.model)
    os.mkfifo(path)
    piped = find_run(beacon.root, beacon.model)
    path.unlink()
    (tmp_path / "outside").write_text("mine")
    path.symlink_to(tmp_path / "outside")
    linked = find_run(beacon.root, beacon.model)
    beacon.beat()

    assert (piped, linked) == (None, None)
    assert (tmp_path / "outside").read_text() == "mine"
    assert found(beacon).word == RUNNING


def found(beacon: Beacon) -> LiveRun:
    run = find_run(beacon.root, beacon.model)
    assert run is not None
    return run
