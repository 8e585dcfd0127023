"""A run of another trainer as a branch: what its Trainer saves is committed, and it goes on from the store's newest.

Loads none of the Trainer's files. A fork is `art fork`, and the same script under the new name.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from art.errors import ConflictError, IncompatibleError
from art.format.kinds import carried_by
from art.hf.extras import Extras, file_name, needed_by
from art.hf.options import Options, warn_of_rate
from art.hf.words import warn
from art.names import ModelRef
from art.ops.folders import commit_folder, finish_newest
from art.program import found_root
from art.store.checkpoint import Checkpoint
from art.store.store import CheckpointStore

if TYPE_CHECKING:
    from transformers import TrainerCallback

KIND = "hf-trainer"
WAIT_S = 60.0
"""For what the other ranks write into a checkpoint."""
_log = logging.getLogger("art")


class Branch:
    """A model of the store, as the run of a Trainer: `Branch("shop/agent-1")`.

    Raises `InvalidNameError`. Touches nothing: the store is read and written by the run.
    """

    def __init__(self, name: str, *, root: str | Path | None = None) -> None:
        self.model = ModelRef.parse(name)
        self._store = CheckpointStore(root or found_root())
        self._extras: Extras | None = None
        self._options: Options | None = None

    def resume(self, trainer: Any = None) -> str | None:
        """Give the folder to resume from, for `trainer.train(resume_from_checkpoint=...)`; None for a new model.

        It is the store's own, every byte of it verified. With the `trainer` what its own checkpoints lack is saved
        with each of them and given back, such as TRL's generated batches. The script's options of the optimizer count
        then, such as another learning rate, where the Trainer would go on with the checkpoint's. Raises
        `CorruptCheckpointError` for a damaged checkpoint, and `IncompatibleError` for one of another trainer.
        """
        self._extras = None if trainer is None else Extras(trainer)
        self._options = None if trainer is None else Options(trainer)
        newest = self._newest()
        if newest is None:
            return None
        self._store.verify(newest)
        return str(newest.path)

    def callback(self) -> TrainerCallback:
        """Make the callback that commits every checkpoint the Trainer saves, with what it logged since the last.

        Training raises `ConflictError` at once when the Trainer does not begin at the model's newest step.
        """
        from transformers import TrainerCallback

        branch = self

        class Commits(TrainerCallback):
            def on_train_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any) -> None:
                branch.begin(args, state.global_step, optimizer)
                if state.is_world_process_zero:
                    finish_newest(branch._store, branch.model)

            def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if branch._extras:
                    branch._extras.epoch_begins()

            def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                folder = Path(args.output_dir, f"checkpoint-{state.global_step}")
                if branch._extras:
                    branch._extras.save(folder)
                if state.is_world_process_zero:
                    branch.commit(folder, state.global_step, log=state.log_history, ranks=args.world_size)

        return Commits()

    def begin(self, settings: Any, step: int, optimizer: Any = None) -> None:
        """Check that the model stands at a step, and give the Trainer what it lacks; raises `ConflictError`."""
        newest = self._require_step(step)
        has_extras = bool(self._extras and newest and self._extras.load(newest.path))
        if newest and self._options:
            self._options.give(self.model)
        elif newest:
            warn_of_rate(self.model, settings, optimizer)
        lacks = needed_by(settings)
        if lacks and (self._extras is None or (newest and not has_extras)):
            warn(
                settings,
                "%s: this Trainer's own checkpoints lack %s, so that a resume is another run. Call "
                "branch.resume(trainer) before training, from the first step on.",
                self.model,
                " and ".join(lacks),
            )

    def _require_step(self, step: int) -> Checkpoint | None:
        newest = self._newest()
        stands_at = newest.ref.step if newest else 0
        if stands_at != step:
            raise ConflictError(
                f"{self.model} stands at step {stands_at}, and this Trainer begins at step {step}. Go on from there "
                "with trainer.train(resume_from_checkpoint=branch.resume()), or name another model."
            )
        return newest

    def commit(self, folder: Path, step: int, *, log: Iterable[Mapping[str, Any]] = (), ranks: int = 1) -> Checkpoint:
        """Commit what the Trainer saved at a step, with what it logged since the checkpoint before.

        `log` is the Trainer's `state.log_history`. Raises what `commit_folder` does.
        """
        _wait_for_ranks(folder, ranks, with_extras=self._extras is not None)
        self._newest()
        committed = commit_folder(self._store, folder, self.model.at(step), kind=KIND, log=log)
        if committed.problem:
            _log.warning("%s: %s", committed.checkpoint.ref, committed.problem)
        if not committed.repeated:
            self._warn_of_missing(committed.checkpoint)
        return committed.checkpoint

    def _newest(self) -> Checkpoint | None:
        newest = self._store.newest(self.model)
        if newest and newest.description.kind != KIND:
            raise IncompatibleError(
                f"{newest.ref} is a checkpoint of kind {newest.description.kind}, which no Trainer resumes from. "
                "Name another model."
            )
        return newest

    def _warn_of_missing(self, checkpoint: Checkpoint) -> None:
        missing = {"optimizer", "schedule", "random"} - set(carried_by(KIND, checkpoint.names))
        if missing:
            _log.warning(
                "%s has no %s: a run that resumes from it starts those afresh. Leave save_only_model out.",
                checkpoint.ref,
                ", ".join(sorted(missing)),
            )


def _wait_for_ranks(folder: Path, ranks: int, *, with_extras: bool) -> None:
    """Wait until every rank has written its random state, and its extras; raises `ConflictError`."""
    wanted = [folder / f"rng_state_{rank}.pth" for rank in range(ranks)] if ranks > 1 else []
    wanted += [folder / file_name(rank) for rank in range(ranks)] if with_extras else []
    end = time.monotonic() + WAIT_S
    while missing := [path.name for path in wanted if not path.exists()]:
        if time.monotonic() > end:
            raise ConflictError(f"{folder} still has no {', '.join(missing)}; nothing was committed.")
        time.sleep(0.1)
