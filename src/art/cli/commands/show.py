"""`art show`: all that is known of a checkpoint. Changes nothing."""

from typing import Annotated

import typer

from art.cli.completion import name_argument
from art.cli.invocation import AsJson, Invocation, Project, Root, settle
from art.cli.render import output


def show(
    context: typer.Context,
    checkpoint: Annotated[str, name_argument("MODEL@STEP", "The newest without a step.")],
    rollouts: Annotated[bool, typer.Option("--rollouts", metavar="", help="What its weights answered.")] = False,
    split: Annotated[str, typer.Option(metavar="NAME", help="With --rollouts: of which split.")] = "train",
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Show all that is known of a checkpoint.

    Its manifest, its lineage, its files with their digests, and who has the same bytes. With --rollouts: its groups,
    the worst prompt first, and of all answers the best, the worst and the first malformed.
    """
    from art.cli.render import details, wording
    from art.format.pick import pick_of
    from art.ops.details import read_details

    invocation = settle(context, root, project, as_json)
    if rollouts:
        _show_rollouts(invocation, checkpoint, split)
        return
    address = invocation.address(checkpoint)
    place = invocation.place(address.url)
    opened = place.select(address.model, pick_of(step=address.step)).checkpoint
    known = read_details(place, opened)
    if invocation.as_json:
        output.print_json(details.document(known))
    else:
        output.print_lines(details.lines(known, now=wording.utc_now()))


def _show_rollouts(invocation: Invocation, text: str, split: str) -> None:
    from art.cli.render import conversation
    from art.errors import NotFoundError
    from art.format.pick import pick_of
    from art.ops import documents
    from art.ops.rollouts import read_rollouts, rollout_steps

    address, store = invocation.local_address(text, "show --rollouts"), invocation.existing_store
    recorded = rollout_steps(store.root, address.model.at(0), split)
    if not recorded:
        # A model that is not there is said to be not there.
        store.select(address.model, pick_of())
        raise NotFoundError(f"No rollouts of {split} were recorded for {address.model}.")
    step = address.step if address.step is not None else max(recorded)
    if step not in recorded:
        near = sorted(recorded, key=lambda other: abs(other - step))[:3]
        raise NotFoundError(
            f"No rollouts of {split} were recorded at {address.model}@{step}; steps nearby that have some: "
            f"{', '.join(map(str, sorted(near)))}."
        )
    ref = address.model.at(step)
    groups = read_rollouts(store.root, ref, split)
    if invocation.as_json:
        output.print_json(documents.rollouts_document(ref, split, groups))
        return
    output.print_lines([f"{ref}  {len(groups)} prompts, worst first; × is malformed"])
    output.print_lines([*conversation.group_lines(groups), *conversation.chosen_lines(groups)])
