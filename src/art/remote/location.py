"""Where a remote lies, and how long one waits for it: what a URL says. Opens nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from art.errors import ConfigurationError
from art.names import BETWEEN

S3_SCHEMES = ("s3", "s3a")
SCHEMES = (*S3_SCHEMES, "gs", "az", "azure", "abfs", "abfss", "file", "memory", "hf")


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
    """No retry begins later than this after the first attempt; a request of few bytes is over by then."""
    silence_s: float = 30
    """A server that sends nothing for so long has failed this attempt."""

    @property
    def transfer_s(self) -> float:
        """How long one request of many bytes may last: a slow network is no failure, an endless trickle is."""
        return 10 * self.timeout_s


def parse_location(url_or_bucket: str, *, prefix: str | None = None) -> Location:
    """Read `bucket`, `s3://bucket/prefix`, `gs://...`, `file:///folder`; raises `ConfigurationError`."""
    if not url_or_bucket:
        raise ConfigurationError("The bucket is empty; write a name or a URL such as s3://bucket/prefix.")
    if BETWEEN in url_or_bucket:
        raise ConfigurationError(
            f"{url_or_bucket!r} names a model; a bucket alone is {url_or_bucket.partition(BETWEEN)[0]}."
        )
    if url_or_bucket.startswith(("/", ".", "~")):
        folder = Path(url_or_bucket).expanduser().absolute()
        raise ConfigurationError(f"{url_or_bucket!r} is a path, where a URL belongs; write {folder.as_uri()}.")
    if "://" not in url_or_bucket:
        url_or_bucket = f"s3://{url_or_bucket}"
    scheme, _, rest = url_or_bucket.partition("://")
    if scheme not in SCHEMES:
        raise ConfigurationError(f"{scheme}:// in {url_or_bucket!r} is not known; these are: {', '.join(SCHEMES)}.")
    if scheme == "file":
        return Location("file", "", _folder(url_or_bucket, unquote(rest), prefix))
    bucket, _, path = rest.partition("/")
    if not bucket and scheme != "memory":
        raise ConfigurationError(f"{url_or_bucket!r} names no bucket; write {scheme}://bucket/prefix.")
    return Location("s3" if scheme in S3_SCHEMES else scheme, bucket, _joined(path, prefix))


def _folder(url: str, path: str, prefix: str | None) -> str:
    """Give the folder that a URL names; the root of all folders, where one without a path leads, is none."""
    folder = _joined(path, prefix)
    if not path.startswith("/") or not folder:
        raise ConfigurationError(f"{url!r} names no folder; write all of its path, as in file:///data/checkpoints.")
    return folder


def _joined(path: str, prefix: str | None) -> str:
    return "/".join(part for part in (path.strip("/"), (prefix or "").strip("/")) if part)
