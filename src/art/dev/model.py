"""The names that scripts import from `art.dev.model`."""

from typing import Any

from art.absent import missing
from art.dev import (
    EngineArgs,
    InitArgs,
    InternalModelConfig,
    LoRAConfig,
    PeftArgs,
    TinkerArgs,
    TinkerNativeArgs,
    TinkerTrainingClientArgs,
    TorchtuneArgs,
    TrainerArgs,
)

__all__ = [
    "EngineArgs", "InitArgs", "InternalModelConfig", "LoRAConfig", "PeftArgs", "TinkerArgs", "TinkerNativeArgs",
    "TinkerTrainingClientArgs", "TorchtuneArgs", "TrainerArgs",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    raise missing(__name__, name)
