"""How two checkpoints became one: recorded with the fork that began their child. Values only."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from art.format.fields import Number


class Method(BaseModel):
    """How two updates are combined; `weight` is the share of the second."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    name: Literal["linear", "slerp", "ties"] = "linear"
    weight: Number = Field(default=0.5, ge=0, le=1)
    density: Number = Field(default=0.2, gt=0, le=1)
    """Of TIES: the share of each update's entries that is kept."""

    def __str__(self) -> str:
        kept = f", density {self.density:g}" if self.name == "ties" else ""
        return f"{self.name}, weight {self.weight:g}{kept}"
