"""What the serving tests share: a served engine, and asking it through OpenAI's client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
from openai import AsyncOpenAI
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from art.errors import ModelNotFoundError
from art.http.app import create_app
from art.http.catalogue import Catalogue
from art.http.limits import Limits
from art.http.server import Listen, Server
from art.names import ModelRef
from art.sample.own.engine import Engine
from art.sample.sampling import Sampling
from art.sample.version import BASE, Version

KEY = "sk-tests"
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}
HELLO = [{"role": "user", "content": "Hello"}]
Result = TypeVar("Result")
Sampled = dict[int, list[tuple[int, float]]]


def version_of(step: int, *, model: str = "agent") -> Version:
    """Give a version of a model of this project."""
    return Version(model=ModelRef("shop", model), publication=0, step=step)


class Served:
    """An engine behind HTTP, with names that a backend would resolve."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: PreTrainedTokenizerFast,
        *,
        limits: Limits | None = None,
        max_context: int | None = None,
        list_names: Callable[[], list[str]] | None = None,
        run_seed: int | None = None,
    ) -> None:
        self.engine = engine
        self.names = {"agent": BASE}
        listen = Listen(key=KEY, limits=limits or Limits())
        self.list_names = list_names or (lambda: list(self.names))
        app = create_app(
            Catalogue(engine, _Names(self), run_seed=run_seed), tokenizer, listen=listen, max_context=max_context
        )
        self._server = Server(app, listen)
        self._server.start()
        self.base_url = self._server.base_url

    @property
    def address(self) -> tuple[str, int]:
        """Where a socket connects to."""
        url = urlsplit(self.base_url)
        return url.hostname, url.port

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask for a path below the server's root, with the key."""
        return httpx.get(self.base_url.removesuffix("/v1") + path, headers=AUTHORIZED | headers)

    def post(self, body: object, *, path: str = "/v1/chat/completions", **headers: str) -> httpx.Response:
        """Post a body, with the key: a dict as JSON, anything else as it is."""
        content: Any = json.dumps(body).encode() if isinstance(body, dict) else body
        url = self.base_url.removesuffix("/v1") + path
        return httpx.post(url, content=content, headers=AUTHORIZED | {"Content-Type": "application/json"} | headers)

    def ask(self, work: Callable[[AsyncOpenAI], Awaitable[Result]]) -> Result:
        """Run `work` with a client, and close the client."""

        async def run() -> Result:
            async with AsyncOpenAI(base_url=self.base_url, api_key=KEY, max_retries=0) as client:
                return await work(client)

        return asyncio.run(run())

    async def rows_left(self) -> int:
        """Give how many rows still run a second from now, or none as soon as none does: an answer goes out first."""
        for _ in range(200):
            if not self.engine.load().rows:
                return 0
            await asyncio.sleep(0.005)
        return self.engine.load().rows

    def stop(self) -> None:
        self._server.stop()


class _Names:
    """What the names mean. Nothing is retired here."""

    def __init__(self, served: Served) -> None:
        self._served = served

    def names(self) -> list[str]:
        return self._served.list_names()

    @contextmanager
    def lease(self, name: str) -> Iterator[Version]:
        names = self._served.names
        if name not in names:
            raise ModelNotFoundError(f"No model {name}; there are {', '.join(names)}.")
        yield names[name]


@contextmanager
def serving(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, **options: Any) -> Iterator[Served]:
    """Serve a model from an engine of its own."""
    engine = Engine(model, tokenizer)
    try:
        engine.publish(BASE, None)
        served = Served(engine, tokenizer, **options)
        try:
            yield served
        finally:
            served.stop()
    finally:
        engine.close()


async def sample(
    engine: Engine, prompt: list[int], *, version: Version = BASE, n: int = 1, delay_s: float = 0.0, **sampling: object
) -> Sampled:
    """Sample from the engine; gives token ids and log-probabilities by choice."""
    await asyncio.sleep(delay_s)
    generation = engine.submit(version, prompt, n=n, sampling=Sampling(**{"max_tokens": 8, **sampling}))  # type: ignore[arg-type]
    answers: Sampled = {choice: [] for choice in range(n)}
    async for token in generation:
        answers[token.choice].append((token.drawn.token_id, token.drawn.logprob))
    return answers
