"""Models as a user holds them: a name, a project, and a backend that does the work. Thin: everything is delegated."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic

from pydantic import BaseModel
from typing_extensions import TypeVar

from art.backend import Backend, TrainResult, as_groups
from art.config import LoRAConfig, TrainConfig
from art.dev import InternalModelConfig, OpenAIServerConfig
from art.dev.meaning import adapter_fields, ignore, without_meaning
from art.errors import ConfigurationError, NotRegisteredError
from art.names import ModelRef
from art.trajectories import Trajectory, TrajectoryGroup

if TYPE_CHECKING:
    from openai import AsyncOpenAI

ConfigT = TypeVar("ConfigT", bound=BaseModel | None, default=None)


class Model(Generic[ConfigT]):
    """A chat model, also one that is only called: a prompted teacher, say.

    >>> teacher = Model("teacher", "shop", inference_model_name="gpt-5", inference_base_url="https://host.example/v1")
    >>> teacher.get_inference_name(), teacher.trainable
    ('gpt-5', False)
    """

    trainable = False

    def __init__(
        self,
        name: str,
        project: str,
        *,
        config: ConfigT = None,  # pyright: ignore[reportArgumentType] - ConfigT is None when there is none
        inference_model_name: str | None = None,
        inference_base_url: str | None = None,
        inference_api_key: str | None = None,
    ) -> None:
        self.ref = ModelRef(project, name)
        self.config: ConfigT = config
        self.inference_model_name = inference_model_name
        self.inference_base_url = inference_base_url
        self.inference_api_key = inference_api_key
        self._backend: Backend | None = None
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncOpenAI] = weakref.WeakKeyDictionary()

    @property
    def name(self) -> str:
        return self.ref.name

    @property
    def project(self) -> str:
        return self.ref.project

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.ref)!r})"

    def backend(self) -> Backend:
        """Give the backend; raises `NotRegisteredError` before `register`."""
        if self._backend is None:
            raise NotRegisteredError(f"{self.ref} has no backend yet; call `await model.register(backend)` first.")
        return self._backend

    async def register(self, backend: Backend) -> None:
        """Bind the model to a backend."""
        await backend.register(self)
        self._backend = backend

    def openai_client(self) -> AsyncOpenAI:
        """Give the OpenAI client of this model's inference; the same one throughout an event loop."""
        from openai import AsyncOpenAI

        if not self.inference_base_url:
            raise NotRegisteredError(
                f"{self.ref} does not know where to ask; register it with a backend, or give inference_base_url."
            )
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None or str(client.base_url).rstrip("/") != self.inference_base_url.rstrip("/"):
            client = AsyncOpenAI(
                base_url=self.inference_base_url, api_key=self.inference_api_key or "none", timeout=1200
            )
            self._clients[loop] = client
        return client

    async def disconnect(self) -> None:
        """Close the connections of this event loop's client; the backend does so when it closes."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()

    def get_inference_name(self, step: int | None = None) -> str:
        """Give the name to pass as `model=`: the newest weights, or those of an earlier step."""
        name = self.inference_model_name or self.name
        return name if step is None else f"{name}@{step}"

    async def log(
        self, trajectories: Iterable[Trajectory | BaseException | TrajectoryGroup], split: str = "val"
    ) -> None:
        """Write trajectories and their mean reward and metrics to the model's history; exceptions are counted."""
        await self.backend().log(self, as_groups(trajectories), split=split)


class TrainableModel(Model[ConfigT]):
    """A model that LoRA training changes.

    `base_model` is a Hugging Face repository id or a local folder. `state` is a small JSON value of the user's, a
    position in the data, say: it is saved with every checkpoint and comes back after a restart and after a fork.

    >>> model = TrainableModel(name="agent-1", project="shop", base_model="Qwen/Qwen3-0.6B")
    >>> model
    TrainableModel('shop/agent-1')
    >>> model.get_inference_name(), model.get_inference_name(step=500)
    ('agent-1', 'agent-1@500')
    """

    trainable = True

    def __init__(
        self,
        name: str,
        project: str,
        base_model: str,
        *,
        config: ConfigT = None,  # pyright: ignore[reportArgumentType] - as above
        lora: LoRAConfig | None = None,
        _internal_config: InternalModelConfig | None = None,
    ) -> None:
        super().__init__(name, project, config=config)
        if not base_model:
            raise ConfigurationError(f"{self.ref} needs a base_model: a Hugging Face repository id or a local folder.")
        self.base_model = str(base_model)
        self.state: Any = None  # JSON; typed as Any so that scripts can write state["offset"]
        self._lora = lora
        self._internal_config: InternalModelConfig = _internal_config or {}

    @property
    def settings(self) -> Mapping[str, Any]:
        """ART's internal settings as they were given."""
        return self._internal_config

    @property
    def lora(self) -> LoRAConfig | None:
        """The adapter's shape as the user asked for it; None leaves it to the checkpoint, or to the default."""
        if self._lora is not None:
            return self._lora
        asked = adapter_fields(self._internal_config)
        return LoRAConfig.model_validate(asked) if asked else None

    async def register(self, backend: Backend, _openai_client_config: OpenAIServerConfig | None = None) -> None:
        """Bind the model to a backend and start inference on its newest checkpoint. Writes no checkpoint."""
        listen = _openai_client_config or {}
        ignore(f"{self.ref}: _openai_client_config", without_meaning(listen, {"server_args": ("port",)}))
        inference = await backend.register(self, port=int(listen.get("server_args", {}).get("port", 0)))
        if inference is not None:
            self.inference_base_url, self.inference_api_key = inference.base_url, inference.api_key
        self._backend = backend

    async def train(
        self,
        trajectory_groups: Iterable[TrajectoryGroup],
        config: TrainConfig | None = None,
        _config: Mapping[str, Any] | None = None,
        verbose: bool = False,
    ) -> TrainResult:
        """Take one optimiser step on the groups, then write a checkpoint at step + 1 and serve it.

        `_config` holds ART's internal settings; those that have a meaning here replace what `config` says.
        """
        config = (config or TrainConfig()).with_settings(_config or {})
        return await self.backend().train(self, trajectory_groups, config=config, verbose=verbose)

    async def get_step(self) -> int:
        """Give the newest step, 0 for an untrained model."""
        return await self.backend().get_step(self)

    async def delete_checkpoints(self, best_checkpoint_metric: str | None = None) -> None:
        """Keep the newest checkpoint and the best one by a metric of the history; delete the others.

        Without a metric the best is taken by `val/reward`, or by `train/reward` where nothing was validated.
        Raises `MetricNotFoundError`, and deletes nothing, when a metric that was asked for was never logged.
        """
        await self.backend().delete_checkpoints(self, best_metric=best_checkpoint_metric)
