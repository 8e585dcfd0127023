"""What went wrong at an object store, in our own words: which bucket, which key, why, and what to do.

The client library says most of it only as text, so this is the one module that reads that text.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from art.errors import (
    ArtError,
    CheckpointNotFoundError,
    RemoteAccessError,
    RemoteError,
    RemoteNotFoundError,
    RemoteUnavailableError,
)

_STATUS = re.compile(r"status code: (\d{3})|HTTP status (?:client|server) error \((\d{3})")
_CODE = re.compile(r"<Code>([^<]{1,80})</Code>")
_SAID = re.compile(r"<Message>([^<]{1,300})</Message>")
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")
_EXPIRED = ("ExpiredToken", "TokenRefreshRequired", "ExpiredTokenException", "RequestExpired")
_BAD_KEY = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthorizationHeaderMalformed")
_NO_CREDENTIALS = ("169.254.", "credential", "Credential", "token from metadata", "No such profile")
_THROTTLED = ("SlowDown", "TooManyRequests", "RequestLimitExceeded", "Throttling")
_MALFORMED = (
    "malformed response",
    "invalid list response",
    "invalid DeleteObjects response",
    "multipart response",
    "invalid path",
    "extract metadata from headers",
    "Content-Range",
)
_NO_SPACE = ("QuotaExceeded", "InsufficientStorage")

SIGN_IN = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run on a machine that has a role; "
    "AWS_SKIP_SIGNATURE=true reads a public bucket without credentials"
)


class NotPartialError(Exception):
    """The server answered a request for a range with the whole object."""


class BeyondEndError(Exception):
    """A range begins after the object's last byte."""


class TakenError(Exception):
    """Something lies under a key that was to be written only if absent."""


class MissingError(CheckpointNotFoundError):
    """Nothing lies under a key, in a bucket that exists: also what another process deleted since it was listed."""

    def __init__(self, place: str) -> None:
        super().__init__(f"There is no {place}; it may have been deleted meanwhile.")


@dataclass(frozen=True)
class RequestPlace:
    """Where a request went, for the message."""

    bucket: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.bucket}/{self.key}" if self.key else self.bucket


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """What a server answered, or why it did not."""

    text: str
    status: int | None = None
    """None when no answer came."""
    code: str | None = None
    message: str | None = None

    @classmethod
    def read(cls, text: str) -> Refusal:
        """Find in the client library's text what the server answered."""
        status, code, message = _STATUS.search(text), _CODE.search(text), _SAID.search(text)
        return cls(
            text=text,
            status=int(status[1] or status[2]) if status else None,
            code=code[1] if code else None,
            message=message[1] if message else None,
        )

    @classmethod
    def malformed(cls) -> Refusal:
        """Say that an answer has not the form that its protocol gives it."""
        return cls(text=_MALFORMED[0])


Signal = type[NotPartialError | BeyondEndError | TakenError | MissingError]


@contextmanager
def explained(doing: str, place: RequestPlace, *signals: Signal) -> Generator[None]:
    """Turn what the client library raises into our errors, and into those of the signals that the caller handles."""
    try:
        yield
    except ArtError:
        raise
    except (BaseError, FileNotFoundError, PermissionError, OSError, ValueError) as error:
        raise explain(doing, place, error, *signals) from error


def explain(
    doing: str, place: RequestPlace, error: Exception, *signals: Signal, refusal: Refusal | None = None
) -> Exception:
    """Choose the error that a failed request becomes."""
    refusal = refusal or Refusal.read(str(error))
    text, status = refusal.text, refusal.status
    # A listing of nothing is empty and a write needs nothing there: not found, they have no bucket.
    if any(sign in text for sign in _NO_BUCKET) or (doing in ("list", "write") and status == 404):
        return _error(RemoteNotFoundError, doing, place, f"there is no bucket {place.bucket}", _CHECK_NAME)
    signal = _signal(error, refusal)
    if signal in signals:
        return signal(str(place))
    if denied := _access_problem(error, refusal):
        return _error(RemoteAccessError, doing, place, *denied)
    return _other(doing, place, refusal)


def _signal(error: Exception, refusal: Refusal) -> Signal | None:
    if "NoSuchUpload" in refusal.text:
        # Completed already, and the answer was lost.
        return TakenError
    if isinstance(error, FileNotFoundError) or refusal.status == 404:
        return MissingError
    if isinstance(error, AlreadyExistsError | PreconditionError) or refusal.status in (409, 412):
        return TakenError
    if "non-partial response" in refusal.text:
        return NotPartialError
    if refusal.status == 416 or "StartTooLarge" in refusal.text:
        return BeyondEndError
    return None


def malformed(doing: str, place: RequestPlace, what: str) -> RemoteError:
    """Say that an answer contradicts the question."""
    return _error(RemoteError, doing, place, what, _CHECK_URL)


def no_credentials(bucket: str, why: str) -> RemoteAccessError:
    """Say that there is nothing to sign requests with."""
    return RemoteAccessError(f"No credentials for {bucket}: {why}. {SIGN_IN}.")


_CHECK_NAME = "Check its name and AWS_ENDPOINT_URL; nothing was created"
_CHECK_URL = "Nothing was changed; check AWS_ENDPOINT_URL"
_RETRY = "Nothing was changed; try again later, or check AWS_ENDPOINT_URL and the network"
_DELETE_AGAIN = "Some of it may be deleted already; do the same again later"


def _access_problem(error: Exception, refusal: Refusal) -> tuple[str, str] | None:
    text, status, code = refusal.text, refusal.status, refusal.code
    if code in _EXPIRED:
        return f"the credentials have expired ({code})", "Sign in again (aws sso login), or renew AWS_SESSION_TOKEN"
    if code in _BAD_KEY:
        return f"the credentials are not accepted ({code})", SIGN_IN
    if code == "RequestTimeTooSkewed":
        return "this machine's clock is wrong (RequestTimeTooSkewed)", "Set it"
    denied = isinstance(error, PermissionDeniedError | UnauthenticatedError | PermissionError) or status in (401, 403)
    if denied:
        because = code or f"status {status}"
        return (
            f"permission is denied ({because})",
            "Check the policy of these credentials: docs/guides/object-stores.md",
        )
    if status is None and any(sign in text for sign in _NO_CREDENTIALS):
        return f"no credentials were found ({_first_line(text)})", SIGN_IN
    return None


def _other(doing: str, place: RequestPlace, refusal: Refusal) -> Exception:
    text, status, code = refusal.text, refusal.status, refusal.code
    if "redirect" in text or status in (301, 307):
        return _error(RemoteError, doing, place, "the bucket lies in another region", "Set AWS_REGION to the bucket's")
    if status == 429 or code in _THROTTLED:
        return _error(RemoteUnavailableError, doing, place, f"the server throttles requests ({code or status})", _RETRY)
    if code in _NO_SPACE or status == 507:
        return _error(RemoteError, doing, place, f"the bucket is full ({code or status})", "Free some of it")
    if status is not None and status >= 500:
        return _error(
            RemoteUnavailableError, doing, place, f"the server failed ({status} {code or ''})".strip(), _RETRY
        )
    if any(sign in text for sign in _MALFORMED):
        return _error(RemoteError, doing, place, "the server's answer has another form than its protocol's", _CHECK_URL)
    if status is None:
        return _error(RemoteUnavailableError, doing, place, _connection(text), _RETRY)
    why = f"the server answered {status} {code or ''}{': ' + refusal.message if refusal.message else ''}"
    return _error(RemoteError, doing, place, why, "See the server's documentation for this code")


def _error(kind: type[RemoteError], doing: str, place: RequestPlace, why: str, way_out: str) -> RemoteError:
    way_out = _DELETE_AGAIN if doing == "delete" and way_out == _RETRY else way_out
    return kind(printable(f"Could not {doing} {place}: {why}. {way_out}."))


def _connection(text: str) -> str:
    if "dns error" in text or "failed to lookup" in text:
        return "the server's name cannot be resolved"
    if "Connection refused" in text or "ConnectionRefused" in text:
        return "the connection is refused"
    if "TimedOut" in text or "timed out" in text:
        return "the server does not answer in time"
    if "body error" in text or "UnexpectedEof" in text or "IncompleteMessage" in text:
        return "the connection broke off"
    return f"the server cannot be reached ({_first_line(text)})"


def printable(text: str) -> str:
    """Escape what acts on a terminal; a server chose some of these characters."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _first_line(text: str) -> str:
    return text.partition("\n")[0][:200]
