"""What taking a recorded step again needs, read from a store; what is not there is named.

Values that cross to another process as JSON. Sees no tensor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from art.config import CLIP_RANGES, TrainConfig
from art.errors import ConfigurationError
from art.format import layout
from art.format.json import shown_name
from art.format.kinds import ADAPTER
from art.format.lineage import locate, segments
from art.ops.recording import find_learned
from art.store import regular
from art.store.checkpoint import Checkpoint
from art.store.history import TRAIN, HistoryStore
from art.store.store import CheckpointStore

SUPERVISED = "assistant_turns"
"""A setting that only supervised fine-tuning has."""
SEED = "seed"


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """What one process does: load the parent, take the step, save."""

    base_model: str
    environment: dict[str, Any]
    """What the step was taken under: device, dtype, threads, and the seed that a fresh adapter is drawn from."""
    lora: dict[str, Any]
    parent: str | None
    reset: tuple[str, ...]
    groups: str
    """The file of recorded groups, one a line."""
    settings: dict[str, Any]
    reference: str | None
    past: tuple[tuple[str, int, int | None], ...]
    """The segments of its past, which say how old an answer was: model, first step, last one."""
    here: int
    """The step that it was taken from."""
    save: str
    """A folder that is there."""

    @property
    def is_supervised(self) -> bool:
        return SUPERVISED in self.settings


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What the process tells."""

    metrics: dict[str, float]
    trail: dict[str, str]
    environment: dict[str, Any]
    fingerprint: str
    """Of the base model that it loaded."""


def plan_rerun(store: CheckpointStore, checkpoint: Checkpoint, folder: Path) -> Rerun | list[str]:
    """Gather what a step was taken with, and write its groups into a folder; or say everything that is missing."""
    search = _Search(store, checkpoint)
    if missing := list(search.missing()):
        return missing
    manifest, lines = checkpoint.manifest, search.lines
    assert lines is not None
    assert manifest.base_model is not None
    assert manifest.lora is not None
    groups, save = folder / "groups.jsonl", folder / "again"
    groups.write_bytes(b"\n".join(lines))
    save.mkdir()
    parent = search.parent
    return Rerun(
        base_model=manifest.base_model.id,
        environment=dict(manifest.environment),
        lora=manifest.lora.model_dump(),
        parent=str(parent.path) if parent else None,
        reset=parent.manifest.reset if parent else (),
        groups=str(groups),
        settings=_settings(checkpoint),
        reference=search.reference,
        past=tuple((str(part.model), part.first, part.last) for part in segments(checkpoint.ref.model, manifest)),
        here=search.here,
        save=str(save),
    )


class _Search:
    """Looks for what a step was taken with."""

    def __init__(self, store: CheckpointStore, checkpoint: Checkpoint) -> None:
        self._store = store
        self._checkpoint = checkpoint
        self._manifest = checkpoint.manifest
        named = checkpoint.manifest.parent
        self.here = named.step if named else checkpoint.ref.step - 1
        self.parent: Checkpoint | None = None
        self.lines: list[bytes] | None = None
        self.reference: str | None = None

    def missing(self) -> Iterator[str]:
        """Look for everything; yields what is not there."""
        manifest = self._manifest
        if self._checkpoint.is_foreign or manifest.kind != ADAPTER:
            yield "another program wrote it, and recorded neither groups nor settings"
            return
        if manifest.base_model is None or manifest.lora is None:
            yield "its manifest names no base model or no LoRA shape"
        yield from self._missing_parent()
        yield from self._missing_settings()
        yield from self._missing_lines()

    def _missing_parent(self) -> Iterator[str]:
        named = self._manifest.parent
        if named is None:
            if SEED not in self._manifest.environment:
                yield "an earlier release wrote it, without the seed that its adapter was drawn from"
            return
        self.parent = self._store.find(named.ref)
        if self.parent is None or self.parent.digest != named.digest:
            yield f"its parent {named.ref} was deleted, set aside or replaced"
        else:
            self._store.verify(self.parent)

    def _missing_settings(self) -> Iterator[str]:
        settings = self._manifest.settings
        if not settings:
            yield "an earlier release wrote it, without the settings of its step"
            return
        if SUPERVISED in settings:
            return
        loss = settings.get("loss")
        if not isinstance(loss, str) or loss not in CLIP_RANGES:
            yield f"its loss {shown_name(str(loss))} is a function of the script that trained it"
            return
        try:
            yield from self._missing_reference(TrainConfig(**_settings(self._checkpoint)))
        except ConfigurationError as error:
            yield f"its settings are none of this release: {error}"

    def _missing_reference(self, config: TrainConfig) -> Iterator[str]:
        choice = config.kl_reference
        if not config.needs_reference or choice == "base":
            return
        if isinstance(choice, Path):
            self.reference = str(choice)
            if not choice.is_dir():
                yield f"the adapter of its KL reference, {choice}, is gone"
            return
        step = choice if choice >= 0 else max(0, self.here + choice)
        places = locate(self._checkpoint.ref.model, self._manifest, step)
        checkpoint = next(filter(None, map(self._store.find, places)), None)
        self.reference = str(checkpoint.path) if checkpoint else None
        if checkpoint is None and step > 0:
            yield f"the checkpoint of its KL reference, {places[-1]}, is gone"

    def _missing_lines(self) -> Iterator[str]:
        ref, learned = self._checkpoint.ref, self._manifest.learned_from
        history = HistoryStore(self._store.root)
        lines = [line for line in history.read_trajectories(ref.model, self.here, split=TRAIN) if line]
        where = layout.trajectories_path(ref.model, TRAIN, self.here)
        if not lines:
            yield f"there are no trajectories in {where}"
        elif learned is None:
            # An earlier release said only how many groups there were.
            self.lines = lines
            if len(lines) != self._manifest.metrics.get("groups"):
                yield f"an earlier release wrote it, and {where} has other groups than the step learned from"
        elif (learned_lines := find_learned(lines, learned)) is None:
            yield f"{where} does not have the groups that the step learned from"
        else:
            self.lines = list(learned_lines)


def _settings(checkpoint: Checkpoint) -> dict[str, Any]:
    """Give the settings of a step, with what "auto" had become."""
    settings = dict(checkpoint.manifest.settings)
    if settings.get("micro_batch_tokens") == "auto":
        settings["micro_batch_tokens"] = regular.read_object(checkpoint.path / layout.TRAINER).get("pass_tokens")
    return settings
