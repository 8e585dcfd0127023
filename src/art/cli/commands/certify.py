"""`art certify`: proves that a script of another trainer resumes exactly, or names what differs."""

import signal
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
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
    with _stopped_as_by_ctrl_c(), tempfile.TemporaryDirectory(prefix="art-certify-") as temporary:
        folder = work.absolute() if work else Path(temporary)
        certificate = certify(script, folder, told=ignored if invocation.as_json else output.say)
    if invocation.as_json:
        output.print_json(render.document(certificate))
    else:
        output.print_lines(render.lines(certificate))
    if not certificate.is_state_exact:
        raise typer.Exit(1)


@contextmanager
def _stopped_as_by_ctrl_c() -> Generator[None]:
    """Let SIGTERM and SIGHUP end the script that runs, and remove what it wrote; `nohup` passes over SIGHUP."""

    def stop(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    numbers = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is signal.SIG_DFL]
    for each in numbers:
        signal.signal(each, stop)
    try:
        yield
    finally:
        for each in numbers:
            signal.signal(each, signal.SIG_DFL)
