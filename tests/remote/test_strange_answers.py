"""A bucket whose answers have another form than S3's: one error of ours, in time, and nothing written anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from art.errors import ArtError, CorruptCheckpointError, RemoteError, RemoteUnavailableError
from art.format import layout
from art.names import ModelRef
from art.remote.location import Patience
from art.remote.objects import LINES_BYTES
from art.remote.remote import Remote
from art.store.checkpoint import Checkpoint
from art.store.store import CheckpointStore

from .conftest import new_bucket
from .making import MODEL, make, tree
from .proxy import Fault, FaultProxy, Predicate, Raw, any_request, is_get_of, is_list, is_method, is_put_of, raw
from .servers import S3Server

HASTY = Patience(retries=0, timeout_s=1, silence_s=0.5)
DESTINATION = ModelRef("shop", "agent 2")
CHECKPOINTS = f"{layout.checkpoints_path(MODEL)}"
MODIFIED = "Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT"
REFUSAL = b"<Error><Code>Internal\x1b[31mError</Code><Message>a \x07 bell</Message></Error>"

SHAPES: dict[str, Fault] = {
    "nothing": Raw(b""),
    "no HTTP": Raw(b"hello\r\n\r\n"),
    "half a header": Raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "empty": raw("200 OK"),
    "an error in a success": raw("200 OK", body=REFUSAL),
    "a page": raw("200 OK", "Content-Type: text/html", body=b"<html><body>Sign in</body></html>"),
    "a redirect to another host": raw("307 Temporary Redirect", "Location: http://127.0.0.1:9/elsewhere"),
    "a redirect to itself": raw("302 Found", "Location: /"),
    "a redirect to nowhere": raw("302 Found"),
    "a redirect to a file": raw("302 Found", "Location: file:///etc/passwd"),
    "a negative length": Raw(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"),
    "a length of many digits": Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nx"),
    "fewer bytes than it says": Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000000\r\n\r\nx"),
    "a chunk without a length": Raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello"),
    "a range that is none": raw("206 Partial Content", MODIFIED, "ETag: x", "Content-Range: bytes 5-2/1", body=b"xx"),
    "a range of pages": raw("206 Partial Content", MODIFIED, "ETag: x", "Content-Range: pages 1-2/x", body=b"xx"),
    "a date that is none": raw("200 OK", "Last-Modified: yesterday", body=b"{}"),
    "a header of a megabyte": raw("200 OK", f"X: {'y' * 1_000_000}"),
    "999": raw("999 What"),
    "204": raw("204 No Content"),
    "304": raw("304 Not Modified"),
    "403 with control characters": raw("403 Forbidden", body=REFUSAL),
    "409": raw("409 Conflict"),
    "412": raw("412 Precondition Failed"),
    "416": raw("416 Range Not Satisfiable"),
}


def listing(*entries: str, more: str = "false", token: str = "") -> Raw:
    text = f"<ListBucketResult><IsTruncated>{more}</IsTruncated>{token}{''.join(entries)}</ListBucketResult>"
    return raw("200 OK", body=text.encode())


def item(key: str, size: str = "10", modified: str = "2026-01-01T00:00:00.000Z") -> str:
    return f"<Contents><Key>{key}</Key><LastModified>{modified}</LastModified><Size>{size}</Size></Contents>"


def folder(key: str) -> str:
    return f"<CommonPrefixes><Prefix>{key}</Prefix></CommonPrefixes>"


LISTINGS: dict[str, Fault] = {
    "cut": raw("200 OK", body=b"<?xml version='1.0'?><ListBucketResult><Contents><Key>a"),
    "not UTF-8": raw("200 OK", body=b"\xff\xfe\x00"),
    "an entity": raw("200 OK", body=b'<!DOCTYPE x [<!ENTITY a "b">]><ListBucketResult><Name>&a;</Name>'),
    "deep": raw("200 OK", body=b"<ListBucketResult>" + b"<a>" * 100_000),
    "a negative size": listing(item(f"{CHECKPOINTS}/0005/x", "-1")),
    "a size of many digits": listing(item(f"{CHECKPOINTS}/0005/x", "9" * 30)),
    "a date that is none": listing(item(f"{CHECKPOINTS}/0005/x", modified="yesterday")),
    "a date past every calendar": listing(item(f"{CHECKPOINTS}/0005/x", modified="+292277026596-12-04T15:30:08Z")),
    "an object without a key": listing("<Contents><Size>1</Size></Contents>"),
    "keys that climb": listing(folder(f"{CHECKPOINTS}/../../0005/"), item("../../../etc/passwd")),
    "absolute keys": listing(folder("/etc/0005/"), item("/etc/passwd")),
    "keys of another folder": listing(folder("elsewhere/0099/"), item("elsewhere/0098/checkpoint.json")),
    "control characters": listing(folder(f"{CHECKPOINTS}/0005&#27;[31m/"), item("a&#10;b")),
    "empty names": listing(folder("////"), item("//")),
    "no end": listing(more="true", token="<NextContinuationToken>x</NextContinuationToken>"),
}


@dataclass(frozen=True)
class World:
    """A bucket behind the proxy with a checkpoint in it, the store that it came from, and another one to push."""

    server: S3Server
    proxy: FaultProxy
    bucket: str
    source: CheckpointStore
    other: Checkpoint


@pytest.fixture(scope="module")
def world(moto: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    source, bucket = CheckpointStore(tmp_path_factory.mktemp("strange")), new_bucket(moto)
    with FaultProxy(moto.endpoint) as proxy, pytest.MonkeyPatch.context() as environment:
        for name, value in {**moto.environment(), "AWS_ENDPOINT_URL": proxy.endpoint}.items():
            environment.setenv(name, value)
        Remote.open(bucket).push(make(source, MODEL.at(5)))
        yield World(moto, proxy, bucket, source, make(source, MODEL.at(6)))


@pytest.fixture(autouse=True)
def _reached_through_the_proxy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**world.server.environment(), "AWS_ENDPOINT_URL": world.proxy.endpoint}.items():
        monkeypatch.setenv(name, value)
    world.proxy.heal()


def pull(world: World, patience: Patience, folder: Path) -> object:
    remote = Remote.open(world.bucket, patience=patience)
    return remote.fetch(remote.select(MODEL).checkpoint, CheckpointStore(folder))


def push(world: World, patience: Patience, folder: Path) -> object:
    return Remote.open(world.bucket, prefix=folder.parent.name, patience=patience).push(world.other)


def fork_there(world: World, patience: Patience, folder: Path) -> object:
    remote = Remote.open(world.bucket, patience=patience)
    target = Remote.open(world.bucket, prefix=folder.parent.name, patience=patience)
    return remote.fork(remote.select(MODEL).checkpoint, DESTINATION, to=target)


def list_steps(world: World, patience: Patience, folder: Path) -> object:
    return Remote.open(world.bucket, patience=patience).steps(MODEL)


Act = Callable[[World, Patience, Path], object]
"""Does something with the bucket; what it writes goes to a folder, or to a prefix of its own."""
PHASES: dict[str, tuple[Act, Predicate]] = {
    "list": (pull, is_list),
    "read the manifest": (pull, is_get_of(layout.MANIFEST)),
    "fetch the weights": (pull, is_get_of(layout.ADAPTER_WEIGHTS)),
    "claim": (push, is_put_of("/claims/")),
    "put the weights": (push, is_put_of(layout.ADAPTER_WEIGHTS)),
    "copy": (fork_there, lambda request: "x-amz-copy-source" in request.headers),
    "look at the copy": (fork_there, is_method("HEAD")),
}


COPYING = ("copy", "look at the copy")
IN_A_COPY = ("nothing", "empty", "an error in a success", "a page", "a redirect to itself", "409")
"""boto3's client takes a quarter of a second to make, so that copies meet a choice of the answers."""


def attempt(world: World, act: Act, folder: Path, patience: Patience = HASTY) -> ArtError | None:
    """Run an operation; gives its error."""
    try:
        act(world, patience, folder)
    except ArtError as error:
        return error
    return None


def pairs() -> Iterator[object]:
    for phase in PHASES:
        for shape in IN_A_COPY if phase in COPYING else SHAPES:
            yield pytest.param(phase, shape, id=f"{phase}-{shape}")


@pytest.mark.parametrize(("phase", "shape"), list(pairs()))
def test_an_answer_of_another_form_is_one_error_or_does_no_harm(world: World, tmp_path: Path, phase: str, shape: str):
    act, when = PHASES[phase]
    world.proxy.fault(SHAPES[shape], when=when, times=99)

    error = attempt(world, act, tmp_path / "there")

    if error is None and act is pull:
        here = world.source.open(MODEL.at(5))
        assert tree(CheckpointStore(tmp_path / "there").open(here.ref).path) == tree(here.path)
    if error is not None:
        assert not any(tmp_path.iterdir())
        assert str(error).isprintable()


@pytest.mark.parametrize("act", [pull, list_steps])
@pytest.mark.parametrize("shape", LISTINGS)
def test_a_listing_of_another_form_is_one_error(world: World, tmp_path: Path, shape: str, act: Act):
    world.proxy.fault(LISTINGS[shape], when=is_list, times=9999)

    error = attempt(world, act, tmp_path / "there", Patience(retries=0, timeout_s=0.1, silence_s=1))

    assert isinstance(error, RemoteError)
    assert str(error).isprintable()
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("act", [pull, list_steps])
def test_a_page_that_answers_everything_is_no_empty_bucket(world: World, tmp_path: Path, act: Act):
    world.proxy.fault(SHAPES["a page"], when=any_request, times=99)

    assert isinstance(attempt(world, act, tmp_path / "there"), RemoteError)


@pytest.mark.parametrize("phase", [name for name in PHASES if name != "look at the copy"])
def test_an_answer_that_trickles_is_given_up(world: World, tmp_path: Path, phase: str):
    act, when = PHASES[phase]
    trickle = raw("200 OK", MODIFIED, "ETag: x", body=b" " * 5000)
    world.proxy.fault(Raw(trickle.content, pause_s=0.05), when=when, times=99)
    began = time.monotonic()

    error = attempt(world, act, tmp_path / "there", Patience(retries=0, timeout_s=0.15, silence_s=1))

    assert isinstance(error, RemoteUnavailableError)
    assert time.monotonic() - began < 8


def test_a_manifest_that_claims_more_bytes_than_there_are_reserves_no_space(world: World, tmp_path: Path):
    remote, there = Remote.open(world.bucket, prefix="boastful"), CheckpointStore(tmp_path / "there")
    checkpoint = make(CheckpointStore(tmp_path / "here"), MODEL.at(5))
    remote.push(checkpoint)
    content = (checkpoint.path / layout.MANIFEST).read_bytes()
    size = f'"size_bytes": {(checkpoint.path / layout.ADAPTER_WEIGHTS).stat().st_size}'
    for claim in ('"size_bytes": 3000000000', '"size_bytes": 90000000000000000'):
        key = f"boastful/{layout.checkpoint_path(MODEL.at(5))}/{layout.MANIFEST}"
        boast = content.replace(size.encode(), claim.encode())
        world.server.client().put_object(Bucket=world.bucket, Key=key, Body=boast)

        with pytest.raises(ArtError, match=r"bytes, (expected|its checkpoint says)|size_bytes: Input should be less"):
            remote.fetch(remote.select(MODEL).checkpoint, there)

        assert not there.root.exists()


def test_a_history_that_no_run_writes_is_refused_unread(tmp_path: Path):
    store, model = CheckpointStore(tmp_path / "here"), ModelRef("shop", "agent-1")
    history = tmp_path / "bucket" / layout.history_path(model)
    history.parent.mkdir(parents=True)
    with history.open("wb") as file:
        file.truncate(LINES_BYTES + 1)

    with pytest.raises(CorruptCheckpointError, match=r"history.jsonl has 1,073,741,825 bytes"):
        Remote.open(f"file://{tmp_path}/bucket").fetch_history(store, model)

    assert not store.root.exists()
