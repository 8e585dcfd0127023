"""`art certify`: proves that a script of another trainer resumes exactly, or names what differs."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from art.cli.invocation import AsJson, Project, Root, settle
from art.cli.render import output


def certify(
    context: typer.Context,
    command: Annotated[
        str, typer.Argument(metavar="COMMAND", help="As in 'python train.py --out {out} --resume {resume}'.")
    ],
    at: Annotated[int, typer.Option("--at", min=1, metavar="STEP", help="The step that is resumed from.")],
    end: Annotated[int, typer.Option("--end", min=2, metavar="STEP", help="The step that every run ends at.")],
    work: Annotated[
        Path | None, typer.Option("--work", metavar="FOLDER", help="A new folder to run in, which stays.")
    ] = None,
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Run a script whole, again, resumed in a new process, and from its weights alone; compare what it saved.

    Every tensor and every logged figure is compared; nothing is unpickled. {resume} is empty where a run begins.
    """
    from art.cli.render import certify as render
    from art.ops.certify import ResumedScript, certify, ignored

    invocation = settle(context, root, project, as_json)
    script = ResumedScript(command=command, at=at, end=end)
    with tempfile.TemporaryDirectory(prefix="art-certify-") as temporary:
        folder = work.absolute() if work else Path(temporary)
        certificate = certify(script, folder, told=ignored if invocation.as_json else output.say)
    if invocation.as_json:
        output.print_json(render.document(certificate))
    else:
        output.print_lines(render.lines(certificate))
    if not certificate.is_state_exact:
        raise typer.Exit(1)
