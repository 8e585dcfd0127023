"""Checkpoints of other trainers, with folders inside: moved and forked like any other, in every direction."""

from __future__ import annotations

from pathlib import Path

import pytest

from art.errors import ConfigurationError
from art.format import layout
from art.format.kinds import carried_by
from art.format.pick import NEWEST
from art.names import ModelRef
from art.ops.fork import ForkRequest, fork
from art.remote.remote import Remote
from art.store.checkpoint import Checkpoint
from art.store.store import CheckpointStore
from remote.servers import S3Server
from store.conftest import tree

MAIN, BRANCH = ModelRef("shop", "agent-1"), ModelRef("shop", "agent-2")
FILES = {
    ".metadata": b"m",
    "0007/checkpoint.json": b"a file of that name in a folder, which is no step",
    "  spaces before and behind /and inside ": b"spaces",
    "100% #1?/a+b&c=d;e%20f": b"what addresses are escaped for",
    "optimizer.pt": b"moments",
    "pytorch_model_fsdp_0/__0_0.distcp": b"zero",
    "pytorch_model_fsdp_0/__1_0.distcp": b"one",
    "scheduler.pt": b"schedule",
    "trainer_state.json": b"{}",
    "Ünïcode…/日本.bin..": b"letters",
}


def write(store: CheckpointStore) -> Checkpoint:
    with store.stage(MAIN.at(3)) as stage:
        for name, content in FILES.items():
            stage.place(name).write_bytes(content)
        return stage.commit(kind="hf-trainer", carried=carried_by("hf-trainer", FILES))


@pytest.fixture
def here(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "here")


@pytest.fixture(params=["folder", "moto", "azurite"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Remote:
    if request.param == "folder":
        (tmp_path / "bucket").mkdir()
        return Remote.open(f"file://{tmp_path}/bucket")
    if request.param == "azurite":
        return Remote.open(f"az://{request.getfixturevalue('container')}/runs")
    return Remote.open(f"s3://{request.getfixturevalue('moto_bucket')}/runs")


def test_what_is_pushed_comes_back_whole(remote: Remote, here: CheckpointStore, tmp_path: Path):
    pushed = write(here)
    remote.push(pushed)
    there = CheckpointStore(tmp_path / "there")

    fetched = remote.fetch(remote.select(MAIN).checkpoint, there).checkpoint

    assert tree(fetched.path) == tree(pushed.path)
    assert fetched.digest == pushed.digest
    assert remote.steps(MAIN) == [3]


def test_a_push_that_broke_off_between_folders_is_completed(moto: S3Server, moto_bucket: str, here: CheckpointStore):
    remote = Remote.open(f"s3://{moto_bucket}/runs")
    pushed = write(here)
    remote.push(pushed)
    folder = f"runs/{layout.checkpoint_path(MAIN.at(3))}"
    for name in ("checkpoint.json", "pytorch_model_fsdp_0/__1_0.distcp", "optimizer.pt"):
        moto.client().delete_object(Bucket=moto_bucket, Key=f"{folder}/{name}")
    assert remote.steps(MAIN) == []

    again = remote.push(pushed)

    assert again.sent_bytes == len(FILES["optimizer.pt"]) + len(FILES["pytorch_model_fsdp_0/__1_0.distcp"])
    assert remote.select(MAIN).checkpoint.digest == pushed.digest


@pytest.mark.parametrize("direction", ["disk to disk", "bucket to disk", "disk to bucket", "bucket to bucket"])
def test_a_fork_leaves_out_what_is_reset_in_every_direction(here: CheckpointStore, tmp_path: Path, direction: str):
    (tmp_path / "bucket").mkdir()
    bucket = Remote.open(f"file://{tmp_path}/bucket")
    bucket.push(write(here))
    places: dict[str, CheckpointStore | Remote] = {"disk": here, "bucket": bucket}
    source, _, destination = direction.partition(" to ")
    request = ForkRequest(
        source=places[source],
        source_model=MAIN,
        pick=NEWEST,
        destination=places[destination],
        model=BRANCH,
        reset=("optimizer", "schedule"),
    )

    manifest = fork(request).manifest

    assert set(FILES) - set(manifest.names) == {"optimizer.pt", "scheduler.pt"}
    assert (manifest.kind, manifest.carried) == ("hf-trainer", ("state",))
    assert places[destination].select(BRANCH).checkpoint.manifest == manifest


@pytest.mark.parametrize("source", ["disk", "bucket"])
def test_a_reset_that_its_trainer_does_not_know_changes_nothing(here: CheckpointStore, tmp_path: Path, source: str):
    (tmp_path / "bucket").mkdir()
    bucket = Remote.open(f"file://{tmp_path}/bucket")
    bucket.push(write(here))
    before = tree(tmp_path)
    places: dict[str, CheckpointStore | Remote] = {"disk": here, "bucket": bucket}
    request = ForkRequest(
        source=places[source], source_model=MAIN, pick=NEWEST, destination=bucket, model=BRANCH, reset=("optimizer",)
    )

    with pytest.raises(ConfigurationError, match="together or not at all"):
        fork(request)

    assert tree(tmp_path) == before


def test_deleting_takes_the_folders_too(moto: S3Server, moto_bucket: str, here: CheckpointStore):
    remote = Remote.open(f"s3://{moto_bucket}/runs")
    remote.push(write(here))

    remote.delete(MAIN.at(3))

    listed = moto.client().list_objects_v2(Bucket=moto_bucket).get("Contents", [])
    assert [item["Key"] for item in listed if "/checkpoints/" in item["Key"]] == []
