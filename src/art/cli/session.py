"""What every command is told: which root, which project, words or JSON.

The three options stand before the command or after it; the one after it counts.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from art.cli import places
from art.errors import NotFoundError

if TYPE_CHECKING:
    from art.store.store import CheckpointStore

DEFAULT_ROOT = ".art"
ROOT_VARIABLE = "ART_ROOT"

Root = Annotated[
    Path | None,
    typer.Option("--root", metavar="PATH", help="Root folder [ART_ROOT, or ./.art]."),
]
Project = Annotated[
    str | None,
    typer.Option("--project", metavar="NAME", help="Project of models named without one."),
]
AsJson = Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON document.")]


@dataclass(frozen=True)
class Session:
    """The root folder and how to speak, settled once per call."""

    root: Path
    project: str | None = None
    as_json: bool = False

    @property
    def store(self) -> CheckpointStore:
        """The store to write to; its root is made when something is written."""
        from art.store.store import CheckpointStore

        return CheckpointStore(self.root)

    @property
    def existing_store(self) -> CheckpointStore:
        """The store to read from; raises `NotFoundError` when the root is not there."""
        if not self.root.is_dir():
            raise NotFoundError(
                f"There is no store at {self.root}; name its folder with --root or {ROOT_VARIABLE}, "
                "or train a first model."
            )
        return self.store

    def place(self, text: str, *, project: str | None = None) -> places.Place:
        """Read what the user typed; `project` is what a bare name belongs to when nothing else says.

        What lies in a bucket has to say its project: the projects on this disk say nothing about it.
        """
        chosen = self.project or project
        needed = chosen is None and "/" not in text
        models = self.store.models() if needed and self.root.is_dir() else []
        return places.parse(text, project=chosen, models=models)


def settle(outer: Session | None, root: Path | None, project: str | None, as_json: bool) -> Session:
    """Combine the options before the command with those after it."""
    default = Path(os.environ.get(ROOT_VARIABLE) or DEFAULT_ROOT)
    outer = outer or Session(default)
    return Session(
        root=(root or outer.root).expanduser().absolute(),
        project=project or outer.project,
        as_json=as_json or outer.as_json,
    )


def with_session(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command its session, and its command line the options that make one."""
    signature = inspect.signature(function, eval_str=True)
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in signature.parameters.items()
        if name != "session"
    ]

    @functools.wraps(function)
    def run(context: typer.Context, **values: Any) -> None:
        common = [values.pop(name) for name in ("root", "project", "as_json")]
        function(settle(context.obj, *common), **values)

    parameters = [_keyword("context", typer.Context), *own, *_common()]
    # typer reads the command line off the signature and annotations.
    run.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del run.__wrapped__
    return run


def _common() -> list[inspect.Parameter]:
    defaults = (("root", Root, None), ("project", Project, None), ("as_json", AsJson, False))
    return [_keyword(name, annotation, default) for name, annotation, default in defaults]


def _keyword(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
