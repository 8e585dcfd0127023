"""`art serve` and `art chat`: a committed checkpoint answers, to programs or to the person at this terminal."""

import secrets
import signal
import sys
import threading
from typing import TYPE_CHECKING, Annotated, Any

import typer

from art.cli.completion import name_argument
from art.cli.invocation import AsJson, Project, Root, settle
from art.cli.render import output

if TYPE_CHECKING:
    from art.store.checkpoint import Checkpoint
    from art.store.store import CheckpointStore

BaseModel = Annotated[str | None, typer.Option(help="Where the base model lies, if not where it says.")]


def serve(
    context: typer.Context,
    checkpoint: Annotated[str, name_argument("MODEL[@STEP]", "The newest without a step.")],
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 0,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    key: Annotated[str | None, typer.Option(help="What requests carry [a random one].")] = None,
    base_model: BaseModel = None,
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Serve a committed checkpoint to OpenAI's clients until Ctrl-C. Changes nothing.

    It prints the address and the key. Other steps of the model answer as NAME@STEP.
    """
    from art.http.server import Listen
    from art.local.serving import serve_checkpoint

    invocation = settle(context, root, project, as_json)
    store, chosen = invocation.local_checkpoint(checkpoint, "serve")
    listen = Listen(key=key or secrets.token_urlsafe(24), host=host, port=port)
    with output.working(f"loading the base of {chosen.ref} ..."):
        serving = serve_checkpoint(store, chosen, base_model=base_model, listen=listen)
        door = serving.__enter__()
    try:
        told = {"ref": str(door.ref), "base_url": door.base_url, "api_key": door.key, "model": door.model}
        if invocation.as_json:
            output.print_json(told)
        else:
            output.print_lines([
                output.whole(f"{door.ref} answers at {door.base_url}"),
                output.whole(f"  model={door.model}  api_key={door.key}"),
                "Ctrl-C ends it.",
            ])  # fmt: skip
        sys.stdout.flush()
        _wait_for_interrupt()
    finally:
        serving.__exit__(None, None, None)
    output.say(f"{door.ref} is not served any more.")


def chat(
    context: typer.Context,
    checkpoint: Annotated[str, name_argument("MODEL[@STEP]", "The newest without a step.")],
    prompt: Annotated[str | None, typer.Option("--prompt", "-p", help="Ask this and end.")] = None,
    system: Annotated[str | None, typer.Option(help="A system message.")] = None,
    as_trained: Annotated[
        bool, typer.Option("--as-trained", metavar="", help="Begin with the messages that its rollouts began with.")
    ] = False,
    temperature: Annotated[float, typer.Option(min=0, max=2, help="0 takes the likeliest token.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="The longest answer.")] = 512,
    seed: Annotated[int | None, typer.Option(help="The same answer again.")] = None,
    base_model: BaseModel = None,
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Talk to a committed checkpoint. Changes nothing.

    Without --prompt each line is a turn of one conversation, from the terminal or a pipe, until Ctrl-D.
    """
    from art.cli.talk import Answering, Talk
    from art.local.serving import serve_checkpoint

    invocation = settle(context, root, project, as_json)
    if invocation.as_json and prompt is None:
        raise typer.BadParameter("--json belongs to --prompt.")
    if as_trained and system is not None:
        raise typer.BadParameter("--as-trained says the system message that was trained with; leave out --system.")
    store, chosen = invocation.local_checkpoint(checkpoint, "chat")
    told = [{"role": "system", "content": system}] if system else []
    before = _opening(store, chosen, as_trained) if system is None else told
    with output.working(f"loading the base of {chosen.ref} ..."):
        serving = serve_checkpoint(store, chosen, base_model=base_model)
        door = serving.__enter__()
    try:
        answering = Answering(temperature=temperature, max_tokens=max_tokens, seed=seed)
        talk = Talk(door, answering, before=before)
        if prompt is None:
            talk.go_on()
        elif invocation.as_json:
            output.print_json({"ref": str(door.ref), "prompt": prompt, **talk.whole(prompt)})
        else:
            talk.ask(prompt)
    finally:
        serving.__exit__(None, None, None)


def _opening(store: "CheckpointStore", chosen: "Checkpoint", as_trained: bool) -> "list[Any]":
    """Give the messages that its rollouts began with, or say that they began so."""
    from art.cli.render import wording
    from art.errors import CorruptCheckpointError
    from art.ops.openings import find_opening

    try:
        opening = find_opening(store, chosen)
    except CorruptCheckpointError:
        if as_trained:
            raise
        return []
    if as_trained and opening is None:
        output.say(f"No rollouts say what {chosen.ref} was asked with; the conversation begins with nothing.")
    if opening is None or as_trained:
        return list(opening.messages) if opening else []
    first = opening.messages[0]
    words = f"{first.get('role')}: {' '.join(str(first.get('content')).split())}"
    output.say(
        f"The rollouts of {opening.ref} began with {wording.count(len(opening.messages), 'message')}, and this "
        f"conversation does not; --as-trained begins so: {words if len(words) < 80 else words[:79] + '…'}"
    )
    return []


def _wait_for_interrupt() -> None:
    """Wait for Ctrl-C, or for a supervisor's SIGTERM."""
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    while not over.wait(1.0):
        pass
