"""The reader of tensors' headers: it agrees with the library that wrote them, and believes no claim of a stranger."""

import json
import struct
from io import BytesIO
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from art.errors import CorruptCheckpointError
from art.format.safetensors import MAX_HEADER_BYTES, TensorEntry, check_length, read_header

TWO = {
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
}


def file_of(header: Any, data: bytes = bytes(32)) -> bytes:
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(content)) + content + data


def read(content: bytes) -> dict[str, TensorEntry]:
    return dict(read_header(len(content), BytesIO(content).read, where="w.safetensors"))


def changed(**fields: Any) -> bytes:
    return file_of({**TWO, "b": {**TWO["b"], **fields}})


def test_a_header_says_what_the_library_wrote():
    tensors = {"x": numpy.zeros((3, 5), "float32"), "y": numpy.ones((2,), "int64"), "z": numpy.zeros((0, 7), "float16")}
    content = save(tensors, metadata={"format": "pt"})

    found = read(content)

    assert {name: entry.shape for name, entry in found.items()} == {"x": (3, 5), "y": (2,), "z": (0, 7)}
    assert {name: entry.dtype for name, entry in found.items()} == {"x": "F32", "y": "I64", "z": "F16"}
    check_length(len(content), BytesIO(content).read, where="w.safetensors")


BAD = {
    "nothing": b"",
    "seven bytes": b"\x02\0\0\0\0\0\0",
    "a length of nothing": struct.pack("<Q", 2),
    "a length beyond the file": struct.pack("<Q", 2**63) + b"{}",
    "no object": file_of([]),
    "text": file_of(b"pickle"),
    "deep": file_of(b'{"a":' * 50_000),
    "a name twice": file_of(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},' * 2 + b"}", b"0"),
    "a tensor that is no object": file_of({"a": 1}),
    "no offsets": file_of({"a": {"dtype": "U8", "shape": [1]}}),
    "one offset": changed(data_offsets=[24]),
    "offsets as text": changed(data_offsets=["24", "32"]),
    "offsets as fractions": changed(data_offsets=[24.0, 32.0]),
    "offsets that are true": changed(data_offsets=[True, 32]),
    "negative offsets": changed(data_offsets=[-8, 0]),
    "offsets backwards": changed(data_offsets=[32, 24]),
    "an overlap": changed(data_offsets=[20, 28]),
    "a gap": file_of({"a": TWO["a"], "b": {**TWO["b"], "data_offsets": [25, 33]}}, bytes(33)),
    "the same place twice": file_of({"a": TWO["a"], "b": TWO["a"]}, bytes(24)),
    "an offset of 5,000 digits": file_of(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,' + b"9" * 5000 + b"]}}"),
    "a shape as text": changed(shape=["4"]),
    "a shape of three million": changed(shape=[3_000_000]),
    "a shape that is no list": changed(shape=4),
    "a negative shape": changed(shape=[-2, -2]),
    "a shape of a million sides": changed(shape=[2**50] * 1_000_000),
    "an unknown type": changed(dtype="F128"),
    "a type that is a number": changed(dtype=16),
    "bytes behind the last tensor": file_of(TWO, bytes(33)),
    "half of the last tensor": file_of(TWO, bytes(28)),
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_a_header_that_cannot_be_true_is_refused_by_name(content: bytes):
    with pytest.raises(CorruptCheckpointError, match=r"w\.safetensors") as caught:
        read(content)

    assert len(str(caught.value)) < 400


def test_a_header_beyond_the_limit_is_not_read():
    asked: list[int] = []

    def read_less(size_bytes: int) -> bytes:
        asked.append(size_bytes)
        return struct.pack("<Q", MAX_HEADER_BYTES + 1)

    for reader in (read_header, check_length):
        with pytest.raises(CorruptCheckpointError, match="16,777,217 bytes, of 16,777,216 at most"):
            reader(2**40, read_less, where="w.safetensors")

    assert asked == [8, 8]


@given(
    shapes=st.lists(st.lists(st.integers(0, 5), max_size=3), max_size=4),
    cut=st.integers(-3, 3),
    flip=st.none() | st.tuples(st.integers(0, 400), st.integers(1, 255)),
)
def test_what_is_accepted_is_what_the_library_opens(shapes: list[list[int]], cut: int, flip: tuple[int, int] | None):
    content = bytearray(save({f"t{number}": numpy.zeros(shape, "float32") for number, shape in enumerate(shapes)}))
    content = content[:cut] if cut < 0 else content + bytes(cut)
    if flip and flip[0] < len(content):
        content[flip[0]] ^= flip[1]

    try:
        found = read(bytes(content))
    except CorruptCheckpointError:
        return
    check_length(len(content), BytesIO(content).read, where="w.safetensors")
    assert set(found) == names_by_library(bytes(content))


def names_by_library(content: bytes) -> set[str]:
    try:
        return {name for name, _ in deserialize(content)}
    except SafetensorError as error:  # pragma: no cover - the claim of the test
        raise AssertionError(f"the library refuses what we accept: {error}") from error
