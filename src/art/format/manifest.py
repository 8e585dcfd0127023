"""What a checkpoint says about itself: `checkpoint.json`, written last.

Knows the format and its digests; opens no file. The digest of the manifest's bytes is the checkpoint's identity.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from blake3 import blake3
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, computed_field, model_validator

from art.errors import CorruptCheckpointError, FormatVersionError, InvalidNameError
from art.format.pick import NEWEST, Pick, limit_of
from art.names import CheckpointRef, ModelRef

FORMAT_VERSION = 1
RESETTABLE = ("optimizer", "schedule", "random", "state")
PARTS = ("adapter", *RESETTABLE)


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class FileEntry(_Value):
    """One file of a checkpoint."""

    path: str = Field(pattern=r"^[^./\\\x00][^/\\\x00]*$")
    size_bytes: int = Field(ge=0)
    blake3: str = Field(pattern="^[0-9a-f]{64}$")


class BaseModelInfo(_Value):
    """The model that an adapter belongs to."""

    id: str
    revision: str | None = None
    fingerprint: str | None = None
    """Digest of its configuration and tokenizer; None for an adapter that another program wrote."""


class LoRAShape(_Value):
    """What must agree for one adapter to continue another."""

    rank: int
    alpha: float
    targets: tuple[str, ...] | str
    dropout: float = 0.0

    def fits(self, other: LoRAShape) -> bool:
        """Tell whether one adapter can continue the other; dropout may differ."""
        return (self.rank, self.alpha, self.targets) == (other.rank, other.alpha, other.targets)


class Parent(_Value):
    """The checkpoint that another one continues."""

    project: str
    model: str
    step: int = Field(ge=0)
    digest: str | None = None
    """Identity of the parent, so that lineage survives its deletion; None when another program wrote it."""
    remote: str | None = None
    """The bucket it came from, None for this disk."""

    @property
    def ref(self) -> CheckpointRef:
        return ModelRef(self.project, self.model).at(self.step)


class Hop(Parent):
    """A fork that lies in a checkpoint's past: where it left another model, and how it was asked for."""

    pick: Pick = NEWEST
    reset: tuple[str, ...] = ()

    @computed_field
    @property
    def not_after(self) -> int | None:
        """The limit of the pick, for readers that know no other."""
        return limit_of(self.pick)

    @model_validator(mode="before")
    @classmethod
    def _read_limit(cls, fields: Any) -> Any:
        """Take the limit for the pick, where a release wrote the hop that knew no other."""
        if isinstance(fields, Mapping) and "pick" not in fields and fields.get("not_after") is not None:
            return {**fields, "pick": {"kind": "at_most", "step": fields["not_after"]}}
        return fields


class Manifest(_Value):
    """Everything about a checkpoint but its bytes."""

    format: int = FORMAT_VERSION
    project: str
    model: str
    step: int = Field(ge=0)
    created_at: str
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
    metrics: dict[str, float | None] = {}
    """Of the update that led here. Its reward was earned by the parent's weights."""
    settings: dict[str, JsonValue] = {}
    """The fields of `TrainConfig` that the update was made with; empty where nobody wrote them down."""

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
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise CorruptCheckpointError(f"{where} is not JSON ({error}); the checkpoint cannot be trusted.") from error
    version = fields.get("format") if isinstance(fields, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise FormatVersionError(
            f"{where} has format {version}; this release reads up to {FORMAT_VERSION}. Upgrade artfork to open it."
        )
    try:
        manifest = Manifest.model_validate(fields)
        _ = manifest.ref
    except (ValidationError, InvalidNameError) as error:
        raise CorruptCheckpointError(f"{where} is not a manifest: {error}") from error
    return manifest


def digest_bytes(content: bytes) -> str:
    """Give the BLAKE3 digest as 64 hexadecimal digits."""
    return blake3(content).hexdigest()


def canonical_json(value: Any) -> bytes:
    """Encode as JSON in the one way that digests are taken of: sorted keys, two spaces, UTF-8, a final newline."""
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def finite_metrics(metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    """Make metrics fit for JSON, which has no NaN and no infinity: those become null."""
    return {
        name: float(value) if value is not None and math.isfinite(value) else None for name, value in metrics.items()
    }


def utc_now() -> str:
    """Give the time in UTC, ISO 8601, ending in Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
