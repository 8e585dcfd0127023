"""Copies that an S3 server makes by itself, through boto3 (`artfork[aws]`): between buckets, and in parts.

Knows boto3; knows nothing of checkpoints.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from art.remote.credentials import boto3_session, endpoint, has_boto3, is_unsigned, region
from art.remote.deadline import within
from art.remote.errors import MissingError, Refusal, RequestPlace, TakenError, explain
from art.remote.location import Location, Patience

WHOLE_COPY_BYTES = 1024**3
PART_BYTES = 128 * 1024**2
PARTS_AT_ONCE = 8
_SIGNALS = (MissingError, TakenError)


@dataclass(frozen=True)
class ServerCopier:
    """One boto3 client, and what it is asked to copy."""

    client: Any
    patience: Patience

    @classmethod
    def find(cls, source: Location, target: Location, patience: Patience) -> ServerCopier | None:
        """Make a copier; None where the two are not both S3, or boto3 is absent, or requests go unsigned."""
        if not (source.is_s3 and target.is_s3 and has_boto3()) or is_unsigned():
            return None
        return cls(_client(target.bucket, patience), patience)

    def copy(self, source: RequestPlace, target: RequestPlace, size_bytes: int) -> None:
        """Copy an object, from any bucket that the credentials read; in parts of one version when it is large.

        Raises the remote's errors, `MissingError` for a source that is gone.
        """
        origin, config = {"Bucket": _name(source), "Key": source.key}, _in_parts()

        def copy() -> None:
            if size_bytes < WHOLE_COPY_BYTES:
                self.client.copy_object(CopySource=origin, Bucket=_name(target), Key=target.key)
            else:
                self.client.copy(CopySource=origin, Bucket=_name(target), Key=target.key, Config=config)

        with _explained(source):
            within(self.patience.transfer_s, copy)


def _client(bucket: str, patience: Patience) -> Any:
    from botocore.config import Config

    config = Config(
        connect_timeout=min(10, patience.silence_s),
        read_timeout=patience.silence_s,
        retries={"mode": "standard", "total_max_attempts": patience.retries + 1},
        s3={"addressing_style": "path"},
        # Not every server knows the checksums that AWS added later.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = boto3_session(bucket)
    return session.client("s3", endpoint_url=endpoint(), region_name=region(), config=config)


def _in_parts() -> Any:
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(
        multipart_threshold=WHOLE_COPY_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=PARTS_AT_ONCE
    )


@contextmanager
def _explained(source: RequestPlace) -> Generator[None]:
    """Turn what boto3 raises into our errors."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        raise explain("copy", source, error, *_SIGNALS, refusal=_refusal(error)) from error
    except (KeyError, TypeError, ValueError, ResponseParserError) as error:
        # boto3 looks into an answer without a check that it has S3's form.
        raise explain("copy", source, error, refusal=Refusal.malformed()) from error
    except (Boto3Error, BotoCoreError, TimeoutError) as error:
        raise explain("copy", source, error) from error


def _refusal(error: Any) -> Refusal:
    answer = error.response
    details = answer.get("Error", {})
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    # An error that comes with status 200 was found out after the answer had begun.
    status = status if isinstance(status, int) and status >= 300 else 500
    return Refusal(text=str(error), status=status, code=details.get("Code"), message=details.get("Message"))


def _name(place: RequestPlace) -> str:
    return place.bucket.partition("://")[2]
