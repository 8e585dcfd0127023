"""What the names in requests mean at one model's server: the model, its steps, and the base below it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from art.errors import ModelNotFoundError
from art.local.published import Published
from art.names import ModelRef, split_step
from art.sample.version import BASE, Version
from art.store.store import CheckpointStore


class Naming:
    """Names of one model; a `Models` of `art.http.catalogue`."""

    def __init__(self, model: ModelRef, base_model: str, *, store: CheckpointStore, published: Published) -> None:
        self._model, self._base_model = model, base_model
        self._store = store
        self._published = published

    def names(self) -> list[str]:
        earlier = (f"{self._model.name}@{step}" for step in self._store.steps(self._model))
        return [self._model.name, self._base_model, *earlier]

    def lease(self, name: str) -> AbstractContextManager[Version]:
        """Give the weights that a name means; raises `ModelNotFoundError` for those of others."""
        if name == self._base_model:
            return nullcontext(BASE)
        plain, step = split_step(name)
        model = self._model
        if plain not in (model.name, str(model)):
            raise ModelNotFoundError(
                f"This server serves {model.name!r}, its steps ({model.name}@500) and {self._base_model!r}, "
                f"not {name!r}."
            )
        return self._published.lease(step)
