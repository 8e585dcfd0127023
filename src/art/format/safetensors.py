"""The header of a safetensors file: which tensors it holds, of which type and shape, and where their bytes lie.

Whatever makes memory of a tensor asks here first: a header is small, and what it claims is checked against the length
of its file. Knows bytes; opens no file, and knows no tensor library.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from art.errors import CorruptCheckpointError
from art.format.fields import MAX_COUNT
from art.format.json import parse_object, shown

MAX_HEADER_BYTES = 16 * 1024**2
"""A hundred thousand tensors fit."""
MAX_DIMENSIONS = 32
LENGTH_BYTES = 8
METADATA = "__metadata__"
BITS = {
    "F4": 4,
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}
_END = re.compile(rb'"data_offsets"\s*:\s*\[\s*\d{1,16}\s*,\s*(\d{1,16})\s*\]')


@dataclass(frozen=True, kw_only=True)
class TensorEntry:
    """One tensor, and its bytes behind the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(file_bytes: int, read: Callable[[int], bytes], *, where: str) -> Mapping[str, TensorEntry]:
    """Read the tensors of a file of a known length; `read(n)` gives its next n bytes, from the first on.

    Raises `CorruptCheckpointError` when tensors overlap, leave a gap or do not end where the file does.
    """
    header = _header_of(file_bytes, read, where)
    fields = parse_object(header, where=f"the header of {where}", max_bytes=MAX_HEADER_BYTES)
    tensors = {name: _entry(name, value, where) for name, value in fields.items() if name != METADATA}
    _check_length(file_bytes, header, _end_of(tensors.values(), where), where)
    return tensors


def check_length(file_bytes: int, read: Callable[[int], bytes], *, where: str) -> None:
    """Check that a file is as long as its header says, without parsing it; raises `CorruptCheckpointError`.

    Exact for every header that `read_header` accepts, and cheap enough for listing.
    """
    header = _header_of(file_bytes, read, where)
    _check_length(file_bytes, header, max(map(int, _END.findall(header)), default=0), where)


def is_beginning(start: bytes) -> bool:
    """Tell whether a safetensors file may begin with these bytes; nine are enough."""
    return len(start) > LENGTH_BYTES and start[LENGTH_BYTES:].startswith(b"{")


def _header_of(file_bytes: int, read: Callable[[int], bytes], where: str) -> bytes:
    length = read(LENGTH_BYTES)
    header_bytes = int.from_bytes(length, "little")
    if len(length) < LENGTH_BYTES or header_bytes > file_bytes - LENGTH_BYTES:
        raise CorruptCheckpointError(f"{where} has no safetensors header")
    if header_bytes > MAX_HEADER_BYTES:
        raise CorruptCheckpointError(f"{where} has a header of {header_bytes:,} bytes, of {MAX_HEADER_BYTES:,} at most")
    header = read(header_bytes)
    if len(header) < header_bytes or not header.startswith(b"{"):
        raise CorruptCheckpointError(f"{where} has no safetensors header")
    return header


def _entry(name: str, value: Any, where: str) -> TensorEntry:
    fields = value if isinstance(value, dict) else {}
    dtype, shape, offsets = fields.get("dtype"), _counts(fields.get("shape")), _counts(fields.get("data_offsets"))
    if not isinstance(dtype, str) or dtype not in BITS or shape is None or offsets is None or len(offsets) != 2:
        raise CorruptCheckpointError(f"{where} has a damaged header: {shown(name)} has no type, shape and place")
    entry = TensorEntry(dtype=dtype, shape=shape, begin=offsets[0], end=offsets[1])
    if math.prod(shape) * BITS[dtype] != (entry.end - entry.begin) * 8:
        raise CorruptCheckpointError(f"{where} has a damaged header: {shown(name)} is not as large as its shape")
    return entry


def _counts(value: Any) -> tuple[int, ...] | None:
    is_short_list = isinstance(value, list) and len(value) <= MAX_DIMENSIONS
    if is_short_list and all(type(number) is int and 0 <= number <= MAX_COUNT for number in value):
        return tuple(value)
    return None


def _end_of(entries: Iterable[TensorEntry], where: str) -> int:
    end = 0
    for entry in sorted(entries, key=lambda entry: (entry.begin, entry.end)):
        if entry.begin != end:
            raise CorruptCheckpointError(f"{where} has a damaged header: its tensors overlap, or leave a gap")
        end = entry.end
    return end


def _check_length(file_bytes: int, header: bytes, end: int, where: str) -> None:
    expected = LENGTH_BYTES + len(header) + end
    if file_bytes != expected:
        raise CorruptCheckpointError(f"{where} has {file_bytes:,} of {expected:,} bytes")
