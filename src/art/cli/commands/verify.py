"""`art verify`: reads every byte again and repairs, or trains on to prove that continuing is exact.

Exit status 1 when something is wrong and stays wrong.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from art.cli import addresses
from art.cli.completion import complete_name
from art.cli.invocation import AsJson, Invocation, Project, Root, settle
from art.cli.render import output

if TYPE_CHECKING:
    from art.ops.verify import StepReport


What = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL[@STEP]",
        autocompletion=complete_name,
        help="Everything in the root, if none; or a bucket's URL.",
    ),
]
AsRepair = Annotated[
    bool, typer.Option("--repair", metavar="", help="Bring what is damaged again; the damaged folder is set aside.")
]
Source = Annotated[
    str | None,
    typer.Option("--from", metavar="URL", help="Bucket to repair from, beside this root and the place itself."),
]
AsSignature = Annotated[
    bool, typer.Option("--signature", metavar="", help="Check that each is signed by the holder of --key.")
]
Key = Annotated[
    Path | None, typer.Option("--key", metavar="FILE", exists=True, dir_okay=False, help="Public key, for --signature.")
]
AsContinuation = Annotated[
    bool, typer.Option("--continuation", metavar="", help="Train on from here in three ways and compare the bits.")
]
BaseModel = Annotated[str | None, typer.Option(help="Where the base model lies, if not where it says.")]
Keep = Annotated[bool, typer.Option("--keep", metavar="", help="Store the verdict beside the checkpoint.")]


def verify(
    context: typer.Context,
    what: What = None,
    repair: AsRepair = False,
    source: Source = None,
    signature: AsSignature = False,
    key: Key = None,
    continuation: AsContinuation = False,
    base_model: BaseModel = None,
    keep: Keep = False,
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Check every digest, who signed, or that a fork continues bit for bit.

    Names each file that is not what its manifest says, with what was expected and found. With --repair each is brought
    again, from whatever here or in the bucket of --from holds the same bytes. With --continuation it trains on from
    the checkpoint: never stopped, forked, and from the weights alone. Exit status 1 when something is wrong.
    """
    invocation = settle(context, root, project, as_json)
    if not continuation and (keep or base_model is not None):
        raise typer.BadParameter("--base-model and --keep belong to --continuation.")
    if source is not None and not repair:
        raise typer.BadParameter("--from belongs to --repair.")
    if (key is None) == signature:
        raise typer.BadParameter("--signature and --key belong together.")
    if continuation and (repair or signature):
        raise typer.BadParameter("--repair and --signature do not go with --continuation.")
    if signature and what and what.startswith(addresses.HUB):
        raise typer.BadParameter(f"{what} is read as another program's, and has no signatures.")
    if repair and what and what.startswith(addresses.HUB):
        raise typer.BadParameter(f"{what} is read, never changed.")
    if continuation:
        _verify_continuation(invocation, what, base_model, keep)
        return
    reports = _reports(invocation, what)
    reports = _repaired(invocation, what, reports, source) if repair else reports
    _tell(invocation, _signed(invocation, what, reports, key) if key is not None else reports)


def _signed(invocation: Invocation, what: str | None, reports: "list[StepReport]", key: Path) -> "list[StepReport]":
    from art.ops.signing import check_signatures

    with output.working("checking signatures ..."):
        return check_signatures(invocation.place_to_change(_url_of(invocation, what)), reports, key)


def _repaired(
    invocation: Invocation, what: str | None, reports: "list[StepReport]", source: str | None
) -> "list[StepReport]":
    from art.ops.repair import repair_all
    from art.ops.repair_there import Helpers, repair_all_there
    from art.remote.remote import Remote

    remote, url = Remote.open(source) if source is not None else None, _url_of(invocation, what)
    with output.byte_bar("repairing") as show:
        if url is None:
            return repair_all(invocation.existing_store, reports, remote=remote, progress=show)
        store = invocation.store if invocation.root.is_dir() else None
        helpers = Helpers(store=store, remote=remote)
        return repair_all_there(Remote.open(url), reports, helpers, progress=show)


def _url_of(invocation: Invocation, what: str | None) -> str | None:
    """Give the bucket that is asked about; None for this disk."""
    return what if what is None or addresses.is_place(what) else invocation.address(what).url


def _tell(invocation: Invocation, reports: "list[StepReport]") -> None:
    from art.cli.render import verify as render

    if invocation.as_json:
        output.print_json(render.document(reports))
    else:
        output.print_lines(render.lines(reports))
    if any(report.is_wrong for report in reports):
        raise typer.Exit(1)


def _reports(invocation: Invocation, what: str | None) -> "list[StepReport]":
    from art.ops.verify import require_steps, verify

    address = invocation.address(what) if what and not addresses.is_place(what) else None
    place = invocation.place(address.url if address else what)
    step = address.step if address else None
    if address:
        require_steps(place, address.model, step)
    with output.byte_bar("checking") as show:
        return verify(place, [address.model] if address else place.models(invocation.project), step=step, progress=show)


def _verify_continuation(invocation: Invocation, what: str | None, base_model: str | None, keep: bool) -> None:
    from art.cli.render import verify as render
    from art.cli.render import wording
    from art.local.continuation import verify_continuation

    if what is None:
        raise typer.BadParameter("--continuation needs a MODEL[@STEP] to continue from.")
    address, store = invocation.local_address(what, "verify --continuation"), invocation.existing_store
    ref = address.ref or store.select(address.model).checkpoint.ref
    started_s = wording.clock_s()
    with output.working(f"training on from {ref} in three ways ..."):
        verdict = verify_continuation(store.root, ref, base_model=base_model, keep=keep)
    if invocation.as_json:
        output.print_json(verdict.as_json())
    else:
        output.print_lines(render.verdict_lines(verdict, ref, wording.clock_s() - started_s))
    if not verdict.continues:
        raise typer.Exit(1)
