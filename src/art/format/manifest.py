"""What a checkpoint says about itself: `checkpoint.json`, written last.

Knows the format and its digests; opens no file. The digest of the manifest's bytes is the checkpoint's identity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, Self

from blake3 import blake3
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from art.errors import FormatVersionError
from art.format.fields import Count, Digest, FileName, Number, Time, colliding
from art.format.json import canonical_json, parse_object, typed
from art.format.layout import MANIFEST
from art.format.pick import NEWEST, Pick, limit_of, pick_of
from art.names import CheckpointRef, ModelRef

FORMAT_VERSION = 1
MAX_BYTES = 16 * 1024**2
"""Of a manifest: fifty thousand forks in its past fit."""
MAX_RANK = 2**16
RESETTABLE = ("optimizer", "schedule", "random", "state")
PARTS = ("adapter", *RESETTABLE)


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class FileEntry(_Value):
    """One file of a checkpoint."""

    path: FileName
    size_bytes: Count
    blake3: Digest


class BaseModelInfo(_Value):
    """The model that an adapter belongs to."""

    id: str
    revision: str | None = None
    fingerprint: str | None = None
    """Digest of its configuration and tokenizer; None for an adapter that another program wrote."""


class LoRAShape(_Value):
    """What must agree for one adapter to continue another."""

    rank: int = Field(ge=1, le=MAX_RANK)
    alpha: Number = Field(gt=0)
    targets: tuple[str, ...] | str
    dropout: Number = Field(default=0.0, ge=0, lt=1)

    def fits(self, other: LoRAShape) -> bool:
        """Tell whether one adapter can continue the other; dropout may differ."""
        return (self.rank, self.alpha, self.targets) == (other.rank, other.alpha, other.targets)


class Parent(_Value):
    """The checkpoint that another one continues."""

    project: str
    model: str
    step: Count
    digest: Digest | None = None
    """Identity of the parent, so that lineage survives its deletion; None when another program wrote it."""
    remote: str | None = None
    """The bucket it came from, None for this disk."""

    @model_validator(mode="after")
    def _is_named(self) -> Self:
        _ = self.ref
        return self

    @property
    def ref(self) -> CheckpointRef:
        return ModelRef(self.project, self.model).at(self.step)


class Hop(Parent):
    """A fork that lies in a checkpoint's past: where it left another model, and how it was asked for."""

    pick: Pick = NEWEST
    not_after: Count | None = None
    """The limit of the pick, for readers that know no other; a release that knew no other wrote nothing else."""
    reset: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if "pick" not in self.model_fields_set:
            object.__setattr__(self, "pick", pick_of(not_after=self.not_after))
        object.__setattr__(self, "not_after", limit_of(self.pick))
        return self


class Manifest(_Value):
    """Everything about a checkpoint but its bytes."""

    format: Literal[1] = FORMAT_VERSION
    project: str
    model: str
    step: Count
    created_at: Time
    base_model: BaseModelInfo | None = None
    lora: LoRAShape | None = None
    libraries: dict[str, str] = {}
    environment: dict[str, JsonValue] = {}
    """Device, dtype and thread count that bit-for-bit continuation holds for."""
    files: tuple[FileEntry, ...]
    parent: Parent | None = None
    ancestry: tuple[Hop, ...] = ()
    """Every fork in the past of this checkpoint, oldest first: enough to know the lineage when ancestors are gone."""
    carried: tuple[str, ...] = PARTS
    reset: tuple[str, ...] = ()
    """Parts that the fork asked to start afresh; whoever loads this checkpoint must leave them out."""
    metrics: dict[str, Number | None] = {}
    """Of the update that led here. Its reward was earned by the parent's weights."""
    settings: dict[str, JsonValue] = {}
    """The fields of `TrainConfig` that the update was made with; empty where nobody wrote them down."""

    @model_validator(mode="after")
    def _is_named(self) -> Self:
        _ = self.ref
        if (name := colliding([MANIFEST, *(entry.path for entry in self.files)])) is not None:
            raise ValueError(f"files: {name!r} is there twice, or differs from another name in case alone")
        return self

    @property
    def ref(self) -> CheckpointRef:
        return ModelRef(self.project, self.model).at(self.step)

    @property
    def size_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.files)

    def to_bytes(self) -> bytes:
        # A manifest without settings keeps the bytes, and so the identity, that it had before there were any.
        return canonical_json(self.model_dump(mode="json", exclude=None if self.settings else {"settings"}))


def read_manifest(text: bytes, *, where: str) -> Manifest:
    """Parse a manifest; raises `FormatVersionError` or `CorruptCheckpointError`, naming `where` it lies."""
    fields = parse_object(text, where=where, max_bytes=MAX_BYTES)
    check_format(fields, FORMAT_VERSION, where=where)
    return typed(Manifest, text, where=where, what="a manifest")


def check_format(fields: Mapping[str, Any], newest: int, *, where: str) -> None:
    """Check that a document has a format that this release reads, an integer; raises `FormatVersionError`."""
    version = fields.get("format")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise FormatVersionError(f"{where} names no format; this release reads the whole numbers up to {newest}.")
    if version > newest:
        raise FormatVersionError(
            f"{where} has format {version}; this release reads up to {newest}. Upgrade artfork to open it."
        )


def digest_bytes(content: bytes) -> str:
    """Give the BLAKE3 digest as 64 hexadecimal digits."""
    return blake3(content).hexdigest()


def finite_metrics(metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    """Make metrics fit for JSON, which has no NaN and no infinity: those become null."""
    return {
        name: float(value) if value is not None and math.isfinite(value) else None for name, value in metrics.items()
    }


def utc_now() -> str:
    """Give the time in UTC, ISO 8601, ending in Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
