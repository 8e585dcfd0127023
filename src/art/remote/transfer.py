"""Bytes on their way between a bucket and this disk: in parallel ranges, hashed as they pass, in bounded memory.

Knows objects, files and digests; knows nothing of models or steps.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from art.errors import CorruptCheckpointError, RemoteUnavailableError
from art.remote.errors import BeyondEndError, MissingError, NotPartialError
from art.remote.new_file import NewFile, created
from art.store import disk
from art.store.hashing import hasher
from art.store.refusal import explained

if TYPE_CHECKING:
    from collections.abc import Buffer  # pyright: ignore[reportAttributeAccessIssue]

    from art.format.manifest import FileEntry
    from art.remote.objects import Objects

BLOCK_BYTES = 8 * 1024**2
RANGES_AT_ONCE = 8
ATTEMPTS = 3
SMALL_BYTES = BLOCK_BYTES
SINGLE_PUT_BYTES = 32 * 1024**2

Item = TypeVar("Item")
Result = TypeVar("Result")


Progress = Callable[[int, int], None]
"""Told the bytes that have moved so far, and how many will; from one thread at a time."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A file to fetch: where it lies, what it must be, where it goes."""

    key: str
    size_bytes: int
    blake3: str | None
    """None when nobody knows: a file that another program wrote."""
    target: Path
    sha256: str | None = None
    """Looked at where `blake3` is not known."""


class Meter:
    """Counts moved bytes for whoever wants to watch."""

    def __init__(self, total_bytes: int, progress: Progress | None) -> None:
        self.total_bytes = total_bytes
        self.moved_bytes = 0
        self._progress = progress
        self._lock = threading.Lock()

    def add(self, size_bytes: int) -> None:
        with self._lock:
            self.moved_bytes += size_bytes
            if self._progress:
                self._progress(self.moved_bytes, self.total_bytes)


class _WrongBytesError(Exception):
    """What arrived is not what was promised; says how."""


def fetch(objects: Objects, wanted: list[Wanted], meter: Meter) -> None:
    """Fetch files and check every byte; a file with wrong bytes is fetched again before it is an error.

    Raises `CorruptCheckpointError` naming the object, or the remote's errors.
    """
    with disk.EarlySync() as early, ThreadPoolExecutor(RANGES_AT_ONCE, thread_name_prefix="art-fetch") as pool:
        small = [want for want in wanted if want.size_bytes <= SMALL_BYTES]
        for _ in in_order(pool, lambda want: _fetch_one(objects, want, meter, None, early), small):
            pass
        for want in wanted:
            if want.size_bytes > SMALL_BYTES:
                _fetch_one(objects, want, meter, pool, early)


def send(objects: Objects, key: str, path: Path, entry: FileEntry, meter: Meter) -> None:
    """Write a file where nothing lies, checking its bytes on the way; raises `TakenError`, `CorruptCheckpointError`."""
    send_blocks(objects, key, checked(_blocks_of(path), entry.blake3, str(path)), entry.size_bytes, meter)


def send_blocks(objects: Objects, key: str, blocks: Iterable[bytes], size_bytes: int, meter: Meter) -> None:
    """Write blocks where nothing lies: at once when they are few, in parts when they are many."""
    if size_bytes <= SINGLE_PUT_BYTES:
        objects.create(key, b"".join(blocks))
        meter.add(size_bytes)
    else:
        objects.upload(key, _metered(blocks, meter), size_bytes)


def checked(blocks: Iterable[Buffer], digest: str, where: str) -> Iterator[bytes]:
    """Pass blocks on; raises `CorruptCheckpointError` after the last when they are not what was promised."""
    seen = hasher()
    for block in blocks:
        seen.update(block)
        yield bytes(block)
    if seen.hexdigest() != digest:
        raise CorruptCheckpointError(f"{where} was altered: its digest is {seen.hexdigest()}, not {digest}.")


def digest_of(objects: Objects, key: str, size_bytes: int, *, sha256: str | None = None) -> str:
    """Give the BLAKE3 digest of an object, read through memory.

    Raises `MissingError`, and `CorruptCheckpointError` where its SHA-256 is known and is another one.
    """
    digest, known = hasher(), hashlib.sha256()
    for block in read_blocks(objects, key, size_bytes):
        digest.update(block)
        if sha256:
            known.update(block)
    if sha256 and known.hexdigest() != sha256:
        raise CorruptCheckpointError(f"{objects.place(key)} arrived with SHA-256 {known.hexdigest()}, not {sha256}.")
    return digest.hexdigest()


def read_blocks(objects: Objects, key: str, size_bytes: int) -> Iterator[Buffer]:
    """Read an object in order, in parallel ranges where the server knows them; raises `MissingError`.

    The requests are made in threads of their own: the client library may be the one that asks for the next block,
    and must not be called from there.
    """
    with ThreadPoolExecutor(RANGES_AT_ONCE, thread_name_prefix="art-read") as pool:
        given = 0
        try:
            for block in in_order(pool, lambda part: objects.read_range(key, *part)[0], _parts(size_bytes)):
                given += len(block)
                yield block
        except NotPartialError:
            stream = objects.stream(key, BLOCK_BYTES)
            for block in iter(lambda: pool.submit(next, stream, None).result(), None):
                fresh = memoryview(block)[given:]
                given = max(0, given - len(block))
                yield fresh


def in_order(
    pool: ThreadPoolExecutor | None, work: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Result]:
    """Do work in parallel and give the results in order, never more than a window of them ahead."""
    if pool is None:
        yield from map(work, items)
        return
    ahead: deque[Future[Result]] = deque()
    try:
        for item in items:
            ahead.append(pool.submit(work, item))
            if len(ahead) > RANGES_AT_ONCE:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        # Nobody may still write into a file that is given up.
        for future in ahead:
            future.cancel()
        wait(ahead)


def _fetch_one(
    objects: Objects, want: Wanted, meter: Meter, pool: ThreadPoolExecutor | None, early: disk.EarlySync
) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _fetch_once(objects, want, meter, pool, early)
        except _WrongBytesError as error:
            want.target.unlink(missing_ok=True)
            if attempt == ATTEMPTS:
                raise CorruptCheckpointError(
                    f"{objects.place(want.key)} arrived wrong {ATTEMPTS} times: {error}. Nothing was kept; "
                    "`art verify` on the machine that pushed it tells whether the original is whole."
                ) from error
        else:
            return


def _fetch_once(
    objects: Objects, want: Wanted, meter: Meter, pool: ThreadPoolExecutor | None, early: disk.EarlySync
) -> None:
    try:
        with created(want.target, want.size_bytes) as file:
            try:
                digest = _in_ranges(objects, want, meter, pool, early, file)
            except NotPartialError:
                digest = _in_one_stream(objects, want, meter, file)
    except MissingError as error:
        raise CorruptCheckpointError(
            f"{objects.place(want.key)} is gone, though its checkpoint needs it. Was it deleted just now?"
        ) from error
    if want.blake3 not in (None, digest):
        raise _WrongBytesError(f"digest {digest}, expected {want.blake3}")
    if want.sha256 and not want.blake3:
        _check_sha256(want.target, want.sha256)
    disk.protect(want.target)


def _check_sha256(path: Path, expected: str) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != expected:
        raise _WrongBytesError(f"SHA-256 {digest}, expected {expected}")


def _in_ranges(
    objects: Objects,
    want: Wanted,
    meter: Meter,
    pool: ThreadPoolExecutor | None,
    early: disk.EarlySync,
    file: NewFile,
) -> str:
    """Fetch in parallel and hash in order, so that no byte is read a second time."""

    def fetch_range(part: tuple[int, int]) -> Buffer:
        start, end = part
        try:
            block, whole_bytes = objects.read_range(want.key, start, end)
        except BeyondEndError as error:
            raise _WrongBytesError(f"it ends before byte {end:,}") from error
        if whole_bytes != want.size_bytes or len(block) != end - start:
            raise _WrongBytesError(f"{whole_bytes:,} bytes, expected {want.size_bytes:,}")
        file.allocate()
        file.write(block, start)
        meter.add(len(block))
        return block

    digest = hasher()
    for block in in_order(pool, fetch_range, _parts(want.size_bytes)):
        digest.update(block)
        early.wrote(file.handle, want.target, len(block))
    return digest.hexdigest()


def _in_one_stream(objects: Objects, want: Wanted, meter: Meter, file: NewFile) -> str:
    """Fetch from a server that knows no ranges, from the beginning again when the connection breaks off."""
    for attempt in range(1, ATTEMPTS + 1):
        digest = hasher()
        place = 0
        try:
            for block in objects.stream(want.key, BLOCK_BYTES):
                if place + len(block) > want.size_bytes:
                    raise _WrongBytesError(f"more than {want.size_bytes:,} bytes")
                file.write(block, place)
                digest.update(block)
                meter.add(len(block))
                place += len(block)
        except RemoteUnavailableError:
            if attempt == ATTEMPTS:
                raise
        else:
            if place != want.size_bytes:
                raise _WrongBytesError(f"{place:,} bytes, expected {want.size_bytes:,}")
            return digest.hexdigest()
    raise AssertionError("the last attempt returns or raises")


def _blocks_of(path: Path) -> Iterator[bytes]:
    with explained("read", path), path.open("rb", buffering=0) as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def _metered(blocks: Iterable[bytes], meter: Meter) -> Iterator[bytes]:
    for block in blocks:
        yield block
        meter.add(len(block))


def _parts(size_bytes: int) -> Iterator[tuple[int, int]]:
    for start in range(0, size_bytes, BLOCK_BYTES):
        yield start, min(start + BLOCK_BYTES, size_bytes)
