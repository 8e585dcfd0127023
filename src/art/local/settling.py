"""What a step is to be taken with: a configuration, settings over it, and the model's own under both."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from art.backend import Trainable
from art.config import TrainConfig, TrainSFTConfig
from art.dev.meaning import ignore, training_fields


class Settling:
    """Settles configurations, and names each setting that changes nothing the first time that it is given."""

    def __init__(self) -> None:
        self._named: set[str] = set()

    def train(self, model: Trainable, config: TrainConfig | None, settings: Mapping[str, Any]) -> TrainConfig:
        """Settle what training on rewards is done with; raises `ConfigurationError`."""
        settled = TrainConfig.given(config).with_settings(settings).with_defaults(training_fields(model.settings))
        self._name(model, settled.ignored)
        return settled

    def train_sft(self, model: Trainable, config: TrainSFTConfig | None, settings: Mapping[str, Any]) -> TrainSFTConfig:
        """Settle what training on answers is done with; raises `ConfigurationError`."""
        settled = TrainSFTConfig.given(config).with_settings(settings)
        self._name(model, settled.ignored)
        return settled

    def _name(self, model: Trainable, ignored: Collection[str]) -> None:
        ignore(f"{model.ref}: train", sorted({*ignored} - self._named))
        self._named |= {*ignored}
