"""A model's checkpoints to a bucket and back by its name, for scripts that have no backend at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from art.model import Model
from art.utils.output_dirs import get_default_art_path, get_output_dir_from_model_properties

if TYPE_CHECKING:
    from art.local import LocalBackend


async def pull_model_from_s3(
    model_name: str,
    project: str,
    step: int | None = None,
    s3_bucket: str | None = None,
    prefix: str | None = None,
    verbose: bool = False,
    delete: bool = False,
    art_path: str | None = None,
    exclude: Sequence[str] = (),
) -> str:
    """Bring a model's checkpoints here, all or one, and give the model's folder.

    Only checkpoints move, so that `exclude`, which names what else ART keeps there, changes nothing.
    """
    async with _backend(art_path) as backend:
        pull = backend._experimental_pull_from_s3  # pyright: ignore[reportPrivateUsage] - public by ART's convention
        await pull(Model(model_name, project), s3_bucket, prefix, verbose, delete, only_step=step)
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
