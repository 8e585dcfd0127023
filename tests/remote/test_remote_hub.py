"""Adapters on the Hugging Face Hub are foreign checkpoints that can be forked."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from art.errors import (
    CheckpointNotFoundError,
    ConfigurationError,
    CorruptCheckpointError,
    MetricNotFoundError,
    ModelNotFoundError,
    RemoteAccessError,
    RemoteError,
    RemoteNotFoundError,
    RemoteUnavailableError,
)
from art.format import layout
from art.format.pick import AtMost, Best, Exact
from art.names import ModelRef
from art.ops.fork import ForkOutcome, ForkRequest
from art.ops.fork import fork as fork_into
from art.remote.checkpoint import RemoteCheckpoint
from art.remote.hub import Hub
from art.remote.location import Patience
from art.remote.remote import Remote
from art.store import foreign
from art.store.stage import Forked
from art.store.store import CheckpointStore

from .hub_server import COMMIT, Repository, hub
from .making import CONFIG, safetensors
from .proxy import Raw

SHORT = Patience(retries=1, timeout_s=2, silence_s=1)
DESTINATION = ModelRef("shop", "agent")
FILES = {
    layout.ADAPTER_CONFIG: json.dumps(CONFIG).encode(),
    layout.ADAPTER_WEIGHTS: safetensors(20_000_000, 1),
    "README.md": b"hello",
}


@pytest.fixture
def there(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "there")


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield
    close_session()


def opened(url: str) -> RemoteCheckpoint:
    place = Hub.open(url, patience=SHORT)
    return place.open_checkpoint(place.model.at(0))


def fork(url: str, store: CheckpointStore, patience: Patience = SHORT) -> Forked:
    place = Hub.open(url, patience=patience)
    return place.fetch_fork(place.select(place.model).checkpoint, DESTINATION, store)


def serving(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)


@pytest.mark.parametrize("url", ["hf://org/adapter", "hf://org/adapter@main", f"hf://org/adapter@{COMMIT}"])
def test_an_adapter_of_the_hub_is_forked(monkeypatch: pytest.MonkeyPatch, there: CheckpointStore, url: str):
    with hub({"org/adapter": Repository(FILES)}) as endpoint:
        serving(monkeypatch, endpoint)
        done = fork(url, there)

    forked = done.checkpoint
    assert (forked.path / layout.ADAPTER_WEIGHTS).read_bytes() == FILES[layout.ADAPTER_WEIGHTS]
    assert sorted(path.name for path in forked.path.iterdir()) == [
        layout.ADAPTER_CONFIG,
        layout.ADAPTER_WEIGHTS,
        layout.MANIFEST,
    ]
    assert forked.ref == DESTINATION.at(0)
    assert forked.manifest.carried == ("adapter",)
    assert forked.manifest.parent is not None
    assert forked.manifest.parent.remote == (url if "@" in url else f"{url}@main")
    there.verify(forked)


def test_the_same_fork_again_does_nothing(monkeypatch: pytest.MonkeyPatch, there: CheckpointStore):
    with hub({"org/adapter": Repository(FILES)}) as endpoint:
        serving(monkeypatch, endpoint)
        fork("hf://org/adapter", there)

        again = fork("hf://org/adapter", there)

    assert again.repeated
    assert again.fetched_bytes == 0


def test_an_adapter_is_forked_straight_into_a_bucket(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, there: CheckpointStore
):
    (tmp_path / "bucket").mkdir()
    bucket = Remote.open(f"file://{tmp_path}/bucket")
    with hub({"org/adapter": Repository(FILES)}) as endpoint:
        serving(monkeypatch, endpoint)
        source = Hub.open("hf://org/adapter", patience=SHORT)
        done, again = (
            fork_into(ForkRequest(source=source, source_model=source.model, destination=bucket, model=DESTINATION))
            for _ in range(2)
        )

    forked = bucket.fetch(bucket.select(DESTINATION).checkpoint, there).checkpoint
    assert (forked.path / layout.ADAPTER_WEIGHTS).read_bytes() == FILES[layout.ADAPTER_WEIGHTS]
    assert forked.manifest.parent is not None
    assert forked.manifest.parent.remote == "hf://org/adapter@main"
    assert (done.outcome, again.outcome) == (ForkOutcome.FORKED, ForkOutcome.REPEATED)


def test_bytes_that_the_hub_spoils_begin_nothing_in_a_bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "bucket").mkdir()
    bucket = Remote.open(f"file://{tmp_path}/bucket")
    spoilt = FILES[layout.ADAPTER_WEIGHTS][:-1] + b"?"
    with hub({"org/adapter": Repository(FILES)}) as endpoint:
        serving(monkeypatch, endpoint)
        source = Hub.open("hf://org/adapter", patience=SHORT)
        chosen = source.open_checkpoint(source.model.at(0))
    with hub({"org/adapter": Repository({**FILES, layout.ADAPTER_WEIGHTS: spoilt})}) as endpoint:
        serving(monkeypatch, endpoint)
        with pytest.raises(CorruptCheckpointError, match="SHA-256"):
            Hub.open("hf://org/adapter", patience=SHORT).fork(chosen, DESTINATION, to=bucket)

    assert bucket.models() == []


def test_a_private_repository_needs_a_token(monkeypatch: pytest.MonkeyPatch, there: CheckpointStore):
    with hub({"org/adapter": Repository(FILES, token="secret", lfs=())}) as endpoint:
        serving(monkeypatch, endpoint)
        with pytest.raises(RemoteAccessError, match="HF_TOKEN"):
            opened("hf://org/adapter")

        monkeypatch.setenv("HF_TOKEN", "secret")
        fork("hf://org/adapter", there)

    assert there.steps(DESTINATION) == [0]


def test_a_repository_or_revision_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch):
    with hub({"org/adapter": Repository(FILES)}) as endpoint:
        serving(monkeypatch, endpoint)
        with pytest.raises(RemoteNotFoundError, match="hf://org/none@main"):
            opened("hf://org/none")
        with pytest.raises(RemoteNotFoundError, match="hf://org/adapter@v9"):
            opened("hf://org/adapter@v9")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({layout.ADAPTER_WEIGHTS: None}, "has no adapter_model.safetensors"),
        ({layout.ADAPTER_CONFIG: b"{"}, "is not JSON"),
        ({layout.ADAPTER_WEIGHTS: FILES[layout.ADAPTER_WEIGHTS][:-1]}, "bytes"),
    ],
)
def test_a_repository_that_is_no_adapter_is_refused(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, bytes | None], said: str
):
    files = {name: content for name, content in {**FILES, **changes}.items() if content is not None}
    with hub({"org/adapter": Repository(files)}) as endpoint:
        serving(monkeypatch, endpoint)
        with pytest.raises(CorruptCheckpointError, match=said):
            opened("hf://org/adapter")


def test_bytes_that_are_not_the_hubs_are_refused(monkeypatch: pytest.MonkeyPatch, there: CheckpointStore):
    repository = Repository(FILES, sha256={layout.ADAPTER_WEIGHTS: "0" * 64})
    with hub({"org/adapter": repository}) as endpoint:
        serving(monkeypatch, endpoint)
        with pytest.raises(CorruptCheckpointError, match="SHA-256"):
            fork("hf://org/adapter", there)

    assert not there.root.exists()


@pytest.mark.parametrize("url", ["hf://", "hf://repo", "hf://a/b/c", "s3://a/b", "hf://a/b@refs/pr/1"])
def test_urls_that_name_no_repository_are_refused(url: str):
    with pytest.raises(ConfigurationError, match="names no repository"):
        Hub.open(url)


def answer(status: str, *headers: str, body: bytes = b"") -> bytes:
    return b"\r\n".join([f"HTTP/1.1 {status}".encode(), *(line.encode("latin-1") for line in headers), b"", body])


WEIGHTS = layout.ADAPTER_WEIGHTS
SIZE = f"Content-Length: {len(FILES[layout.ADAPTER_CONFIG])}"
SHAPES = {
    "no answer": b"",
    "no HTTP": b"hello\r\n\r\n",
    "half a header": b"HTTP/1.1 200 OK\r\nContent-Le",
    "no commit": answer("200 OK", SIZE),
    "a commit that is a path": answer("200 OK", SIZE, "X-Repo-Commit: ../../etc"),
    "a commit of another length": answer("200 OK", SIZE, "X-Repo-Commit: c0ffee"),
    "no size": answer("200 OK", f"X-Repo-Commit: {COMMIT}"),
    "a size that is no number": answer("200 OK", f"X-Repo-Commit: {COMMIT}", "X-Linked-Size: many"),
    "a negative size": answer("200 OK", f"X-Repo-Commit: {COMMIT}", "X-Linked-Size: -1"),
    "a size of many digits": answer("200 OK", f"X-Repo-Commit: {COMMIT}", f"X-Linked-Size: {'9' * 5000}"),
    "another size": answer("200 OK", f"X-Repo-Commit: {COMMIT}", "X-Linked-Size: 99999999999999"),
    "a size of none": answer("200 OK", f"X-Repo-Commit: {COMMIT}", "X-Linked-Size: 0"),
    "no ASCII": answer("200 OK", SIZE, "X-Repo-Commit: \xff\xfe"),
    "a page": answer("200 OK", "Content-Type: text/html", "Content-Length: 6", body=b"<html>"),
    "a redirect to nowhere": answer("302 Found"),
    "a redirect to itself": answer("302 Found", f"Location: /org/adapter/resolve/main/{layout.ADAPTER_CONFIG}"),
    "a redirect to no URL": answer("302 Found", "Location: http://[::1"),
    "a redirect to a port that is none": answer("302 Found", "Location: http://127.0.0.1:99999999/"),
    "a redirect to a file": answer("302 Found", "Location: file:///etc/passwd"),
    "400": answer("400 Bad Request"),
    "402": answer("402 Payment Required"),
    "418": answer("418 Teapot", "X-Error-Message: \x1b[31mred"),
    "500": answer("500 Oops"),
    "503": answer("503 Later", "Retry-After: 99999"),
    "429": answer("429 Slowly", "Retry-After: soon"),
    "999": answer("999 What"),
    "a disabled repository": answer("403 No", "X-Error-Message: Access to this resource is disabled."),
    "a warning that is no text": answer("200 OK", SIZE, "X-HF-Warning: \xff"),
}


TRICKLING = answer("200 OK", f"X-Repo-Commit: {COMMIT}", SIZE, body=FILES[layout.ADAPTER_CONFIG])


@pytest.fixture(scope="module")
def stranger() -> Iterator[tuple[Repository, str]]:
    """A repository whose answers a test chooses, and the endpoint that serves it."""
    repository = Repository(FILES, lfs=())
    with hub({"org/adapter": repository}) as endpoint:
        yield repository, endpoint


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("file", foreign.FILES)
@pytest.mark.parametrize("shape", SHAPES)
def test_an_answer_of_another_shape_is_one_error_of_ours_and_nothing_is_written(
    stranger: tuple[Repository, str],
    monkeypatch: pytest.MonkeyPatch,
    there: CheckpointStore,
    method: str,
    file: str,
    shape: str,
):
    repository, endpoint = stranger
    repository.strange = {(method, file): Raw(SHAPES[shape])}
    serving(monkeypatch, endpoint)

    with pytest.raises((RemoteError, CorruptCheckpointError)) as raised:
        fork("hf://org/adapter", there, Patience(retries=0, timeout_s=2, silence_s=1))

    assert str(raised.value).isprintable()
    assert not there.root.exists()


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_an_answer_that_trickles_is_given_up(
    stranger: tuple[Repository, str], monkeypatch: pytest.MonkeyPatch, there: CheckpointStore, method: str
):
    repository, endpoint = stranger
    repository.strange = {(method, layout.ADAPTER_CONFIG): Raw(TRICKLING, pause_s=0.1)}
    serving(monkeypatch, endpoint)
    began = time.monotonic()

    with pytest.raises(RemoteUnavailableError, match=r"in time|cannot be reached|trickle|broke off"):
        fork("hf://org/adapter", there, Patience(retries=0, timeout_s=1, silence_s=0.5))

    assert time.monotonic() - began < 3
    repository.strange = {}


def test_the_token_is_not_shown_to_the_store_behind_the_hub(monkeypatch: pytest.MonkeyPatch, there: CheckpointStore):
    repository = Repository(FILES, token="secret")
    monkeypatch.setenv("HF_TOKEN", "secret")
    with hub({"org/adapter": repository}) as endpoint:
        serving(monkeypatch, endpoint)
        fork("hf://org/adapter", there)

    assert set(repository.tokens_elsewhere) == {""}


def test_a_repository_is_a_place_of_one_model_with_one_step(
    stranger: tuple[Repository, str], monkeypatch: pytest.MonkeyPatch, there: CheckpointStore
):
    serving(monkeypatch, stranger[1])
    place, model = Hub.open("hf://org/adapter"), ModelRef("org", "adapter")

    assert place.models() == place.models("org") == [model]
    assert place.models("shop") == []
    assert place.steps(model) == [0]
    assert place.steps(DESTINATION) == []
    with pytest.raises(ModelNotFoundError, match="no model shop/agent in hf://org/adapter@main; it is org/adapter"):
        place.select(DESTINATION)
    with pytest.raises(CheckpointNotFoundError, match="it has step 0"):
        place.select(model, Exact(3))
    with pytest.raises(MetricNotFoundError, match="has no metrics"):
        place.select(model, Best("reward"))
    fetched = place.fetch(place.select(model, AtMost(9)).checkpoint, there)
    assert there.steps(model) == [0]
    there.verify(fetched.checkpoint)


def test_without_the_network_it_says_which_setting_forbids_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    with pytest.raises(RemoteUnavailableError, match="HF_HUB_OFFLINE is set"):
        opened("hf://org/adapter")
