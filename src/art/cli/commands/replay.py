"""`art replay`: takes a recorded step again and names the first thing that differs."""

from typing import Annotated

import typer

from art.cli.completion import name_argument
from art.cli.invocation import AsJson, Project, Root, settle
from art.cli.render import output

DIFFERS, IMPOSSIBLE = 3, 1


def replay(
    context: typer.Context,
    checkpoint: Annotated[str, name_argument("MODEL@STEP", "The newest without a step.")],
    base_model: Annotated[str | None, typer.Option(help="Where the base model lies, if not where it says.")] = None,
    keep: Annotated[bool, typer.Option(help="Store a certificate when everything is the same.")] = True,
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Take the step that led to a checkpoint again, and compare bit for bit.

    It trains the recorded groups from the parent, with the recorded settings and as many threads, and names the first
    thing that differs. Of a fork it compares the files with the source's. Exit status 3 when something differs, and 1
    when the step cannot be taken again.
    """
    from art.cli.render import replay as render
    from art.cli.render import wording
    from art.local.replay import replay as take_again
    from art.ops.replay import ReplayOutcome, certify

    invocation = settle(context, root, project, as_json)
    address, store = invocation.local_address(checkpoint, "replay"), invocation.existing_store
    ref = address.ref or store.select(address.model).checkpoint.ref
    started_s = wording.clock_s()
    with output.working(f"taking the step to {ref} again ..."):
        outcome = take_again(store.root, ref, base_model=base_model)
    certificate = certify(store, outcome) if keep else None
    if invocation.as_json:
        output.print_json(render.document(outcome, certificate))
    else:
        output.print_lines(render.lines(outcome, wording.clock_s() - started_s))
    if outcome.outcome is not ReplayOutcome.SAME:
        raise typer.Exit(DIFFERS if outcome.outcome is ReplayOutcome.DIFFERS else IMPOSSIBLE)
