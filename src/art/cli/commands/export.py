"""`art export`: a checkpoint as other programs load it, or a model's whole past into a tracker."""

from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from art.cli.completion import name_argument
from art.cli.invocation import AsJson, Invocation, Price, Project, Root, settle
from art.cli.render import output
from art.errors import NotFoundError

if TYPE_CHECKING:
    from art.local.exporting import Exported


class Form(Enum):
    """What is written into a folder."""

    ADAPTER = auto()
    MERGED = auto()
    GGUF = auto()


def export(
    context: typer.Context,
    model: Annotated[str, name_argument("MODEL[@STEP]", "With --to a whole MODEL.")],
    folder: Annotated[Path | None, typer.Argument(metavar="FOLDER", help="A new folder, or an empty one.")] = None,
    merge: Annotated[bool, typer.Option("--merge", metavar="", help="A whole model, the adapter merged in.")] = False,
    gguf: Annotated[bool, typer.Option("--gguf", metavar="", help="The merged model as one GGUF file.")] = False,
    base_model: Annotated[str | None, typer.Option(help="Where the base model lies, if not where it says.")] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="TRACKER", help="trackio, wandb, mlflow, tensorboard or jsonl.")
    ] = None,
    metrics_only: Annotated[bool, typer.Option("--metrics-only", metavar="", help="With --to: no rollouts.")] = False,
    price: Price = None,
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Write a checkpoint's adapter, a merged model, or that as GGUF, into a folder for other programs.

    With --to: write a model's whole past into a tracker, as a run of its own; a fork's with what it inherited.
    """
    invocation = settle(context, root, project, as_json)
    if (to is None) == (folder is None):
        raise typer.BadParameter("Name a FOLDER for a checkpoint, or --to TRACKER for a whole past.")
    if folder is None and (merge or gguf or base_model):
        raise typer.BadParameter("--merge, --gguf and --base-model belong to a FOLDER.")
    if folder is not None and (metrics_only or price is not None):
        raise typer.BadParameter("--metrics-only and --price belong to --to.")
    if base_model and not (merge or gguf):
        raise typer.BadParameter("--base-model belongs to --merge and --gguf.")
    if folder is not None:
        form = Form.GGUF if gguf else Form.MERGED if merge else Form.ADAPTER
        _export_folder(invocation, model, folder.absolute(), form=form, base_model=base_model)
    elif to is not None:
        _export_past(invocation, model, to, metrics_only=metrics_only, price=price)


def _export_folder(invocation: Invocation, model: str, folder: Path, *, form: Form, base_model: str | None) -> None:
    from art.local.exporting import export_adapter, export_merged

    store, checkpoint = invocation.local_checkpoint(model, "export")
    with output.working(f"writing {folder}"):
        if form is Form.ADAPTER:
            exported = export_adapter(store, checkpoint, folder)
        else:
            exported = export_merged(store, checkpoint, folder, base_model=base_model, gguf=form is Form.GGUF)
    if invocation.as_json:
        output.print_json(_folder_document(str(checkpoint.ref), folder, exported))
    else:
        output.print_lines(_folder_lines(str(checkpoint.ref), folder, exported))


def _folder_document(ref: str, folder: Path, exported: "Exported") -> dict[str, object]:
    merged = exported.merged
    about = {"dtype": merged.dtype, "layers": merged.layers, "lost": merged.lost} if merged else None
    return {
        "ref": ref,
        "folder": str(folder),
        "size_bytes": exported.size_bytes,
        "merged": about,
        "gguf": exported.is_gguf,
    }


def _folder_lines(ref: str, folder: Path, exported: "Exported") -> list[str]:
    from art.cli.render import wording

    what = f"a {exported.merged.dtype} model" if exported.merged else "an adapter"
    what += " in GGUF" if exported.is_gguf else ""
    lines = [f"{ref} -> {folder}: {what}, {wording.size(exported.size_bytes)}"]
    if exported.merged and exported.merged.lost > 0:
        lines.append(f"  rounding to {exported.merged.dtype} took {exported.merged.lost:.1%} of the update")
    return lines


def _export_past(invocation: Invocation, model: str, to: str, *, metrics_only: bool, price: float | None) -> None:
    from art.cli.render import wording
    from art.format import layout
    from art.ops.telling import Teller, TrackerReport
    from art.track.known import maker

    address, store = invocation.local_address(model, "export"), invocation.existing_store
    if address.ref:
        raise typer.BadParameter(f"A whole past is written; leave the step out: {address.model}.")
    make = maker(to, store.root / layout.TRACKERS)
    report = TrackerReport(to, make, has_rollouts=not metrics_only)
    teller = Teller(store, report)
    try:
        with output.working(f"telling {to} of {address.model}"):
            told = teller.tell(address.model, again=True, price=price)
    finally:
        teller.close()
    if not told.points:
        raise NotFoundError(f"There is no history of {address.model} below {store.root}.")
    if invocation.as_json:
        counts = {"points": told.points, "inherited": told.inherited, "rollouts": told.rollouts}
        output.print_json({"model": str(address.model), "tracker": to, "run": told.run, **counts})
        return
    inherited = f", {told.inherited} of them from before the fork" if told.inherited else ""
    groups = f", and {wording.count(told.rollouts, 'group')} of rollouts" if told.rollouts else ""
    points = wording.count(told.points, "point")
    output.print_lines([f"{address.model} -> {to}, run {told.run}: {points}{inherited}{groups}."])
