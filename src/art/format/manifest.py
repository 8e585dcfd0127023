"""What a checkpoint says about itself: `checkpoint.json`, written last.

Knows the format and its digests; opens no file. The digest of the manifest's bytes is the checkpoint's identity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, Self

from blake3 import blake3
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from art.errors import ConfigurationError, FormatVersionError
from art.format.fields import Count, Digest, FilePath, Key, Number, Time, colliding, is_plain
from art.format.json import canonical_json, parse_object, typed
from art.format.kinds import ADAPTER, PARTS
from art.format.layout import MANIFEST
from art.format.merge import Method
from art.format.pick import NEWEST, Pick, limit_of, pick_of
from art.names import CheckpointRef, ModelRef

FORMAT_VERSION = 2
"""The newest that is read. Written is the oldest that can say what there is to say."""
MAX_BYTES = 16 * 1024**2
"""Of a manifest: fifty thousand forks in its past fit."""
MAX_VALUES = 1_000_000
"""Of a manifest, which every listing reads: a second's work is a stranger's."""
MAX_RANK = 2**16
MAX_THREADS = 1024


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, defer_build=True)


class FileEntry(_Value):
    """One file of a checkpoint."""

    path: FilePath
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


class LearnedFrom(_Value):
    """What an update learned from and computed: enough to take it again, and to name the first thing that differs."""

    groups: Count
    """How many lines of the trajectories that the parent's step has, one behind the other."""
    blake3: Digest
    """Of these lines, each with the newline that ends it."""
    trail: dict[str, Digest] = {}
    """Of the stages that the update went through, by name."""
    scenarios: tuple[Key, ...] = ()
    """What tells the scenario of each group from others, in their order; empty where nobody wrote it down."""

    @model_serializer(mode="wrap")
    def _without_unsaid(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = write(self)
        return fields if self.scenarios else {name: value for name, value in fields.items() if name != "scenarios"}


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


class Merge(_Value):
    """The other parent of a branch that began with two, and how they became one."""

    other: Parent
    method: Method


class Hop(Parent):
    """A fork that lies in a checkpoint's past: where it left another model, and how it was asked for."""

    pick: Pick = NEWEST
    not_after: Count | None = None
    """The limit of the pick, for readers that know no other; a release that knew no other wrote nothing else."""
    reset: tuple[str, ...] = ()
    settings: dict[str, JsonValue] = {}
    """What the branch was begun to try; empty where nobody said."""
    merge: Merge | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if "pick" not in self.model_fields_set:
            object.__setattr__(self, "pick", pick_of(not_after=self.not_after))
        object.__setattr__(self, "not_after", limit_of(self.pick))
        return self

    @model_serializer(mode="wrap")
    def _without_unsaid(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A hop of which nothing is said keeps its bytes, and with them the identity of every checkpoint behind it.
        fields: dict[str, Any] = write(self)
        unsaid = {name for name, is_said in (("settings", self.settings), ("merge", self.merge)) if not is_said}
        return {name: value for name, value in fields.items() if name not in unsaid}


class Manifest(_Value):
    """Everything about a checkpoint but its bytes."""

    format: Literal[1, 2] = 1
    kind: str = Field(default=ADAPTER, pattern="^[a-z][a-z0-9-]{0,31}$")
    """What its files are; one that this release does not know is kept as bytes."""
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
    learned_from: LearnedFrom | None = None
    """None where nobody wrote it down."""

    @model_validator(mode="after")
    def _is_named(self) -> Self:
        _ = self.ref
        if (name := colliding([MANIFEST, *(entry.path for entry in self.files)])) is not None:
            raise ValueError(f"files: {name!r} is there twice, or differs from another name in case alone")
        self._settle_format()
        return self

    def _settle_format(self) -> None:
        is_first = self.kind == ADAPTER and all(is_plain(entry.path) for entry in self.files)
        if "format" not in self.model_fields_set:
            object.__setattr__(self, "format", 1 if is_first else 2)
        elif self.format == 1 and not is_first:
            raise ValueError("format 1 has no kinds, no folders and no names with a leading dot")

    @property
    def ref(self) -> CheckpointRef:
        return ModelRef(self.project, self.model).at(self.step)

    @property
    def names(self) -> tuple[str, ...]:
        """The paths of its files."""
        return tuple(entry.path for entry in self.files)

    @property
    def size_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.files)

    def to_bytes(self) -> bytes:
        # What is not said keeps a manifest its bytes, and so its identity, of before there was anything to say.
        optional_fields = {"settings": self.settings, "kind": self.format > 1, "learned_from": self.learned_from}
        unsaid = {name for name, value in optional_fields.items() if not value}
        document = self.model_dump(mode="json", exclude=unsaid)
        try:
            return canonical_json(document, max_bytes=MAX_BYTES, max_values=MAX_VALUES)
        except ValueError as error:
            raise ConfigurationError(
                f"{self.ref} with its {len(self.files):,} files cannot be described: its manifest would be read by "
                f"nobody, for {error}."
            ) from error


def read_manifest(text: bytes, *, where: str) -> Manifest:
    """Parse a manifest; raises `FormatVersionError` or `CorruptCheckpointError`, naming `where` it lies."""
    fields = parse_object(text, where=where, max_bytes=MAX_BYTES, max_values=MAX_VALUES)
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


TEMPLATE = "chat_template"
"""The name in an environment of the chat template that a script had set."""


def threads_of(environment: Mapping[str, object]) -> int | None:
    """Read with how many threads a step was computed; None where that is not said, or is no number of any machine."""
    threads = environment.get("threads")
    return threads if type(threads) is int and 0 < threads <= MAX_THREADS else None


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
    return in_utc(datetime.now(UTC))


def in_utc(time: datetime) -> str:
    """Write a time of UTC in ISO 8601, ending in Z."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
