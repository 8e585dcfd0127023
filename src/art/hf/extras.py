"""What a Trainer's own checkpoint lacks, and a resume needs: written beside its files, and given back.

Of TRL: the generated batches that are still trained on, the count of passes over them, a synced reference model, and
counters of the log. Of every Trainer: the loss since the last log, and the state of a sampler's own generator. One
safetensors file a rank, so nothing is unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict

from art.errors import CorruptCheckpointError, IncompatibleError
from art.format.json import parse_as, shown, shown_name
from art.format.safetensors import read_header
from art.hf.words import warn
from art.store import regular

if TYPE_CHECKING:
    import torch

METADATA = "artfork"
RANDOM_STATE = "rng_state*.pth"
SAMPLER, LOSS = "sampler", "loss"
BUFFER, REFERENCE = "buffer.", "reference."
Counter = Literal["_step", "_total_train_tokens", "_total_loss_scalar", "_globalstep_last_logged"]
"""Numbers that a Trainer or TRL counts, and does not save."""


def file_name(rank: int) -> str:
    """Name the file of one rank."""
    return f"artfork_extras_{rank}.safetensors"


class SavedNotes(BaseModel):
    """What stands beside the tensors."""

    model_config = ConfigDict(strict=True)

    counters: dict[Counter, int | float]
    metrics: dict[str, list[float]]
    buffer: list[dict[str, bool | int | float | str | None]] | None


@dataclass
class Extras:
    """The extras of one Trainer in one process."""

    trainer: Any
    _epoch_began_with: torch.Tensor | None = field(default=None, init=False)

    def epoch_begins(self) -> None:
        """Remember where the sampler stood; an epoch that is resumed is drawn again from there."""
        generator = _generator_of(self.trainer)
        self._epoch_began_with = None if generator is None else generator.get_state()

    def save(self, folder: Path) -> None:
        """Write this rank's extras into a checkpoint that the Trainer has just saved."""
        from safetensors.torch import save_file

        tensors, buffer = _buffer_of(self.trainer)
        tensors.update(_reference_of(self.trainer))
        if (loss := getattr(self.trainer, "_tr_loss", None)) is not None:
            tensors[LOSS] = loss
        if (sampler := self._sampler_state()) is not None:
            tensors[SAMPLER] = sampler
        counters = {
            name: value for name in get_args(Counter) if (value := getattr(self.trainer, name, None)) is not None
        }
        notes = {"counters": counters, "metrics": _metrics_of(self.trainer), "buffer": buffer}
        path = folder / file_name(self.trainer.args.process_index)
        unfinished = path.with_suffix(".unfinished")
        copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        save_file(copies, unfinished, metadata={METADATA: json.dumps(notes)})
        unfinished.rename(path)

    def load(self, folder: Path) -> bool:
        """Give the Trainer what a checkpoint has for this rank, as its training begins; tells whether it has any.

        Raises `CorruptCheckpointError` for a file that is none of ours, `IncompatibleError` for another Trainer's.
        """
        path = folder / file_name(self.trainer.args.process_index)
        if not path.exists():
            return False
        tensors, notes = _read(path)
        batches = _batches_of(tensors, notes, path)
        _give_reference(self.trainer, tensors, path)
        # A fork that resets the random state draws another order of the data, too.
        if SAMPLER in tensors and any(folder.glob(RANDOM_STATE)):
            _give_sampler(self.trainer, tensors[SAMPLER], path)
        if LOSS in tensors:
            _check_alike(tensors[LOSS], self.trainer._tr_loss, f"The loss in {path}")
            self.trainer._tr_loss = tensors[LOSS].to(self.trainer._tr_loss.device)
        for name, value in notes.counters.items():
            if hasattr(self.trainer, name):
                setattr(self.trainer, name, value)
        for name, values in notes.metrics.items():
            self.trainer._metrics["train"][name] = list(values)
        if batches is not None:
            device = self.trainer.args.device
            self.trainer._buffered_inputs = [_on(device, batch) for batch in batches]
        return True

    def _sampler_state(self) -> torch.Tensor | None:
        generator = _generator_of(self.trainer)
        if generator is None:
            return None
        is_epoch_done = float(self.trainer.state.epoch or 0).is_integer()
        return generator.get_state() if is_epoch_done else self._epoch_began_with


def needed_by(settings: Any) -> list[str]:
    """Name what the checkpoints of a Trainer with such settings lack for a resume without extras to be the same run."""
    lacks = []
    generates_every = (getattr(settings, "steps_per_generation", None) or 1) * getattr(settings, "num_iterations", 1)
    if generates_every > settings.gradient_accumulation_steps:
        lacks.append("its generated batches")
    if getattr(settings, "sync_ref_model", False):
        lacks.append("its synced reference model")
    return lacks


def _read(path: Path) -> tuple[Mapping[str, torch.Tensor], SavedNotes]:
    from safetensors import SafetensorError, safe_open

    file = regular.find_opened(path)
    if file is None:
        raise CorruptCheckpointError(f"{path} went away while it was read.")
    with file:
        # Shapes are checked before memory is taken.
        read_header(path.stat().st_size, file.read, where=str(path))
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
    except SafetensorError as error:
        # The library quotes what a stranger wrote.
        raise CorruptCheckpointError(f"{path} is damaged: {shown_name(str(error))}.") from error
    content = metadata.get(METADATA, "").encode()
    return tensors, parse_as(SavedNotes, content, where=f"the metadata of {path}", what="what a branch saves")


def _generator_of(trainer: Any) -> torch.Generator | None:
    """Find the generator that a sampler of the training data draws with, where it knows no epoch."""
    import torch

    loader = getattr(trainer.callback_handler, "train_dataloader", None)
    sampler = getattr(loader, "sampler", None)
    for name in ("batch_sampler", "batch_sampler", "sampler"):
        loader = getattr(loader, name, None) or loader
        sampler = getattr(loader, "sampler", None) or sampler
    generator = getattr(sampler, "generator", None)
    return generator if isinstance(generator, torch.Generator) and not hasattr(sampler, "set_epoch") else None


def _give_sampler(trainer: Any, state: torch.Tensor, path: Path) -> None:
    if (generator := _generator_of(trainer)) is not None:
        _check_alike(state, generator.get_state(), f"The state of the sampler in {path}")
        try:
            generator.set_state(state)
        except RuntimeError as error:
            raise CorruptCheckpointError(f"{path} holds a state of the sampler that no generator takes.") from error


def _check_alike(tensor: torch.Tensor, wanted: torch.Tensor, what: str) -> None:
    if (tensor.dtype, tensor.shape) != (wanted.dtype, wanted.shape):
        raise IncompatibleError(f"{what} is none of this Trainer's; name another model.")


def _metrics_of(trainer: Any) -> dict[str, list[float]]:
    """Give the figures of steps since the last log."""
    metrics = getattr(trainer, "_metrics", None)
    train = metrics.get("train", {}) if isinstance(metrics, Mapping) else {}
    return {name: [float(value) for value in values] for name, values in train.items() if values}


def _buffer_of(trainer: Any) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]] | None]:
    """Give the tensors of the generated batches under names of their own, and what else they hold."""
    import torch

    batches = getattr(trainer, "_buffered_inputs", None)
    if batches is None:
        return {}, None
    tensors: dict[str, torch.Tensor] = {}
    plain: list[dict[str, Any]] = []
    for index, batch in enumerate(batches):
        plain.append({})
        for name, value in batch.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{BUFFER}{index}.{name}"] = value
            elif value is None or isinstance(value, bool | int | float | str):
                plain[index][name] = value
            else:
                kind = type(value).__name__
                told = "%s of a generated batch is a %s and is not saved; a resume is another run."
                warn(trainer.args, told, name, kind)
    return tensors, plain


def _batches_of(tensors: Mapping[str, torch.Tensor], notes: SavedNotes, path: Path) -> list[dict[str, Any]] | None:
    """Put the generated batches together again; None where there were none."""
    if notes.buffer is None:
        return None
    batches: list[dict[str, Any]] = [dict(batch) for batch in notes.buffer]
    places = {f"{BUFFER}{index}.": batch for index, batch in enumerate(batches)}
    for name, tensor in tensors.items():
        if name.startswith(BUFFER):
            place = next((place for place in places if name.startswith(place)), None)
            if place is None:
                raise CorruptCheckpointError(f"{path} is damaged: {shown(name)} is of a batch that is not there.")
            places[place][name.removeprefix(place)] = tensor
    return batches


def _on(device: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.to(device) if hasattr(value, "to") else value for name, value in batch.items()}


def _reference_of(trainer: Any) -> dict[str, torch.Tensor]:
    """Give the weights of a reference model that follows the trained one; a fixed one has those it began with."""
    if not getattr(trainer.args, "sync_ref_model", False) or trainer.args.process_index > 0:
        return {}
    return {f"{REFERENCE}{name}": tensor for name, tensor in _weights_of(trainer)}


def _give_reference(trainer: Any, tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    import torch

    saved = {name.removeprefix(REFERENCE): tensor for name, tensor in tensors.items() if name.startswith(REFERENCE)}
    if not saved:
        return
    weights = dict(_weights_of(trainer))
    if {name: tensor.shape for name, tensor in saved.items()} != {
        name: tensor.shape for name, tensor in weights.items()
    }:
        raise IncompatibleError(f"{path} holds another reference model than this Trainer has; name another model.")
    with torch.no_grad():
        for name, tensor in saved.items():
            weights[name].copy_(tensor)


def _weights_of(trainer: Any) -> Iterator[tuple[str, torch.Tensor]]:
    reference = getattr(trainer, "ref_model", None)
    return iter(() if reference is None else trainer.accelerator.unwrap_model(reference).named_parameters())
