"""What shall happen to a run that goes wrong while nobody looks. Values only; whoever trains does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from art.config import TrainConfig
from art.errors import ConfigurationError

ACTIONS = ("stop", "fork")
SCHEMES = ("http://", "https://")
LOSS = "loss"


@dataclass(frozen=True, kw_only=True)
class Guard:
    """Stops a run that went wrong, or takes it back to its best step and changes its settings.

    `change` has fields of `TrainConfig`: a value, or a function of the value that there was. Each fork applies it once
    more, and after `max_forks` of them the run is stopped. `webhook` is a URL that is told by one POST of JSON.

    >>> guard = Guard(action="fork", change={"learning_rate": lambda rate: rate / 2})
    >>> guard.changed(TrainConfig(learning_rate=4e-5), times=2).learning_rate
    1e-05
    """

    action: Literal["stop", "fork"] = "stop"
    change: Mapping[str, Any] = field(default_factory=dict[str, Any])
    max_forks: int = 3
    webhook: str | None = None

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ConfigurationError(f"action={self.action!r} is none; a guard does one of {', '.join(ACTIONS)}.")
        if self.action == "stop" and self.change:
            raise ConfigurationError("A guard that stops a run changes nothing; leave change out, or fork.")
        if type(self.max_forks) is not int or self.max_forks < 1:
            raise ConfigurationError(f"max_forks={self.max_forks!r}: give a whole number from 1.")
        if self.webhook is not None and not self.webhook.startswith(SCHEMES):
            raise ConfigurationError(f"webhook={self.webhook!r} is no URL of http or https.")
        self.changed(TrainConfig(), times=1)

    def changed(self, config: TrainConfig, *, times: int) -> TrainConfig:
        """Give settings with the change applied so often; raises `ConfigurationError` for what cannot be set."""
        for _ in range(times):
            config = config.with_settings({name: _new(config, name, value) for name, value in self.change.items()})
        return config


def _new(config: TrainConfig, name: str, value: Any) -> Any:
    # A loss of the user's own is a function too.
    if not callable(value) or name == LOSS:
        return value
    if name not in type(config).model_fields:
        raise ConfigurationError(f"TrainConfig has no setting {name!r} that a function could change.")
    try:
        return value(getattr(config, name))
    except TypeError as error:
        raise ConfigurationError(f"{name} cannot be changed by {value!r}: {error}.") from error
