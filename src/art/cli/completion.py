"""What the shell is offered for a name: models, and after an @ the steps of one.

Only of this disk: a Tab waits for no server.
"""

import io
import os
import re
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from art.store.store import CheckpointStore

CUT_AT = "@:="
"""Where bash cuts a word into several."""


def name_argument(metavar: str | None, explanation: str | None = None) -> Any:
    """Make the argument of a command that names a model or a checkpoint."""
    return typer.Argument(metavar=metavar, help=explanation, autocompletion=complete_name)


def complete_name(context: typer.Context, incomplete: str) -> list[str]:
    """Offer models, or steps of the model before the @; nothing where they cannot be listed."""
    from art.errors import ArtError
    from art.program import found_root
    from art.store.store import CheckpointStore

    named = context.params.get("root") or (context.parent and context.parent.params.get("root"))
    store = CheckpointStore(named or found_root())
    try:
        return _steps(store, incomplete) if "@" in incomplete else _models(store, incomplete)
    except ArtError:
        return []


def _models(store: "CheckpointStore", incomplete: str) -> list[str]:
    models = store.models()
    bare = [model.name for model in models] if incomplete and "/" not in incomplete else []
    return [*map(str, models), *(name for name in bare if bare.count(name) == 1)]


def _steps(store: "CheckpointStore", incomplete: str) -> list[str]:
    name = incomplete.rpartition("@")[0]
    named = [model for model in store.models() if name in (str(model), model.name)]
    return [f"{name}@{step}" for step in reversed(store.steps(named[0]))] if len(named) == 1 else []


def answer_bash(run: "Callable[[], None]") -> None:
    """Answer bash, which cuts `shop/agent-1@5` into three words and wants only the last of them completed."""
    words, at = _joined(os.environ["COMP_WORDS"].split("\n"), int(os.environ["COMP_CWORD"]))
    os.environ |= {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(at)}
    current = words[at] if at < len(words) else ""
    before = max(current.rfind(character) for character in CUT_AT) + 1
    answer = io.StringIO()
    try:
        with redirect_stdout(answer):
            run()
    finally:
        sys.stdout.write("\n".join(line[before:] for line in answer.getvalue().splitlines()))


def _joined(pieces: list[str], at: int) -> tuple[list[str], int]:
    """Join the pieces of cut words again; gives the words and the place of the one that holds piece `at`."""
    words: list[str] = []
    place = 0
    for number, piece in enumerate(pieces):
        is_cut = re.fullmatch(f"[{CUT_AT}]+", piece) or (words and number and re.fullmatch(f".*[{CUT_AT}]", words[-1]))
        if is_cut and words and piece:
            words[-1] += piece
        else:
            words.append(piece)
        if number == at:
            place = len(words) - 1
    return words, place
