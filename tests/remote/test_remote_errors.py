"""What cannot be reached, read or written says which bucket and key, why, and what to do; and changes nothing."""

from __future__ import annotations

import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from art.errors import (
    ArtError,
    CheckpointExistsError,
    CorruptCheckpointError,
    RemoteAccessError,
    RemoteError,
    RemoteNotFoundError,
    RemoteUnavailableError,
)
from art.format import layout
from art.names import ModelRef
from art.remote.credentials import METADATA_SERVICE
from art.remote.location import Patience
from art.remote.remote import Remote
from art.store.store import CheckpointStore

from .conftest import new_bucket
from .making import MODEL, make, tree
from .proxy import Answer, CorruptByte, CutBody, Delay, FaultProxy, any_request, is_get_of, is_put_of
from .servers import S3Server, free_port

SHORT = Patience(retries=2, timeout_s=2, silence_s=1)


def test_a_typo_in_the_bucket_creates_nothing(bucket: str, server: S3Server, there: CheckpointStore):
    remote = Remote.open(f"{bucket}-typo")

    with pytest.raises(RemoteNotFoundError, match=f"no bucket s3://{bucket}-typo") as raised:
        remote.select(MODEL)

    assert isinstance(raised.value, FileNotFoundError)
    assert f"{bucket}-typo" not in [item["Name"] for item in server.client().list_buckets()["Buckets"]]
    assert not there.root.exists()


def test_a_push_creates_no_bucket(bucket: str, server: S3Server, here: CheckpointStore):
    with pytest.raises(RemoteNotFoundError, match="no bucket"):
        Remote.open(f"{bucket}-typo").push(make(here, MODEL.at(1)))

    assert f"{bucket}-typo" not in [item["Name"] for item in server.client().list_buckets()["Buckets"]]


@pytest.mark.parametrize(
    ("status", "code", "kind", "said"),
    [
        (403, "AccessDenied", RemoteAccessError, "permission is denied.*policy|may do"),
        (403, "InvalidAccessKeyId", RemoteAccessError, "not accepted.*AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", RemoteAccessError, "not accepted"),
        (400, "ExpiredToken", RemoteAccessError, "expired.*Sign in again"),
        (403, "RequestTimeTooSkewed", RemoteAccessError, "clock"),
        (401, "Unauthorized", RemoteAccessError, "permission is denied"),
        (301, "PermanentRedirect", RemoteError, "another region.*AWS_REGION"),
        (404, "NoSuchBucket", RemoteNotFoundError, "no bucket"),
        (500, "InternalError", RemoteUnavailableError, "the server failed.*try again"),
        (503, "SlowDown", RemoteUnavailableError, "throttles"),
        (429, "TooManyRequests", RemoteUnavailableError, "throttles"),
        (507, "InsufficientStorage", RemoteError, "full"),
        (400, "InvalidArgument", RemoteError, "400 InvalidArgument: said by the fault proxy"),
    ],
)
def test_an_answer_that_is_no_success_is_told_apart(
    proxy: FaultProxy,
    moto_bucket: str,
    here: CheckpointStore,
    there: CheckpointStore,
    status: int,
    code: str,
    kind: type[RemoteError],
    said: str,
):
    remote = Remote.open(moto_bucket, patience=SHORT)
    remote.push(make(here, MODEL.at(1)))
    proxy.fault(Answer(status, code), when=any_request, times=999)

    with pytest.raises(kind, match=said) as raised:
        remote.fetch(remote.select(MODEL).checkpoint, there)

    assert type(raised.value) is kind
    assert f"s3://{moto_bucket}/shop/models/agent 1 ü" in str(raised.value)
    assert not there.root.exists()


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [("http://127.0.0.1:{free}", "refused|cannot be reached"), ("http://no-such-host.invalid", "resolved|cannot be")],
)
def test_a_server_that_is_not_there_is_said_to_be_unavailable(
    monkeypatch: pytest.MonkeyPatch, moto_bucket: str, endpoint: str, said: str
):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.format(free=free_port()))

    with pytest.raises(RemoteUnavailableError, match=said) as raised:
        Remote.open(moto_bucket, patience=SHORT).select(MODEL)

    assert isinstance(raised.value, ConnectionError)


def test_a_server_that_falls_silent_is_given_up_within_the_stated_limit(proxy: FaultProxy, moto_bucket: str):
    proxy.fault(Delay(5), when=any_request, times=999)
    began = time.monotonic()

    with pytest.raises(RemoteUnavailableError):
        Remote.open(moto_bucket, patience=SHORT).select(MODEL)

    assert time.monotonic() - began < SHORT.timeout_s + SHORT.silence_s + 3


def test_wrong_keys_are_refused_by_a_server_that_checks_them(
    ceph: S3Server, monkeypatch: pytest.MonkeyPatch, there: CheckpointStore
):
    bucket = new_bucket(ceph)
    for name, value in ceph.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")

    with pytest.raises(RemoteAccessError, match="SignatureDoesNotMatch"):
        Remote.open(bucket, patience=SHORT).select(MODEL)


def test_without_credentials_it_fails_at_once_and_says_what_to_set(
    moto: S3Server, moto_bucket: str, monkeypatch: pytest.MonkeyPatch
):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    began = time.monotonic()

    with pytest.raises(RemoteAccessError, match=r"No credentials.*Set AWS_ACCESS_KEY_ID") as raised:
        Remote.open(moto_bucket).select(MODEL)

    assert isinstance(raised.value, PermissionError)
    assert time.monotonic() - began < 3


def test_without_credentials_and_without_boto3_it_says_the_same(moto_bucket: str, monkeypatch: pytest.MonkeyPatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setitem(sys.modules, "boto3", None)

    with pytest.raises(RemoteAccessError, match=r"Set AWS_ACCESS_KEY_ID"):
        Remote.open(moto_bucket).select(MODEL)


@pytest.mark.parametrize("with_boto3", [True, False])
def test_opening_a_remote_asks_nobody_for_keys_and_the_first_request_does(
    proxy: FaultProxy, moto_bucket: str, monkeypatch: pytest.MonkeyPatch, with_boto3: bool
):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.delenv(name)
    if not with_boto3:
        monkeypatch.setitem(sys.modules, "boto3", None)
    asked: list[str] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: asked.append(address[0]) or refuse())

    remote = Remote.open(moto_bucket)

    assert (asked, proxy.requests) == ([], [])
    with pytest.raises(RemoteAccessError, match="No credentials"):
        remote.select(MODEL)
    assert set(asked) == {METADATA_SERVICE[0]}


def test_a_profile_that_does_not_exist_is_named(moto_bucket: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")

    with pytest.raises(RemoteAccessError, match="no-such-profile"):
        Remote.open(moto_bucket).select(MODEL)


def test_a_profile_gives_keys_endpoint_and_region(
    moto: S3Server, moto_bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, here: CheckpointStore
):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text(f"[profile lab]\nregion = eu-west-1\nendpoint_url = {moto.endpoint}\n")
    (tmp_path / "keys").write_text("[lab]\naws_access_key_id = one\naws_secret_access_key = two\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    remote = Remote.open(moto_bucket)

    remote.push(make(here, MODEL.at(1)))

    assert remote.steps(MODEL) == [1]


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path):
    with pytest.raises(RemoteNotFoundError, match="nothing was created"):
        Remote.open(f"file://{tmp_path}/none")

    assert not (tmp_path / "none").exists()


def test_bytes_that_stay_wrong_are_an_error_and_nothing_is_kept(
    moto: S3Server, moto_bucket: str, here: CheckpointStore, there: CheckpointStore
):
    remote = Remote.open(moto_bucket)
    pushed = make(here, MODEL.at(1))
    remote.push(pushed)
    key = f"{layout.checkpoint_path(MODEL.at(1))}/{layout.ADAPTER_WEIGHTS}"
    size = (pushed.path / layout.ADAPTER_WEIGHTS).stat().st_size
    moto.client().put_object(Bucket=moto_bucket, Key=key, Body=b"x" * size)

    with pytest.raises(CorruptCheckpointError, match=r"adapter_model.*arrived wrong 3 times: digest .*expected"):
        remote.fetch(remote.select(MODEL).checkpoint, there)

    assert not there.root.exists()


@pytest.mark.parametrize("size", [0, 10, 5000])
def test_an_object_of_another_size_is_an_error(
    bucket: str, server: S3Server, here: CheckpointStore, there: CheckpointStore, size: int
):
    remote = Remote.open(bucket)
    remote.push(make(here, MODEL.at(1)))
    key = f"{layout.checkpoint_path(MODEL.at(1))}/{layout.ADAPTER_WEIGHTS}"
    server.client().put_object(Bucket=bucket, Key=key, Body=b"x" * size)

    with pytest.raises(CorruptCheckpointError, match=r"adapter_model"):
        remote.fetch(remote.select(MODEL).checkpoint, there)

    assert not there.root.exists()


def test_an_object_that_is_gone_is_an_error(
    bucket: str, server: S3Server, here: CheckpointStore, there: CheckpointStore
):
    remote = Remote.open(bucket)
    remote.push(make(here, MODEL.at(1)))
    server.client().delete_object(Bucket=bucket, Key=f"{layout.checkpoint_path(MODEL.at(1))}/{layout.OPTIMIZER}")

    with pytest.raises(CorruptCheckpointError, match=r"optimizer.safetensors is gone"):
        remote.fetch(remote.select(MODEL).checkpoint, there)

    assert not there.root.exists()


def test_a_failed_pull_leaves_what_was_there_as_it_was(
    proxy: FaultProxy, moto_bucket: str, here: CheckpointStore, there: CheckpointStore
):
    remote = Remote.open(moto_bucket, patience=SHORT)
    remote.push(make(here, MODEL.at(2)))
    make(there, MODEL.at(1))
    before = tree(there.root)
    proxy.fault(Answer(403, "AccessDenied"), when=is_get_of(layout.ADAPTER_WEIGHTS), times=999)

    with pytest.raises(RemoteAccessError):
        remote.fetch(remote.select(MODEL).checkpoint, there)

    assert tree(there.root) == before
    assert not there.staging.exists()
    assert there.steps(MODEL) == [1]


def test_a_drop_costs_only_what_was_not_there_yet(
    proxy: FaultProxy, moto_bucket: str, here: CheckpointStore, there: CheckpointStore
):
    remote = Remote.open(moto_bucket)
    pushed = make(here, MODEL.at(1), size_bytes=20_000_000, optimizer_bytes=1000)
    remote.push(pushed)
    source = remote.select(MODEL).checkpoint
    proxy.forget()
    rule = proxy.fault(CutBody(after=5_000_000), when=is_get_of(layout.ADAPTER_WEIGHTS), times=3)

    remote.fetch(source, there)

    assert rule.hits == 3
    assert proxy.bytes_down < pushed.manifest.size_bytes * 1.01


def test_one_wrong_byte_on_the_way_is_fetched_again(
    proxy: FaultProxy, moto_bucket: str, here: CheckpointStore, there: CheckpointStore
):
    remote = Remote.open(moto_bucket)
    pushed = make(here, MODEL.at(1))
    remote.push(pushed)
    rule = proxy.fault(CorruptByte(at=500), when=is_get_of(layout.ADAPTER_WEIGHTS))

    fetched = remote.fetch(remote.select(MODEL).checkpoint, there)

    assert rule.hits == 1
    assert tree(fetched.checkpoint.path) == tree(pushed.path)


def test_of_two_pushers_exactly_one_wins(ceph: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name, value in ceph.environment().items():
        monkeypatch.setenv(name, value)
    bucket = new_bucket(ceph)
    for turn in range(4):
        ref = ModelRef("shop", f"race {turn}").at(5)
        stores = [CheckpointStore(tmp_path / f"{turn}-{side}") for side in range(3)]
        checkpoints = [make(store, ref, seed=side, size_bytes=100_000) for side, store in enumerate(stores)]
        outcomes = in_parallel([lambda c=c: Remote.open(bucket).push(c) for c in checkpoints])

        refused = [outcome for outcome in outcomes if isinstance(outcome, CheckpointExistsError)]
        winners = [c for c, outcome in zip(checkpoints, outcomes, strict=True) if not isinstance(outcome, ArtError)]
        assert (len(refused), len(winners)) == (2, 1)
        remote = Remote.open(bucket)
        fetched = remote.fetch(remote.select(ref.model).checkpoint, CheckpointStore(tmp_path / f"{turn}-there"))
        assert tree(fetched.checkpoint.path) == tree(winners[0].path)


def test_two_pushers_of_the_same_checkpoint_both_succeed(bucket: str, server: S3Server, here: CheckpointStore):
    checkpoint = make(here, MODEL.at(5), size_bytes=100_000)

    outcomes = in_parallel([lambda: Remote.open(bucket).push(checkpoint) for _ in range(3)])

    assert [type(outcome).__name__ for outcome in outcomes] == ["Written"] * 3


def test_two_pulls_of_one_checkpoint_both_succeed(moto_bucket: str, here: CheckpointStore, there: CheckpointStore):
    remote = Remote.open(moto_bucket)
    remote.push(make(here, MODEL.at(5), size_bytes=100_000))
    source = remote.select(MODEL).checkpoint

    outcomes = in_parallel([lambda: Remote.open(moto_bucket).fetch(source, there) for _ in range(3)])

    assert [type(outcome).__name__ for outcome in outcomes] == ["Fetched"] * 3
    there.verify(there.open(MODEL.at(5)))


def test_forks_from_two_prefixes_at_once_do_not_mix(moto_bucket: str, tmp_path: Path, there: CheckpointStore):
    remotes = [Remote.open(moto_bucket, prefix=prefix) for prefix in ("one", "two")]
    pushed = [make(CheckpointStore(tmp_path / str(side)), MODEL.at(5), seed=side) for side in range(2)]
    for remote, checkpoint in zip(remotes, pushed, strict=True):
        remote.push(checkpoint)

    def fork(side: int) -> object:
        source = remotes[side].select(MODEL).checkpoint
        return remotes[side].fetch_fork(source, ModelRef("shop", f"fork {side}"), there)

    in_parallel([lambda side=side: fork(side) for side in range(2)])

    for side in range(2):
        weights = there.open(ModelRef("shop", f"fork {side}").at(5)).path / layout.ADAPTER_WEIGHTS
        assert weights.read_bytes() == (pushed[side].path / layout.ADAPTER_WEIGHTS).read_bytes()


def test_forks_of_two_checkpoints_into_one_model_let_one_win(moto_bucket: str, tmp_path: Path, there: CheckpointStore):
    remote = Remote.open(moto_bucket)
    models = [ModelRef("shop", f"source {side}") for side in range(2)]
    for side, model in enumerate(models):
        remote.push(make(CheckpointStore(tmp_path / str(side)), model.at(5), seed=side))
    destination = ModelRef("shop", "fork")

    outcomes = in_parallel(
        [lambda m=m: remote.fetch_fork(remote.select(m).checkpoint, destination, there) for m in models]
    )

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["DestinationNotEmptyError", "Forked"]
    there.verify(there.open(destination.at(5)))


def test_a_push_whose_claim_is_refused_changes_nothing(proxy: FaultProxy, moto_bucket: str, here: CheckpointStore):
    remote = Remote.open(moto_bucket, patience=SHORT)
    proxy.fault(Answer(403, "AccessDenied"), when=is_put_of("/claims/"), times=9)

    with pytest.raises(RemoteAccessError, match=r"Could not write s3://.*claims/0001\.json"):
        remote.push(make(here, MODEL.at(1)))

    assert remote.models() == []


def test_messages_are_one_line(proxy: FaultProxy, moto_bucket: str):
    proxy.fault(Answer(500, "InternalError"), when=any_request, times=99)

    with pytest.raises(RemoteUnavailableError) as raised:
        Remote.open(moto_bucket, patience=SHORT).select(MODEL)

    assert "\n" not in str(raised.value)
    assert "Debug source" not in str(raised.value)


def refuse() -> None:
    raise ConnectionRefusedError


def in_parallel(works: list) -> list[object]:
    """Run functions at once; gives what each returned, or the `ArtError` it raised."""
    outcomes: list[object] = [None] * len(works)
    start = threading.Barrier(len(works))

    def run(place: int) -> None:
        start.wait()
        try:
            outcomes[place] = works[place]()
        except ArtError as error:
            outcomes[place] = error

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes
