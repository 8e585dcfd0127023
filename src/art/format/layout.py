"""Where a thing lies: names to relative paths and back.

The same relative path holds under the local root and under a bucket's prefix. Knows no file system.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from art.errors import InvalidNameError
from art.names import CheckpointRef, ModelRef, parse_step

MODELS = "models"
CHECKPOINTS = "checkpoints"
TRAJECTORIES = "trajectories"
SET_ASIDE = "set_aside"
CLAIMS = "claims"
MANIFEST = "checkpoint.json"
JOURNAL = "journal.json"
RECORD = "record.json"
HISTORY = "history.jsonl"
SUMMARY = "summary.json"
STATE = "state.jsonl"
PINS = "pins.jsonl"
CERTIFICATES = "certificates.jsonl"
TRACKERS = "trackers"
SHOWN = "settings.jsonl"
SIGNATURES = "signatures"
STAGING = ".staging"

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
OPTIMIZER = "optimizer.safetensors"
TRAINER = "trainer.json"
OWN_FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS, OPTIMIZER, TRAINER)
"""What our trainer writes into a checkpoint, beside the manifest."""


def model_path(model: ModelRef) -> PurePosixPath:
    return PurePosixPath(model.project, MODELS, model.name)


def checkpoints_path(model: ModelRef) -> PurePosixPath:
    return model_path(model) / CHECKPOINTS


def checkpoint_path(ref: CheckpointRef) -> PurePosixPath:
    return checkpoints_path(ref.model) / step_name(ref.step)


def claims_path(model: ModelRef) -> PurePosixPath:
    return model_path(model) / CLAIMS


def claim_path(ref: CheckpointRef) -> PurePosixPath:
    """Say where the first writer of a step in a bucket tells what it writes."""
    return claims_path(ref.model) / f"{step_name(ref.step)}.json"


def history_path(model: ModelRef) -> PurePosixPath:
    return model_path(model) / HISTORY


def summary_path(model: ModelRef) -> PurePosixPath:
    return model_path(model) / SUMMARY


def state_path(model: ModelRef) -> PurePosixPath:
    return model_path(model) / STATE


def told_path(model: ModelRef, tracker: str) -> PurePosixPath:
    return model_path(model) / TRACKERS / f"{tracker}.json"


def shown_path(model: ModelRef) -> PurePosixPath:
    return model_path(model) / TRACKERS / SHOWN


def pins_path(model: ModelRef) -> PurePosixPath:
    return model_path(model) / PINS


def certificates_path(model: ModelRef) -> PurePosixPath:
    return model_path(model) / CERTIFICATES


def signatures_path(model: ModelRef) -> PurePosixPath:
    return model_path(model) / SIGNATURES


def trajectories_path(model: ModelRef, split: str, step: int) -> PurePosixPath:
    return model_path(model) / TRAJECTORIES / split / f"{step_name(step)}.jsonl"


def step_name(step: int) -> str:
    """Name a step's folder: at least four digits, as ART does."""
    return f"{step:04d}"


def folders_by_step(names: Iterable[str]) -> Mapping[int, str]:
    """Map steps to the names of their folders; of two spellings of one step the padded one counts."""
    folders: dict[int, str] = {}
    for name in names:
        step = parse_step(name)
        if step is not None and (step not in folders or name == step_name(step)):
            folders[step] = name
    return folders


def model_at(project: str, name: str) -> ModelRef | None:
    """Read a model from the names of its folders; None for folders that another program named."""
    try:
        return ModelRef(project, name)
    except InvalidNameError:
        return None
