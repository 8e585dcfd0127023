"""Where a remote lies, and the client that reaches it: URLs, endpoints, credentials, patience.

Respects what AWS's own tools respect: AWS_ENDPOINT_URL, AWS_REGION, AWS_PROFILE, keys, roles. Sends no request.
"""

from __future__ import annotations

import importlib.util
import os
import socket
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from obstore.exceptions import BaseError
from obstore.store import LocalStore, MemoryStore, S3Store, from_url

from art.errors import ConfigurationError, RemoteAccessError, RemoteNotFoundError
from art.remote.errors import no_credentials

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

S3_SCHEMES = ("s3", "s3a")
SCHEMES = (*S3_SCHEMES, "gs", "az", "azure", "abfs", "abfss", "file", "memory", "hf")
METADATA_SERVICE = ("169.254.169.254", 80)
_ROLE_VARIABLES = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


@dataclass(frozen=True)
class Location:
    """A bucket and a prefix in it, as a URL says them."""

    scheme: str
    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def is_s3(self) -> bool:
        return self.scheme in S3_SCHEMES


@dataclass(frozen=True)
class Patience:
    """How long a request that fails for a passing reason is tried again, with growing, jittered pauses."""

    retries: int = 6
    timeout_s: float = 90
    """No retry begins later than this after the first attempt."""
    silence_s: float = 30
    """A server that sends nothing for so long has failed this attempt."""


def parse_location(url_or_bucket: str, *, prefix: str | None = None) -> Location:
    """Read `bucket`, `s3://bucket/prefix`, `gs://...`, `file:///folder`; raises `ConfigurationError`."""
    if not url_or_bucket:
        raise ConfigurationError("The bucket is empty; write a name or a URL such as s3://bucket/prefix.")
    if "://" not in url_or_bucket:
        url_or_bucket = f"s3://{url_or_bucket}"
    scheme, _, rest = url_or_bucket.partition("://")
    if scheme not in SCHEMES:
        raise ConfigurationError(f"{scheme}:// in {url_or_bucket!r} is not known; these are: {', '.join(SCHEMES)}.")
    if scheme == "file":
        return Location("file", "", _joined(unquote(rest), prefix))
    bucket, _, path = rest.partition("/")
    if not bucket and scheme != "memory":
        raise ConfigurationError(f"{url_or_bucket!r} names no bucket; write {scheme}://bucket/prefix.")
    return Location("s3" if scheme in S3_SCHEMES else scheme, bucket, _joined(path, prefix))


def open_store(location: Location, patience: Patience) -> ObjectStore:
    """Make the client for a bucket; raises `RemoteAccessError` when there is nothing to sign requests with."""
    match location.scheme:
        case "s3":
            return _open_s3(location, patience)
        case "file":
            return _open_folder(location)
        case "memory":
            return MemoryStore()
        case _:
            url = f"{location.scheme}://{location.bucket}"
            options = client_options(patience, allow_http=_emulated(location))
            try:
                return from_url(url, client_options=options, retry_config=retry_options(patience))
            except (BaseError, ValueError) as error:
                raise ConfigurationError(f"{location} cannot be opened: {str(error).partition(chr(10))[0]}") from error


def s3_endpoint() -> str | None:
    """Give the endpoint that AWS's variables or the profile name, None for AWS itself."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or _profile("endpoint_url")


def s3_region() -> str:
    """Give the region that AWS's variables or the profile name."""
    named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or _profile("region")
    return named or "us-east-1"


def s3_credentials(bucket: str) -> Any | None:
    """Give a function that gives credentials, None where the client library finds them by itself.

    Keys in the environment come first, then AWS's own chain through boto3 where that is installed.
    """
    if _flag("AWS_SKIP_SIGNATURE"):
        return None
    if _has_keys() and not os.environ.get("AWS_PROFILE"):
        return _from_environment
    if _has_boto3():
        return _from_boto3(bucket)
    if any(os.environ.get(name) for name in _ROLE_VARIABLES):
        return None
    if os.environ.get("AWS_PROFILE") or _shared_file().exists():
        raise no_credentials(bucket, "profiles are read with boto3, which is absent: pip install 'artfork[aws]'")
    if _flag("AWS_EC2_METADATA_DISABLED") or not _answers(METADATA_SERVICE):
        raise no_credentials(bucket, "the environment has none, and this machine has no role")
    return None


def _open_s3(location: Location, patience: Patience) -> S3Store:
    endpoint = s3_endpoint()
    config: dict[str, Any] = {"region": s3_region()}
    if endpoint:
        # The one setting for both: whichever variable named it, the client must not prefer another.
        config |= {"endpoint": endpoint, "aws_endpoint_url_s3": endpoint}
    provider = s3_credentials(location.bucket)
    return S3Store(
        location.bucket,
        config=config,  # pyright: ignore[reportArgumentType]
        client_options=client_options(patience, allow_http=bool(endpoint and endpoint.startswith("http://"))),
        retry_config=retry_options(patience),
        credential_provider=provider,
    )


def _open_folder(location: Location) -> LocalStore:
    folder = Path("/" + location.prefix)
    if not folder.is_dir():
        raise RemoteNotFoundError(f"There is no folder {folder} for {location}; nothing was created.")
    return LocalStore(folder)


def client_options(patience: Patience, *, allow_http: bool) -> ClientConfig:
    """Say how the client library connects."""
    return {
        "allow_http": allow_http,
        "connect_timeout": timedelta(seconds=min(10, patience.silence_s)),
        "read_timeout": timedelta(seconds=patience.silence_s),
        # A whole request may take long where the network is slow; silence is what fails it.
        "timeout": timedelta(hours=1),
    }


def retry_options(patience: Patience) -> RetryConfig:
    """Say how the client library tries again."""
    return {"max_retries": patience.retries, "retry_timeout": timedelta(seconds=patience.timeout_s)}


def _from_environment() -> Any:
    return {
        "access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
        "secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
        "token": os.environ.get("AWS_SESSION_TOKEN") or None,
        "expires_at": None,
    }


def _from_boto3(bucket: str) -> Any:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        session = boto3.Session()
        if session.get_credentials() is None:
            raise no_credentials(bucket, "AWS's credential chain found none")
        provider = Boto3CredentialProvider(session, ttl=timedelta(minutes=5))
        provider()
    except RemoteAccessError:
        raise
    except (BotoCoreError, ClientError) as error:
        raise no_credentials(bucket, str(error).rstrip(".")) from error
    return provider


def _profile(setting: str) -> str | None:
    if not _has_boto3():
        return None
    import botocore.session
    from botocore.exceptions import BotoCoreError

    try:
        return botocore.session.Session().get_scoped_config().get(setting)
    except BotoCoreError:
        # A profile that does not exist is said when its credentials are looked for.
        return None


def _has_boto3() -> bool:
    return importlib.util.find_spec("boto3") is not None


def _has_keys() -> bool:
    return bool(os.environ.get("AWS_ACCESS_KEY_ID") and os.environ.get("AWS_SECRET_ACCESS_KEY"))


def _shared_file() -> Path:
    return Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path.home() / ".aws" / "credentials")


def _flag(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true", "yes")


def _answers(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, timeout=1):
            return True
    except OSError:
        return False


def _emulated(location: Location) -> bool:
    variables = ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT", "GOOGLE_BASE_URL", "STORAGE_EMULATOR_HOST")
    return any(urlsplit(os.environ.get(name, "")).scheme == "http" for name in variables) or (
        location.scheme.startswith("a") and _flag("AZURE_STORAGE_USE_EMULATOR")
    )


def _joined(path: str, prefix: str | None) -> str:
    return "/".join(part for part in (path.strip("/"), (prefix or "").strip("/")) if part)
