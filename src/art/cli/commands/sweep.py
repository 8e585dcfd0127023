"""`art sweep`: a branch for each combination of settings, each trained by a script of the user's."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from art.cli.completion import name_argument
from art.cli.invocation import AsJson, Invocation, Project, Root, named_once, settle
from art.cli.render import output

if TYPE_CHECKING:
    from art.branches import Executor
    from art.branches.task import Task


Script = Annotated[Path, typer.Option("--script", metavar="FILE", help="A program in Python that trains a branch.")]
Axes = Annotated[
    list[str], typer.Option("--set", metavar="NAME=VALUE,VALUE", help="What to vary; repeat it for combinations.")
]
Arguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="-- ARGUMENT...", help="For the script; {model}, {root} and {NAME} stand for values."),
]
Where = Annotated[str, typer.Option("--executor", metavar="processes|ray", help="Where scripts run.")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Scripts at a time, with processes.")]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="Of each script; those of the checkpoint, if left out.")
]
Gpus = Annotated[float, typer.Option("--gpus", min=0, help="Of each script, with ray.")]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="The budget of a branch, from the fork on.")]
Tokens = Annotated[int | None, typer.Option("--tokens", min=1, help="The same, in trained tokens.")]
Seconds = Annotated[float | None, typer.Option("--seconds", min=0.001, help="The same, in seconds.")]
Bucket = Annotated[str | None, typer.Option("--remote", metavar="URL", help="A bucket to mirror to.")]
Logs = Annotated[Path | None, typer.Option("--logs", metavar="FOLDER", help="Keeps what scripts print.")]
DryRun = Annotated[bool, typer.Option("--dry-run", metavar="", help="Only say what would be done.")]


def sweep(
    context: typer.Context,
    source: Annotated[str, name_argument("MODEL[@STEP]", "The checkpoint that all branches begin with.")],
    script: Script,
    settings: Axes,
    arguments: Arguments = None,
    executor: Where = "processes",
    workers: Workers = 1,
    threads: Threads = None,
    gpus: Gpus = 0,
    steps: Steps = None,
    tokens: Tokens = None,
    seconds: Seconds = None,
    remote: Bucket = None,
    logs: Logs = None,
    dry_run: DryRun = False,
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Fork a branch for each combination of settings and let a script train it. Repeated, each branch goes on."""
    from art.branches.many import plan_tasks
    from art.branches.task import Budget
    from art.branches.variants import combinations

    invocation = settle(context, root, project, as_json)
    start = invocation.local_address(source, "sweep")
    if not script.is_file():
        raise typer.BadParameter(f"There is no file {script}.", param_hint="--script")
    chosen = _executor(executor, workers=workers, gpus=gpus, logs=logs)
    backend: dict[str, Any] = {"path": str(invocation.existing_store.root), "deterministic": True}
    tasks = plan_tasks(
        str(start),
        combinations(named_once(map(_axis, settings), "--set")),
        backend=backend if remote is None else {**backend, "remote": remote},
        budget=Budget(steps=steps, tokens=tokens, seconds=seconds),
        threads=threads,
        any_kind=True,
    )
    _run(invocation, tasks, None if dry_run else chosen, [str(script), *(arguments or ())])


def _run(invocation: Invocation, tasks: "list[Task]", executor: "Executor | None", command: list[str]) -> None:
    """Let scripts train, and tell what came of it; without an executor only what would be done."""
    import asyncio

    from art.branches.many import run_tasks
    from art.branches.stopping import until_stopped
    from art.branches.work import Script
    from art.cli.render import sweep as render

    if executor is None:
        _tell(invocation.as_json, render.plan_document(tasks), render.plan_lines(tasks))
        return
    report = asyncio.run(until_stopped(run_tasks(tasks, Script(command[0], tuple(command[1:])), executor=executor)))
    _tell(invocation.as_json, render.document(report), render.lines(report, root=invocation.root))
    if report.failed:
        raise typer.Exit(1)


def _tell(as_json: bool, document: dict[str, Any], lines: Any) -> None:
    if as_json:
        output.print_json(document)
    else:
        output.print_lines(lines)


def _executor(name: str, *, workers: int, gpus: float, logs: Path | None) -> "Executor":
    from art.branches.processes import Processes
    from art.branches.ray import Ray

    if name == "processes":
        return Processes(workers=workers, logs=logs)
    if name == "ray":
        return Ray(gpus=gpus)
    raise typer.BadParameter(f"{name} is no executor; it is processes or ray.", param_hint="--executor")


def _axis(text: str) -> tuple[str, list[Any]]:
    """Read `learning_rate=1e-5,5e-6`; a value is JSON where it can be, and text otherwise."""
    name, is_set, values = text.partition("=")
    if not is_set or not name or not values:
        raise typer.BadParameter(f"{text!r} sets nothing; write NAME=VALUE,VALUE.", param_hint="--set")
    return name, [_value(value) for value in values.split(",")]


def _value(text: str) -> Any:
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text
