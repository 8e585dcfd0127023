"""What a backend and its ranks say to each other: a line of JSON each way.

The ranks are our own children, and what they are sent was checked before. Knows no tensor and no process.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter

from art import errors
from art.config import TrainConfig, TrainSFTConfig
from art.errors import ArtError, ConfigurationError, RankError
from art.train.prepare import Prepared
from art.train.supervised import Lesson

Config = TypeVar("Config", TrainConfig, TrainSFTConfig)
FUNCTION = "function"
_PREPARED, _LESSON = TypeAdapter(Prepared), TypeAdapter(Lesson)


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What every rank begins with."""

    base_model: str
    device: str
    dtype: str
    threads: int
    """The same number as one process has: sums are split by it."""
    lora: dict[str, Any]
    seed: int


def as_line(message: Mapping[str, Any]) -> bytes:
    """Write a message; Python's JSON keeps every float to the bit, and NaN."""
    return json.dumps(message).encode() + b"\n"


def packed(value: Prepared | Lesson | Opening) -> dict[str, Any]:
    """Give a value's fields as JSON has them."""
    return asdict(value)


def prepared_of(fields: Any) -> Prepared:
    return _PREPARED.validate_python(fields)


def lesson_of(fields: Any) -> Lesson:
    return _LESSON.validate_python(fields)


def settings_of(config: TrainConfig | TrainSFTConfig) -> dict[str, Any]:
    """Give a config's settings; a loss of the user's own goes by its name.

    Raises `ConfigurationError` for a function that another process cannot import.
    """
    settings = config.model_dump(mode="json")
    if isinstance(config, TrainConfig) and callable(config.loss):
        settings["loss"] = {FUNCTION: _name_of(config.loss)}
    return settings


def config_of(kind: type[Config], settings: dict[str, Any]) -> Config:
    """Make the config again."""
    loss = settings.get("loss")
    if isinstance(loss, dict):
        settings = {**settings, "loss": _named(loss[FUNCTION])}
    return kind.model_validate(settings)


def refusal_of(error: ArtError) -> list[str]:
    """Give an error as a message has it."""
    return [type(error).__name__, str(error)]


def raised_of(refusal: list[str]) -> ArtError:
    """Make the error again."""
    name, message = refusal
    kind = getattr(errors, name, RankError)
    return kind(message)


def _name_of(function: Any) -> str:
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    if module in ("", "__main__") or "<" in name or not name:
        raise ConfigurationError(
            f"loss={name or function!r} cannot reach the ranks, which are processes of their own. Put the function at "
            "the top of a module that can be imported, and import it from there; or use LocalBackend(ranks=1)."
        )
    return f"{module}:{name}"


def _named(name: str) -> Any:
    module, _, path = name.partition(":")
    value: Any = importlib.import_module(module)
    for part in path.split("."):
        value = getattr(value, part)
    return value
