"""The readers of single documents: each gives a value that can be written and read again, or one error of ours.

Thousands of examples a second, where a whole root takes some hundredths of one.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from art.errors import ArtError
from art.format.adapter import read_shape
from art.format.json import parse, parse_object
from art.format.manifest import FileEntry, Manifest, Parent, read_manifest
from art.format.pins import pin_line, read_pins
from art.format.safetensors import check_length, read_header
from art.names import ModelRef
from art.ops.recording import as_line, read_lines
from art.ops.rollouts import rollout_group
from art.store.foreign import read_config
from art.store.history import parse_line
from art.trajectories import sampled_tokens
from store.conftest import adapter_config

from .mutation import Draw, mutated
from .world import check_shown, group

WHERE = "the file"
MODEL = ModelRef("shop", "agent-1")
Read = Callable[[bytes], object]
REFUSED = ArtError


@dataclass(frozen=True)
class Document:
    """What a good one looks like, its form, and its reader, which itself checks what it gives."""

    content: bytes
    form: str
    read: Read


def read(source: bytes) -> None:
    """Change one document as the bytes say, and read it."""
    draw = Draw(source)
    document = draw.pick(list(DOCUMENTS.values()))
    document.read(mutated(document.content, draw, form=document.form))


def check(source: bytes) -> None:
    """Read a changed document; what refuses it can be shown on a terminal, and is short."""
    try:
        read(source)
    except REFUSED as error:
        check_shown(error)


def _manifest(content: bytes) -> None:
    manifest = read_manifest(content, where=WHERE)
    assert read_manifest(manifest.to_bytes(), where=WHERE) == manifest
    assert manifest.size_bytes >= 0
    assert str(manifest.ref)


def _json(content: bytes) -> None:
    value = parse(content, where=WHERE)
    assert parse(json.dumps(value, allow_nan=False).encode(), where=WHERE) == value


def _header(content: bytes) -> None:
    tensors = read_header(len(content), io.BytesIO(content).read, where=WHERE)
    check_length(len(content), io.BytesIO(content).read, where=WHERE)
    assert all(0 <= entry.begin <= entry.end <= len(content) for entry in tensors.values())


def _adapter(content: bytes) -> None:
    config, _, tensors = content.partition(b"\x00")
    header = read_header(len(tensors), io.BytesIO(tensors).read, where=WHERE)
    shape = read_shape(parse_object(config, where=WHERE), header, where=WHERE)
    assert shape.rank >= 1
    assert shape.layers


def _history(content: bytes) -> None:
    for line in content.split(b"\n"):
        entry = parse_line(MODEL, line)
        if entry is not None:
            json.dumps([entry.step, entry.split, dict(entry.metrics)], allow_nan=False)
            assert all(math.isfinite(value) for value in entry.metrics.values() if value is not None)


def _rollouts(content: bytes) -> None:
    for each in read_lines(content.split(b"\n")):
        assert list(read_lines([as_line(each).encode()])), "what was read can be written and read again"
        rollout_group(each)
        for trajectory in each:
            trajectory.messages()
            for item in trajectory.messages_and_choices:
                _ = None if isinstance(item, dict) else sampled_tokens(item)  # pyright: ignore[reportArgumentType]


def _pins(content: bytes) -> None:
    for step, digest in read_pins(content.split(b"\n")).checkpoints:
        assert pin_line(step, digest, pinned=True)


def adapter_files() -> bytes:
    """A configuration and weights, one behind the other."""
    names = [
        f"base_model.model.model.layers.0.{layer}.lora_{half}.weight" for layer in ("q_proj", "v_proj") for half in "AB"
    ]
    header, at = dict[str, Any](), 0
    for name in names:
        shape = [8, 4] if ".lora_A." in name else [4, 8]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + 128]}
        at += 128
    text = json.dumps(header).encode()
    return adapter_config() + b"\x00" + len(text).to_bytes(8, "little") + text + bytes(at)


def _manifest_bytes() -> bytes:
    parent = Parent(project="shop", model="agent-1", step=1, digest="a" * 64)
    entry = FileEntry(path="adapter_model.safetensors", size_bytes=7, blake3="b" * 64)
    manifest = Manifest(
        project="shop", model="agent-1", step=2, created_at="2026-01-01T00:00:00Z", files=(entry,), parent=parent,
        libraries={"torch": "2.6"}, environment={"threads": 1}, metrics={"reward": 0.5}, settings={"rate": 1e-5},
    )  # fmt: skip
    return manifest.to_bytes()


DOCUMENTS: Mapping[str, Document] = {
    "manifest": Document(_manifest_bytes(), "json", _manifest),
    "json": Document(b'{"a": [1, 2.5, "x", null, true, {"b": []}], "c": "\\u00e9"}', "json", _json),
    "adapter's configuration": Document(adapter_config(), "json", read_config),
    "header": Document(adapter_files().partition(b"\x00")[2], "tensors", _header),
    "history": Document(b'{"step": 1, "split": "train", "time": "x", "train/reward": 0.5}\n', "lines", _history),
    "rollouts": Document(group().model_dump_json().encode() + b"\n", "lines", _rollouts),
    "pins": Document(pin_line(1, "a" * 64, pinned=True) + b"\n" + pin_line(2, None, pinned=False), "lines", _pins),
    "adapter": Document(adapter_files(), "pair", _adapter),
}  # fmt: skip
