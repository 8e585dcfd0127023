"""`art ui`: the page over the tree, live or as one file."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from art.cli.invocation import AsJson, Price, Project, Root, settle
from art.cli.render import output

Rollouts = Literal["some", "all", "none"]
MOST_POINTS = 1000


def ui(
    context: typer.Context,
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 0,
    allow_fork: Annotated[bool, typer.Option("--allow-fork", metavar="", help="Let the page fork.")] = False,
    export: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the page into one HTML file.")] = None,
    rollouts: Annotated[Rollouts, typer.Option(help="Which rollouts a file brings along.")] = "some",
    points: Annotated[
        int, typer.Option(metavar="N", min=50, help="How many points of each curve a file brings along.")
    ] = MOST_POINTS,
    price: Price = None,
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Show the tree of branches, what went wrong and how to go on, in a browser on this machine.

    With --export the page becomes one file that needs no server. It holds prompts and answers.
    """
    from art.ui.desk import Desk
    from art.ui.server import serve, write_file

    invocation = settle(context, root, project, as_json)
    store = invocation.existing_store
    if export is not None:
        size_bytes = write_file(
            Desk(store, project=invocation.project, price=price), export, rollouts=rollouts, points=points
        )
        if invocation.as_json:
            output.print_json({"file": str(export), "size_bytes": size_bytes})
        else:
            _tell_file(export, size_bytes, rollouts)
        return
    serve(Desk(store, project=invocation.project, price=price), port=port, allow_fork=allow_fork, announce=_announce)
    output.say("The page is not served any more.")


def _tell_file(target: Path, size_bytes: int, rollouts: Rollouts) -> None:
    from art.cli.render import wording

    holds = (
        "no prompts and no answers" if rollouts == "none" else "prompts and answers; --rollouts none leaves them out"
    )
    output.print_lines([f"Wrote {target} ({wording.size(size_bytes)}). It holds {holds}."])


def _announce(address: str) -> None:
    output.print_lines([output.whole(f"The page is at {address}"), "Ctrl-C ends it."])
