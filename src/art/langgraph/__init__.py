"""LangGraph agents whose chat model is the one under training: what the agent asks becomes the rollout's trajectory.

Knows LangChain's OpenAI client, an extra; LangGraph itself is the user's.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from art.errors import ConfigurationError
from art.model import Model
from art.trajectories import History, Trajectory, has_choice

if TYPE_CHECKING:
    from langchain_openai import ChatOpenAI  # pyright: ignore[reportMissingImports] - an extra

P = ParamSpec("P")
T = TypeVar("T", bound=Trajectory)
_model: ContextVar[Model[Any] | None] = ContextVar("art_langgraph_model", default=None)

PROVIDERS = (None, "openai", "openai-compatible", "openai_compatible")

__all__ = ["init_chat_model", "wrap_rollout"]


def wrap_rollout(model: Model[Any], fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Make a rollout whose trajectory gets the conversations that the model under training had in it.

    Inside, `init_chat_model` gives a chat model of `model`. A trajectory that holds a `Choice` already stays as it is.
    """

    @functools.wraps(fn)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        with _speaking_as(model), Trajectory() as captured:
            trajectory = await fn(*args, **kwargs)
        _fill(trajectory, captured)
        return trajectory

    return wrapped


def init_chat_model(
    model: Any = None,
    *,
    model_provider: str | None = None,
    configurable_fields: None = None,
    config_prefix: str | None = None,
    invoke_timeout: float | None = None,
    **options: Any,
) -> ChatOpenAI:
    """Give LangChain's chat model of the model whose rollout this is; `options` are those of `ChatOpenAI`.

    A chat model of LangChain's own is given back as it is, and what it asks of the model under training is trained on
    too. `invoke_timeout`, in seconds, is ChatOpenAI's `timeout`. Raises `ConfigurationError` outside of a rollout that
    `wrap_rollout` wraps, without langchain-openai, and for what needs another provider.
    """
    _check_is_openais(model_provider, configurable_fields=configurable_fields, config_prefix=config_prefix)
    try:
        from langchain_openai import ChatOpenAI  # pyright: ignore[reportMissingImports] - an extra
    except ImportError as error:
        raise ConfigurationError(
            "Chat models for LangGraph come from langchain-openai; pip install 'artfork[langgraph]'."
        ) from error
    speaking = _model.get()
    if speaking is None:
        raise ConfigurationError("Call init_chat_model inside a rollout that wrap_rollout(model, rollout) wraps.")
    if model is not None and not isinstance(model, str):
        return model
    if invoke_timeout is not None:
        options.setdefault("timeout", invoke_timeout)
    settings: dict[str, Any] = {
        "model": model or speaking.get_inference_name(),
        "base_url": speaking.inference_base_url,
        "api_key": speaking.inference_api_key or "none",
        "logprobs": True,
        **options,
    }
    return ChatOpenAI(**settings)


def _check_is_openais(provider: str | None, **others: object) -> None:
    if provider not in PROVIDERS:
        raise ConfigurationError(
            f"model_provider={provider!r}: the model under training is asked as OpenAI's are. Give a chat model of "
            "LangChain's as `model` for another provider."
        )
    if given := [name for name, value in others.items() if value is not None]:
        raise ConfigurationError(f"init_chat_model takes no {' and no '.join(given)}: the rollout says which model.")


@contextmanager
def _speaking_as(model: Model[Any]) -> Generator[None]:
    token = _model.set(model)
    try:
        yield
    finally:
        _model.reset(token)


def _fill(trajectory: Trajectory, captured: Trajectory) -> None:
    own = [history for history in captured.histories() if has_choice(history)]
    if not own or has_choice(trajectory):
        return
    main, *others = own
    trajectory.messages_and_choices, trajectory.tools = main.messages_and_choices, main.tools
    trajectory.additional_histories += [History(**vars(history)) for history in others]
