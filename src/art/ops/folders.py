"""A folder that another trainer wrote: into the store as a checkpoint, and out of it again.

Its bytes are kept, and never loaded. Knows files and names; the kind of a folder is told by the names in it.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from art.errors import ArtError, CheckpointExistsError, ConfigurationError, ConflictError, IncompatibleError
from art.format.fields import colliding, path_problem
from art.format.json import parse_object
from art.format.kinds import ADAPTER, FILES, INDEX, NAMES, carried_by, kind_of, unfinished
from art.format.layout import MANIFEST, MODELS
from art.format.manifest import finite_metrics
from art.names import CheckpointRef, ModelRef
from art.ops import trainer_log
from art.ops.trainer_log import Line
from art.store import disk, regular
from art.store.checkpoint import Checkpoint, check_file, check_size, reading
from art.store.history import HistoryStore
from art.store.refusal import explained
from art.store.sharing import Sharing, take_out
from art.store.stage import Stage
from art.store.store import CheckpointStore
from art.visible import visible

SHARD_INDICES = (".safetensors.index.json", ".bin.index.json")
MAX_INDEX_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class Committed:
    """What a commit of a folder did."""

    checkpoint: Checkpoint
    repeated: bool
    """The very same files were committed under this step before; nothing was done."""
    shared_bytes: int = 0
    copied_bytes: int = 0
    problem: str = ""
    """Why what was logged is not in the history; the checkpoint is whole."""


@dataclass(frozen=True, kw_only=True)
class _Source:
    """Where a trainer wrote: a folder, or one file in it; and what is known of it besides."""

    folder: Path
    only: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    log: Iterable[Line] | None = None

    def paths(self) -> Sequence[str]:
        """List the files as they are now; raises `ConfigurationError` for what cannot be kept."""
        return _paths_of(self.folder) if self.only is None else [self.only]

    def logged(self, ref: CheckpointRef, after: int) -> tuple[list[Line], str]:
        """Give what was logged behind a step, and what was measured at this one; and why a log cannot be read."""
        log, problem = list[Line](), ""
        try:
            log += trainer_log.read_log(self.folder) if self.log is None else self.log
        except ArtError as error:
            # A loss that is no number is no reason to lose a checkpoint.
            problem = f"without metrics, its log cannot be read: {error}"
        lines = trainer_log.between(log, after, ref.step)
        return [*lines, *([{**self.metrics, "step": ref.step}] if self.metrics else [])], problem


def commit_folder(
    store: CheckpointStore,
    folder: Path,
    ref: CheckpointRef,
    *,
    kind: str | None = None,
    metrics: Mapping[str, float] | None = None,
    log: Iterable[Line] | None = None,
) -> Committed:
    """Make the files of a folder the checkpoint `ref`, which continues the model's newest one.

    The folder stays as it is: files are reflinked or copied, and never hard-linked, for its program may write them
    again. What its trainer logged since the newest checkpoint goes into the manifest and the history: the lines of
    `log`, or else those in the folder; and so do `metrics`. The same files committed again do nothing, but that what is
    missing of this in the history is written. Raises `ConfigurationError` for a folder that cannot be kept,
    `IncompatibleError` for a kind that the model's newest checkpoint has not, `CheckpointExistsError` for a step that
    is taken or lies behind, `ConflictError` when the folder changes meanwhile.
    """
    if metrics and "step" in metrics:
        raise ConfigurationError(f"A metric cannot be called 'step'; {ref} has its step already.")
    return _commit(store, _Source(folder=folder, metrics=metrics or {}, log=log), ref, kind)


def commit_file(store: CheckpointStore, file: Path, ref: CheckpointRef, *, kind: str | None = None) -> Committed:
    """Make one file the checkpoint `ref`, as of a trainer that writes no folders; otherwise as `commit_folder`."""
    return _commit(store, _Source(folder=file.parent, only=file.name, log=()), ref, kind)


def _commit(store: CheckpointStore, source: _Source, ref: CheckpointRef, kind: str | None) -> Committed:
    paths = source.paths()
    kind = _checked_kind(kind or _told_kind(paths, source.folder), source.folder)
    if checkpoint := store.find(ref):
        return _repeated(store, source, checkpoint, paths)
    try:
        return _commit_new(store, source, ref, kind=kind, paths=paths)
    except CheckpointExistsError:
        # Another process may have committed the very same meanwhile, and writes down what was logged.
        if checkpoint := store.find(ref):
            _require_same(checkpoint, source.folder, paths)
            return Committed(checkpoint=checkpoint, repeated=True)
        raise


def _commit_new(
    store: CheckpointStore, source: _Source, ref: CheckpointRef, *, kind: str, paths: Sequence[str]
) -> Committed:
    parent = _parent_for(store, ref, kind)
    lines, problem = source.logged(ref, parent.ref.step if parent else 0)
    with store.stage(ref) as stage:
        how = _bring(stage, source, paths)
        checkpoint = stage.commit(
            parent=parent,
            kind=kind,
            carried=carried_by(kind, paths),
            metrics=finite_metrics(trainer_log.metrics_of(lines)),
        )
    copied = sum(entry.size_bytes for entry in checkpoint.manifest.files if how[entry.path] is Sharing.COPY)
    return Committed(
        checkpoint=checkpoint,
        repeated=False,
        shared_bytes=checkpoint.manifest.size_bytes - copied,
        copied_bytes=copied,
        problem=problem or _write_down(store, checkpoint, lines),
    )


def _repeated(store: CheckpointStore, source: _Source, checkpoint: Checkpoint, paths: Sequence[str]) -> Committed:
    """Finish a commit that broke off behind the checkpoint. What a model has trained beyond is not written again."""
    _require_same(checkpoint, source.folder, paths)
    newest, parent = store.newest(checkpoint.ref.model), checkpoint.manifest.parent
    if newest is None or newest.ref != checkpoint.ref:
        return Committed(checkpoint=checkpoint, repeated=True)
    lines, _ = source.logged(checkpoint.ref, parent.step if parent else 0)
    problem = _write_down(store, checkpoint, lines)
    return Committed(checkpoint=checkpoint, repeated=True, problem=problem)


def finish_newest(store: CheckpointStore, model: ModelRef) -> None:
    """Write down what was logged with a model's newest checkpoint, where who committed it was killed before.

    What a fork began with was logged by the branch that it left.
    """
    newest = store.newest(model)
    if newest is None or newest.manifest.kind == ADAPTER:
        return
    parent = newest.manifest.parent
    # A log that cannot be read was told when the checkpoint was committed.
    lines, _ = _Source(folder=newest.path).logged(newest.ref, parent.step if parent else 0)
    _write_down(store, newest, lines)


def _write_down(store: CheckpointStore, checkpoint: Checkpoint, lines: Iterable[Line]) -> str:
    """Write what led to a checkpoint into the history, if nobody has; gives why that failed."""
    try:
        trainer_log.record(HistoryStore(store.root), checkpoint.ref.model, lines)
    except ArtError as error:
        return f"its metrics were not written down: {error}"
    return ""


def checkout(checkpoint: Checkpoint, folder: Path) -> int:
    """Write a checkpoint's files into a new folder, without the manifest; gives their bytes.

    They are the user's own, to be changed. Every digest is checked on the way. Raises `ConfigurationError` for a folder
    with something in it, `CorruptCheckpointError` for a damaged file; then the folder is not made.
    """
    with new_folder(folder, of=checkpoint) as unfinished:
        write_out(checkpoint, unfinished)
    return checkpoint.manifest.size_bytes


def write_out(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a checkpoint's files into a folder, to be changed; raises `CorruptCheckpointError` for a damaged one."""
    with reading(checkpoint):
        for entry in checkpoint.manifest.files:
            check_size(checkpoint.path, entry)
            take_out(checkpoint.path / entry.path, folder / entry.path)
            check_file(folder, entry)


@contextmanager
def new_folder(folder: Path, *, of: Checkpoint) -> Generator[Path]:
    """Yield a folder to write a checkpoint's files in, which becomes `folder` at the end, or nothing of it does.

    Raises `ConfigurationError` for one with something in it, for the one that this process is in, and for one among the
    models of the checkpoint's root.
    """
    if folder.is_symlink():
        raise ConfigurationError(f"{folder} is a link, which would be replaced; name the folder that it leads to.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigurationError(f"{folder} is there already; name a folder that is new or empty.")
    if folder.exists() and folder.samefile(Path.cwd()):
        # Another folder would take its place, and the shell would stay in the one that is gone.
        raise ConfigurationError(f"{folder} is the folder that this runs in; name a folder that is new.")
    models = of.path.parents[2].resolve()
    if models.name == MODELS and folder.resolve().is_relative_to(models):
        raise ConfigurationError(f"{folder} lies among the models in {models}; name a folder elsewhere.")
    unfinished = folder.with_name(f".{uuid.uuid4().hex}.unfinished")
    try:
        with explained("write in", folder.parent):
            disk.make_folders(unfinished)
        yield unfinished
        if not disk.publish(unfinished, folder):
            raise ConfigurationError(f"{folder} was filled meanwhile; nothing was changed.")
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _paths_of(folder: Path) -> Sequence[str]:
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is no folder; name the one that the trainer wrote its checkpoint into.")
    paths = sorted(path.relative_to(folder).as_posix() for path in disk.files_below(folder))
    if not paths:
        raise ConfigurationError(f"{folder} has no files; there is nothing to commit.")
    if MANIFEST in paths:
        raise ConfigurationError(f"{folder} has a {MANIFEST}, which is what artfork calls its own file. Rename it.")
    for path in paths:
        if problem := path_problem(path):
            raise ConfigurationError(f"{folder / path} cannot be kept: {problem}. Rename it.")
    if (path := colliding([MANIFEST, *paths])) is not None:
        raise ConfigurationError(
            f"{folder / path} cannot be kept: some systems do not keep its name and another one there apart, which "
            "differs in case or in how its letters are composed. Rename it."
        )
    return paths


def _told_kind(paths: Sequence[str], folder: Path) -> str:
    if lacking := unfinished(paths):
        raise ConfigurationError(
            f"{', '.join(str(folder / above) for above in lacking)}: there are shards without the {INDEX} that torch "
            f"writes last, so it is unfinished. Commit it once it is whole; --kind {FILES} keeps it as it is."
        )
    for index in (path for path in paths if path.endswith(SHARD_INDICES)):
        _require_shards(folder, index, paths)
    return kind_of(paths)


def _require_shards(folder: Path, index: str, paths: Collection[str]) -> None:
    """Refuse a model in shards of which one is not there."""
    content = parse_object(regular.read(folder / index, max_bytes=MAX_INDEX_BYTES), where=str(folder / index))
    weights = content.get("weight_map")
    shards = {str(shard) for shard in weights.values()} if isinstance(weights, dict) else set[str]()
    if lacking := sorted(shard for shard in shards if str(PurePosixPath(index).parent / shard) not in paths):
        raise ConfigurationError(
            f"{folder / index} names {visible(lacking[0])}, which is not beside it, so the checkpoint is unfinished. "
            f"Commit it once it is whole; --kind {FILES} keeps it as it is."
        )


def _checked_kind(kind: str, folder: Path) -> str:
    if kind not in NAMES or kind == ADAPTER:
        known = ", ".join(name for name in NAMES if name != ADAPTER)
        raise ConfigurationError(f"{folder} cannot be committed as kind {kind!r}; there are {known}.")
    return kind


def _parent_for(store: CheckpointStore, ref: CheckpointRef, kind: str) -> Checkpoint | None:
    newest = store.newest(ref.model)
    if newest is None:
        return None
    if newest.manifest.kind != kind:
        raise IncompatibleError(
            f"{ref.model} has checkpoints of kind {newest.manifest.kind}, and this one is of kind {kind}. "
            "Commit it under another name."
        )
    if newest.ref.step > ref.step:
        raise CheckpointExistsError(
            f"{ref.model} stands at step {newest.ref.step}, beyond {ref.step}. Rewind it first "
            f"(art rewind {ref.model}@STEP), or fork it under another name."
        )
    return newest


def _bring(stage: Stage, source: _Source, paths: Sequence[str]) -> Mapping[str, Sharing]:
    folder = source.folder
    before = _stamps(folder, paths)
    how = {path: stage.bring(folder / path, path) for path in paths}
    if _stamps(folder, source.paths()) != before:
        raise ConflictError(
            f"{folder} changed while it was read, so nothing was committed. Commit it once it is whole."
        )
    return how


def _stamps(folder: Path, paths: Sequence[str]) -> Mapping[str, tuple[int, int, int]]:
    try:
        statuses = {path: (folder / path).lstat() for path in paths}
    except FileNotFoundError as error:
        raise ConflictError(f"{error.filename} went away while it was read; nothing was committed.") from error
    return {path: (status.st_ino, status.st_size, status.st_mtime_ns) for path, status in statuses.items()}


def _require_same(checkpoint: Checkpoint, folder: Path, paths: Sequence[str]) -> None:
    if {path: disk.digest(folder / path) for path in paths} != {
        entry.path: entry.blake3 for entry in checkpoint.manifest.files
    }:
        raise CheckpointExistsError(
            f"{checkpoint.ref} is there already, with other files than {folder}; nothing was changed. "
            "Name another step or another model."
        )
