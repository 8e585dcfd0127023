"""What a script noted about a model while it stood at a checkpoint: the newest note of that checkpoint counts.

Appended line by line beside the history, so that a note is on the disk at once, and one of a checkpoint that was
rewound or replaced is not taken for a newer one. A line that a crash tore is left out. Knows lines of JSON; knows no
trainer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import JsonValue

from art.errors import ConfigurationError, CorruptCheckpointError
from art.format import layout
from art.format.json import canonical_json, parse_object
from art.format.manifest import utc_now
from art.names import ModelRef
from art.store import disk, regular
from art.store.checkpoint import Checkpoint

MAX_BYTES = 256 * 1024**2
MAX_LINE_BYTES = 64 * 1024**2


class States:
    """The notes below one root folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def append(self, model: ModelRef, at: Checkpoint | None, state: dict[str, JsonValue]) -> None:
        """Note a state at a checkpoint, or before the first one; returns when it is on the disk.

        Raises `ConfigurationError` for one that JSON has no form for.
        """
        step, digest = (at.ref.step, at.digest) if at else (0, None)
        note = {"step": step, "checkpoint": digest, "time": utc_now(), "state": state}
        try:
            canonical_json(note)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"The state of {model} cannot be written as JSON: {error}.") from error
        disk.append_lines(self._path(model), [json.dumps(note, allow_nan=False).encode()])

    def find(self, model: ModelRef, at: Checkpoint | None) -> dict[str, JsonValue] | None:
        """Give the newest note of a checkpoint; of a fresh fork, that of the checkpoint that it was forked from."""
        noted = self._newest(model, at.digest if at else None)
        parent = at.description.parent if at else None
        if noted is None and parent is not None and parent.ref.model != model:
            return self._newest(parent.ref.model, parent.digest)
        return noted

    def describe(self, model: ModelRef, settings: Mapping[str, object]) -> None:
        """Add to what trackers are to show as settings of a model; returns when it is on the disk.

        Raises `ConfigurationError` for one that JSON has no form for.
        """
        try:
            canonical_json(dict(settings))
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"The settings of {model} cannot be written as JSON: {error}.") from error
        disk.append_lines(self._shown_path(model), self._added(model, settings))

    def described(self, model: ModelRef) -> dict[str, JsonValue]:
        """Give the settings that were noted last, none where there are none."""
        content = regular.find(self._shown_path(model), max_bytes=MAX_BYTES)
        notes = filter(None, map(_parse, reversed((content or b"").split(b"\n"))))
        all_settings = (note.get("settings") for note in notes)
        return next((settings for settings in all_settings if isinstance(settings, dict)), {})

    def _added(self, model: ModelRef, settings: Mapping[str, object]) -> Iterator[bytes]:
        shown = {**self.described(model), **settings}
        yield json.dumps({"time": utc_now(), "settings": shown}, allow_nan=False).encode()

    def _newest(self, model: ModelRef, digest: str | None) -> dict[str, JsonValue] | None:
        content = regular.find(self._path(model), max_bytes=MAX_BYTES)
        for line in reversed((content or b"").split(b"\n")):
            note = _parse(line)
            if note is not None and note.get("checkpoint") == digest:
                state = note.get("state")
                return state if isinstance(state, dict) else None
        return None

    def _shown_path(self, model: ModelRef) -> Path:
        path = self.root / layout.shown_path(model)
        regular.require_folders([path.parent])
        return path

    def _path(self, model: ModelRef) -> Path:
        return self.root / layout.state_path(model)


def _parse(line: bytes) -> dict[str, JsonValue] | None:
    try:
        return parse_object(line, where="a note", max_bytes=MAX_LINE_BYTES)
    except CorruptCheckpointError:
        return None
