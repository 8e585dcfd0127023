"""Caches beside the store's files, sealed with a key of this user: those of anybody else are none.

A cache that can be made from other files may be wrong without a word, where a stranger made it. A seal tells it apart
before a byte of it is read as anything.
"""

from __future__ import annotations

import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from art.errors import ArtError
from art.store import fleeting, regular

KEY_BYTES = 32
_OPENING, _CLOSING = b'{"seal":"', b'",'
_SEAL_END = len(_OPENING) + 64


def put(path: Path, document: bytes) -> None:
    """Write a JSON object with a seal over a file that is there; nothing where this user can keep no key."""
    key = _find_key() or _made_key()
    if key is not None:
        fleeting.put(path, _OPENING + _seal(key, document) + _CLOSING + document[1:])


def find(path: Path, *, max_bytes: int) -> bytes | None:
    """Read a JSON object that `put` wrote for this user; None for anything else."""
    key = _find_key()
    with suppress(ArtError):
        content = regular.find(path, max_bytes=max_bytes) if key is not None else None
        if key is not None and content is not None:
            document = b"{" + content[_SEAL_END + len(_CLOSING) :]
            # The whole text, so that nothing beside the seal can be otherwise either.
            whole = _OPENING + _seal(key, document) + _CLOSING + document[1:]
            return document if hmac.compare_digest(content, whole) else None
    return None


def _seal(key: bytes, document: bytes) -> bytes:
    return hmac.digest(key, document, "sha256").hex().encode()


def _key_path() -> Path | None:
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111 - knows no home
    return Path(state, "artfork", "key") if os.path.isabs(state) else None  # noqa: PTH117 - of a text


def _find_key() -> bytes | None:
    path = _key_path()
    with suppress(ArtError):
        key = regular.find(path, max_bytes=KEY_BYTES) if path else None
        return key if key is not None and len(key) == KEY_BYTES else None
    return None


def _made_key() -> bytes | None:
    """Make this user's key; of two processes that do so at once, the later one's is the key."""
    path = _key_path()
    if path is not None:
        with suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fleeting.put(path, secrets.token_bytes(KEY_BYTES), mode=0o600)
    return _find_key()
