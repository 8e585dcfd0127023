"""Where a model's files lie, as scripts ask for it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from art.format import layout
from art.names import ModelRef


class _Named(Protocol):
    @property
    def ref(self) -> ModelRef: ...


def get_default_art_path() -> str:
    """Give the root that a backend uses when none is named."""
    return ".art"


def get_models_dir(project_name: str, art_path: str | None = None) -> str:
    """Give the folder of a project's models."""
    return str(Path(get_output_dir_from_model_properties(project_name, "model", art_path)).parent)


def get_model_dir(model: _Named, art_path: str | None = None) -> str:
    """Give a model's folder."""
    return get_output_dir_from_model_properties(model.ref.project, model.ref.name, art_path)


def get_output_dir_from_model_properties(project: str, name: str, art_path: str | None = None) -> str:
    """Give the folder of the model of this name."""
    return str(Path(art_path or get_default_art_path()) / layout.model_path(ModelRef(project, name)))


def get_step_checkpoint_dir(model_output_dir: str, step: int) -> str:
    """Give the folder of a step's checkpoint below a model's folder."""
    return str(Path(model_output_dir) / layout.CHECKPOINTS / layout.step_name(step))


def get_trajectories_dir(model_output_dir: str) -> str:
    """Give the folder of a model's trajectories below its folder."""
    return str(Path(model_output_dir) / layout.TRAJECTORIES)


def get_trajectories_split_dir(model_output_dir: str, split: str) -> str:
    """Give the folder of the trajectories of a split below a model's folder."""
    return str(Path(model_output_dir) / layout.TRAJECTORIES / split)
