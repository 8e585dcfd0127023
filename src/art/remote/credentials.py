"""Who asks, where, and how requests to S3 are signed: the environment, or AWS's own chain through boto3.

Respects what AWS's own tools respect: AWS_ENDPOINT_URL, AWS_REGION, AWS_PROFILE, keys, roles. A function here may ask
AWS for a role's keys, so none is called before the first request of its bucket.
"""

from __future__ import annotations

import importlib.util
import os
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from art.remote.errors import no_credentials

METADATA_SERVICE = ("169.254.169.254", 80)
RENEW_AFTER = timedelta(minutes=5)
_ROLE_VARIABLES = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)

Provider = Callable[[], Any]
"""Gives keys, a token and when they expire, as the client library wants them."""


def endpoint() -> str | None:
    """Give the endpoint that AWS's variables or the profile name, None for AWS itself."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or _profile("endpoint_url")


def region() -> str:
    """Give the region that AWS's variables or the profile name."""
    named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or _profile("region")
    return named or "us-east-1"


def is_unsigned() -> bool:
    """Tell whether requests are to go without a signature, to a public bucket."""
    return is_set("AWS_SKIP_SIGNATURE")


def has_boto3() -> bool:
    return importlib.util.find_spec("boto3") is not None


def is_set(variable: str) -> bool:
    """Tell whether a variable of the environment says yes."""
    return os.environ.get(variable, "").lower() in ("1", "true", "yes")


def find_provider(bucket: str) -> Provider | None:
    """Give what signs requests to a bucket, None where the client library finds the keys by itself.

    Keys in the environment come first, then AWS's own chain where boto3 is installed. Raises `RemoteAccessError` when
    there is nothing to sign with.
    """
    if is_unsigned():
        return None
    if _keys_come_first():
        return _from_environment
    if has_boto3():
        return _from_boto3(bucket)
    if any(os.environ.get(name) for name in _ROLE_VARIABLES):
        return None
    if os.environ.get("AWS_PROFILE") or _shared_file().exists():
        raise no_credentials(bucket, "profiles are read with boto3, which is absent: pip install 'artfork[aws]'")
    if is_set("AWS_EC2_METADATA_DISABLED") or not _answers(METADATA_SERVICE):
        raise no_credentials(bucket, "the environment has none, and this machine has no role")
    return None


def boto3_session(bucket: str) -> Any:
    """Open boto3's session with the same keys as `find_provider`; raises `RemoteAccessError`."""
    import boto3

    if _keys_come_first():
        keys = _from_environment()
        return boto3.Session(keys["access_key_id"], keys["secret_access_key"], keys["token"])
    with _boto3_explained(bucket):
        return boto3.Session()


def _from_environment() -> Any:
    return {
        "access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
        "secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
        "token": os.environ.get("AWS_SESSION_TOKEN") or None,
        "expires_at": None,
    }


def _from_boto3(bucket: str) -> Provider:
    from obstore.auth.boto3 import Boto3CredentialProvider

    session = boto3_session(bucket)
    with _boto3_explained(bucket):
        if session.get_credentials() is None:
            raise no_credentials(bucket, "AWS's credential chain found none")
        provider = Boto3CredentialProvider(session, ttl=RENEW_AFTER)
        provider()
    return provider


@contextmanager
def _boto3_explained(bucket: str) -> Generator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise no_credentials(bucket, str(error).rstrip(".")) from error


def _profile(setting: str) -> str | None:
    if not has_boto3():
        return None
    import botocore.session
    from botocore.exceptions import BotoCoreError

    try:
        return botocore.session.Session().get_scoped_config().get(setting)
    except BotoCoreError:
        # A profile that does not exist is said when its credentials are looked for.
        return None


def _keys_come_first() -> bool:
    has_keys = os.environ.get("AWS_ACCESS_KEY_ID") and os.environ.get("AWS_SECRET_ACCESS_KEY")
    return bool(has_keys and not os.environ.get("AWS_PROFILE"))


def _shared_file() -> Path:
    return Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path.home() / ".aws" / "credentials")


def _answers(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, timeout=1):
            return True
    except OSError:
        return False
