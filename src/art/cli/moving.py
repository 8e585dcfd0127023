"""`art push` and `art pull`: checkpoints between this disk and a bucket."""

from __future__ import annotations

from typing import Annotated

import typer

from art.cli.session import Session
from art.errors import ConfigurationError


def push(
    session: Session,
    what: Annotated[str, typer.Argument(metavar="MODEL[@STEP]", help="Every step, if none is named.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="As in s3://bucket/prefix.")],
) -> None:
    """Copy checkpoints to a bucket. Pushing again completes what was interrupted; nothing there is replaced."""
    _ = session.place(what), url
    raise ConfigurationError("art push needs the remote.")


def pull(
    session: Session,
    what: Annotated[str, typer.Argument(metavar="URL::MODEL[@STEP]", help="The newest, if no step is named.")],
) -> None:
    """Copy a checkpoint from a bucket to this disk, every byte checked."""
    _ = session.place(what)
    raise ConfigurationError("art pull needs the remote.")
