"""`art commit` and `art checkout`: a folder of another trainer into the store, and out of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from art.cli.completion import name_argument
from art.cli.invocation import AsJson, Project, Root, named_once, settle
from art.cli.render import output

if TYPE_CHECKING:
    from art.ops.folders import Committed


def commit(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What a trainer wrote, as in out/checkpoint-500.")],
    name: Annotated[str, name_argument("MODEL@STEP", "Where it belongs; it continues the model's newest step.")],
    metrics: Annotated[
        list[str] | None, typer.Option("--metric", metavar="NAME=VALUE", help="What it was measured with; repeatable.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind", help="hf-trainer, accelerate, verl, lightning, prime-rl, dcp, files; told by the files."
        ),
    ] = None,
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Keep a checkpoint of another trainer. Its folder stays as it is; its files are never loaded."""
    from art.cli.render import wording
    from art.ops.folders import commit_folder

    invocation = settle(context, root, project, as_json)
    address = invocation.local_address(name, "commit")
    if address.ref is None:
        raise typer.BadParameter(f"{name} names no step; write {address.model}@500.")
    measured = named_once(map(_metric, metrics or ()), "--metric")
    with output.working(f"committing {folder}"):
        committed = commit_folder(invocation.store, folder, address.ref, kind=kind, metrics=measured)
    manifest = committed.checkpoint.manifest
    if invocation.as_json:
        output.print_json(_document(committed))
        return
    if committed.problem:
        output.say(f"{address.ref}: {committed.problem}", style="yellow")
    if committed.repeated:
        then = "what was measured is in the history" if measured else "nothing changed"
        output.print_lines([f"{address.ref} was committed before, with these files; {then}."])
        return
    files = wording.count(len(manifest.files), "file")
    parent = f", after step {manifest.parent.step}" if manifest.parent else ""
    output.print_lines([f"{address.ref}  {manifest.kind}, {files}, {wording.size(manifest.size_bytes)}{parent}"])


def _document(committed: "Committed") -> dict[str, Any]:
    checkpoint = committed.checkpoint
    manifest = checkpoint.manifest
    return {
        "ref": str(checkpoint.ref),
        "digest": checkpoint.digest,
        "repeated": committed.repeated,
        "kind": manifest.kind,
        "files": len(manifest.files),
        "size_bytes": manifest.size_bytes,
        "shared_bytes": committed.shared_bytes,
        "copied_bytes": committed.copied_bytes,
        "problem": committed.problem or None,
    }


def checkout(
    context: typer.Context,
    name: Annotated[str, name_argument("MODEL[@STEP]", "The newest step, if none is named.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder, or an empty one.")],
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Write a checkpoint's files into a folder of your own, every digest checked."""
    from art.cli.render import wording
    from art.ops.folders import checkout as write_out

    invocation = settle(context, root, project, as_json)
    _, checkpoint = invocation.local_checkpoint(name, "checkout")
    with output.working(f"writing {folder}"):
        size_bytes = write_out(checkpoint, folder.absolute())
    if invocation.as_json:
        output.print_json({"ref": str(checkpoint.ref), "folder": str(folder.absolute()), "size_bytes": size_bytes})
        return
    files = wording.count(len(checkpoint.manifest.files), "file")
    output.print_lines([f"{checkpoint.ref} -> {folder}: {files}, {wording.size(size_bytes)}"])


def _metric(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    if equals and not name.strip():
        raise typer.BadParameter(f"{text!r} has no name; write reward=0.5.")
    try:
        return name, float(value)
    except ValueError:
        pass
    raise typer.BadParameter(f"{text!r} is no metric; write reward=0.5." if equals else f"{text!r} has no value.")
