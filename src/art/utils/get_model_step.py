"""The newest step of a model on this disk, for scripts that have no backend at hand."""

from __future__ import annotations

from pathlib import Path

from art.format import layout
from art.model import Model
from art.utils.output_dirs import get_default_art_path


def get_model_step(model: Model, art_path: str | None = None) -> int:
    """Give the newest step, 0 for an untrained model."""
    from art.store.store import CheckpointStore

    newest = CheckpointStore(art_path or get_default_art_path()).newest(model.ref)
    return newest.ref.step if newest else 0


def get_step_from_dir(output_dir: str) -> int:
    """Give the newest step below a model's folder, 0 where there is none."""
    checkpoints = Path(output_dir) / layout.CHECKPOINTS
    names = [folder.name for folder in checkpoints.iterdir()] if checkpoints.is_dir() else []
    return max(layout.folders_by_step(names), default=0)
