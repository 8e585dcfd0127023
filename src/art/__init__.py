"""Reinforcement learning for language-model agents, with checkpoints that fork like branches of a repository.

The public surface: every name is imported when it is first used, so that `import art` costs next to nothing and
pulls neither torch nor transformers.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

    from art import branches, dev, errors, local, types, utils
    from art.backend import Backend, TrainResult
    from art.branches import fork_many
    from art.capture import (
        auto_trajectory,
        capture_auto_trajectory,
        capture_yielded_trajectory,
        current_trajectory,
        no_capture,
        trajectory,
        trajectory_group,
        yield_trajectory,
    )
    from art.config import LoRAConfig, TrainConfig, TrainSFTConfig
    from art.errors import ArtError
    from art.gather import gather_trajectories, gather_trajectory_groups, trajectory_group_batches
    from art.guard import Guard
    from art.local import LocalBackend
    from art.model import Model, TrainableModel
    from art.names import CheckpointRef, ModelRef
    from art.rollouts import retry
    from art.trajectories import History, Messages, MessagesAndChoices, Tools, Trajectory, TrajectoryGroup

_HOME = {
    "ArtError": "art.errors",
    "Backend": "art.backend",
    "CheckpointRef": "art.names",
    "Guard": "art.guard",
    "History": "art.trajectories",
    "LoRAConfig": "art.config",
    "LocalBackend": "art.local",
    "LocalTrainResult": "art.types",
    "Messages": "art.trajectories",
    "MessagesAndChoices": "art.trajectories",
    "MetricsBuilder": "art.metrics",
    "Model": "art.model",
    "ModelRef": "art.names",
    "Tools": "art.trajectories",
    "TrainConfig": "art.config",
    "TrainSFTConfig": "art.config",
    "TrainResult": "art.backend",
    "TrainableModel": "art.model",
    "Trajectory": "art.trajectories",
    "TrajectoryGroup": "art.trajectories",
    "auto_trajectory": "art.capture",
    "capture_auto_trajectory": "art.capture",
    "capture_yielded_trajectory": "art.capture",
    "current_trajectory": "art.capture",
    "fork_many": "art.branches",
    "gather_trajectories": "art.gather",
    "gather_trajectory_groups": "art.gather",
    "no_capture": "art.capture",
    "retry": "art.rollouts",
    "trajectory": "art.capture",
    "trajectory_group": "art.capture",
    "trajectory_group_batches": "art.gather",
    "yield_trajectory": "art.capture",
}
START_BYTES = 4096
UPSTREAM = "openpipe_art-"
_MODULES = ("branches", "dev", "errors", "local", "types", "utils")

__all__ = [
    "ArtError",
    "Backend",
    "CheckpointRef",
    "Guard",
    "History",
    "LoRAConfig",
    "LocalBackend",
    "Messages",
    "MessagesAndChoices",
    "Model",
    "ModelRef",
    "Tools",
    "TrainConfig",
    "TrainResult",
    "TrainSFTConfig",
    "TrainableModel",
    "Trajectory",
    "TrajectoryGroup",
    "auto_trajectory",
    "branches",
    "capture_auto_trajectory",
    "capture_yielded_trajectory",
    "current_trajectory",
    "dev",
    "errors",
    "fork_many",
    "gather_trajectories",
    "gather_trajectory_groups",
    "local",
    "no_capture",
    "retry",
    "trajectory",
    "trajectory_group",
    "trajectory_group_batches",
    "types",
    "utils",
    "yield_trajectory",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"art.{name}")
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    if name == "__version__":
        from importlib.metadata import version

        return version("artfork")
    absent = importlib.import_module("art.absent")
    if name in absent.HOME_OF:
        raise absent.not_here(absent.HOME_OF[name])
    raise AttributeError(f"module 'art' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


def _warn_beside_another_art() -> None:
    """Another distribution may install a folder `art` too. Reads no metadata: that would double the import's time."""
    others: set[str] = set()
    for folder in sys.path:
        with contextlib.suppress(OSError):
            # pathlib is not imported yet, and need not be.
            names = os.listdir(folder or ".")  # noqa: PTH208
            # The lists of a folder without such a package are not read.
            start = "" if "art" in names or "art.py" in names else UPSTREAM
            others.update(name for name in names if name.startswith(start) and _provides_art(folder, name))
    if not others:
        return
    named = " and ".join(sorted({name.partition("-")[0].replace("_", "-") for name in others}))
    warnings.warn(
        f"{named} is installed too; artfork and {named} both provide the package `art`, and their files "
        "overwrite each other. Uninstall both, then install the one you want.",
        stacklevel=3,
    )


def _provides_art(folder: str, name: str) -> bool:
    """Tell by its list of files whether a distribution has a package `art`; artfork's own does not count."""
    if not name.endswith(".dist-info") or name.startswith("artfork-"):
        return False
    if name.startswith(UPSTREAM):
        return True
    start = _start_of(f"{folder}/{name}/RECORD") or _start_of(f"{folder}/{name}/top_level.txt")
    return b"\nart/" in start or b"\nart.py" in start or b"\nart\n" in start


def _start_of(file: str) -> bytes:
    # Installers sort the list of files, so that `art/` stands at its beginning.
    try:
        handle = os.open(file, os.O_RDONLY)
    except OSError:
        return b""
    start = os.read(handle, START_BYTES)
    os.close(handle)
    return b"\n" + start + b"\n"


class _Absent:
    """Refuses modules that ART has and artfork has not. It is asked last, and reads their list only then."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if not name.startswith("art."):
            return None
        return importlib.import_module("art.absent").find_spec(name)


_warn_beside_another_art()
sys.meta_path.append(_Absent)
