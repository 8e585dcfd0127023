"""Where the bytes of a file lie on its device, as far as other files have the same ones: what clones share.

Asks the kernel (FIEMAP, which btrfs and XFS answer for everybody who may read the file); where it does not know,
nothing is shared. Changes nothing.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

_FS_IOC_FIEMAP = 0xC020660B
_HEAD = struct.Struct("=QQIIII")
"""First byte, length, flags, how many extents are given, how many fit, nothing."""
_EXTENT = struct.Struct("=QQQQQIIII")
"""Its place in the file, its place on the device, its length, nothing twice, flags, nothing three times."""
_AT_ONCE = 256
_LAST, _SHARED = 0x1, 0x2000
_NOWHERE = 0x2 | 0x4 | 0x200
"""Not known, not written yet, or inside the file system's own records."""
Range = tuple[int, int]
"""The first byte on the device, and the one behind the last."""
Holder = TypeVar("Holder")


def shared_ranges(path: Path) -> list[Range]:
    """Give what a regular file has in common with others; nothing where that cannot be told."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        return [
            (place, place + length)
            for place, length, flags in _extents(handle)
            if flags & _SHARED and not flags & _NOWHERE
        ]
    except OSError:
        return []
    finally:
        os.close(handle)


def _extents(handle: int) -> Iterator[tuple[int, int, int]]:
    start = 0
    while True:
        buffer = bytearray(_HEAD.size + _AT_ONCE * _EXTENT.size)
        _HEAD.pack_into(buffer, 0, start, 2**64 - 1 - start, 0, 0, _AT_ONCE, 0)
        fcntl.ioctl(handle, _FS_IOC_FIEMAP, buffer)
        given = _HEAD.unpack_from(buffer)[3]
        for at in range(given):
            logical, physical, length, _, _, flags, *_ = _EXTENT.unpack_from(buffer, _HEAD.size + at * _EXTENT.size)
            yield physical, length, flags
            if flags & _LAST:
                return
            start = max(start, logical + length)
        if not given:
            return


def held_elsewhere_bytes(held: Iterable[tuple[Holder, Range]], staying: Iterable[Range]) -> Mapping[Holder, int]:
    """Say of holders that go together which of their shared bytes stay on the device, or go with an earlier holder.

    Bytes that nobody else is known to hold are held by something unknown, such as a snapshot, and stay.
    """
    bytes_by_holder: dict[Holder, int] = {}
    beside = [(None, each) for each in staying]
    for size_bytes, counts in _stretches([*held, *beside]):
        is_leaving = None not in counts and sum(counts.values()) > 1
        _add(bytes_by_holder, size_bytes, counts, free=next(iter(counts)) if is_leaving else None)
    return bytes_by_holder


def held_before_bytes(held: Iterable[tuple[Holder, Range]]) -> Mapping[Holder, int]:
    """Say of holders in their order which of their shared bytes an earlier one has too, or they have twice."""
    bytes_by_holder: dict[Holder, int] = {}
    for size_bytes, counts in _stretches(list(held)):
        _add(bytes_by_holder, size_bytes, counts, free=next(iter(counts)))
    return bytes_by_holder


def _stretches(held: Sequence[tuple[Holder | None, Range]]) -> Iterator[tuple[int, Mapping[Holder | None, int]]]:
    """Yield each stretch of the device with its holders, in their order, and how often each has it."""
    order = {holder: place for place, holder in enumerate(dict.fromkeys(holder for holder, _ in held))}
    holders = list(order)
    ends = sorted(
        end for holder, (first, last) in held for end in ((first, 1, order[holder]), (last, -1, order[holder]))
    )
    counts: Counter[int] = Counter()
    before = 0
    for position, change, place in ends:
        if position > before and counts:
            yield position - before, {holders[each]: counts[each] for each in sorted(counts)}
        counts[place] += change
        if not counts[place]:
            del counts[place]
        before = position


def _add(
    bytes_by_holder: dict[Holder, int], size_bytes: int, counts: Mapping[Holder | None, int], *, free: Holder | None
) -> None:
    """Add a stretch to each of its holders as often as they have it, once less to the one that has it for itself."""
    for holder, count in counts.items():
        if holder is not None:
            bytes_by_holder[holder] = bytes_by_holder.get(holder, 0) + size_bytes * (count - (holder == free))
