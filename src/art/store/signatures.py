"""Signatures of checkpoints: files beside them, named by what was signed and by which key.

A checkpoint never changes, so its signatures lie in the model's folder. Each is written once. Knows names and bytes;
what a signature says, and whether it is right, is not asked here.
"""

from __future__ import annotations

import re
from pathlib import Path

from art.format import layout
from art.names import ModelRef
from art.store import disk, regular, staging

MAX_BYTES = 16 * 1024**2
"""Of a signature, which names every file that was signed."""
SHOWN_DIGITS = 16
_NAME = re.compile(r"[0-9a-f]{64}\.[0-9a-f]{16}\.sig")


def signature_name(digest: str, key: str) -> str:
    """Name the signature of a checkpoint by its identity and by the digest of the public key."""
    return f"{digest}.{key[:SHOWN_DIGITS]}.sig"


def is_signature(name: str) -> bool:
    """Tell whether a file's name is that of a signature."""
    return _NAME.fullmatch(name) is not None


def signatures_of(root: Path, model: ModelRef, digest: str | None = None) -> list[Path]:
    """List the signatures of one checkpoint of a model, or of all."""
    folder = root / layout.signatures_path(model)
    regular.require_folders([folder])
    names = sorted(filter(is_signature, disk.names(folder)))
    return [folder / name for name in names if digest is None or name.startswith(f"{digest}.")]


def read_signature(path: Path) -> bytes:
    """Read a signature; raises `CorruptCheckpointError` for what is no regular file, or large."""
    return regular.find(path, max_bytes=MAX_BYTES) or b""


def write_signature(root: Path, model: ModelRef, name: str, content: bytes) -> Path:
    """Write a signature as a whole or not at all; returns when it is on the disk."""
    path = root / layout.signatures_path(model) / name
    regular.require_folders([path.parent])
    staging.put_file(path, content, root / layout.STAGING)
    return path
