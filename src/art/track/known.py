"""The trackers that have a name, and the packages that they need, imported when one is made."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from art.errors import ConfigurationError
from art.track.folders import plain
from art.track.tracker import Tracker

NAMES = ("trackio", "wandb", "mlflow", "tensorboard", "jsonl")
NEEDS = {"trackio": "trackio", "wandb": "wandb", "mlflow": "mlflow", "tensorboard": "tensorboard"}
"""The package that each tracker writes with; the extra of artfork has the tracker's name."""


def package(name: str) -> Any:
    """Import a tracker's package; raises `ConfigurationError` that names the extra to install."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if (error.name or "").partition(".")[0] != name.partition(".")[0]:
            raise
        extra = name.partition(".")[0]
        raise ConfigurationError(
            f"Reporting to {extra} needs its package, which is not installed: pip install 'artfork[{extra}]'."
        ) from error


def is_installed(name: str) -> bool:
    """Tell whether a tracker's package is there, without importing it."""
    return name not in NEEDS or importlib.util.find_spec(NEEDS[name]) is not None


def maker(name: str, folder: Path) -> Callable[[], Tracker]:
    """Give what makes a tracker by its name; `folder` is for those that write files and are told no other place.

    Raises `ConfigurationError` for a name that no tracker has, and for one whose package is not installed.
    """
    if name not in NAMES:
        raise ConfigurationError(f"{name!r} is no tracker; these are: {', '.join(NAMES)}.")
    if name in NEEDS:
        package(NEEDS[name])
    kind = _KINDS[name]
    return lambda: kind(plain(folder.parent, folder.name, name))


def _trackio(_: Path) -> Tracker:
    from art.track.trackio import Trackio

    return Trackio()


def _wandb(_: Path) -> Tracker:
    from art.track.wandb import WandB

    return WandB()


def _mlflow(_: Path) -> Tracker:
    from art.track.mlflow import MLflow

    return MLflow()


def _tensorboard(folder: Path) -> Tracker:
    from art.track.tensorboard import TensorBoard

    return TensorBoard(folder)


def _jsonl(folder: Path) -> Tracker:
    from art.track.json_lines import JsonLines

    return JsonLines(folder)


_KINDS: dict[str, Callable[[Path], Tracker]] = {
    "trackio": _trackio,
    "wandb": _wandb,
    "mlflow": _mlflow,
    "tensorboard": _tensorboard,
    "jsonl": _jsonl,
}
