"""Every file of a checkpoint in a bucket against its manifest: read from the server, written nowhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from art.errors import ArtError, CheckpointNotFoundError
from art.format import layout
from art.names import CheckpointRef, ModelRef
from art.ops.verify import Fault, StepReport, StepState
from art.remote.checkpoint import RemoteCheckpoint, RemoteFile
from art.remote.errors import MissingError
from art.remote.remote import Remote

if TYPE_CHECKING:
    from art.remote.hub import Hub


def verify_bucket(
    remote: Remote | Hub, models: Iterable[ModelRef], *, step: int | None = None, progress: Callable[[int, int], None]
) -> list[StepReport]:
    """Check every step of some models, or one step of each; `progress` hears the bytes read, and of how many."""
    reports: list[StepReport] = []
    for model in models:
        for number in remote.steps(model) if step is None else [step]:
            reports.append(_check(remote, model.at(number)))
            read_bytes = sum(report.size_bytes for report in reports)
            progress(read_bytes, read_bytes)
    return reports


def _check(remote: Remote | Hub, ref: CheckpointRef) -> StepReport:
    try:
        checkpoint = remote.open_checkpoint(ref)
    except CheckpointNotFoundError as error:
        return StepReport(model=ref.model, step=ref.step, state=StepState.GONE, reason=str(error))
    except ArtError as error:
        fault = Fault(file=layout.MANIFEST, problem=str(error))
        return StepReport(model=ref.model, step=ref.step, faults=(fault,))
    return StepReport(
        model=ref.model,
        step=ref.step,
        state=StepState.FOREIGN if checkpoint.is_foreign else StepState.CHECKED,
        files=len(checkpoint.files),
        size_bytes=checkpoint.size_bytes,
        faults=tuple(_faults(remote, checkpoint)) if isinstance(remote, Remote) else (),
    )


def _faults(remote: Remote, checkpoint: RemoteCheckpoint) -> Iterator[Fault]:
    # Of a foreign checkpoint nobody wrote the digests down.
    for file in () if checkpoint.is_foreign else checkpoint.files:
        try:
            size_bytes, found = remote.digest(checkpoint, file)
        except MissingError:
            yield Fault(file=file.name, problem="is gone", expected=file.blake3)
            continue
        if problem := _problem(file, size_bytes, found):
            yield Fault(file=file.name, problem=problem, expected=file.blake3, found=found)


def _problem(file: RemoteFile, size_bytes: int, found: str) -> str | None:
    if size_bytes != file.size_bytes:
        return f"has {size_bytes:,} bytes of {file.size_bytes:,}"
    return None if found == file.blake3 else "was altered"
