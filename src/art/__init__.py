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
    from art import dev, errors, local
    from art.backend import Backend, TrainResult
    from art.config import LoRAConfig, TrainConfig
    from art.errors import ArtError
    from art.gather import gather_trajectories, gather_trajectory_groups, trajectory_group_batches
    from art.model import Model, TrainableModel
    from art.names import CheckpointRef, ModelRef
    from art.rollouts import retry
    from art.trajectories import History, Messages, MessagesAndChoices, Tools, Trajectory, TrajectoryGroup

_HOME = {
    "ArtError": "art.errors",
    "Backend": "art.backend",
    "CheckpointRef": "art.names",
    "History": "art.trajectories",
    "LoRAConfig": "art.config",
    "Messages": "art.trajectories",
    "MessagesAndChoices": "art.trajectories",
    "Model": "art.model",
    "ModelRef": "art.names",
    "Tools": "art.trajectories",
    "TrainConfig": "art.config",
    "TrainResult": "art.backend",
    "TrainableModel": "art.model",
    "Trajectory": "art.trajectories",
    "TrajectoryGroup": "art.trajectories",
    "gather_trajectories": "art.gather",
    "gather_trajectory_groups": "art.gather",
    "retry": "art.rollouts",
    "trajectory_group_batches": "art.gather",
}
_MODULES = ("dev", "errors", "local", "types", "utils")

__all__ = [
    "ArtError",
    "Backend",
    "CheckpointRef",
    "History",
    "LoRAConfig",
    "Messages",
    "MessagesAndChoices",
    "Model",
    "ModelRef",
    "Tools",
    "TrainConfig",
    "TrainResult",
    "TrainableModel",
    "Trajectory",
    "TrajectoryGroup",
    "dev",
    "errors",
    "gather_trajectories",
    "gather_trajectory_groups",
    "local",
    "retry",
    "trajectory_group_batches",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"art.{name}")
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'art' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


def _warn_beside_openpipe_art() -> None:
    """Both packages install a folder `art`. Looks at names only: importlib.metadata would double the import's time."""
    found: list[str] = []
    for folder in sys.path:
        with contextlib.suppress(OSError):
            found += os.listdir(folder or ".")  # noqa: PTH208 - pathlib is not imported yet, and need not be
    if not any(name.startswith("openpipe_art-") and name.endswith(".dist-info") for name in found):
        return
    warnings.warn(
        "openpipe-art is installed too; artfork and openpipe-art both provide the package `art`, and their files "
        "overwrite each other. Uninstall both, then install the one you want.",
        stacklevel=3,
    )


_warn_beside_openpipe_art()
