"""The signatures of a model's checkpoints in a bucket: small objects, written as a whole, beside the checkpoints.

Knows keys and bytes; what a signature says, and whether it is right, is not asked here.
"""

from __future__ import annotations

from collections.abc import Iterator

from art.format import layout
from art.names import ModelRef
from art.remote.errors import TakenError
from art.remote.objects import Object, Objects
from art.store.signatures import MAX_BYTES, is_signature


def find_signatures(objects: Objects, model: ModelRef, digest: str | None = None) -> Iterator[Object]:
    """List the signatures of one checkpoint, or of all; a file that is none, or larger than any, is left out."""
    for name, item in sorted(objects.files(str(layout.signatures_path(model))).items()):
        is_asked_for = digest is None or name.startswith(f"{digest}.")
        if is_signature(name) and item.size_bytes <= MAX_BYTES and is_asked_for:
            yield item


def create_signature(objects: Objects, key: str, content: bytes) -> int:
    """Write a signature where none lies; gives its bytes."""
    try:
        objects.create(key, content)
    except TakenError:
        return 0
    return len(content)
