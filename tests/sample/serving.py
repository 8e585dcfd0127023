"""What the serving tests share: a served engine, and asking it through OpenAI's client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from openai import AsyncOpenAI
from transformers import PreTrainedTokenizerFast

from art.errors import ModelNotFoundError
from art.http.app import create_app
from art.http.server import Server
from art.sample.own.engine import Engine
from art.sample.sampling import Sampling

BASE = "shop/agent@0"
HELLO = [{"role": "user", "content": "Hello"}]
Result = TypeVar("Result")
Sampled = dict[int, list[tuple[int, float]]]


class Served:
    """An engine behind HTTP, with names that a backend would resolve."""

    def __init__(self, engine: Engine, tokenizer: PreTrainedTokenizerFast, **options: object) -> None:
        self.engine = engine
        self.names = {"agent": BASE}
        app = create_app(engine, tokenizer, resolve=self._resolve, model_names=lambda: list(self.names), **options)
        self._server = Server(app)
        self._server.start()
        self.base_url = self._server.base_url

    def ask(self, work: Callable[[AsyncOpenAI], Awaitable[Result]]) -> Result:
        """Run `work` with a client, and close the client."""

        async def run() -> Result:
            async with AsyncOpenAI(base_url=self.base_url, api_key="any", max_retries=0) as client:
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

    async def _resolve(self, name: str) -> str:
        if name not in self.names:
            raise ModelNotFoundError(f"No model {name}; there are {', '.join(self.names)}.")
        return self.names[name]


async def sample(
    engine: Engine, prompt: list[int], *, version: str = BASE, n: int = 1, delay_s: float = 0.0, **sampling: object
) -> Sampled:
    """Sample from the engine; gives token ids and log-probabilities by choice."""
    await asyncio.sleep(delay_s)
    generation = engine.submit(version, prompt, n=n, sampling=Sampling(**{"max_tokens": 8, **sampling}))  # type: ignore[arg-type]
    answers: Sampled = {choice: [] for choice in range(n)}
    async for token in generation:
        answers[token.choice].append((token.drawn.token_id, token.drawn.logprob))
    return answers
