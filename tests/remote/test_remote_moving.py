"""Push, select, pull and fork, on every server: what a bucket says is what happens."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from art.errors import (
    CheckpointExistsError,
    CheckpointNotFoundError,
    ConfigurationError,
    CorruptCheckpointError,
    DestinationNotEmptyError,
    ModelNotFoundError,
    RemoteNotFoundError,
    StorageError,
)
from art.format import layout
from art.format.pick import NEWEST, AtMost, Best, Exact, Pick
from art.names import ModelRef
from art.remote.remote import Remote
from art.store import disk
from art.store.store import CheckpointStore

from .making import MODEL, make, put_foreign, tree, write_adapter
from .servers import S3Server

DESTINATION = ModelRef("shop", "agent 2")


@pytest.fixture
def remote(bucket: str) -> Remote:
    return Remote.open(bucket, prefix="a prefix/of ü")


def keys(server: S3Server, bucket: str) -> list[str]:
    listed = server.client().list_objects_v2(Bucket=bucket).get("Contents", [])
    return sorted(item["Key"] for item in listed)


def test_what_is_pushed_comes_back_bit_for_bit(remote: Remote, here: CheckpointStore, there: CheckpointStore):
    pushed = make(here, MODEL.at(500), metrics={"reward": 0.5})
    remote.push(pushed)

    fetched = remote.fetch(remote.select(MODEL).checkpoint, there)

    assert tree(fetched.checkpoint.path) == tree(pushed.path)
    assert fetched.checkpoint.digest == pushed.digest
    assert fetched.fetched_bytes == pushed.manifest.size_bytes


def test_a_bucket_has_the_same_relative_paths_as_a_root(
    remote: Remote, here: CheckpointStore, server: S3Server, bucket: str
):
    checkpoint = make(here, MODEL.at(5))

    remote.push(checkpoint)

    folder = f"a prefix/of ü/{layout.checkpoint_path(MODEL.at(5))}"
    assert [key for key in keys(server, bucket) if "/checkpoints/" in key] == [
        f"{folder}/{name}" for name in sorted(tree(checkpoint.path))
    ]


def test_large_files_go_in_parts_and_come_in_ranges(remote: Remote, here: CheckpointStore, there: CheckpointStore):
    pushed = make(here, MODEL.at(1), size_bytes=20_000_000)
    remote.push(pushed)

    fetched = remote.fetch(remote.select(MODEL).checkpoint, there)

    assert tree(fetched.checkpoint.path) == tree(pushed.path)


@pytest.mark.parametrize(
    ("pick", "expected"), [(NEWEST, 10_000), (AtMost(10_000), 10_000), (AtMost(9_999), 9_999), (AtMost(9_998), 900)]
)
def test_the_newest_step_is_chosen_by_number(moto_remote: Remote, here: CheckpointStore, pick: Pick, expected: int):
    for step in (900, 9_999, 10_000):
        moto_remote.push(make(here, MODEL.at(step)))

    assert moto_remote.select(MODEL, pick).checkpoint.ref.step == expected


@pytest.fixture
def moto_remote(moto_bucket: str) -> Remote:
    return Remote.open(f"s3://{moto_bucket}/backups")


def test_an_exact_step_and_the_best_are_chosen(moto_remote: Remote, here: CheckpointStore):
    for step, reward in ((1, 0.1), (2, 0.9), (3, 0.9), (4, 0.2)):
        moto_remote.push(make(here, MODEL.at(step), metrics={"reward": reward}))

    assert moto_remote.select(MODEL, Exact(2)).checkpoint.ref.step == 2
    assert moto_remote.select(MODEL, Best("reward")).checkpoint.ref.step == 3


def test_models_and_steps_are_listed(moto_remote: Remote, here: CheckpointStore):
    for step in (1, 20, 10_000):
        moto_remote.push(make(here, MODEL.at(step)))
    moto_remote.push(make(here, ModelRef("other", "x").at(7)))

    assert moto_remote.models() == [ModelRef("other", "x"), MODEL]
    assert moto_remote.models("shop") == [MODEL]
    assert moto_remote.steps(MODEL) == [1, 20, 10_000]
    assert moto_remote.steps(ModelRef("shop", "none")) == []


def test_absence_says_what_there_is(moto_remote: Remote, here: CheckpointStore):
    moto_remote.push(make(here, MODEL.at(50)))

    with pytest.raises(CheckpointNotFoundError, match=r"at or before step 40.*it has step 50"):
        moto_remote.select(MODEL, AtMost(40))
    with pytest.raises(CheckpointNotFoundError, match=r"@7.*it has step 50"):
        moto_remote.select(MODEL, Exact(7))
    with pytest.raises(ModelNotFoundError, match=r"no model shop/typo.*shop/agent 1 ü"):
        moto_remote.select(ModelRef("shop", "typo"))


def test_a_prefix_reaches_every_request(moto_bucket: str, here: CheckpointStore, there: CheckpointStore):
    make(here, MODEL.at(5), seed=1)
    Remote.open(moto_bucket, prefix="right").push(here.open(MODEL.at(5)))
    wrong = CheckpointStore(there.root / "wrong")
    Remote.open(moto_bucket).push(make(wrong, MODEL.at(6)))

    right = Remote.open(moto_bucket, prefix="right")
    fetched = right.fetch(right.select(MODEL, AtMost(9)).checkpoint, there)

    assert fetched.checkpoint.ref.step == 5
    assert tree(fetched.checkpoint.path) == tree(here.open(MODEL.at(5)).path)


def test_a_fork_takes_what_was_selected_in_the_bucket_whatever_lies_here(
    remote: Remote, here: CheckpointStore, there: CheckpointStore
):
    remote.push(make(here, MODEL.at(5), seed=1))
    make(there, MODEL.at(6), seed=2)
    make(there, MODEL.at(5), seed=3)

    done = remote.fetch_fork(remote.select(MODEL).checkpoint, DESTINATION, there, pick=AtMost(9))

    forked = done.checkpoint
    weights = layout.ADAPTER_WEIGHTS
    assert forked.ref == DESTINATION.at(5)
    assert (forked.path / weights).read_bytes() == (here.open(MODEL.at(5)).path / weights).read_bytes()
    assert forked.manifest.parent is not None
    assert forked.manifest.parent.ref == MODEL.at(5)
    assert forked.manifest.parent.digest == here.open(MODEL.at(5)).digest
    assert forked.manifest.parent.remote == str(remote)
    assert there.steps(MODEL) == [5, 6]


def test_the_same_fork_again_does_nothing_and_another_is_refused(
    moto_remote: Remote, here: CheckpointStore, there: CheckpointStore
):
    moto_remote.push(make(here, MODEL.at(5)))
    moto_remote.push(make(here, MODEL.at(6)))
    source = moto_remote.select(MODEL, AtMost(5)).checkpoint
    moto_remote.fetch_fork(source, DESTINATION, there, pick=AtMost(5))

    again = moto_remote.fetch_fork(source, DESTINATION, there, pick=AtMost(5))

    assert again.repeated
    assert again.fetched_bytes == 0
    with pytest.raises(DestinationNotEmptyError, match="step 5"):
        moto_remote.fetch_fork(moto_remote.select(MODEL).checkpoint, DESTINATION, there)


def test_a_second_fork_of_the_same_parent_fetches_nothing(
    moto_remote: Remote, here: CheckpointStore, there: CheckpointStore
):
    moto_remote.push(make(here, MODEL.at(5)))
    source = moto_remote.select(MODEL).checkpoint
    moto_remote.fetch_fork(source, DESTINATION, there)

    second = moto_remote.fetch_fork(source, ModelRef("shop", "agent 3"), there)

    assert (second.fetched_bytes, second.reused_bytes) == (0, source.size_bytes)
    there.verify(second.checkpoint)


@pytest.mark.parametrize("times", ["new", "kept"])
def test_a_file_that_was_altered_here_is_fetched_instead(
    moto_remote: Remote, here: CheckpointStore, there: CheckpointStore, times: str
):
    moto_remote.push(make(here, MODEL.at(5)))
    source = moto_remote.select(MODEL).checkpoint
    first = moto_remote.fetch_fork(source, DESTINATION, there).checkpoint
    weights = first.path / layout.ADAPTER_WEIGHTS
    before = weights.stat()
    weights.chmod(0o644)
    weights.write_bytes(b"x" * before.st_size)
    if times == "kept":  # as by a disk that turns bits over
        os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))

    second = moto_remote.fetch_fork(source, ModelRef("shop", "agent 3"), there)

    assert second.fetched_bytes == weights.stat().st_size
    there.verify(second.checkpoint)


def test_a_file_that_was_touched_here_is_read_and_shared(
    moto_remote: Remote, here: CheckpointStore, there: CheckpointStore
):
    moto_remote.push(make(here, MODEL.at(5)))
    source = moto_remote.select(MODEL).checkpoint
    first = moto_remote.fetch_fork(source, DESTINATION, there).checkpoint
    os.utime(first.path / layout.ADAPTER_WEIGHTS)

    second = moto_remote.fetch_fork(source, ModelRef("shop", "agent 3"), there)

    assert (second.fetched_bytes, second.reused_bytes) == (0, source.size_bytes)


def test_a_disk_that_fails_while_more_arrives_ends_the_pull(
    moto_remote: Remote, here: CheckpointStore, there: CheckpointStore, monkeypatch: pytest.MonkeyPatch
):
    moto_remote.push(make(here, MODEL.at(5), size_bytes=3 * disk.EARLY_SYNC_BYTES))
    source = moto_remote.select(MODEL).checkpoint
    refused: list[int] = []

    def refuse_once(handle: int) -> None:
        if refused:
            return
        refused.append(handle)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", refuse_once)

    with pytest.raises(StorageError, match="Input/output error"):
        moto_remote.fetch(source, there)

    assert refused
    assert not there.models()


def test_what_is_reset_is_not_fetched(moto_remote: Remote, here: CheckpointStore, there: CheckpointStore):
    pushed = make(here, MODEL.at(5))
    moto_remote.push(pushed)
    optimizer_bytes = (pushed.path / layout.OPTIMIZER).stat().st_size

    done = moto_remote.fetch_fork(moto_remote.select(MODEL).checkpoint, DESTINATION, there, reset=["optimizer"])

    assert done.fetched_bytes == pushed.manifest.size_bytes - optimizer_bytes
    assert not (done.checkpoint.path / layout.OPTIMIZER).exists()


def test_a_pull_replaces_nothing_of_the_same_size(remote: Remote, here: CheckpointStore, there: CheckpointStore):
    remote.push(make(here, MODEL.at(5), seed=1))
    other = make(there, MODEL.at(5), seed=2)
    before = tree(there.root)

    with pytest.raises(CheckpointExistsError, match=r"agent 1 ü@5 is on this disk with other contents"):
        remote.fetch(remote.select(MODEL).checkpoint, there)

    assert tree(there.root) == before
    there.verify(other)


def test_a_pull_again_fetches_nothing(moto_remote: Remote, here: CheckpointStore, there: CheckpointStore):
    moto_remote.push(make(here, MODEL.at(5)))
    source = moto_remote.select(MODEL).checkpoint
    moto_remote.fetch(source, there)

    again = moto_remote.fetch(source, there)

    assert (again.fetched_bytes, again.reused_bytes) == (0, source.size_bytes)


def test_a_pulled_fork_lies_beside_later_steps(moto_remote: Remote, here: CheckpointStore, there: CheckpointStore):
    forked = here.fork(make(here, MODEL.at(5)), DESTINATION).checkpoint
    make(here, DESTINATION.at(6), parent=forked)
    for step in (5, 6):
        moto_remote.push(here.open(DESTINATION.at(step)))

    for step in (6, 5):
        moto_remote.fetch(moto_remote.select(DESTINATION, Exact(step)).checkpoint, there)

    assert there.steps(DESTINATION) == [5, 6]


def test_a_push_again_sends_nothing(remote: Remote, here: CheckpointStore):
    checkpoint = make(here, MODEL.at(5))
    first = remote.push(checkpoint)

    again = remote.push(checkpoint)

    assert (first.sent_bytes, again.sent_bytes) == (checkpoint.manifest.size_bytes, 0)


def test_another_checkpoint_under_a_taken_step_is_refused_by_its_key(
    remote: Remote, here: CheckpointStore, there: CheckpointStore, server: S3Server, bucket: str
):
    remote.push(make(here, MODEL.at(5), seed=1))
    before = keys(server, bucket)

    with pytest.raises(CheckpointExistsError, match=f"{bucket}.*agent 1 ü/checkpoints/0005/checkpoint.json"):
        remote.push(make(there, MODEL.at(5), seed=2))

    assert keys(server, bucket) == before
    fetched = remote.fetch(remote.select(MODEL).checkpoint, CheckpointStore(there.root / "third"))
    assert fetched.checkpoint.digest == here.open(MODEL.at(5)).digest


def test_a_step_of_another_run_is_not_pulled_behind_this_one(here: CheckpointStore, there: CheckpointStore):
    remote, model = Remote.open("memory://"), ModelRef("shop", "twice")
    for store, seed in ((here, 2), (there, 3)):
        make(store, model.at(2), seed=seed)
    remote.push(make(here, model.at(3), parent=here.newest(model)))

    with pytest.raises(CheckpointExistsError, match="continues another shop/twice@2 than the one on this disk"):
        remote.fetch(remote.open_checkpoint(model.at(3)), there)

    assert there.steps(model) == [2]


def test_a_push_does_not_replace_what_another_program_put_there(
    remote: Remote, here: CheckpointStore, server: S3Server, bucket: str
):
    put_foreign(server.client(), bucket, "a prefix/of ü/", MODEL.at(5), seed=99)

    with pytest.raises(CheckpointExistsError, match=r"adapter_model\.safetensors"):
        remote.push(make(here, MODEL.at(5)))

    assert remote.select(MODEL).checkpoint.is_foreign


def test_a_broken_push_is_completed_by_pushing_again(
    remote: Remote, here: CheckpointStore, there: CheckpointStore, server: S3Server, bucket: str
):
    checkpoint = make(here, MODEL.at(5))
    remote.push(checkpoint)
    folder = f"a prefix/of ü/{layout.checkpoint_path(MODEL.at(5))}"
    for name in (layout.MANIFEST, layout.OPTIMIZER):
        server.client().delete_object(Bucket=bucket, Key=f"{folder}/{name}")

    again = remote.push(checkpoint)

    assert again.sent_bytes == (checkpoint.path / layout.OPTIMIZER).stat().st_size
    assert tree(remote.fetch(remote.select(MODEL).checkpoint, there).checkpoint.path) == tree(checkpoint.path)


def test_an_altered_file_is_not_pushed(moto_remote: Remote, here: CheckpointStore):
    checkpoint = make(here, MODEL.at(5))
    weights = checkpoint.path / layout.ADAPTER_WEIGHTS
    weights.chmod(0o644)
    weights.write_bytes(b"x" * weights.stat().st_size)

    with pytest.raises(CorruptCheckpointError, match=r"adapter_model\.safetensors was altered"):
        moto_remote.push(checkpoint)

    assert moto_remote.steps(MODEL) == []


def test_a_checkpoint_of_art_is_forked(remote: Remote, there: CheckpointStore, server: S3Server, bucket: str):
    put_foreign(server.client(), bucket, "a prefix/of ü/", MODEL.at(5), seed=3, folder="5")

    done = remote.fetch_fork(remote.select(MODEL).checkpoint, DESTINATION, there)

    manifest = done.checkpoint.manifest
    assert manifest.carried == ("adapter",)
    assert manifest.base_model is not None
    assert manifest.base_model.id == "base/model"
    assert manifest.parent is not None
    assert manifest.parent.digest is None
    there.verify(done.checkpoint)


def test_a_checkpoint_of_art_is_pulled_and_pulled_again(moto: S3Server, moto_bucket: str, there: CheckpointStore):
    put_foreign(moto.client(), moto_bucket, "", MODEL.at(5))
    remote = Remote.open(moto_bucket)
    first = remote.fetch(remote.select(MODEL).checkpoint, there)

    again = remote.fetch(remote.select(MODEL).checkpoint, there)

    assert again.checkpoint.digest == first.checkpoint.digest
    assert there.steps(MODEL) == [5]


def test_a_foreign_checkpoint_of_this_disk_is_pushed_with_a_manifest(
    moto_remote: Remote, here: CheckpointStore, there: CheckpointStore
):
    write_adapter(here.root / layout.checkpoint_path(MODEL.at(5)))
    moto_remote.push(here.open(MODEL.at(5)))

    fetched = moto_remote.fetch(moto_remote.select(MODEL).checkpoint, there)
    again_here = moto_remote.fetch(moto_remote.select(MODEL).checkpoint, here)

    there.verify(fetched.checkpoint)
    assert again_here.fetched_bytes == 0


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (
            lambda client, bucket, key: client.delete_object(Bucket=bucket, Key=f"{key}/{layout.ADAPTER_CONFIG}"),
            "neither",
        ),
        (
            lambda client, bucket, key: client.delete_object(Bucket=bucket, Key=f"{key}/{layout.ADAPTER_WEIGHTS}"),
            "neither",
        ),
        (
            lambda client, bucket, key: client.put_object(
                Bucket=bucket, Key=f"{key}/{layout.ADAPTER_CONFIG}", Body=b"{"
            ),
            "is not JSON",
        ),
        (
            lambda client, bucket, key: client.put_object(
                Bucket=bucket,
                Key=f"{key}/{layout.ADAPTER_WEIGHTS}",
                Body=client.get_object(Bucket=bucket, Key=f"{key}/{layout.ADAPTER_WEIGHTS}")["Body"].read()[:-1],
            ),
            "bytes",
        ),
        (lambda client, bucket, key: client.put_object(Bucket=bucket, Key=f"{key}/{layout.ADAPTER_WEIGHTS}"), "empty"),
    ],
    ids=["no config", "no weights", "torn config", "torn weights", "empty weights"],
)
def test_a_half_uploaded_checkpoint_is_passed_over_and_said_so(
    moto: S3Server, moto_bucket: str, here: CheckpointStore, spoil: Callable[..., None], reason: str
):
    remote = Remote.open(moto_bucket)
    remote.push(make(here, MODEL.at(5)))
    put_foreign(moto.client(), moto_bucket, "", MODEL.at(6))
    spoil(moto.client(), moto_bucket, str(layout.checkpoint_path(MODEL.at(6))))

    selection = remote.select(MODEL)

    assert selection.checkpoint.ref.step == 5
    assert [skip.step for skip in selection.skipped] == [6]
    assert reason in selection.skipped[0].reason


def test_a_push_that_has_not_put_its_manifest_is_no_checkpoint(moto: S3Server, moto_bucket: str, here: CheckpointStore):
    remote = Remote.open(moto_bucket)
    remote.push(make(here, MODEL.at(6)))
    folder = str(layout.checkpoint_path(MODEL.at(6)))
    moto.client().delete_object(Bucket=moto_bucket, Key=f"{folder}/{layout.MANIFEST}")

    with pytest.raises(CheckpointNotFoundError, match="Step 6 was skipped: its push has not finished"):
        remote.select(MODEL)

    assert remote.steps(MODEL) == []


def test_a_deleted_checkpoint_is_gone_and_its_step_free(
    moto: S3Server, moto_bucket: str, here: CheckpointStore, there: CheckpointStore
):
    remote = Remote.open(moto_bucket)
    remote.push(make(here, MODEL.at(5), seed=1))

    remote.delete(MODEL.at(5))

    assert keys(moto, moto_bucket) == []
    remote.push(make(there, MODEL.at(5), seed=2))
    assert remote.select(MODEL).checkpoint.digest == there.open(MODEL.at(5)).digest


@pytest.fixture(
    params=["memory://", "file://{folder}", "file://{folder}/with prefix", "az://{container}/a prefix/of ü"]
)
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Remote:
    """A remote that is no S3."""
    (tmp_path / "bucket" / "with prefix").mkdir(parents=True)
    container = request.getfixturevalue("container") if "{container}" in request.param else ""
    return Remote.open(request.param.format(folder=tmp_path / "bucket", container=container))


def test_memory_folders_and_azure_are_remotes_too(
    elsewhere: Remote, tmp_path: Path, here: CheckpointStore, there: CheckpointStore
):
    for step in (5, 6):
        elsewhere.push(make(here, MODEL.at(step), size_bytes=1000 if step == 5 else 40_000_000))

    fetched = elsewhere.fetch(elsewhere.select(MODEL).checkpoint, there)
    done = elsewhere.fetch_fork(elsewhere.select(MODEL, AtMost(5)).checkpoint, DESTINATION, there)

    assert tree(fetched.checkpoint.path) == tree(here.open(MODEL.at(6)).path)
    there.verify(done.checkpoint)
    assert elsewhere.push(here.open(MODEL.at(6))).sent_bytes == 0
    with pytest.raises(CheckpointExistsError):
        elsewhere.push(make(CheckpointStore(tmp_path / "third"), MODEL.at(5), seed=9))


def test_memory_folders_and_azure_fork_inside_themselves(
    elsewhere: Remote, here: CheckpointStore, there: CheckpointStore
):
    elsewhere.push(make(here, MODEL.at(5)))

    done = elsewhere.fork(elsewhere.select(MODEL).checkpoint, DESTINATION)

    assert done.streamed_bytes == 0
    forked = elsewhere.fetch(elsewhere.select(DESTINATION).checkpoint, there).checkpoint
    there.verify(forked)
    assert forked.manifest.parent is not None
    assert forked.manifest.parent.ref == MODEL.at(5)


def test_a_container_that_is_not_there_is_said(container: str):
    with pytest.raises(RemoteNotFoundError, match="no-such-container"):
        Remote.open("az://no-such-container").select(MODEL)


@pytest.mark.parametrize("url", ["", "ftp://x", "s3://", "gs:///x"])
def test_urls_that_name_no_bucket_are_refused(url: str):
    with pytest.raises(ConfigurationError):
        Remote.open(url)


def test_progress_is_told(moto_remote: Remote, here: CheckpointStore, there: CheckpointStore):
    checkpoint = make(here, MODEL.at(5))
    sent: list[tuple[int, int]] = []
    fetched: list[tuple[int, int]] = []

    moto_remote.push(checkpoint, progress=lambda moved, total: sent.append((moved, total)))
    moto_remote.fetch(
        moto_remote.select(MODEL).checkpoint, there, progress=lambda moved, total: fetched.append((moved, total))
    )

    size = checkpoint.manifest.size_bytes
    assert sent[-1] == fetched[-1] == (size, size)


def test_manifests_in_a_bucket_are_canonical_json(moto: S3Server, moto_bucket: str, here: CheckpointStore):
    checkpoint = make(here, MODEL.at(5))

    Remote.open(moto_bucket).push(checkpoint)

    key = f"{layout.checkpoint_path(MODEL.at(5))}/{layout.MANIFEST}"
    content = moto.client().get_object(Bucket=moto_bucket, Key=key)["Body"].read()
    assert content == (checkpoint.path / layout.MANIFEST).read_bytes()
    assert json.loads(content)["step"] == 5
