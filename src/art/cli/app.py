"""The commands and the options that stand before them. Holds no work of its own: each command is a module."""

from typing import Annotated

import typer

from art.cli.commands import (
    certify,
    commit,
    data,
    diff,
    export,
    fork,
    gc,
    log,
    mcp,
    merge,
    pin,
    plan,
    pull,
    push,
    replay,
    rewind,
    rm,
    serve,
    show,
    sign,
    status,
    sweep,
    ui,
    verify,
    watch,
)
from art.cli.invocation import AsJson, Project, Root, settle

app = typer.Typer(
    help="Checkpoints that fork like branches: look at them, fork, rewind, check and move them.",
    epilog="A checkpoint is written project/model@500; a model is project/model, "
    "or just its name where there is one project. In a bucket: s3://bucket/prefix::project/model@500.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # rich's panels would double the time that --help takes.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

COMMANDS = {
    "log": log.log,
    "show": show.show,
    "status": status.status,
    "suggest": status.suggest,
    "diff": diff.diff,
    "serve": serve.serve,
    "chat": serve.chat,
    "ui": ui.ui,
    "mcp": mcp.mcp,
    "verify": verify.verify,
    "replay": replay.replay,
    "data": data.data,
    "sign": sign.sign,
    "fork": fork.fork,
    "sweep": sweep.sweep,
    "merge": merge.merge,
    "rewind": rewind.rewind,
    "rm": rm.remove,
    "gc": gc.collect,
    "pin": pin.pin,
    "unpin": pin.unpin,
    "push": push.push,
    "pull": pull.pull,
    "export": export.export,
    "commit": commit.commit,
    "checkout": commit.checkout,
    "watch": watch.watch,
    "certify": certify.certify,
    "plan": plan.plan,
}
for name, function in COMMANDS.items():
    app.command(name)(function)


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
