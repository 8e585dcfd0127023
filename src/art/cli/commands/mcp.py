"""`art mcp`: the operations as tools for an agent that runs experiments."""

from typing import TYPE_CHECKING, Annotated

import typer

from art.cli.invocation import AsJson, Project, Root, settle
from art.cli.render import output

if TYPE_CHECKING:
    from art.tools.experiments import Experiments


def mcp(
    context: typer.Context,
    allow: Annotated[
        list[str] | None, typer.Option("--allow", metavar="WHAT", help="fork, rewind, pin or clean-up; repeatable.")
    ] = None,
    max_forks: Annotated[
        int, typer.Option("--max-forks", min=0, help="The budget of forks, over all servers of this root.")
    ] = 20,
    list_tools: Annotated[bool, typer.Option("--list", metavar="", help="Name the tools and end.")] = False,
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Serve the operations to an agent over the Model Context Protocol, on stdin and stdout.

    It reads unless something is allowed. A clean-up deletes in branches that agents began, and in no other.
    """
    from art.tools.experiments import Experiments
    from art.tools.server import make_server

    invocation = settle(context, root, project, as_json)
    experiments = Experiments(invocation.existing_store, allowed=tuple(allow or ()), max_forks=max_forks)
    if list_tools:
        _list(experiments, as_json=invocation.as_json)
    else:
        make_server(experiments).run("stdio")


def _list(experiments: "Experiments", *, as_json: bool) -> None:
    reading = [tool.__name__ for tool in experiments.reading]
    changing = [tool.__name__ for tool in experiments.changing]
    if as_json:
        output.print_json({"root": str(experiments.store.root), "reading": reading, "changing": changing})
    else:
        output.print_lines([f"reading   {', '.join(reading)}", f"changing  {', '.join(changing) or 'nothing'}"])
