"""The checkpoints below one root folder, to read: list, open, select, verify, lineage.

"Newest" is computed by listing, never stored. Knows bytes, names and digests; never sees a tensor or a network.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from art.errors import (
    CheckpointNotFoundError,
    ConfigurationError,
    CorruptCheckpointError,
    MetricNotFoundError,
    ModelNotFoundError,
)
from art.format import layout, lineage
from art.format.manifest import Manifest
from art.format.pick import NEWEST, AtMost, Best, Exact, Pick, candidates
from art.format.selection import Selection, Skipped, absence, choose
from art.names import CheckpointRef, ModelRef, local_path_problem
from art.store import disk, journal, regular
from art.store.checkpoint import Checkpoint, Damage, check_file, check_manifest, is_whole, look, stamp
from art.store.history import HistoryStore
from art.store.listing import folders_in
from art.store.refusal import explained
from art.store.wording import listed, listed_steps

if TYPE_CHECKING:
    from art.format.safetensors import TensorEntry

T = TypeVar("T")


class CheckpointReader:
    """The checkpoints below one root folder, to read. What a crash left half done is finished before it is read."""

    def __init__(self, root: Path | str) -> None:
        if problem := local_path_problem(root):
            raise ConfigurationError(problem)
        self.root = Path(root).expanduser().absolute()

    def models(self, project: str | None = None) -> list[ModelRef]:
        """List the models of one project, or of all."""
        folders = (folder for above in folders_in(self.root) for folder in folders_in(above / layout.MODELS))
        return sorted(
            model
            for folder in folders
            if (model := layout.model_at(folder.parent.parent.name, folder.name)) and project in (None, model.project)
        )

    def steps(self, model: ModelRef) -> list[int]:
        """List the steps that have a checkpoint, ours or foreign, lowest first."""

        def whole(names: Mapping[int, str]) -> list[int]:
            folder = self.root / layout.checkpoints_path(model)
            return [step for step, name in sorted(names.items()) if is_whole(f"{folder}/{name}")]

        return self._read(model, whole)

    def folders(self, model: ModelRef) -> dict[int, Path]:
        """Map every step that has a folder, committed or not, to where it lies."""
        return self._read(model, partial(self._paths, model))

    def open(self, ref: CheckpointRef) -> Checkpoint:
        """Open one checkpoint; raises `CheckpointNotFoundError` or `CorruptCheckpointError`."""
        candidate = self._read(ref.model, partial(self._look, ref))
        if isinstance(candidate, Checkpoint):
            return candidate
        self._require_model(ref.model)
        reason = f" ({candidate.reason})" if candidate else ""
        raise CheckpointNotFoundError(f"There is no checkpoint {ref}{reason}; {self._has(ref.model)}.")

    def require(self, checkpoint: Checkpoint) -> None:
        """Check that a checkpoint is still the one that was opened; raises `CheckpointNotFoundError`."""
        self._require(checkpoint, self.find(checkpoint.ref))

    def find(self, ref: CheckpointRef) -> Checkpoint | None:
        """Open one checkpoint, None when there is none; raises `CorruptCheckpointError`."""
        candidate = self._read(ref.model, partial(self._look, ref))
        return candidate if isinstance(candidate, Checkpoint) else None

    def newest(self, model: ModelRef) -> Checkpoint | None:
        """Open the newest checkpoint, None when the model has none."""
        selection = self._choose(model, NEWEST)
        return selection.checkpoint if isinstance(selection, Selection) else None

    def select(self, model: ModelRef, pick: Pick = NEWEST) -> Selection[Checkpoint]:
        """Choose a checkpoint, the newest unless told. Opens no more than it needs."""
        if isinstance(pick, Exact):
            return Selection(checkpoint=self.open(model.at(pick.step)), pick=pick, considered=1)
        selection = self._choose(model, pick)
        if isinstance(selection, Selection):
            return selection
        self._require_model(model)
        has = self._has(model) if selection or self.steps(model) else "it has none yet: each training step writes one"
        raise CheckpointNotFoundError(absence(pick, model, selection, has=has))

    def best(self, model: ModelRef, scores: Mapping[int, float]) -> Checkpoint | None:
        """Open the checkpoint with the highest score, the newest of equals; None when no scored step has one."""
        for step in sorted(scores, key=lambda step: (scores[step], step), reverse=True):
            if checkpoint := self.find(model.at(step)):
                return checkpoint
        return None

    def read_adapter(self, checkpoint: Checkpoint) -> tuple[bytes, Mapping[str, TensorEntry]]:
        """Read an adapter's configuration, and the header of its weights; raises `CorruptCheckpointError`."""
        from art.store import foreign

        config, weights = checkpoint.path / layout.ADAPTER_CONFIG, checkpoint.path / layout.ADAPTER_WEIGHTS
        return regular.read(config, max_bytes=foreign.MAX_CONFIG_BYTES), foreign.read_tensors(weights)

    def verify(self, checkpoint: Checkpoint) -> None:
        """Read every byte again; raises `CorruptCheckpointError` naming the file and both digests."""
        check_manifest(checkpoint)
        for entry in checkpoint.manifest.files:
            check_file(checkpoint.path, entry)

    def newest_sound(self, model: ModelRef) -> tuple[Checkpoint | None, dict[int, Damage]]:
        """Open the newest checkpoint whose every byte is right, None without one; and what is damaged above it."""
        damages: dict[int, Damage] = {}
        for step, folder in reversed(self.folders(model).items()):
            seen = stamp(folder)
            try:
                if checkpoint := self.find(model.at(step)):
                    self.verify(checkpoint)
                    return checkpoint, damages
            except CorruptCheckpointError as error:
                damages[step] = Damage(folder, seen, str(error))
        return None, damages

    def lineage(self, ref: CheckpointRef) -> Iterator[tuple[CheckpointRef, Checkpoint | None]]:
        """Yield `ref` and its ancestors, newest first, across forks; None beside one that is gone."""
        checkpoint: Checkpoint | None = self.open(ref)
        yield ref, checkpoint
        while checkpoint and checkpoint.description.parent:
            child, parent = checkpoint.description, checkpoint.description.parent
            ancestor = self.find(parent.ref)
            # After a rewind another checkpoint may lie where the parent was.
            checkpoint = ancestor if ancestor and ancestor.digest == parent.digest else None
            yield parent.ref, checkpoint
            if checkpoint is None and (checkpoint := self._next_known(child, parent.step)):
                yield checkpoint.ref, checkpoint

    def segments(self, model: ModelRef) -> list[lineage.Segment]:
        """Cut the past of a model at its forks, oldest first."""
        newest = self.newest(model)
        return lineage.segments(model, newest.description if newest else None)

    def ancestor(self, model: ModelRef, step: int) -> Checkpoint:
        """Open a step of a model's past, also one from before a fork; raises `CheckpointNotFoundError`."""
        newest = self.newest(model)
        places = lineage.locate(model, newest.description if newest else None, step)
        return next(filter(None, map(self.find, places)), None) or self.open(places[-1])

    def _folder(self, model: ModelRef) -> Path:
        return self.root / layout.model_path(model)

    def _paths(self, model: ModelRef, names: Mapping[int, str]) -> dict[int, Path]:
        folder = self.root / layout.checkpoints_path(model)
        return {step: folder / name for step, name in sorted(names.items())}

    def _read(self, model: ModelRef, read: Callable[[Mapping[int, str]], T]) -> T:
        """Read the folders of a model's steps, again when a rewind, restore or overwriting fork came in between."""
        return journal.read_steadily(self.root, self._folder(model), lambda: read(self._names(model)))

    @contextmanager
    def _alone(self, model: ModelRef) -> Generator[Mapping[int, str]]:
        """Hold the lock of a model and finish what a crash left half done; gives the folders of its steps."""
        with journal.alone(self.root, self._folder(model)):
            yield self._names(model)

    def _names(self, model: ModelRef) -> Mapping[int, str]:
        folder = self._folder(model) / layout.CHECKPOINTS
        regular.require_folders([folder])
        return layout.folders_by_step(disk.names(folder))

    def _look(self, ref: CheckpointRef, names: Mapping[int, str]) -> Checkpoint | Skipped | None:
        name = names.get(ref.step)
        return look(ref, self.root / layout.checkpoints_path(ref.model) / name) if name else None

    def _choose(self, model: ModelRef, pick: Pick) -> Selection[Checkpoint] | list[Skipped]:
        scores = self._scores(model, pick.metric) if isinstance(pick, Best) else {}

        def choose_among(names: Mapping[int, str]) -> Selection[Checkpoint] | list[Skipped]:
            return choose(pick, candidates(pick, names, scores), lambda step: self._look(model.at(step), names))

        return self._read(model, choose_among)

    def _scores(self, model: ModelRef, metric: str) -> Mapping[int, float]:
        history, segments = HistoryStore(self.root), self.segments(model)
        scores = history.scores(segments, metric)
        if not scores:
            self._require_model(model)
            known = sorted({name for entry in history.read_lineage(segments) for name in entry.metrics})
            raise MetricNotFoundError(f"{model} has no metric {metric!r}; it has {', '.join(known) or 'none'}.")
        return scores

    def _next_known(self, child: Manifest, below: int) -> Checkpoint | None:
        """Find the newest checkpoint before a step that is gone, in the same model or before the fork it came from."""
        for segment in reversed(lineage.segments(child.ref.model, child)):
            last = below - 1 if segment.last is None else min(below - 1, segment.last)
            if last < segment.first:
                continue
            selection = self._choose(segment.model, AtMost(last))
            if isinstance(selection, Selection) and selection.checkpoint.ref.step >= segment.first:
                return selection.checkpoint
        return None

    def _require(self, checkpoint: Checkpoint, candidate: Checkpoint | Skipped | None) -> None:
        if candidate != checkpoint:
            model = checkpoint.ref.model
            raise CheckpointNotFoundError(f"{checkpoint.ref} was deleted or replaced meanwhile; {self._has(model)}.")

    def _require_model(self, model: ModelRef) -> None:
        with explained("look at", self._folder(model)):
            if self._folder(model).is_dir():
                return
        known = self.models()
        no_models = f"{self.root} has no models. Train one, or name the root that has it: LocalBackend(path=...)"
        has = f"there are {listed(known)}" if known else no_models
        raise ModelNotFoundError(f"There is no model {model}; {has}.")

    def _has(self, model: ModelRef) -> str:
        steps = self.steps(model)
        if not steps:
            return "it has no checkpoints"
        return f"it has {listed_steps(steps)}"
