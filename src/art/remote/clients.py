"""The clients for a location: endpoints, signatures, time limits. Sends no request by itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import LocalStore, MemoryStore, S3Store, from_url

from art.errors import ConfigurationError, RemoteNotFoundError
from art.remote.credentials import endpoint, find_provider, is_set, region
from art.remote.folder import Folder
from art.remote.location import Location, Patience

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig


@dataclass(frozen=True)
class Clients:
    """Two clients of one bucket: the library knows one time limit a client."""

    quick: ObjectStore
    """For requests of few bytes, which are over soon or not at all."""
    patient: ObjectStore
    """For requests of many bytes, which take long where the network is slow."""
    folder: Folder | None = None
    """What writes, where the bucket is a folder of this disk."""


def open_clients(location: Location, patience: Patience) -> Clients:
    """Make the clients for a bucket; raises `RemoteAccessError` when there is nothing to sign requests with."""
    match location.scheme:
        case "s3":
            return _open_s3(location, patience)
        case "file":
            path = require_folder(location)
            reader = LocalStore(path)
            return Clients(reader, reader, Folder(path))
        case "memory":
            memory = MemoryStore()
            return Clients(memory, memory)
        case _:
            return _open_by_url(location, patience)


def require_folder(location: Location) -> Path:
    """Give the folder of a `file://` location; raises `RemoteNotFoundError` where there is none."""
    folder = Path("/" + location.prefix)
    if not folder.is_dir():
        raise RemoteNotFoundError(f"There is no folder {folder} for {location}; nothing was created.")
    return folder


def client_options(patience: Patience, *, request_s: float, allow_http: bool) -> ClientConfig:
    """Say how the client library connects, and how long one request may last."""
    return {
        "allow_http": allow_http,
        "connect_timeout": timedelta(seconds=min(10, patience.silence_s)),
        "read_timeout": timedelta(seconds=patience.silence_s),
        "timeout": timedelta(seconds=request_s),
    }


def retry_options(patience: Patience) -> RetryConfig:
    """Say how the client library tries again."""
    return {"max_retries": patience.retries, "retry_timeout": timedelta(seconds=patience.timeout_s)}


def _open_s3(location: Location, patience: Patience) -> Clients:
    url = endpoint()
    config: dict[str, Any] = {"region": region()}
    if url:
        # The one setting for both: whichever variable named it, the client must not prefer another.
        config |= {"endpoint": url, "aws_endpoint_url_s3": url}
    provider = find_provider(location.bucket)
    allow_http = bool(url and url.startswith("http://"))

    def client(request_s: float) -> S3Store:
        return S3Store(
            location.bucket,
            config=config,  # pyright: ignore[reportArgumentType]
            client_options=client_options(patience, request_s=request_s, allow_http=allow_http),
            retry_config=retry_options(patience),
            credential_provider=provider,
        )

    return Clients(client(patience.timeout_s), client(patience.transfer_s))


def _open_by_url(location: Location, patience: Patience) -> Clients:
    url = f"{location.scheme}://{location.bucket}"

    def client(request_s: float) -> ObjectStore:
        options = client_options(patience, request_s=request_s, allow_http=_is_emulated(location))
        return from_url(url, client_options=options, retry_config=retry_options(patience))

    try:
        return Clients(client(patience.timeout_s), client(patience.transfer_s))
    except (BaseError, ValueError) as error:
        raise ConfigurationError(f"{location} cannot be opened: {str(error).partition(chr(10))[0]}") from error


def _is_emulated(location: Location) -> bool:
    variables = ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT", "GOOGLE_BASE_URL", "STORAGE_EMULATOR_HOST")
    return any(urlsplit(os.environ.get(name, "")).scheme == "http" for name in variables) or (
        location.scheme.startswith("a") and is_set("AZURE_STORAGE_USE_EMULATOR")
    )
