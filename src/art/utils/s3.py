"""A model's checkpoints to a bucket and back by its name, for scripts that have no backend at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from art.absent import instead_in
from art.errors import RemoteError
from art.format import layout
from art.model import Model
from art.names import ModelRef
from art.remote.location import parse_location
from art.utils.output_dirs import get_default_art_path, get_output_dir_from_model_properties

if TYPE_CHECKING:
    from art.local import LocalBackend

ExcludableOption = Literal["checkpoints", "logs", "trajectories"]
"""What ART can leave out of a pull."""
S3SyncError = RemoteError
"""ART's name of what goes wrong with a bucket."""


def build_s3_path(
    *, model_name: str, project: str, step: int | None = None, s3_bucket: str | None = None, prefix: str | None = None
) -> str:
    """Give the URL of a model's folder, or of a step's checkpoint, in a bucket: `BACKUP_BUCKET` where none is named."""
    from art.local.moving import named_bucket

    model = ModelRef(project, model_name)
    path = layout.model_path(model) if step is None else layout.checkpoint_path(model.at(step))
    return f"{parse_location(named_bucket(s3_bucket), prefix=prefix)}/{path}"


async def pull_model_from_s3(
    model_name: str,
    project: str,
    step: int | None = None,
    s3_bucket: str | None = None,
    prefix: str | None = None,
    verbose: bool = False,
    delete: bool = False,
    art_path: str | None = None,
    exclude: Sequence[ExcludableOption] | None = None,
) -> str:
    """Bring a model's checkpoints here, all or one, and give the model's folder.

    Its history and trajectories come with them, and a warning says so of `exclude`.
    """
    async with _backend(art_path) as backend:
        pull = backend._experimental_pull_from_s3  # pyright: ignore[reportPrivateUsage] - public by ART's convention
        await pull(Model(model_name, project), s3_bucket, prefix, verbose, delete, only_step=step, exclude=exclude)
    return get_output_dir_from_model_properties(project, model_name, art_path)


async def push_model_to_s3(
    model_name: str,
    project: str,
    s3_bucket: str | None = None,
    prefix: str | None = None,
    verbose: bool = False,
    delete: bool = False,
    art_path: str | None = None,
) -> None:
    """Write a model's checkpoints to a bucket."""
    async with _backend(art_path) as backend:
        push = backend._experimental_push_to_s3  # pyright: ignore[reportPrivateUsage] - as above
        await push(Model(model_name, project), s3_bucket, prefix, verbose, delete)


def _backend(art_path: str | None) -> LocalBackend:
    from art.local import LocalBackend

    return LocalBackend(path=art_path or get_default_art_path())


__getattr__ = instead_in(__name__)
