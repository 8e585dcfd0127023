"""The program and the options that stand before a command. Holds no work of its own: each command is a module."""

from typing import Annotated

import typer

from art.cli.group import LazyGroup
from art.cli.invocation import AsJson, Project, Root, settle

app = typer.Typer(
    cls=LazyGroup,
    help="Checkpoints that fork like branches: look at them, fork, rewind, check and move them.",
    epilog="A checkpoint is written project/model@500; a model is project/model, "
    "or just its name where there is one project. In a bucket: s3://bucket/prefix::project/model@500.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # rich's panels would double the time that --help takes.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
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
    context.obj = settle(context, root, project, as_json)
