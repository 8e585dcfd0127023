"""What a checkpoint has seen of its data: how often it was trained on each scenario, and where it is in each data set.

It holds no name of a model, so that a fork that goes on has the bytes of its original. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from art.format.fields import Count, Key
from art.format.json import canonical_json, typed
from art.position import BatchPlace, Reached, reached_with


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, defer_build=True)


class SeenSet(_Value):
    """Where a run is in one data set, in items of all epochs, one after the other."""

    size: Annotated[int, Field(ge=1)]
    """How many items an epoch has."""
    front: Count
    """All items before were trained on."""
    ahead: tuple[tuple[Count, Count], ...] = ()
    """What was trained on already behind the front; between lie the batches that were under way."""


class SeenData(_Value):
    """What a checkpoint has seen of its data."""

    since: Count = 0
    """The step from which on it is counted; 0 where it was from the beginning."""
    trained: dict[Key, Count] = {}
    """How many groups of each scenario the updates learned from."""
    data_sets: dict[str, SeenSet] = {}

    def after(self, scenarios: Iterable[str], places: Iterable[BatchPlace]) -> SeenData:
        """Give what is seen after a step that learned from these."""
        trained = dict(self.trained)
        for key in scenarios:
            trained[key] = trained.get(key, 0) + 1
        reached = reached_with(self.reached, places)
        data_sets = {
            name: SeenSet(size=each.size, front=each.front, ahead=each.ahead) for name, each in reached.items()
        }
        return SeenData(since=self.since, trained=trained, data_sets=data_sets)

    def without_positions(self) -> SeenData:
        """Give the same for a fork that starts the user's state afresh."""
        return self.model_copy(update={"data_sets": {}})

    @property
    def reached(self) -> dict[str, Reached]:
        return {
            name: Reached(size=each.size, front=each.front, ahead=each.ahead) for name, each in self.data_sets.items()
        }


def read_seen(value: JsonValue, *, step: int, where: str) -> SeenData:
    """Read what a trainer's file says; of one that says nothing, counting begins at its step."""
    if value is None:
        return SeenData(since=step)
    return typed(SeenData, canonical_json(value), where=where, what="what a run has seen of its data")
