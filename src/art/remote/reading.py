"""The checkpoints below one prefix of a bucket, to read: list, open, select, measure. Writes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from blake3 import blake3

from art.errors import (
    CheckpointNotFoundError,
    CorruptCheckpointError,
    MetricNotFoundError,
    ModelNotFoundError,
)
from art.format import layout
from art.format.lineage import segments
from art.format.manifest import FileEntry, digest_bytes
from art.format.pick import NEWEST, Best, Exact, Pick, candidates
from art.format.pins import Pins, read_pins
from art.format.selection import Selection, Skipped, absence, choose
from art.names import CheckpointRef, ModelRef, parse_step
from art.remote.checkpoint import RemoteCheckpoint, look
from art.remote.errors import MissingError
from art.remote.location import Location, Patience
from art.remote.objects import Objects
from art.store import foreign
from art.store.history import Entry, HistoryStore, parse_line
from art.store.wording import listed, listed_steps

BLOCK_BYTES = 8 * 1024**2


class RemoteReader:
    """The checkpoints below one prefix of a bucket, to read."""

    def __init__(self, objects: Objects, patience: Patience | None = None) -> None:
        self._objects = objects
        self._patience = patience or Patience()

    @property
    def location(self) -> Location:
        return self._objects.location

    def __str__(self) -> str:
        return str(self.location)

    def models(self, project: str | None = None) -> list[ModelRef]:
        """List the models of one project, or of all."""
        projects = self._objects.folders("") if project is None else [project]
        names = [(folder, name) for folder in projects for name in self._objects.folders(f"{folder}/{layout.MODELS}")]
        if not names:
            self._objects.require_server("")
        return sorted(model for folder, name in names if (model := layout.model_at(folder, name)))

    def steps(self, model: ModelRef) -> list[int]:
        """List the steps that have a checkpoint, ours or foreign, lowest first; by the names of their files alone."""
        files: dict[str, set[str]] = {}
        for path in self._objects.files_below(str(layout.checkpoints_path(model))):
            folder, _, name = path.partition("/")
            files.setdefault(folder, set()).add(name)
        if not files:
            self._objects.require_server(str(layout.checkpoints_path(model)))
        ours = layout.folders_by_step(name for name, file_names in files.items() if layout.MANIFEST in file_names)
        whole = layout.folders_by_step(name for name, file_names in files.items() if file_names >= set(foreign.FILES))
        others = set(whole) - set(ours)
        return sorted({*ours, *(others - self._begun(model, others))})

    def open_checkpoint(self, ref: CheckpointRef) -> RemoteCheckpoint:
        """Open one checkpoint; raises `CheckpointNotFoundError` or `CorruptCheckpointError`."""
        candidate = look(self._objects, ref, str(layout.checkpoint_path(ref)))
        if isinstance(candidate, Skipped):
            folders = self._folders(ref.model)
            candidate = self._look(ref, folders) if ref.step in folders else candidate
            if isinstance(candidate, Skipped):
                raise self._absence(Exact(ref.step), ref.model, folders, [candidate] if ref.step in folders else [])
        return candidate

    def select(self, model: ModelRef, pick: Pick = NEWEST) -> Selection[RemoteCheckpoint]:
        """Choose a checkpoint, the newest unless told.

        Reads the manifest of the one it chooses and no other. For the best it also reads the newest one's and the
        history, and all manifests where the history does not reach the newest, or knows nothing of the metric.
        """
        if isinstance(pick, Exact):
            return Selection(checkpoint=self.open_checkpoint(model.at(pick.step)), pick=pick, considered=1)
        folders = self._folders(model)
        scores = self._scores(model, pick.metric, folders) if isinstance(pick, Best) else {}
        selection = choose(pick, candidates(pick, folders, scores), lambda step: self._look(model.at(step), folders))
        if isinstance(selection, Selection):
            return selection
        raise self._absence(pick, model, folders, selection)

    def newest(self, model: ModelRef) -> RemoteCheckpoint | None:
        """Open the newest checkpoint, None when the model has none."""
        return self._newest(model, self._folders(model))

    def _newest(self, model: ModelRef, folders: Mapping[int, str]) -> RemoteCheckpoint | None:
        candidates = self._newest_first(model, folders)
        return next((checkpoint for checkpoint in candidates if isinstance(checkpoint, RemoteCheckpoint)), None)

    def measure(self, checkpoint: RemoteCheckpoint, name: str) -> tuple[int, str] | None:
        """Read a file from the server; gives its size and its BLAKE3 digest, None when it is gone."""
        return self.digest(f"{checkpoint.key}/{name}")

    def read(self, checkpoint: RemoteCheckpoint, entry: FileEntry) -> bytes:
        """Read a small file of a checkpoint; raises `CorruptCheckpointError` where it is not what the manifest says."""
        key = f"{checkpoint.key}/{entry.path}"
        content = self._objects.find(key)
        if content is None or digest_bytes(content) != entry.blake3:
            what = "is gone" if content is None else "was altered"
            raise CorruptCheckpointError(f"{self._objects.place(key)} {what}; its manifest says {entry.blake3}.")
        return content

    def digest(self, key: str) -> tuple[int, str] | None:
        """Read an object from the server; gives its size and its BLAKE3 digest, None when there is none."""
        size_bytes, digest = 0, blake3()
        try:
            for block in self._objects.stream(key, BLOCK_BYTES):
                size_bytes += len(bytes(block))
                digest.update(block)
        except MissingError:
            return None
        return size_bytes, digest.hexdigest()

    def size_bytes(self, ref: CheckpointRef) -> int:
        """Give how many bytes lie at a step, whole or not."""
        folder = self._folders(ref.model).get(ref.step)
        return (
            sum(item.size_bytes for item in self._objects.all(f"{layout.checkpoints_path(ref.model)}/{folder}"))
            if folder
            else 0
        )

    def history(self, model: ModelRef) -> list[Entry]:
        """Read the metrics that pushes of a model took along."""
        content = self._objects.find(str(layout.history_path(model))) or b""
        return [entry for line in content.split(b"\n") if (entry := parse_line(model, line))]

    def pins(self, model: ModelRef) -> Pins:
        """Read the pins of a model in the bucket."""
        return read_pins((self._objects.find(str(layout.pins_path(model))) or b"").split(b"\n"))

    def _begun(self, model: ModelRef, steps: Collection[int]) -> set[int]:
        """Give the steps that a push of ours began: without a manifest they are not whole, and not foreign either."""
        claims = self._objects.files(str(layout.claims_path(model))) if steps else {}
        return {step for name in claims if (step := parse_step(name.removesuffix(".json"))) is not None}

    def _folders(self, model: ModelRef) -> Mapping[int, str]:
        return layout.folders_by_step(self._objects.folders(str(layout.checkpoints_path(model))))

    def _look(self, ref: CheckpointRef, folders: Mapping[int, str]) -> RemoteCheckpoint | Skipped:
        return look(self._objects, ref, f"{layout.checkpoints_path(ref.model)}/{folders[ref.step]}")

    def _newest_first(self, model: ModelRef, folders: Mapping[int, str]) -> Iterator[RemoteCheckpoint | Skipped]:
        for step in candidates(NEWEST, folders, {}):
            yield self._look(model.at(step), folders)

    def _scores(self, model: ModelRef, metric: str, folders: Mapping[int, str]) -> Mapping[int, float]:
        if told := self._told_scores(model, metric, folders):
            return told
        checkpoints = [item for item in self._newest_first(model, folders) if isinstance(item, RemoteCheckpoint)]
        metrics = {item.ref.step: item.manifest.metrics for item in checkpoints}
        scores = {step: score for step, named in metrics.items() if (score := named.get(metric)) is not None}
        if checkpoints and not scores:
            known = sorted({name for named in metrics.values() for name in named})
            raise MetricNotFoundError(f"No checkpoint of {model} in {self} has {metric!r}; they have {known}.")
        return scores

    def _told_scores(self, model: ModelRef, metric: str, folders: Mapping[int, str]) -> Mapping[int, float]:
        """Give what the history says of a metric; nothing where it was pushed before the newest checkpoint was."""
        looked = self._newest_first(model, folders)
        newest = next((item for item in looked if isinstance(item, RemoteCheckpoint)), None)
        history = _History(self)
        # The update that led to a checkpoint is told at the step before it.
        if newest is None or all(entry.step < newest.ref.step - 1 for entry in history.read(model)):
            return {}
        return history.scores(segments(model, newest.manifest), metric)

    def _absence(
        self, pick: Pick, model: ModelRef, folders: Mapping[int, str], skipped: Sequence[Skipped] = ()
    ) -> ModelNotFoundError | CheckpointNotFoundError:
        if not folders:
            known = [str(other) for other in self.models(model.project)]
            has = f"project {model.project} has {listed(known)}" if known else f"project {model.project} has no models"
            return ModelNotFoundError(f"There is no model {model} in {self}; {has} there.")
        has = f"it has {listed_steps(sorted(folders))}"
        return CheckpointNotFoundError(absence(pick, model, skipped, where=f" in {self}", has=has))


class _History(HistoryStore):
    """The histories of a bucket, each read once."""

    def __init__(self, remote: RemoteReader) -> None:
        super().__init__(Path())
        self._remote = remote
        self._kept: dict[ModelRef, list[Entry]] = {}

    def read(self, model: ModelRef) -> list[Entry]:
        if model not in self._kept:
            self._kept[model] = self._remote.history(model)
        return self._kept[model]
