"""A damaged checkpoint of a bucket is made whole where it lies, or left as it is; and what breaks off is repeated."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from art.errors import ArtError, CheckpointExistsError, CheckpointNotFoundError, CorruptCheckpointError
from art.format import layout
from art.names import ModelRef
from art.ops.garbage import collect_garbage
from art.ops.repair_there import Helpers, repair_all_there
from art.ops.rewind import restore, rewind
from art.ops.verify import StepReport, verify
from art.remote.location import Patience
from art.remote.objects import Objects
from art.remote.remote import Remote
from art.store.store import CheckpointStore
from remote.proxy import Answer, DropAnswer, Fault, FaultProxy, is_method
from store.conftest import write_run

from .test_set_aside import open_place

MAIN, BRANCH = ModelRef("shop", "agent-1"), ModelRef("shop", "agent-2")
FOLDER = str(layout.checkpoint_path(MAIN.at(2)))
NOTHING = Helpers()
REFUSED = Answer(503, "SlowDown")
HURRIED = Patience(retries=0, timeout_s=2, silence_s=2)


@pytest.fixture
def here(tmp_path: Path) -> CheckpointStore:
    """Where what the bucket holds was trained."""
    store = CheckpointStore(tmp_path / "here")
    write_run(store, MAIN, 1, 2, 3)
    return store


@pytest.fixture(params=["file", "memory", "moto", "azurite"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path, here: CheckpointStore) -> Remote:
    bucket = open_place(request.param, request, tmp_path)
    assert isinstance(bucket, Remote)
    return filled(bucket, here)


@pytest.fixture
def folder(tmp_path: Path, here: CheckpointStore) -> Remote:
    (tmp_path / "bucket").mkdir()
    return filled(Remote.open(f"file://{tmp_path}/bucket"), here)


def filled(bucket: Remote, here: CheckpointStore) -> Remote:
    for step in here.steps(MAIN):
        bucket.push(here.open(MAIN.at(step)))
    return bucket


def objects_of(bucket: Remote) -> Objects:
    """What a test changes as a disk or a stranger might."""
    return bucket.receiver(ModelRef("shop", "nobody").at(1)).objects


def alter(bucket: Remote, name: str) -> None:
    content = bytearray(objects_of(bucket).read(f"{FOLDER}/{name}"))
    content[-1] ^= 1
    objects_of(bucket).overwrite(f"{FOLDER}/{name}", bytes(content))


def shorten(bucket: Remote, name: str) -> None:
    objects_of(bucket).overwrite(f"{FOLDER}/{name}", objects_of(bucket).read(f"{FOLDER}/{name}")[:-1])


def replace(bucket: Remote, name: str) -> None:
    objects_of(bucket).overwrite(f"{FOLDER}/{name}", b"{")


def remove(bucket: Remote, name: str) -> None:
    objects_of(bucket).delete([f"{FOLDER}/{name}"])


def mend(bucket: Remote, helpers: Helpers = NOTHING) -> list[StepReport]:
    reports = verify(bucket, [MAIN])
    return repair_all_there(bucket, reports, helpers, progress=lambda *_: None)


def contents(bucket: Remote) -> dict[str, bytes]:
    return {
        item.key: objects_of(bucket).read(item.key)
        for item in objects_of(bucket).all("")
        if "set_aside" not in item.key
    }


def bytes_aside(bucket: Remote) -> list[bytes]:
    folder = f"{layout.model_path(MAIN)}/{layout.SET_ASIDE}"
    found = objects_of(bucket).files_below(folder).items()
    return [objects_of(bucket).read(item.key) for path, item in found if path.count("/") > 1]


DAMAGES = [alter, shorten, replace, remove]
WEIGHTS, MANIFEST = "adapter_model.safetensors", "checkpoint.json"


def test_each_damage_is_mended_from_a_disk_and_kept_as_it_was(bucket: Remote, here: CheckpointStore):
    before = contents(bucket)
    for number, damage in enumerate(DAMAGES, 1):
        damage(bucket, WEIGHTS)
        wrong = objects_of(bucket).find(f"{FOLDER}/{WEIGHTS}")

        (report,) = [each for each in mend(bucket, Helpers(store=here)) if each.step == 2]

        assert report.is_repaired, report
        assert contents(bucket) == before
        assert [each.id for each in bucket.set_aside(MAIN)] == list(range(1, min(number, 3) + 1))
        assert wrong is None or wrong in bytes_aside(bucket)


@pytest.mark.parametrize("damage", [alter, shorten, replace])
@pytest.mark.parametrize("is_claimed", [True, False])
def test_a_damaged_manifest_comes_from_its_claim_or_from_a_disk(
    folder: Remote, here: CheckpointStore, damage: Callable[[Remote, str], None], is_claimed: bool
):
    before = contents(folder)
    damage(folder, MANIFEST)
    if not is_claimed:
        objects_of(folder).delete([str(layout.claim_path(MAIN.at(2)))])

    reports = mend(folder, Helpers(store=None if is_claimed else here))

    assert not any(report.is_wrong for report in reports)
    assert contents(folder) == before


@pytest.mark.parametrize("source", ["fork", "other bucket", "disk of a fork"])
def test_bytes_come_from_whatever_holds_them(folder: Remote, here: CheckpointStore, tmp_path: Path, source: str):
    helpers = NOTHING
    if source == "fork":
        folder.fork(folder.open_checkpoint(MAIN.at(2)), BRANCH)
    elif source == "other bucket":
        (tmp_path / "other").mkdir()
        helpers = Helpers(remote=filled(Remote.open(f"file://{tmp_path}/other"), here))
    else:
        forks = CheckpointStore(tmp_path / "forks")
        folder.fetch_fork(folder.open_checkpoint(MAIN.at(2)), BRANCH, forks)
        helpers = Helpers(store=forks)
    alter(folder, WEIGHTS)

    assert not any(report.is_wrong for report in mend(folder, helpers))


@pytest.mark.parametrize("name", ["trainer.json", "optimizer.safetensors"])
def test_a_checkpoint_of_ours_without_its_manifest_is_damaged_in_a_bucket_too(
    folder: Remote, here: CheckpointStore, name: str
):
    before = contents(folder)
    gone = {"trainer.json", "optimizer.safetensors", MANIFEST} - {name}
    objects_of(folder).delete([str(layout.claim_path(MAIN.at(2))), *(f"{FOLDER}/{each}" for each in gone)])

    with pytest.raises(CorruptCheckpointError, match=f"{name}.*lost its manifest"):
        folder.open_checkpoint(MAIN.at(2))
    reports = mend(folder, Helpers(store=here))

    assert not any(report.is_wrong for report in reports)
    assert contents(folder) == before


def test_what_nobody_has_stays_as_it_is(folder: Remote, here: CheckpointStore):
    alter(folder, WEIGHTS)
    (here.open(MAIN.at(2)).path / WEIGHTS).unlink()
    before = contents(folder)

    reports = mend(folder, Helpers(store=here))

    assert [WEIGHTS in str(report.repair) for report in reports] == [False, True, False]
    assert contents(folder) == before
    assert folder.set_aside(MAIN) == []


def test_a_checkpoint_of_which_nothing_is_left_is_not_taken_for_any_other_of_its_step(
    folder: Remote, here: CheckpointStore
):
    for name in (MANIFEST, *here.open(MAIN.at(2)).names):
        replace(folder, name)
    objects_of(folder).delete([f"{layout.checkpoint_path(MAIN.at(3))}/{MANIFEST}", str(layout.claim_path(MAIN.at(2)))])
    before = contents(folder)

    (report,) = [each for each in mend(folder, Helpers(store=here)) if each.step == 2]

    assert "another checkpoint" in str(report.repair)
    assert contents(folder) == before


def test_damaged_files_are_not_brought_back(folder: Remote, here: CheckpointStore):
    rewind(folder, MAIN.at(2))
    alter(folder, WEIGHTS)
    mend(folder, Helpers(store=here))

    with pytest.raises(CheckpointExistsError, match="was repaired"):
        restore(folder, MAIN, 2)
    restore(folder, MAIN)
    with pytest.raises(CheckpointNotFoundError, match=r"2 \(damaged\)"):
        restore(folder, MAIN)

    assert folder.steps(MAIN) == [1, 2, 3]
    assert not any(report.is_wrong for report in verify(folder, [MAIN]))


Act = Callable[[Remote, CheckpointStore], None]


def repaired(bucket: Remote, here: CheckpointStore) -> None:
    reports = mend(bucket, Helpers(store=here))
    problems = [report.repair.problem for report in reports if report.repair and report.repair.problem]
    if problems:
        raise CheckpointNotFoundError(problems[0])


def removed(bucket: Remote, here: CheckpointStore) -> None:
    if 2 in bucket.steps(MAIN) or bucket.claimed(MAIN.at(2)):
        bucket.delete(MAIN.at(2))


def collected(bucket: Remote, here: CheckpointStore) -> None:
    collect_garbage(bucket)


LEFT: dict[Act, list[int]] = {repaired: [1, 2, 3], removed: [1, 3], collected: [1, 2]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("act", "fault"),
    [(repaired, REFUSED), (repaired, DropAnswer()), (removed, DropAnswer()), (collected, REFUSED)],
    ids=["repair refused", "answer to a repair lost", "answer to a deletion lost", "collecting refused"],
)
def test_what_breaks_off_at_any_request_is_as_before_or_repeated(
    proxy: FaultProxy,
    moto_bucket: str,
    here: CheckpointStore,
    act: Act,
    fault: Fault,
):
    number, hits = 0, 1
    while hits:
        where = f"s3://{moto_bucket}/{number}"
        remote = filled(Remote.open(where), here)
        if act is repaired:
            alter(remote, WEIGHTS)
        if act is collected:
            # A rewind that broke off behind its record: collecting finishes it.
            rewind(remote, MAIN.at(2))
            shelf = f"{layout.model_path(MAIN)}/{layout.SET_ASIDE}/0001"
            objects_of(remote).create(f"{shelf}/{layout.JOURNAL}", objects_of(remote).read(f"{shelf}/{layout.RECORD}"))
        rule = proxy.fault(fault, when=is_method("PUT", "DELETE", "POST"), skip=number)
        with suppress(ArtError):
            act(Remote.open(where, patience=HURRIED), here)
        proxy.heal()
        held = {*remote.steps(MAIN), *(step for aside in remote.set_aside(MAIN) for step in aside.steps)}
        assert held >= ({1, 3} if act is removed else {1, 2, 3}), number

        act(remote, here)

        assert remote.steps(MAIN) == LEFT[act], number
        assert not any(report.is_wrong for report in verify(remote, [MAIN])), number
        number, hits = number + 1, rule.hits
    assert number > (1 if act is collected else 3)
