"""The commands and their options. Holds no work of its own: each module beside this one does one kind."""

from __future__ import annotations

from typing import Annotated

import typer

from art.cli.commands import changing, checking, looking, moving
from art.cli.session import AsJson, Project, Root, settle, with_session

app = typer.Typer(
    help="Checkpoints that fork like branches: look at them, fork, rewind, check and move them.",
    epilog="A checkpoint is written project/model@500; a model is project/model, "
    "or just its name where there is one project. In a bucket: s3://bucket/prefix::project/model@500.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # rich's panels would double the time that --help takes.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

COMMANDS = {
    "log": looking.log,
    "show": looking.show,
    "verify": checking.verify,
    "fork": changing.fork,
    "rewind": changing.rewind,
    "rm": changing.remove,
    "gc": changing.collect,
    "push": moving.push,
    "pull": moving.pull,
}
for name, function in COMMANDS.items():
    app.command(name)(with_session(function))


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"artfork {version('artfork')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
    _version: Annotated[
        bool, typer.Option("--version", metavar="", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Settle the options that stand before the command."""
    context.obj = settle(None, root, project, as_json)
