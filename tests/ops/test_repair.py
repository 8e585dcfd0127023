"""What is damaged is set aside and made whole from what holds the same bytes; or nothing changes, and why is said."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from art.errors import CheckpointExistsError, CheckpointNotFoundError
from art.names import ModelRef
from art.ops.repair import repair, repair_all
from art.ops.verify import StepReport, check, verify
from art.remote.remote import Remote
from art.store.checkpoint import Checkpoint
from art.store.store import CheckpointStore
from store.conftest import tree, write_checkpoint, write_foreign, write_run

MAIN, BRANCH = ModelRef("shop", "agent-1"), ModelRef("other", "agent-2")
FILES = ("adapter_config.json", "adapter_model.safetensors", "optimizer.safetensors", "trainer.json")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder in memory where there is one: nothing here has to outlive its test."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture
def store(place: Path) -> CheckpointStore:
    store = CheckpointStore(place / "root")
    write_run(store, MAIN, 1, 2, 3)
    return store


@pytest.fixture
def bucket(place: Path, store: CheckpointStore) -> Remote:
    (place / "bucket").mkdir()
    remote = Remote.open(f"file://{place}/bucket")
    for step in store.steps(MAIN):
        remote.push(store.open(MAIN.at(step)))
    return remote


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    replace(path, bytes(content))


def shorten(path: Path) -> None:
    replace(path, path.read_bytes()[:-1])


def lengthen(path: Path) -> None:
    replace(path, path.read_bytes() + b"x")


def remove(path: Path) -> None:
    path.unlink()


def link(path: Path) -> None:
    target = path.rename(path.parents[5] / "elsewhere")
    path.symlink_to(target)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = [alter, shorten, lengthen, remove, link, make_folder]


def mend(store: CheckpointStore, ref: object, remote: Remote | None = None) -> StepReport:
    return repair(store, check(store, ref), remote=remote, progress=lambda *_: None)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("file", "damage"), [*zip(FILES * 2, DAMAGES, strict=False)])
def test_a_file_is_brought_from_a_fork_that_holds_the_same_bytes(
    store: CheckpointStore, file: str, damage: Callable[[Path], None]
):
    whole = store.open(MAIN.at(2))
    before = tree(whole.path)
    store.fork(whole, BRANCH)
    damage(whole.path / file)

    report = mend(store, MAIN.at(2))

    assert report.is_repaired
    assert tree(whole.path) == before
    assert store.open(MAIN.at(2)) == whole
    store.verify(whole)


@pytest.mark.parametrize(("file", "damage"), [*zip(FILES, DAMAGES, strict=False)])
def test_what_is_damaged_is_set_aside_as_it_was(store: CheckpointStore, file: str, damage: Callable[[Path], None]):
    whole = store.open(MAIN.at(2))
    store.fork(whole, BRANCH)
    damage(whole.path / file)
    damaged = tree(whole.path)

    report = mend(store, MAIN.at(2))

    assert report.repair is not None
    (aside,) = store.set_aside(MAIN)
    assert (aside.id, aside.steps, aside.damaged) == (report.repair.set_aside, (2,), True)
    assert file in aside.reason
    assert tree(store.root / "shop/models/agent-1/set_aside/0001/0002") == damaged


@pytest.mark.parametrize(
    ("file", "damage"),
    [("adapter_model.safetensors", alter), *(("checkpoint.json", damage) for damage in DAMAGES)],
)
def test_a_file_is_fetched_from_a_bucket(
    store: CheckpointStore, bucket: Remote, file: str, damage: Callable[[Path], None]
):
    whole = store.open(MAIN.at(2))
    before = tree(whole.path)
    damage(whole.path / file)

    report = mend(store, MAIN.at(2), bucket)

    assert report.is_repaired
    assert tree(whole.path) == before
    assert store.open(MAIN.at(2)).digest == whole.digest


def test_a_file_is_fetched_from_a_fork_in_the_bucket(store: CheckpointStore, bucket: Remote):
    whole = store.open(MAIN.at(2))
    bucket.fork(bucket.open_checkpoint(MAIN.at(2)), BRANCH)
    bucket.delete(MAIN.at(2))
    alter(whole.path / "adapter_model.safetensors")

    report = mend(store, MAIN.at(2), bucket)

    assert report.repair is not None
    assert [each.source for each in report.repair.brought] == [f"{bucket}/other/models/agent-2/checkpoints/0002"]
    store.verify(store.open(MAIN.at(2)))


def test_a_file_that_is_damaged_in_the_bucket_too_is_taken_from_elsewhere_in_it(
    place: Path, store: CheckpointStore, bucket: Remote
):
    bucket.fork(bucket.open_checkpoint(MAIN.at(2)), BRANCH)
    alter(place / "bucket/shop/models/agent-1/checkpoints/0002/adapter_model.safetensors")
    alter(store.open(MAIN.at(2)).path / "adapter_model.safetensors")

    assert mend(store, MAIN.at(2), bucket).is_repaired


def test_a_file_is_brought_from_what_a_rewind_set_aside(store: CheckpointStore):
    third = store.open(MAIN.at(3))
    store.fork(third, BRANCH)
    store.rewind(store.open(MAIN.at(2)))
    alter(store.open(BRANCH.at(3)).path / "adapter_model.safetensors")

    report = mend(store, BRANCH.at(3))

    assert report.repair is not None
    assert [each.source for each in report.repair.brought] == ["shop/agent-1@3, set aside as 1"]


def test_a_fork_of_a_foreign_checkpoint_is_repaired_from_it(store: CheckpointStore):
    theirs = ModelRef("shop", "theirs")
    folder = write_foreign(store.root / "shop/models/theirs/checkpoints/0007")
    store.fork(store.open(theirs.at(7)), BRANCH)
    shorten(store.open(BRANCH.at(7)).path / "adapter_model.safetensors")

    assert mend(store, BRANCH.at(7)).is_repaired
    repaired = store.open(BRANCH.at(7)).path / "adapter_model.safetensors"
    assert not repaired.samefile(folder / "adapter_model.safetensors")


def test_a_checkpoint_and_the_forks_that_share_its_damaged_file_are_all_repaired(
    store: CheckpointStore, bucket: Remote
):
    forks = [ModelRef("aaa", "before"), BRANCH, ModelRef("zzz", "after")]
    for fork in forks:
        store.fork(store.open(MAIN.at(2)), fork)
    for model in (MAIN, *forks):
        alter(store.open(model.at(2)).path / "adapter_model.safetensors")

    reports = repair_all(
        store,
        verify(store, store.models(), progress=lambda *_: None),
        remote=bucket,
        progress=lambda *_: None,
    )

    assert sum(report.is_repaired for report in reports) == 4
    assert not any(report.is_wrong for report in reports)


def test_what_one_repair_brought_repairs_the_one_that_came_before(store: CheckpointStore):
    early = ModelRef("aaa", "early")
    store.fork(store.open(MAIN.at(2)), early)
    store.fork(store.open(early.at(2)), BRANCH)
    # Without its manifest nothing says what BRANCH holds, so only the repaired others do.
    alter(store.open(early.at(2)).path / "adapter_model.safetensors")
    alter(store.open(MAIN.at(2)).path / "trainer.json")

    reports = repair_all(store, verify(store, store.models(), progress=lambda *_: None), progress=lambda *_: None)

    assert not any(report.is_wrong for report in reports)


def test_without_the_bytes_nothing_changes_and_the_missing_file_is_named(store: CheckpointStore, bucket: Remote):
    alter(store.open(MAIN.at(2)).path / "adapter_model.safetensors")
    alone = tree(store.root)
    bucket.delete(MAIN.at(2))

    here, there = mend(store, MAIN.at(2)), mend(store, MAIN.at(2), bucket)

    assert here.is_wrong
    assert there.is_wrong
    assert "adapter_model.safetensors" in str(here.repair)
    assert "--from" in str(here.repair)
    assert str(bucket) in str(there.repair)
    assert tree(store.root) == alone


def test_a_bucket_that_has_another_checkpoint_of_this_step_repairs_nothing(store: CheckpointStore, bucket: Remote):
    store.rewind(store.open(MAIN.at(1)))
    again = write_checkpoint(store, MAIN, 2, parent=store.open(MAIN.at(1)), reward=0.75)
    write_checkpoint(store, MAIN, 3, parent=again)
    replace(again.path / "checkpoint.json", b"{")
    alone = tree(store.root)

    report = mend(store, MAIN.at(2), bucket)

    assert report.is_wrong
    assert "another checkpoint" in str(report.repair)
    assert tree(store.root) == alone


def test_a_folder_copied_by_hand_is_no_damage_to_repair(store: CheckpointStore, bucket: Remote):
    shutil.copytree(store.open(MAIN.at(1)).path, store.root / "shop/models/agent-1/checkpoints/0009")
    alone = tree(store.root)

    report = mend(store, MAIN.at(9), bucket)

    assert report.is_wrong
    assert "copied by hand" in str(report.repair)
    assert tree(store.root) == alone


def test_a_checkpoint_that_was_replaced_while_its_bytes_came_is_left_alone(store: CheckpointStore):
    whole = store.open(MAIN.at(3))
    store.fork(whole, BRANCH)
    alter(whole.path / "trainer.json")

    def rewind_meanwhile(first: Checkpoint) -> None:
        store.rewind(first)
        write_checkpoint(store, MAIN, 3, parent=first, reward=0.75)

    report = _repair_while(store, lambda: rewind_meanwhile(store.open(MAIN.at(1))))

    assert report.repair is not None
    assert report.repair.set_aside is None
    assert store.open(MAIN.at(3)).manifest.metrics == {"reward": 0.75}
    assert [aside.damaged for aside in store.set_aside(MAIN)] == [False]


def test_processes_that_repair_one_checkpoint_at_once_repair_it_once(store: CheckpointStore):
    store.fork(store.open(MAIN.at(2)), BRANCH)
    alter(store.open(MAIN.at(2)).path / "adapter_model.safetensors")
    damaged = check(store, MAIN.at(2))

    def repair_it(_: int) -> StepReport:
        return repair(CheckpointStore(store.root), damaged, progress=lambda *_: None)

    with ThreadPoolExecutor(6) as pool:
        reports = list(pool.map(repair_it, range(6)))

    assert all(report.is_repaired for report in reports)
    assert [aside.steps for aside in store.set_aside(MAIN)] == [(2,)]
    store.verify(store.open(MAIN.at(2)))


def test_what_was_set_aside_as_damaged_comes_back_by_its_number_alone_and_can_be_repaired(
    store: CheckpointStore, bucket: Remote
):
    alter(store.open(MAIN.at(3)).path / "trainer.json")
    sound, damages = store.newest_sound(MAIN)
    assert sound is not None
    aside = store.set_damaged_aside(sound, damages)

    with pytest.raises(CheckpointNotFoundError):
        store.restore(MAIN)
    store.restore(MAIN, aside.id)

    assert store.steps(MAIN) == [1, 2, 3]
    assert mend(store, MAIN.at(3), bucket).is_repaired


def _repair_while(store: CheckpointStore, happens: Callable[[], object]) -> StepReport:
    """Repair step 3 of MAIN from a bucket, and let something happen once its first bytes have come."""
    bucket = store.root.parent / "late"
    bucket.mkdir()
    remote = Remote.open(f"file://{bucket}")
    remote.push_fork(store.open(BRANCH.at(3)), ModelRef("far", "away"))
    for model in (BRANCH,):
        store.delete(store.open(model.at(3)))
    has_happened: list[object] = []

    def progress(*_: int) -> None:
        if not has_happened:
            has_happened.append(happens())

    return repair(store, check(store, MAIN.at(3)), remote=remote, progress=progress)


def test_the_damaged_copy_of_a_repaired_step_is_not_brought_back(store: CheckpointStore):
    store.fork(store.open(MAIN.at(2)), BRANCH)
    alter(store.open(MAIN.at(2)).path / "trainer.json")
    mend(store, MAIN.at(2))

    with pytest.raises(CheckpointNotFoundError, match=r"1 \(damaged\)"):
        store.restore(MAIN)
    with pytest.raises(CheckpointExistsError, match="was repaired"):
        store.restore(MAIN, 1)

    store.verify(store.open(MAIN.at(2)))


def test_after_a_repair_a_rewind_is_still_undone(store: CheckpointStore):
    store.fork(store.open(MAIN.at(2)), BRANCH)
    store.rewind(store.open(MAIN.at(2)))
    alter(store.open(MAIN.at(2)).path / "trainer.json")
    mend(store, MAIN.at(2))

    store.restore(MAIN)

    assert store.steps(MAIN) == [1, 2, 3]
    store.verify(store.open(MAIN.at(2)))


def test_a_repair_survives_that_its_source_is_deleted(store: CheckpointStore):
    store.fork(store.open(MAIN.at(2)), BRANCH)
    alter(store.open(MAIN.at(2)).path / "adapter_model.safetensors")
    mend(store, MAIN.at(2))

    store.delete(store.open(BRANCH.at(2)))
    store.collect()

    store.verify(store.open(MAIN.at(2)))


def test_what_is_whole_is_left_alone(store: CheckpointStore):
    before = tree(store.root)

    reports = repair_all(store, verify(store, store.models(), progress=lambda *_: None), progress=lambda *_: None)

    assert tree(store.root) == before
    assert all(report.repair is None for report in reports)


def test_cleaning_up_meanwhile_takes_nothing_that_a_repair_needs(store: CheckpointStore, place: Path):
    store.fork(store.open(MAIN.at(3)), BRANCH)
    alter(store.open(MAIN.at(3)).path / "adapter_model.safetensors")

    report = _repair_while(store, lambda: CheckpointStore(place / "root").collect())

    assert report.is_repaired
    store.verify(store.open(MAIN.at(3)))


def test_cleaning_up_leaves_what_is_damaged_and_what_was_set_aside(store: CheckpointStore):
    store.fork(store.open(MAIN.at(2)), BRANCH)
    alter(store.open(MAIN.at(2)).path / "trainer.json")
    mend(store, MAIN.at(2))
    alter(store.open(MAIN.at(3)).path / "trainer.json")
    before = tree(store.root)

    assert store.collect() == []
    assert tree(store.root) == before
