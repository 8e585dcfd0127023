"""`art push`: copies checkpoints to a bucket."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from art.cli import addresses
from art.cli.completion import name_argument
from art.cli.invocation import AsJson, Project, Root, settle
from art.cli.render import output

if TYPE_CHECKING:
    from art.cli.addresses import Address
    from art.remote.remote import Pushed
    from art.store.checkpoint import Checkpoint
    from art.store.store import CheckpointStore


def push(
    context: typer.Context,
    what: Annotated[str, name_argument("MODEL[@STEP]", "Every step, if none is named.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="As in s3://bucket/prefix.")],
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Copy checkpoints to a bucket. Pushing again completes what was interrupted; nothing there is replaced."""
    from art.remote.remote import Remote

    invocation = settle(context, root, project, as_json)
    if addresses.BETWEEN in url:
        raise typer.BadParameter(f"A push keeps the model's name; write {url.partition(addresses.BETWEEN)[0]}.")
    store, address = invocation.existing_store, invocation.address(what)
    if address.url:
        raise typer.BadParameter(f"{what} lies in a bucket already; art pull brings it here.")
    checkpoints = _named(store, address)
    remote = Remote.open(url)
    pushed: list[Pushed] = []
    for checkpoint in checkpoints:
        with output.byte_bar(f"pushing {checkpoint.ref}") as show:
            pushed.append(remote.push(checkpoint, progress=show))
        if not invocation.as_json:
            output.print_lines([_line(pushed[-1])])
    remote.push_history(store, address.model)
    if invocation.as_json:
        output.print_json({"url": str(remote), "pushed": _document(pushed)})


def _named(store: "CheckpointStore", address: "Address") -> "list[Checkpoint]":
    if address.ref:
        return [store.open(address.ref)]
    store.select(address.model)  # says so when there is none
    return [store.open(address.model.at(step)) for step in store.steps(address.model)]


def _line(pushed: "Pushed") -> str:
    from art.cli.render import wording

    there = f", {wording.size(pushed.there_bytes)} were there" if pushed.there_bytes else ""
    return f"{pushed.ref}  {wording.moved('sent', pushed.sent_bytes, pushed.seconds)}{there}"


def _document(pushed: "Iterable[Pushed]") -> list[dict[str, object]]:
    return [
        {
            "ref": str(one.ref),
            "url": one.url,
            "digest": one.digest,
            "sent_bytes": one.sent_bytes,
            "there_bytes": one.there_bytes,
            "seconds": round(one.seconds, 6),
        }
        for one in pushed
    ]
