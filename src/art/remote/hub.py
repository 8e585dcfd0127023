"""LoRA adapters on the Hugging Face Hub, as checkpoints that can be forked: `hf://org/repo@revision`.

Read-only, over the Hub's plain HTTP. Knows its addresses and its answers; everything else is a remote's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from obstore.store import HTTPStore

from art.errors import ConfigurationError, CorruptCheckpointError, RemoteAccessError, RemoteNotFoundError
from art.names import CheckpointRef, ModelRef
from art.remote.checkpoint import RemoteCheckpoint, RemoteFile, describe_foreign
from art.remote.clients import Clients, client_options, retry_options
from art.remote.errors import MissingError, Place
from art.remote.fetch import RemoteForked, fetch_fork
from art.remote.location import Location, Patience
from art.remote.objects import Object, Objects
from art.remote.transfer import Progress
from art.store import foreign
from art.store.store import CheckpointStore

DEFAULT_ENDPOINT = "https://huggingface.co"
DEFAULT_REVISION = "main"


@dataclass(frozen=True)
class Adapter:
    """An adapter repository at one revision: a foreign checkpoint at step 0."""

    checkpoint: RemoteCheckpoint
    commit: str
    """What the revision meant when this was opened; every file comes from it."""
    objects: Objects

    def fetch_fork(
        self,
        destination: ModelRef,
        store: CheckpointStore,
        *,
        reset: Collection[str] = (),
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> RemoteForked:
        """Begin a model on this disk with this adapter; optimizer and the rest start afresh."""
        return fetch_fork(
            self.objects, self.checkpoint, destination, store, reset=reset, overwrite=overwrite, progress=progress
        )


class HubObjects(Objects):
    """The files of one commit of a repository. The Hub lists them in its own way."""

    def __init__(self, store: HTTPStore, location: Location, listed: dict[str, Object]) -> None:
        super().__init__(location, lambda: Clients(store, store))
        self._listed = listed

    def path(self, key: str) -> str:
        return key

    def place(self, key: str) -> Place:
        return Place(str(self.location), key)

    def files(self, key: str) -> dict[str, Object]:
        return self._listed


def open_adapter(url: str, *, patience: Patience | None = None) -> Adapter:
    """Open `hf://org/repo` or `hf://org/repo@revision`, at HF_ENDPOINT and with HF_TOKEN where these are set.

    Raises `RemoteNotFoundError`, `RemoteAccessError`, or `CorruptCheckpointError` for a repository that is no adapter.
    """
    patience = patience or Patience()
    repository, revision = _parsed(url)
    location = Location("hf", f"{repository}@{revision}", "")
    client = _http(f"{_endpoint()}/api/models/{repository}", patience)
    api = Objects(location, lambda: Clients(client, client))
    commit = str(_asked(api, f"revision/{revision}", location)["sha"])
    entries = cast("list[dict[str, Any]]", _asked(api, f"tree/{commit}", location))
    listed = {str(entry["path"]): _object(entry) for entry in entries if entry.get("type") == "file"}
    objects = HubObjects(_http(f"{_endpoint()}/{repository}/resolve/{commit}", patience), location, listed)
    return Adapter(_checkpoint(objects, repository, listed, entries), commit, objects)


def _checkpoint(
    objects: Objects, repository: str, listed: dict[str, Object], entries: list[dict[str, Any]]
) -> RemoteCheckpoint:
    for name in foreign.FILES:
        if name not in listed:
            raise CorruptCheckpointError(f"{objects.location} is no LoRA adapter: it has no {name}.")
    ref = _ref(repository)
    try:
        manifest = describe_foreign(objects, ref, listed)
    except CorruptCheckpointError as error:
        raise CorruptCheckpointError(f"{objects.location} is no LoRA adapter: {error}.") from error
    sha256 = {str(entry["path"]): str(entry["lfs"]["oid"]) for entry in entries if entry.get("lfs")}
    files = tuple(RemoteFile(name, listed[name].size_bytes, None, sha256.get(name)) for name in foreign.FILES)
    return RemoteCheckpoint(ref, "", str(objects.location), manifest, None, files)


def _parsed(url: str) -> tuple[str, str]:
    repository, _, revision = url.removeprefix("hf://").partition("@")
    organisation, slash, name = repository.partition("/")
    if not (url.startswith("hf://") and organisation and slash and name) or "/" in name or "/" in revision:
        raise ConfigurationError(f"{url!r} names no repository; write hf://organisation/repository@revision.")
    return repository, revision or DEFAULT_REVISION


def _ref(repository: str) -> CheckpointRef:
    organisation, _, name = repository.partition("/")
    return ModelRef(organisation, name).at(0)


def _object(entry: dict[str, Any]) -> Object:
    return Object(str(entry["path"]), int(entry["size"]), datetime.now(UTC))


def _asked(api: Objects, key: str, location: Location) -> Any:
    try:
        return json.loads(api.read(key))
    except MissingError as error:
        raise RemoteNotFoundError(
            f"There is no {location}, or HF_TOKEN is needed to see it; check the name and the revision."
        ) from error
    except RemoteAccessError as error:
        raise RemoteAccessError(f"{location} may not be read; set HF_TOKEN to a token that may.") from error
    except ValueError as error:
        raise CorruptCheckpointError(f"{_endpoint()} does not answer as the Hub does; check HF_ENDPOINT.") from error


def _http(url: str, patience: Patience) -> HTTPStore:
    options = client_options(patience, request_s=patience.transfer_s, allow_http=url.startswith("http://"))
    token = _token()
    if token:
        options["default_headers"] = {"Authorization": f"Bearer {token}"}
    return HTTPStore(url, client_options=options, retry_config=retry_options(patience))


def _endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")


def _token() -> str | None:
    if token := os.environ.get("HF_TOKEN"):
        return token
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    file = Path(os.environ.get("HF_TOKEN_PATH") or home / "token")
    return file.read_text().strip() or None if file.is_file() else None
