"""The names that scripts import from `art.dev.model`."""

from art.dev import EngineArgs, InitArgs, InternalModelConfig, LoRAConfig, PeftArgs, TrainerArgs

__all__ = ["EngineArgs", "InitArgs", "InternalModelConfig", "LoRAConfig", "PeftArgs", "TrainerArgs"]
