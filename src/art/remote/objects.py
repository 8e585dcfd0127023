"""The objects of one bucket below one prefix: the few requests that checkpoints need, with our errors.

Keys are relative to the prefix. Knows the client library; knows nothing of checkpoints.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import obstore

from art.errors import CorruptCheckpointError
from art.remote.clients import Clients, open_clients
from art.remote.errors import (
    BeyondEndError,
    MissingError,
    NotPartialError,
    RequestPlace,
    TakenError,
    explained,
    malformed,
)
from art.remote.location import Location, Patience

if TYPE_CHECKING:
    from collections.abc import Buffer  # pyright: ignore[reportAttributeAccessIssue]

    from obstore.store import ObjectStore

QUICK_BYTES = 1024**2
SMALL_BYTES = 64 * 1024**2
"""No manifest, claim or configuration is larger."""
LINES_BYTES = 1024**3
"""No history and no file of trajectories is larger."""
PART_BYTES = 16 * 1024**2
PARTS_AT_ONCE = 6
MAX_PARTS = 9_000
PAGE = 1000
DELETED_AT_ONCE = 8
ABSENT = ".nothing-lies-here"

Result = TypeVar("Result")
Other = TypeVar("Other")


@dataclass(frozen=True)
class Object:
    """What a listing says of an object; its key is relative to the prefix."""

    key: str
    size_bytes: int
    modified: datetime

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]


class Objects:
    """A bucket's objects below a prefix. Its clients are opened by the first request."""

    def __init__(self, location: Location, patience: Patience, connect: Callable[[], Clients] | None = None) -> None:
        self.location = location
        self.patience = patience
        # A folder's client is opened at the prefix itself.
        self.prefix = "" if location.scheme == "file" else location.prefix
        self._connect = connect or (lambda: open_clients(location, patience))
        self._connecting = threading.Lock()
        self._opened: Clients | None = None

    def shares_client(self, other: Objects) -> bool:
        """Tell whether one client reaches both, so that it can copy from one to the other."""
        same_bucket = (self.location.scheme, self.location.bucket) == (other.location.scheme, other.location.bucket)
        return self is other or (same_bucket and bool(self.location.bucket))

    def path(self, key: str) -> str:
        """Give the whole key of a relative one."""
        return f"{self.prefix}/{key}" if self.prefix and key else self.prefix or key

    def place(self, key: str) -> RequestPlace:
        if self.location.scheme == "file":
            return RequestPlace(str(self.location), key)
        return RequestPlace(f"{self.location.scheme}://{self.location.bucket}", self.path(key))

    def read(self, key: str) -> bytes:
        """Read a small object; raises `MissingError`, and `CorruptCheckpointError` when it is not small."""
        with explained("read", self.place(key), MissingError):
            result = obstore.get(self._quick, self.path(key))
            self._require_size(key, result.meta["size"], SMALL_BYTES)
            return bytes(result.bytes())

    def find(self, key: str) -> bytes | None:
        """Read a small object, None when there is none in a bucket that exists."""
        try:
            return self.read(key)
        except MissingError:
            return None

    def read_range(self, key: str, start: int, end: int) -> tuple[Buffer, int]:
        """Read bytes `start` up to `end`, and the size of the whole object.

        Raises `NotPartialError`, `BeyondEndError` or `MissingError`.
        """
        with explained("read", self.place(key), NotPartialError, BeyondEndError, MissingError):
            client = self._quick if end - start <= QUICK_BYTES else self._patient
            result = obstore.get(client, self.path(key), options={"range": (start, end)})
            return result.buffer(), result.meta["size"]

    def stream(self, key: str, block_bytes: int) -> Iterator[Buffer]:
        """Read an object from its beginning in blocks; raises `MissingError`."""
        with explained("read", self.place(key), MissingError):
            yield from obstore.get(self._patient, self.path(key)).stream(min_chunk_size=block_bytes)

    def create(self, key: str, content: bytes) -> None:
        """Write a small object if nothing lies there; raises `TakenError`."""
        with explained("write", self.place(key), TakenError):
            if folder := self._clients.folder:
                if not folder.create(self.path(key), content):
                    raise TakenError(str(self.place(key)))
                return
            client = self._quick if len(content) <= QUICK_BYTES else self._patient
            obstore.put(client, self.path(key), content, mode="create", use_multipart=False)

    def read_versioned(self, key: str) -> tuple[bytes, str | None]:
        """Read a file of lines and the version that the server gives it; nothing and None when there is none.

        Raises `CorruptCheckpointError` when it is larger than any history.
        """
        try:
            with explained("read", self.place(key), MissingError):
                result = obstore.get(self._patient, self.path(key))
                self._require_size(key, result.meta["size"], LINES_BYTES)
                return bytes(result.bytes()), result.meta["e_tag"]
        except MissingError:
            return b"", None

    def replace(self, key: str, content: bytes, version: str) -> None:
        """Write an object over the version that was read; raises `TakenError` when another is there by now.

        A folder knows no such condition: there the last writer counts.
        """
        self._put_over(key, content, {"e_tag": version})

    def overwrite(self, key: str, content: bytes) -> None:
        """Write an object over whatever lies there."""
        self._put_over(key, content, "overwrite")

    def _put_over(self, key: str, content: bytes, mode: Any) -> None:
        with explained("write", self.place(key), TakenError):
            if folder := self._clients.folder:
                folder.put(self.path(key), [content])
                return
            obstore.put(self._patient, self.path(key), content, mode=mode, use_multipart=False)

    def upload(self, key: str, blocks: Iterator[bytes], size_bytes: int) -> None:
        """Write a large object in parts, over whatever lies there: only for one who holds the claim.

        What `blocks` raises leaves nothing behind.
        """
        part_bytes = max(PART_BYTES, -(-size_bytes // MAX_PARTS))
        at_once = max(1, PARTS_AT_ONCE * PART_BYTES // part_bytes)
        with explained("write", self.place(key), TakenError):
            if folder := self._clients.folder:
                folder.put(self.path(key), blocks)
                return
            obstore.put(
                self._patient,
                self.path(key),
                blocks,
                use_multipart=True,
                chunk_size=part_bytes,
                max_concurrency=at_once,
            )

    def read_start(self, key: str, size_bytes: int) -> bytes:
        """Read the first bytes of an object, also from a server that knows no ranges."""
        try:
            return bytes(self.read_range(key, 0, size_bytes)[0])
        except NotPartialError:
            start = b""
            for block in self.stream(key, size_bytes):
                start += bytes(block)
                if len(start) >= size_bytes:
                    break
            return start[:size_bytes]

    def folders(self, key: str) -> list[str]:
        """List the names of the folders below a key, in pages; objects further down cost nothing."""
        prefixes = self._list_one_level(key)["common_prefixes"]
        paths = [self._below(key, prefix.rstrip("/")) for prefix in prefixes]
        if folder := self._clients.folder:
            paths = [path for path in paths if folder.has_objects(path)]
        return [path.rpartition("/")[2] for path in paths]

    def files(self, key: str) -> dict[str, Object]:
        """List the objects directly below a key, by name."""
        return self.level(key)[0]

    def level(self, key: str) -> tuple[dict[str, Object], set[str]]:
        """List the objects directly below a key, by name, and the names of the folders there: one listing for both.

        A folder of this disk may be empty.
        """
        listing = self._list_one_level(key)
        objects = [self._object(meta, key) for meta in listing["objects"]]
        folders = {self._below(key, prefix.rstrip("/")).rpartition("/")[2] for prefix in listing["common_prefixes"]}
        return {item.name: item for item in objects}, folders

    def files_below(self, key: str) -> dict[str, Object]:
        """List the objects below a key, however deep, by their paths from there."""
        return {item.key.removeprefix(f"{key}/"): item for item in self.all(key)}

    def all(self, key: str) -> list[Object]:
        """List every object below a key, in pages."""

        async def pages() -> list[Object]:
            listing = obstore.list(self._quick, self.path(key) or None, chunk_size=PAGE)
            return [self._object(meta, key) async for page in listing for meta in page]

        return self._listed(key, pages)

    def require_server(self, key: str) -> None:
        """Make sure that an empty listing means that nothing is there.

        A login page between here and the server answers every request with success, and reads as an empty listing.
        """
        if self.find(f"{key}/{ABSENT}" if key else ABSENT) is not None:
            raise malformed("list", self.place(key), "what answers there finds everything, so it is no object store")

    def size_bytes(self, key: str) -> int:
        """Give the size of an object; raises `MissingError`."""
        with explained("look at", self.place(key), MissingError):
            return obstore.head(self._quick, self.path(key))["size"]

    def copy_from(self, source: Objects, source_key: str, key: str) -> None:
        """Copy an object inside the bucket, over whatever lies there: only for one who holds the claim."""
        with explained("copy", source.place(source_key), MissingError):
            if folder := self._clients.folder:
                folder.copy(source.path(source_key), self.path(key))
                return
            obstore.copy(self._patient, source.path(source_key), self.path(key), overwrite=True)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects one after the other; ones that are not there do not matter."""
        for key in keys:
            try:
                with explained("delete", self.place(key), MissingError):
                    if folder := self._clients.folder:
                        folder.delete(self.path(key))
                    else:
                        obstore.delete(self._quick, self.path(key))
            except MissingError:
                continue

    def delete_in_any_order(self, keys: Sequence[str]) -> None:
        """Delete objects several at a time; behind one that is refused others may be gone or not."""
        with ThreadPoolExecutor(DELETED_AT_ONCE, thread_name_prefix="art-delete") as pool:
            for _ in pool.map(lambda key: self.delete([key]), keys):
                pass

    def _require_size(self, key: str, size_bytes: int, most_bytes: int) -> None:
        if size_bytes > most_bytes:
            raise CorruptCheckpointError(
                f"{self.place(key)} has {size_bytes:,} bytes, which nothing of its name has; at most {most_bytes:,} "
                "are read."
            )

    def _list_one_level(self, key: str) -> obstore.ListResult[Sequence[obstore.ObjectMeta]]:
        return self._listed(key, lambda: obstore.list_with_delimiter_async(self._quick, self.path(key) or None))

    def _listed(self, key: str, ask: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Ask for a listing, which has as many pages as the server says; one without an end is given up."""

        async def in_time() -> Result:
            async with asyncio.timeout(self.patience.transfer_s):
                return await ask()

        # In a thread of its own: the one that asks may run a loop already.
        with explained("list", self.place(key)), ThreadPoolExecutor(1, thread_name_prefix="art-list") as pool:
            try:
                return pool.submit(asyncio.run, in_time()).result()
            except TimeoutError as error:
                raise TimeoutError("the listing timed out") from error

    @property
    def _quick(self) -> ObjectStore:
        return self._clients.quick

    @property
    def _patient(self) -> ObjectStore:
        return self._clients.patient

    @property
    def _clients(self) -> Clients:
        with self._connecting:
            if self._opened is None:
                self._opened = self._connect()
            return self._opened

    def _object(self, meta: obstore.ObjectMeta, listed: str) -> Object:
        key = self._below(listed, meta["path"])
        return Object(key.removeprefix(f"{self.prefix}/"), meta["size"], meta["last_modified"])

    def _below(self, key: str, path: str) -> str:
        """Give the path back; raises `RemoteError` when it does not lie below the key that was listed."""
        folder = self.path(key)
        if folder and not path.startswith(f"{folder}/"):
            raise malformed("list", self.place(key), f"the server lists {path!r}, which does not lie there")
        return path


def at_once(ask: Callable[[], Result], ask_other: Callable[[], Other]) -> tuple[Result, Other]:
    """Send two requests at the same time, where neither needs the other's answer."""
    with ThreadPoolExecutor(1, thread_name_prefix="art-ask") as pool:
        other = pool.submit(_answer, ask_other)
        return ask(), other.result()


def _answer(ask: Callable[[], Result]) -> Result:
    return ask()
