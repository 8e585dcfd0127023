"""Models as a user holds them: a name, a project, and a backend that does the work. Thin: everything is delegated."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    SkipValidation,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_serializer,
    model_validator,
)
from typing_extensions import TypeVar

from art import drawing
from art.backend import Backend, Draws, TrainResult
from art.config import LoRAConfig, TrainConfig, TrainSFTConfig, read_shape
from art.dev import InternalModelConfig, OpenAIServerConfig
from art.dev.meaning import LISTENING, adapter_fields, ignore, late, without_meaning
from art.errors import ConfigurationError, NotRegisteredError
from art.position import Positions, Step
from art.recorded import Recorded
from art.settings import nearest, refused
from art.trajectories import Trajectory, TrajectoryGroup
from art.visible import shown_value, visible

if TYPE_CHECKING:
    from openai import AsyncOpenAI

ConfigT = TypeVar("ConfigT", bound=BaseModel | None, default=None)
MAX_BASE_MODEL = 4096
"""Of its name or path, in characters."""
ENTITY = "WANDB_ENTITY"
SHAPING = ("lora_config", "_internal_config")
"""What is read when a model is registered."""
Clients = weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, "AsyncOpenAI"]


def _keep_models(config: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """Leave the user's own object as it is; read anything else as the type that the model was declared with."""
    return config if isinstance(config, BaseModel) else read(config)


def _read_base_model(given: object) -> str:
    """Read the name or the folder of a base model; raises `ConfigurationError` for what can be neither."""
    text = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if isinstance(text, str) and text.strip() and len(text) <= MAX_BASE_MODEL and visible(text) == text:
        return text
    raise ConfigurationError(
        f"base_model={shown_value(given)}: a model needs a base_model, a Hugging Face repository id or a local folder."
    )


class Model(Recorded, Generic[ConfigT]):
    """A chat model, also one that is only called: a prompted teacher, say.

    A copy stays with the backend and gets connections of its own; neither is dumped or pickled.

    >>> teacher = Model("teacher", "shop", inference_model_name="gpt-5", inference_base_url="https://host.example/v1")
    >>> teacher.get_inference_name(), teacher.trainable
    ('gpt-5', False)
    """

    model_config = ConfigDict(extra="forbid")

    entity: str | None = None
    id: str | None = None
    run_id: str | None = None
    run_name: str | None = None
    """The name of the W&B run in scripts that give one; trackers call a run as its model."""
    config: SerializeAsAny[Annotated[ConfigT, WrapValidator(_keep_models)]] = None  # pyright: ignore[reportAssignmentType] - ConfigT is None when there is none
    inference_model_name: str | None = None
    inference_base_url: str | None = None
    inference_api_key: str | None = None
    report_metrics: list[str] | None = None
    trainable: bool = False

    _clients: Clients | None = PrivateAttr(default=None)

    def __init__(
        self,
        name: str,
        project: str,
        *,
        config: ConfigT = None,  # pyright: ignore[reportArgumentType] - as above
        inference_model_name: str | None = None,
        inference_base_url: str | None = None,
        inference_api_key: str | None = None,
        **fields: Any,
    ) -> None:
        named = {
            "config": config,
            "inference_model_name": inference_model_name,
            "inference_base_url": inference_base_url,
            "inference_api_key": inference_api_key,
        }
        given = {field: value for field, value in named.items() if value is not None}
        self._check_spelling(fields)
        try:
            super().__init__(name=name, project=project, **given, **fields)
        except ValidationError as error:
            raise refused(type(self).__name__, error) from None
        named = {"run_name": self.run_name, "run_id": self.run_id}
        others = [field for field, value in named.items() if value not in (None, name)]
        others += [] if self.entity in (None, os.environ.get(ENTITY)) else [f"entity ({ENTITY} says it to W&B)"]
        ignore(f"{project}/{name}", others)

    @classmethod
    def _check_spelling(cls, names: Iterable[str]) -> None:
        for name in names:
            if name not in cls.model_fields and cls.model_config.get("extra") == "forbid":
                raise ConfigurationError(f"{cls.__name__} has no {name!r}.{nearest(name, cls.model_fields)}")

    @model_validator(mode="wrap")
    @classmethod
    def _keep_object(cls, value: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        """Leave a model as it is where it is a field, also where it was declared with another type of `config`."""
        declared: type[Any] = cls.__pydantic_generic_metadata__["origin"] or cls
        return value if isinstance(value, declared) else read(value)

    def safe_model_dump(self, **options: Any) -> dict[str, Any]:
        """Dump the model without its `config`, which may hold what JSON has no form for."""
        return {**self.model_dump(**options, exclude={"config"}), "config": None}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({f'{self.project}/{self.name}'!r})"

    __str__ = __repr__

    def __copy__(self) -> Self:
        copied = super().__copy__()
        copied._clients = None
        return copied

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        connections, self._clients = self._clients, None
        try:
            return super().__deepcopy__({**(memo or {}), id(self._backend): self._backend})
        finally:
            self._clients = connections

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        private: dict[str, Any] = {**(state["__pydantic_private__"] or {}), "_backend": None, "_clients": None}
        return {**state, "__pydantic_private__": private}

    def _repr_html_(self) -> str:
        if isinstance(self._backend, Draws):
            return self._backend.draw(self)
        return drawing.box(repr(self), facts={"registered": "no" if self._backend is None else "yes"})

    async def register(self, backend: Backend) -> None:
        """Bind the model to a backend."""
        await backend.register(self)
        self._bind(backend)

    def openai_client(self) -> AsyncOpenAI:
        """Give the OpenAI client of this model's inference; the same one throughout an event loop."""
        from openai import AsyncOpenAI

        if not self.inference_base_url:
            raise NotRegisteredError(
                f"{self!r} does not know where to ask; register it with a backend, or give inference_base_url."
            )
        loop = asyncio.get_running_loop()
        clients = self._clients = self._clients if self._clients is not None else weakref.WeakKeyDictionary()
        client = clients.get(loop)
        if client is None or str(client.base_url).rstrip("/") != self.inference_base_url.rstrip("/"):
            client = AsyncOpenAI(
                base_url=self.inference_base_url, api_key=self.inference_api_key or "none", timeout=1200
            )
            clients[loop] = client
        return client

    async def disconnect(self) -> None:
        """Close the connections of this event loop's client; the backend does so when it closes."""
        client = self._clients.pop(asyncio.get_running_loop(), None) if self._clients is not None else None
        if client is not None:
            await client.close()

    def get_inference_name(self, step: int | None = None) -> str:
        """Give the name to pass as `model=`: the newest weights, or those of an earlier step.

        A model that is only called stands at step 0, which has no name of its own.
        """
        name = self.inference_model_name or self.name
        return name if step is None or (step == 0 and not self.trainable) else f"{name}@{step}"

    def litellm_completion_params(self, step: int | None = None) -> dict[str, Any]:
        """Give what `litellm.acompletion` needs to ask this model: its name, its address and its key."""
        name = self.get_inference_name(step)
        return {
            # Behind a model that is trained stands our own server, which LiteLLM knows as any vLLM.
            "model": f"hosted_vllm/{name}" if self.trainable else name,
            "base_url": self.inference_base_url,
            "api_key": self.inference_api_key,
            "temperature": 1,
        }


class TrainableModel(Model[ConfigT], Generic[ConfigT]):
    """A model that LoRA training changes.

    `base_model` is a Hugging Face repository id or a local folder. `state` is a small JSON value of the user's, a
    position in the data, say: it is saved with every checkpoint and comes back after a restart and after a fork.

    >>> model = TrainableModel(name="agent-1", project="shop", base_model="Qwen/Qwen3-0.6B")
    >>> model
    TrainableModel('shop/agent-1')
    >>> model.get_inference_name(), model.get_inference_name(step=500)
    ('agent-1', 'agent-1@500')
    """

    base_model: str
    trainable: bool = True
    state: Any = None  # JSON; typed as Any so that scripts can write state["offset"]
    lora_config: SerializeAsAny[SkipValidation[LoRAConfig | Mapping[str, Any] | None]] = None
    """The adapter's shape as the script gave it, as `lora` or by ART's name."""

    _internal_config: InternalModelConfig | None = PrivateAttr(default=None)
    _positions: Positions = PrivateAttr(default_factory=Positions)

    def __init__(
        self,
        name: str,
        project: str,
        base_model: str,
        *,
        config: ConfigT = None,  # pyright: ignore[reportArgumentType] - as above
        lora: LoRAConfig | None = None,
        lora_config: LoRAConfig | Mapping[str, Any] | None = None,
        _internal_config: InternalModelConfig | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(name, project, config=config, base_model=_read_base_model(base_model), **fields)
        if lora is not None and lora_config is not None:
            raise ConfigurationError(f"{self.ref} has both lora and lora_config; name the adapter's shape once.")
        self.lora_config = lora_config if lora is None else lora
        self._internal_config = _internal_config
        _ = self.ref  # this name becomes a folder, and one that cannot is refused before anything is sampled

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "lora_config":
            shape = read_shape(value)
            ignore(f"{self.ref}: lora_config", shape.ignored if shape else ())
        super().__setattr__(name, value)
        if name in SHAPING and self._backend is not None:
            late(f"{self.ref}: {name}")

    @model_serializer(mode="wrap")
    def _with_internal_config(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Dump the internal settings too, if there are any, as ART does: a script hands them to another process."""
        internal = self._internal_config
        return {**write(self), **({} if internal is None else {"_internal_config": internal})}

    def overwrite_state(self, state: Mapping[str, Any]) -> None:
        super().overwrite_state(state)
        self.state = dict(state)

    def read_state(self) -> dict[str, Any] | None:
        """Give what was noted since the newest checkpoint, or else the `state` that the checkpoint carried."""
        noted = super().read_state()
        return noted if noted is not None else self.state if isinstance(self.state, dict) else None

    @property
    def positions(self) -> Positions:
        """Where the model is in its data sets, as its newest checkpoint says."""
        return self._positions

    async def get_step(self) -> int:
        """Give the newest step, 0 for an untrained model; `iterate_dataset` goes on from it where the data was left."""
        return Step(await super().get_step(), self._positions)

    @property
    def settings(self) -> Mapping[str, Any]:
        """ART's internal settings as they were given."""
        return self._internal_config or {}

    @property
    def lora(self) -> LoRAConfig | None:
        """The adapter's shape as the user asked for it; None leaves it to the checkpoint, or to the default."""
        if self.lora_config is not None:
            return read_shape(self.lora_config)
        fields = adapter_fields(self.settings)
        return LoRAConfig.model_validate(fields) if fields else None

    async def register(self, backend: Backend, _openai_client_config: OpenAIServerConfig | None = None) -> None:
        """Bind the model to a backend and start inference on its newest checkpoint. Writes no checkpoint."""
        listen = _openai_client_config or {}
        where = f"{self.ref}: _openai_client_config"
        ignore(where, without_meaning(listen, LISTENING, where=where))
        inference = await backend.register(self, port=int(listen.get("server_args", {}).get("port", 0)))
        if inference is not None:
            self.inference_base_url, self.inference_api_key = inference.base_url, inference.api_key
            self.inference_model_name = self.name  # scripts read it instead of asking get_inference_name
        self._bind(backend)

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
        config = TrainConfig.given(config).with_settings(_config or {})
        return await self.backend().train(self, trajectory_groups, config=config, verbose=verbose)

    async def train_sft(
        self,
        trajectories: Iterable[Trajectory],
        config: TrainSFTConfig | None = None,
        _config: Mapping[str, Any] | None = None,
        verbose: bool = False,
        log_metrics: bool = True,
    ) -> TrainResult:
        """Learn to say the answers of conversations, then write a checkpoint at step + 1 and serve it.

        An optimiser step is taken for each batch of the config. The metrics are in the checkpoint and the history, so
        `log_metrics` changes nothing.
        """
        config = TrainSFTConfig.given(config).with_settings(_config or {})
        return await self.backend().train_sft(self, trajectories, config=config, verbose=verbose)

    async def delete_checkpoints(
        self, best_checkpoint_metric: str | None = None, *, mode: Literal["min", "max"] | None = None
    ) -> None:
        """Keep the newest checkpoint and the best one by a metric of the history; delete the others.

        Without a metric the best is taken by `val/reward`, or by `train/reward` where nothing was validated. The best
        loss is the lowest: the metric's name says so, or else `mode` does. As long as a metric was never logged, a
        warning says so and everything stays. Raises `ConfigurationError` where it is unclear what is better; nothing is
        deleted then.
        """
        await self.backend().delete_checkpoints(self, best_metric=best_checkpoint_metric, mode=mode)
