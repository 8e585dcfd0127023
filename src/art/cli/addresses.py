"""What a user types for a model or a checkpoint: `agent-1`, `shop/agent-1@500`, `s3://bucket/prefix::shop/agent-1@500`,
`hf://organisation/repository@revision`.

Parses and completes names; opens nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from art.errors import InvalidNameError
from art.names import BETWEEN, CheckpointRef, ModelRef, split_step

SCHEME = "://"
HUB = "hf://"
PATHS = ("/", "./", "../", "~/")
"""How a path begins, and no name does."""


@dataclass(frozen=True)
class ModelAddress:
    """A model, or one step of it, on this disk or below a remote's URL."""

    url: str | None
    model: ModelRef
    step: int | None

    @property
    def ref(self) -> CheckpointRef | None:
        return None if self.step is None else self.model.at(self.step)

    def __str__(self) -> str:
        name = str(self.ref or self.model)
        if self.url and self.url.startswith(HUB):
            return self.url
        return f"{self.url}{BETWEEN}{name}" if self.url else name


def parse(text: str, *, project: str | None = None, models: Sequence[ModelRef] = ()) -> ModelAddress:
    """Read an address; a bare name belongs to `project`, to the one project of `models`, or to the one that has it.

    A repository of the Hub is its one model: `hf://organisation/repository@revision`.
    Raises `InvalidNameError` when it is not clear which is meant.
    """
    url, between, rest = text.rpartition(BETWEEN)
    if text.startswith(HUB):
        repository = text.removeprefix(HUB).partition("@")[0]
        if repository.count("/") != 1:
            raise InvalidNameError(f"{text!r} names no repository; write hf://organisation/repository@revision.")
        return ModelAddress(text, ModelRef.parse(repository), None)
    if SCHEME in text and not between:
        raise InvalidNameError(f"{text!r} names no model; write {text.rstrip('/')}{BETWEEN}project/model@500.")
    if rest.startswith(PATHS):
        raise InvalidNameError(f"{rest!r} is a path, where project/model belongs; --root names another root.")
    name, step = split_step(rest)
    return ModelAddress(url or None, _model(name, project, models), step)


def split_range(text: str) -> tuple[str, int | None, int | None]:
    """Split `anything@6..10` into the text before the @ and both ends; `@6` has one step, `@6..` no end, no @ neither.

    Raises `InvalidNameError`.
    """
    before, at, steps = text.rpartition("@")
    first, dots, last = steps.partition("..")
    if not at or not dots:
        name, step = split_step(text)
        return name, step, step
    ends = [None if end == "" else split_step(f"{before}@{end}")[1] for end in (first, last)]
    if ends == [None, None] or (None not in ends and cast("int", ends[0]) > cast("int", ends[1])):
        raise InvalidNameError(f"{steps!r} in {text!r} is no range of steps; write 6..10, 6.. or ..10.")
    return before, ends[0], ends[1]


def is_place(text: str) -> bool:
    """Tell whether a text names a whole bucket, and no model in it."""
    return SCHEME in text and BETWEEN not in text and not text.startswith(HUB)


def _model(name: str, project: str | None, models: Sequence[ModelRef]) -> ModelRef:
    if "/" in name:
        return ModelRef.parse(name)
    projects = [project] if project else sorted({model.project for model in models})
    if len(projects) == 1:
        return ModelRef(projects[0], name)
    named = [model for model in models if model.name == name]
    if len(named) == 1:
        return named[0]
    known = f"; there are {', '.join(projects)}" if projects else ""
    raise InvalidNameError(f"{name!r} does not say which project{known}. Write project/{name}, or give --project.")
