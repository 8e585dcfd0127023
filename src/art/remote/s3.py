"""The S3 requests that the client library does not offer: copies between buckets, and copies in parts.

Signs with AWS's Signature Version 4. Knows HTTP and S3's words; knows nothing of checkpoints.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import http.client
import random
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from art.remote.errors import MissingError, Place, explained
from art.remote.location import Patience, s3_credentials, s3_endpoint, s3_region

WHOLE_COPY_BYTES = 256 * 1024**2
PART_BYTES = 128 * 1024**2
MAX_PART_BYTES = 5 * 1024**3
MAX_PARTS = 9_000
PARTS_AT_ONCE = 8
FIRST_PAUSE_S = 0.1
_AGAIN = re.compile("status code: (429|5..)|<Code>(SlowDown|InternalError|RequestTimeout)</Code>")


@dataclass(frozen=True)
class S3Client:
    """Signed requests to one endpoint."""

    endpoint: str
    region: str
    credentials: Callable[[], Mapping[str, Any]] = field(repr=False)
    patience: Patience

    @classmethod
    def from_environment(cls, bucket: str, patience: Patience) -> S3Client | None:
        """Make a client; None where only the client library knows the credentials."""
        credentials = s3_credentials(bucket)
        if credentials is None:
            return None
        region = s3_region()
        return cls(s3_endpoint() or f"https://s3.{region}.amazonaws.com", region, credentials, patience)

    def copy(self, source: Place, target: Place, size_bytes: int) -> None:
        """Copy an object on the server, from any bucket that the credentials read; in parts when it is large."""
        with explained("copy", source):
            if size_bytes <= WHOLE_COPY_BYTES:
                self._ask("PUT", target, headers={"x-amz-copy-source": _source(source)})
                return
            self._copy_in_parts(source, target, size_bytes)

    def _copy_in_parts(self, source: Place, target: Place, size_bytes: int) -> None:
        upload = _tag("UploadId", self._ask("POST", target, {"uploads": ""}))
        part_bytes = min(MAX_PART_BYTES, max(PART_BYTES, -(-size_bytes // MAX_PARTS)))
        starts = range(0, size_bytes, part_bytes)

        def copy_part(start: int) -> str:
            end = min(start + part_bytes, size_bytes) - 1
            headers = {"x-amz-copy-source": _source(source), "x-amz-copy-source-range": f"bytes={start}-{end}"}
            query = {"partNumber": str(start // part_bytes + 1), "uploadId": upload}
            return _tag("ETag", self._ask("PUT", target, query, headers=headers))

        try:
            with ThreadPoolExecutor(PARTS_AT_ONCE, thread_name_prefix="art-copy") as pool:
                etags = list(pool.map(copy_part, starts))
            self._complete(target, upload, etags)
        except BaseException:
            self._abort(target, upload)
            raise

    def _complete(self, target: Place, upload: str, etags: list[str]) -> None:
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{html.escape(etag)}</ETag></Part>"
            for number, etag in enumerate(etags, start=1)
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        try:
            # Servers that do not know the condition ignore it; the caller holds the claim.
            self._ask("POST", target, {"uploadId": upload}, body=body, headers={"if-none-match": "*"})
        except OSError as error:
            # Completed already, and the answer was lost; the caller looks at what is there.
            if "NoSuchUpload" not in str(error):
                raise

    def _abort(self, target: Place, upload: str) -> None:
        try:
            with explained("delete", target):
                self._ask("DELETE", target, {"uploadId": upload})
        except MissingError:
            return

    def _ask(
        self,
        method: str,
        place: Place,
        query: Mapping[str, str] | None = None,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Send a request, again after a passing failure; gives the answer's text, raises `OSError` with its status."""
        deadline = time.monotonic() + self.patience.timeout_s
        for attempt in range(self.patience.retries + 1):
            try:
                return self._ask_once(method, place, query or {}, body, headers or {})
            except (OSError, http.client.HTTPException) as error:
                passing = not _has_status(error) or _AGAIN.search(str(error))
                if not passing or attempt == self.patience.retries or time.monotonic() > deadline:
                    raise _as_os_error(error) from error
            time.sleep(FIRST_PAUSE_S * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
        raise AssertionError("the last attempt returns or raises")

    def _ask_once(
        self, method: str, place: Place, query: Mapping[str, str], body: bytes, headers: Mapping[str, str]
    ) -> str:
        url = urlsplit(self.endpoint)
        path = quote(f"{url.path.rstrip('/')}/{place.bucket.partition('://')[2]}/{place.key}", safe="/-_.~")
        signed = self._sign(method, url.netloc, path, query, body, headers)
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = kind(url.hostname or "", url.port, timeout=self.patience.silence_s)
        try:
            text = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in sorted(query.items()))
            # An empty PUT needs its length said: Ceph answers 411 otherwise.
            connection.request(method, f"{path}?{text}" if text else path, body or None, signed | _length(body))
            answer = connection.getresponse()
            said = answer.read().decode(errors="replace")
        finally:
            connection.close()
        # A copy may fail after its 200 was sent; then the answer says so inside.
        if answer.status >= 300 or "<Error>" in said:
            raise OSError(f"Server returned status code: {answer.status} {said}")
        return said

    def _sign(
        self, method: str, host: str, path: str, query: Mapping[str, str], body: bytes, headers: Mapping[str, str]
    ) -> dict[str, str]:
        keys = self.credentials()
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        payload = hashlib.sha256(body).hexdigest()
        signed = {**headers, "host": host, "x-amz-date": now, "x-amz-content-sha256": payload}
        if keys["token"]:
            signed["x-amz-security-token"] = keys["token"]
        names = ";".join(sorted(signed))
        canonical = "\n".join(
            [
                method,
                path,
                "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in sorted(query.items())),
                *(f"{name}:{signed[name]}" for name in sorted(signed)),
                "",
                names,
                payload,
            ]
        )
        text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = f"AWS4{keys['secret_access_key']}".encode()
        for word in (now[:8], self.region, "s3", "aws4_request"):
            key = hmac.digest(key, word.encode(), "sha256")
        signature = hmac.new(key, text.encode(), "sha256").hexdigest()
        credential = f"Credential={keys['access_key_id']}/{scope}"
        authorization = f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={names}, Signature={signature}"
        return signed | {"authorization": authorization}


def _source(place: Place) -> str:
    return quote(f"/{place.bucket.partition('://')[2]}/{place.key}", safe="/-_.~")


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")


def _length(body: bytes) -> dict[str, str]:
    return {"content-length": str(len(body))}


def _tag(name: str, said: str) -> str:
    found = re.search(f"<{name}>([^<]+)</{name}>", said)
    if found is None:
        raise OSError(f"Server returned status code: 500 without {name}: {said[:200]}")
    return html.unescape(found[1])


def _has_status(error: Exception) -> bool:
    return "status code: " in str(error)


def _as_os_error(error: OSError | http.client.HTTPException) -> OSError:
    return error if isinstance(error, OSError) else OSError(f"{type(error).__name__}: {error}")
