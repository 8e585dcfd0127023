"""Forks whose destination lies in a bucket: the server copies, or the bytes come by and are checked."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from art.errors import CheckpointExistsError, CorruptCheckpointError, DestinationNotEmptyError, RemoteError
from art.format import layout
from art.format.pick import AtMost
from art.names import ModelRef
from art.remote import server_copy
from art.remote.errors import RequestPlace
from art.remote.location import Patience, parse_location
from art.remote.remote import Remote
from art.store.store import CheckpointStore

from .conftest import new_bucket
from .making import MODEL, make, put_foreign, tree
from .proxy import Answer, DropAnswer, FaultProxy, is_method, is_put_of
from .servers import S3Server

DESTINATION = ModelRef("shop", "agent 2 + ü")


def test_a_fork_inside_a_bucket_moves_no_byte_through_this_machine(
    bucket: str, here: CheckpointStore, there: CheckpointStore
):
    remote = Remote.open(bucket, prefix="a prefix")
    pushed = make(here, MODEL.at(5), size_bytes=1_000_000)
    remote.push(pushed)

    done = remote.fork(remote.select(MODEL).checkpoint, DESTINATION)

    assert (done.copied_bytes, done.streamed_bytes) == (pushed.manifest.size_bytes, 0)
    forked = remote.fetch(remote.select(DESTINATION).checkpoint, there).checkpoint
    assert forked.manifest.parent is not None
    assert forked.manifest.parent.digest == pushed.digest
    assert forked.manifest.parent.remote is None
    for name in (layout.ADAPTER_WEIGHTS, layout.OPTIMIZER, layout.TRAINER):
        assert (forked.path / name).read_bytes() == (pushed.path / name).read_bytes()


def test_a_fork_into_another_bucket_is_copied_by_the_server(
    server: S3Server, bucket: str, here: CheckpointStore, there: CheckpointStore
):
    remote, other = Remote.open(bucket), Remote.open(new_bucket(server), prefix="b")
    pushed = make(here, MODEL.at(5))
    remote.push(pushed)

    done = remote.fork(remote.select(MODEL).checkpoint, DESTINATION, to=other)

    assert (done.copied_bytes, done.streamed_bytes) == (pushed.manifest.size_bytes, 0)
    forked = other.fetch(other.select(DESTINATION).checkpoint, there).checkpoint
    assert forked.manifest.parent is not None
    assert forked.manifest.parent.remote == str(remote)


def test_large_objects_are_copied_in_parts_or_as_the_server_can(
    bucket: str, here: CheckpointStore, there: CheckpointStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(server_copy, "WHOLE_COPY_BYTES", 1)
    monkeypatch.setattr(server_copy, "PART_BYTES", 5 * 1024**2)
    remote = Remote.open(bucket, prefix="a b+ü~", patience=Patience(retries=1))
    pushed = make(here, MODEL.at(5), size_bytes=12_000_000)
    remote.push(pushed)

    done = remote.fork(remote.select(MODEL).checkpoint, DESTINATION)

    assert (done.copied_bytes, done.streamed_bytes) == (pushed.manifest.size_bytes, 0)
    there.verify(remote.fetch(remote.select(DESTINATION).checkpoint, there).checkpoint)


def test_a_part_copy_that_fails_leaves_nothing(
    moto: S3Server, moto_bucket: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(server_copy, "WHOLE_COPY_BYTES", 1)
    moto.client().put_object(Bucket=moto_bucket, Key="a", Body=b"x" * 1000)
    proxy.fault(Answer(400, "InvalidRequest"), when=lambda request: "partNumber" in request.query, times=99)
    location = parse_location(moto_bucket)
    copier = server_copy.ServerCopier.find(location, location, Patience(retries=1))
    assert copier is not None

    with pytest.raises(RemoteError, match="InvalidRequest"):
        copier.copy(RequestPlace(f"s3://{moto_bucket}", "a"), RequestPlace(f"s3://{moto_bucket}", "b"), 1000)

    assert not moto.client().list_multipart_uploads(Bucket=moto_bucket).get("Uploads")


def test_a_lost_answer_to_completing_a_copy_heals(
    moto: S3Server, moto_bucket: str, proxy: FaultProxy, here: CheckpointStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(server_copy, "WHOLE_COPY_BYTES", 1)
    remote = Remote.open(moto_bucket)
    remote.push(make(here, MODEL.at(5)))
    proxy.fault(DropAnswer(), when=lambda request: request.method == "POST" and "uploadId" in request.query, times=2)

    remote.fork(remote.select(MODEL).checkpoint, DESTINATION)

    assert remote.steps(DESTINATION) == [5]


def test_a_server_that_does_not_copy_between_buckets_gets_the_bytes_from_here(
    moto: S3Server, moto_bucket: str, proxy: FaultProxy, here: CheckpointStore, there: CheckpointStore
):
    remote, other = Remote.open(moto_bucket), Remote.open(new_bucket(moto))
    pushed = make(here, MODEL.at(5))
    remote.push(pushed)
    proxy.fault(Answer(501, "NotImplemented"), when=lambda request: "x-amz-copy-source" in request.headers, times=999)

    done = remote.fork(remote.select(MODEL).checkpoint, DESTINATION, to=other)

    assert (done.copied_bytes, done.streamed_bytes) == (0, pushed.manifest.size_bytes)
    there.verify(other.fetch(other.select(DESTINATION).checkpoint, there).checkpoint)


def test_without_boto3_a_bucket_copies_inside_itself_and_bytes_for_another_come_by(
    moto: S3Server, moto_bucket: str, here: CheckpointStore, there: CheckpointStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "boto3", None)
    remote, other = Remote.open(moto_bucket), Remote.open(new_bucket(moto))
    pushed = make(here, MODEL.at(5))
    remote.push(pushed)
    source = remote.select(MODEL).checkpoint

    inside, outside = remote.fork(source, DESTINATION), remote.fork(source, DESTINATION, to=other)

    size_bytes = pushed.manifest.size_bytes
    assert (inside.copied_bytes, inside.streamed_bytes) == (size_bytes, 0)
    assert (outside.copied_bytes, outside.streamed_bytes) == (0, size_bytes)
    there.verify(other.fetch(other.select(DESTINATION).checkpoint, there).checkpoint)


def test_a_fork_goes_from_one_kind_of_store_to_another(
    moto_bucket: str, tmp_path: Path, here: CheckpointStore, there: CheckpointStore
):
    (tmp_path / "folder").mkdir()
    remote, other = Remote.open(moto_bucket), Remote.open(f"file://{tmp_path}/folder")
    pushed = make(here, MODEL.at(5), size_bytes=20_000_000)
    remote.push(pushed)

    done = remote.fork(remote.select(MODEL).checkpoint, DESTINATION, to=other)

    assert done.streamed_bytes == pushed.manifest.size_bytes
    there.verify(other.fetch(other.select(DESTINATION).checkpoint, there).checkpoint)


def test_bytes_that_pass_through_this_machine_are_checked(
    moto: S3Server, moto_bucket: str, tmp_path: Path, here: CheckpointStore
):
    (tmp_path / "folder").mkdir()
    remote, other = Remote.open(moto_bucket), Remote.open(f"file://{tmp_path}/folder")
    pushed = make(here, MODEL.at(5))
    remote.push(pushed)
    key = f"{layout.checkpoint_path(MODEL.at(5))}/{layout.ADAPTER_WEIGHTS}"
    size = (pushed.path / layout.ADAPTER_WEIGHTS).stat().st_size
    moto.client().put_object(Bucket=moto_bucket, Key=key, Body=b"x" * size)

    with pytest.raises(CorruptCheckpointError, match="was altered"):
        remote.fork(remote.select(MODEL).checkpoint, DESTINATION, to=other)

    assert other.steps(DESTINATION) == []


def test_the_same_fork_in_a_bucket_does_nothing_and_another_is_refused(moto_bucket: str, here: CheckpointStore):
    remote = Remote.open(moto_bucket)
    for step in (5, 6):
        remote.push(make(here, MODEL.at(step)))
    source = remote.select(MODEL, AtMost(5)).checkpoint
    remote.fork(source, DESTINATION, pick=AtMost(5))

    again = remote.fork(source, DESTINATION, pick=AtMost(5))

    assert again.repeated
    assert remote.steps(DESTINATION) == [5]
    with pytest.raises(DestinationNotEmptyError, match="has step 5"):
        remote.fork(remote.select(MODEL).checkpoint, DESTINATION)


def test_a_fork_in_a_bucket_that_broke_off_is_completed(
    moto_bucket: str, proxy: FaultProxy, here: CheckpointStore, there: CheckpointStore
):
    remote = Remote.open(moto_bucket)
    remote.push(make(here, MODEL.at(5)))
    source = remote.select(MODEL).checkpoint
    proxy.fault(Answer(403, "AccessDenied"), when=is_put_of(layout.MANIFEST), times=99)
    with pytest.raises(PermissionError):
        remote.fork(source, DESTINATION)
    proxy.heal()

    remote.fork(source, DESTINATION)

    there.verify(remote.fetch(remote.select(DESTINATION).checkpoint, there).checkpoint)


def test_another_fork_over_one_that_broke_off_is_refused(moto_bucket: str, proxy: FaultProxy, here: CheckpointStore):
    remote = Remote.open(moto_bucket)
    remote.push(make(here, MODEL.at(5), seed=1))
    other = ModelRef("shop", "other")
    remote.push(make(here, other.at(5), seed=2))
    proxy.fault(Answer(403, "AccessDenied"), when=is_put_of(layout.MANIFEST), times=99)
    with pytest.raises(PermissionError):
        remote.fork(remote.select(MODEL).checkpoint, DESTINATION)
    proxy.heal()

    with pytest.raises(CheckpointExistsError, match=r"/claims/0005\.json"):
        remote.fork(remote.select(other).checkpoint, DESTINATION)

    remote.delete(DESTINATION.at(5))
    remote.fork(remote.select(other).checkpoint, DESTINATION)
    assert remote.steps(DESTINATION) == [5]


def test_a_checkpoint_of_art_is_forked_inside_a_bucket(moto: S3Server, moto_bucket: str, there: CheckpointStore):
    put_foreign(moto.client(), moto_bucket, "", MODEL.at(5))
    remote = Remote.open(moto_bucket)

    remote.fork(remote.select(MODEL).checkpoint, DESTINATION)

    forked = remote.fetch(remote.select(DESTINATION).checkpoint, there).checkpoint
    there.verify(forked)
    assert forked.manifest.carried == ("adapter",)


def test_what_is_reset_is_not_copied(moto_bucket: str, here: CheckpointStore):
    remote = Remote.open(moto_bucket)
    remote.push(make(here, MODEL.at(5)))

    remote.fork(remote.select(MODEL).checkpoint, DESTINATION, reset=["optimizer"])

    names = [file.name for file in remote.select(DESTINATION).checkpoint.files]
    assert layout.OPTIMIZER not in names
    assert remote.select(DESTINATION).checkpoint.manifest.reset == ("optimizer",)


def test_requests_of_a_fork_in_a_bucket_are_few(moto_bucket: str, proxy: FaultProxy, here: CheckpointStore):
    remote = Remote.open(moto_bucket)
    remote.push(make(here, MODEL.at(5)))
    source = remote.select(MODEL).checkpoint
    proxy.forget()

    remote.fork(source, DESTINATION)

    # Per file a copy and a look; then the claim, the manifest, and what says that nothing is in the way or set aside.
    assert len(proxy.requests) <= 2 * len(source.files) + 5
    assert proxy.bytes_down < 20_000
    assert is_method("GET", "PUT", "HEAD")(proxy.requests[0])


def test_pulled_files_are_whole_after_a_fork_between_prefixes(
    moto_bucket: str, here: CheckpointStore, there: CheckpointStore
):
    one, two = Remote.open(moto_bucket, prefix="one"), Remote.open(moto_bucket, prefix="two")
    pushed = make(here, MODEL.at(5))
    one.push(pushed)

    done = one.fork(one.select(MODEL).checkpoint, MODEL, to=two)

    assert done.streamed_bytes == 0
    brought = tree(two.fetch(two.select(MODEL).checkpoint, there).checkpoint.path)
    assert {name: brought[name] for name in brought if name != layout.MANIFEST} == {
        name: content for name, content in tree(pushed.path).items() if name != layout.MANIFEST
    }
