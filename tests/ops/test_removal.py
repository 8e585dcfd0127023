"""Between a plan and its deletions other processes go on: what was not meant stays, and what is gone is no error."""

from __future__ import annotations

from pathlib import Path

import pytest

from art.errors import ConflictError
from art.names import ModelRef
from art.ops.place import place_of
from art.ops.removal import Keep, StepRange, plan_removal, remove
from art.remote.remote import Remote
from art.store.store import CheckpointStore
from store.conftest import write_checkpoint, write_run

MAIN = ModelRef("shop", "main")


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    store = CheckpointStore(tmp_path / "root")
    write_run(store, MAIN, 1, 2, 3)
    return store


@pytest.fixture
def bucket(store: CheckpointStore, tmp_path: Path) -> Remote:
    (tmp_path / "bucket").mkdir()
    remote = Remote.open(f"file://{tmp_path}/bucket")
    for step in (1, 2, 3):
        remote.push(store.open(MAIN.at(step)))
    return remote


@pytest.fixture(params=["disk", "bucket"])
def place(request: pytest.FixtureRequest, store: CheckpointStore, bucket: Remote) -> CheckpointStore | Remote:
    return store if request.param == "disk" else bucket


def delete(place: CheckpointStore | Remote, step: int) -> None:
    looked = place_of(place)
    looked.delete(MAIN.at(step), looked.stamp(MAIN.at(step)))


def test_what_another_process_deleted_meanwhile_is_passed_over(place: CheckpointStore | Remote):
    removal = plan_removal(place, [StepRange(MAIN)], Keep(last=1))
    delete(place, 1)

    assert list(remove(place, removal)) == [MAIN.at(2)]
    assert place.steps(MAIN) == [3]


def test_what_another_process_put_in_its_place_stays(
    store: CheckpointStore, place: CheckpointStore | Remote, tmp_path: Path
):
    removal = plan_removal(place, [StepRange(MAIN, 3, 3)], Keep())
    delete(place, 3)
    if isinstance(place, Remote):
        place.push(write_checkpoint(CheckpointStore(tmp_path / "other"), MAIN, 3, reward=0.25))
    else:
        write_checkpoint(store, MAIN, 3, parent=store.newest(MAIN), reward=0.25)

    with pytest.raises(ConflictError, match="replaced"):
        list(remove(place, removal))

    assert place.steps(MAIN) == [1, 2, 3]


def test_a_later_plan_takes_out_what_is_needed_or_replaced_by_now(store: CheckpointStore):
    removal = plan_removal(store, [StepRange(MAIN)], Keep())
    store.delete(store.open(MAIN.at(3)))
    write_checkpoint(store, MAIN, 3, parent=store.newest(MAIN), reward=0.25)

    assert removal.still(plan_removal(store, [StepRange(MAIN, 2)], Keep())).refs == (MAIN.at(2),)


@pytest.mark.parametrize("left", ["files", "claim"])
def test_what_a_push_or_a_deletion_left_in_a_bucket_is_deleted_by_its_step(
    bucket: Remote, store: CheckpointStore, tmp_path: Path, left: str
):
    folder = tmp_path / "bucket" / "shop/models/main/checkpoints/0003"
    for path in folder.iterdir():
        if left == "claim" or path.name == "checkpoint.json":
            path.unlink()
    store.delete(store.open(MAIN.at(3)))
    replaced = write_checkpoint(store, MAIN, 3, parent=store.newest(MAIN), reward=0.25)
    with pytest.raises(ConflictError):
        bucket.push(replaced)

    removal = plan_removal(bucket, [StepRange(MAIN, 3, 3)], Keep())

    assert list(remove(bucket, removal)) == [MAIN.at(3)]
    assert bucket.push(replaced).digest == replaced.digest
