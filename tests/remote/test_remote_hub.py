"""Adapters on the Hugging Face Hub are foreign checkpoints that can be forked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from art.errors import ConfigurationError, CorruptCheckpointError, RemoteAccessError, RemoteNotFoundError
from art.format import layout
from art.names import ModelRef
from art.remote.hub import open_adapter
from art.remote.location import Patience
from art.store.store import CheckpointStore

from .hub_server import Repository, hub
from .making import CONFIG, safetensors

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
def _no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no-hub-home"))


def serving(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)


@pytest.mark.parametrize("url", ["hf://org/adapter", "hf://org/adapter@main", "hf://org/adapter@c0ffee"])
def test_an_adapter_of_the_hub_is_forked(monkeypatch: pytest.MonkeyPatch, there: CheckpointStore, url: str):
    with hub({"org/adapter": Repository(FILES)}) as endpoint:
        serving(monkeypatch, endpoint)
        done = open_adapter(url).fetch_fork(DESTINATION, there)

    forked = done.forked.checkpoint
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
        open_adapter("hf://org/adapter").fetch_fork(DESTINATION, there)

        again = open_adapter("hf://org/adapter").fetch_fork(DESTINATION, there)

    assert again.forked.repeated
    assert again.fetched_bytes == 0


def test_a_private_repository_needs_a_token(monkeypatch: pytest.MonkeyPatch, there: CheckpointStore):
    with hub({"org/adapter": Repository(FILES, token="secret", lfs=())}) as endpoint:
        serving(monkeypatch, endpoint)
        with pytest.raises(RemoteAccessError, match="HF_TOKEN"):
            open_adapter("hf://org/adapter")

        monkeypatch.setenv("HF_TOKEN", "secret")
        open_adapter("hf://org/adapter").fetch_fork(DESTINATION, there)

    assert there.steps(DESTINATION) == [0]


def test_a_repository_or_revision_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch):
    with hub({"org/adapter": Repository(FILES)}) as endpoint:
        serving(monkeypatch, endpoint)
        with pytest.raises(RemoteNotFoundError, match="hf://org/none@main"):
            open_adapter("hf://org/none")
        with pytest.raises(RemoteNotFoundError, match="hf://org/adapter@v9"):
            open_adapter("hf://org/adapter@v9")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({layout.ADAPTER_WEIGHTS: None}, "has no adapter_model.safetensors"),
        ({layout.ADAPTER_CONFIG: b"{"}, "does not parse"),
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
            open_adapter("hf://org/adapter")


def test_bytes_that_are_not_the_hubs_are_refused(monkeypatch: pytest.MonkeyPatch, there: CheckpointStore):
    repository = Repository(FILES, sha256={layout.ADAPTER_WEIGHTS: "0" * 64})
    with hub({"org/adapter": repository}) as endpoint:
        serving(monkeypatch, endpoint)
        with pytest.raises(CorruptCheckpointError, match="SHA-256"):
            open_adapter("hf://org/adapter", patience=Patience(retries=1)).fetch_fork(DESTINATION, there)

    assert not there.root.exists()


@pytest.mark.parametrize("url", ["hf://", "hf://repo", "hf://a/b/c", "s3://a/b", "hf://a/b@refs/pr/1"])
def test_urls_that_name_no_repository_are_refused(url: str):
    with pytest.raises(ConfigurationError, match="names no repository"):
        open_adapter(url)
