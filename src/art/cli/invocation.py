"""What every command is told: which root, which project, words or JSON.

The three options stand before the command or after it; the one after it counts.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar, cast

import typer

from art.cli import addresses
from art.errors import NotFoundError
from art.names import local_path_problem
from art.program import ROOT_VARIABLE, command, found_root

if TYPE_CHECKING:
    from collections.abc import Iterable

    from art.remote.hub import Hub
    from art.remote.remote import Remote
    from art.store.checkpoint import Checkpoint
    from art.store.store import CheckpointStore

T = TypeVar("T")
Root = Annotated[
    Path | None,
    typer.Option("--root", metavar="PATH", help="Root folder [ART_ROOT, or ./.art]."),
]
Project = Annotated[
    str | None,
    typer.Option("--project", metavar="NAME", help="Project of models named without one."),
]
Price = Annotated[
    float | None, typer.Option(metavar="AMOUNT", min=0.0, help="What an hour by the clock costs, in your money.")
]
AsJson = Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON document.")]


@dataclass(frozen=True)
class Invocation:
    """One call of the program: where its store lies and how it answers."""

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

    def place(self, url: str | None) -> CheckpointStore | Remote | Hub:
        """Open what a URL names to read from it; without one the store on this disk."""
        if url is None:
            return self.existing_store
        if url.startswith(addresses.HUB):
            from art.remote.hub import Hub

            return Hub.open(url)
        from art.remote.remote import Remote

        return Remote.open(url)

    def place_to_change(self, url: str | None) -> CheckpointStore | Remote:
        """Open what a URL names to change it; a repository of the Hub is only read."""
        if url and url.startswith(addresses.HUB):
            raise typer.BadParameter(f"{url} is read, never changed.")
        return cast("CheckpointStore | Remote", self.place(url))

    def local_address(self, text: str, command: str) -> addresses.ModelAddress:
        """Read a name for a command that knows no bucket; refuses one with a URL."""
        if addresses.SCHEME in text:
            bring = f"art fork {text} project/model" if text.startswith(addresses.HUB) else f"art pull {text}"
            raise typer.BadParameter(
                f"{text} does not lie on this disk, and `art {command}` works on this disk only. Bring it here first: "
                f"`{bring}`."
            )
        return self.address(text)

    def local_checkpoint(self, text: str, command: str) -> tuple[CheckpointStore, Checkpoint]:
        """Open what a name means for a command that knows no bucket: a step, or the newest."""
        from art.format.pick import pick_of

        address = self.local_address(text, command)
        store = self.existing_store
        return store, store.select(address.model, pick_of(step=address.step)).checkpoint

    def command(self, address: addresses.ModelAddress, *words: str) -> str:
        """Give a command about what an address names, to be copied: with the root where it needs one."""
        return shlex.join(["art", *words]) if address.url else command(self.root, *words)

    def address(self, text: str, *, project: str | None = None) -> addresses.ModelAddress:
        """Read what the user typed; `project` is what a bare name belongs to when nothing else says.

        What lies in a bucket has to say its project: the projects on this disk say nothing about it.
        """
        chosen = self.project or project
        needed = chosen is None and "/" not in text
        models = self.store.models() if needed and self.root.is_dir() else []
        return addresses.parse(text, project=chosen, models=models)


def settle(context: typer.Context, root: Path | None, project: str | None, as_json: bool) -> Invocation:
    """Combine the options before the command, which the context brings, with those after it."""
    outer = context.obj or Invocation(Path(found_root()))
    _refuse_what_is_no_path([root or outer.root, *context.params.values()])
    return Invocation(
        root=(root or outer.root).expanduser().absolute(),
        project=project or outer.project,
        as_json=as_json or outer.as_json,
    )


def _refuse_what_is_no_path(values: Iterable[object]) -> None:
    """Refuse a URL or an empty text for a file, a folder or the root.

    A URL would be a folder of that name on this disk, and a variable without a value the folder one is in. A path does
    not say any more that it was empty: the words say it that the program was called by.
    """
    for value in values:
        if isinstance(value, Path):
            is_empty = value == Path() and "" in sys.argv
            if problem := local_path_problem("" if is_empty else value):
                raise typer.BadParameter(problem)


def named_once(pairs: Iterable[tuple[str, T]], option: str) -> dict[str, T]:
    """Gather what a repeated option gives by name; raises `BadParameter` for a name that is given twice."""
    values: dict[str, T] = {}
    for name, value in pairs:
        if name in values:
            raise typer.BadParameter(f"{name} is given twice; give it once.", param_hint=option)
        values[name] = value
    return values
