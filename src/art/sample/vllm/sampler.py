"""The sampler over vLLM servers: token ids in, sampled token ids and log-probabilities out.

Knows versions, requests and servers. Thread-safe; everything that waits for a server happens in one event loop, in a
thread of its own.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Awaitable, Coroutine, Generator, Iterable, Sequence
from concurrent.futures import CancelledError
from contextlib import aclosing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from blake3 import blake3

from art.errors import ArtError, ConfigurationError, InferenceError, QueueFullError
from art.sample.generation import Generation, Outbox, Token
from art.sample.sampler import Load, Traits
from art.sample.sampling import Sampling
from art.sample.version import Version
from art.sample.vllm.connection import Address
from art.sample.vllm.launch import Launch
from art.sample.vllm.published import ServedVersions
from art.sample.vllm.server import VLLMServer
from art.sample.vllm.spread import Spread
from art.sample.vllm.suitable import Suitable, narrowest
from art.sample.vllm.wire import completion

Result = TypeVar("Result")


class VLLMSampler:
    """Samples from versions of one model on one vLLM server or several, found or started."""

    def __init__(
        self,
        sources: Sequence[Address | Launch],
        *,
        stop_ids: frozenset[int],
        vocabulary: int,
        max_rows: int = 64,
        max_waiting: int = 1024,
    ) -> None:
        self._sources, self._max_rows, self._max_waiting = tuple(sources), max_rows, max_waiting
        self._stop_ids, self._vocabulary = stop_ids, vocabulary
        self._published = ServedVersions()
        self._spread = Spread(len(self._sources))
        self._servers: list[VLLMServer] = []
        self._adapted: set[Version] = set()
        self._unloading: set[asyncio.Task[None]] = set()
        self._tasks: dict[Generation, dict[int, asyncio.Task[None]]] = {}
        self._unplaced: dict[Generation, int] = {}
        """How many choices of a request have no place yet."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = threading.Lock()
        self._closed = False
        self._suitable: Suitable | None = None
        # Other processes may give adapters to the same server, and may call theirs as we call ours.
        self._signature = secrets.token_hex(4)

    @property
    def context_length(self) -> int:
        """How many tokens a prompt and its answer may have together; starts what is not started."""
        if self._suitable is None:
            self._do(self._ready())
        assert self._suitable is not None
        return self._suitable.context_length

    @property
    def stop_ids(self) -> frozenset[int]:
        return self._stop_ids

    @property
    def traits(self) -> Traits:
        return Traits(truncated_logprobs=True, max_rank=self._suitable and self._suitable.max_rank)

    def publish(self, version: Version, adapter: Path | None) -> None:
        """Let every server load the adapter from its folder, under a name of its own."""
        self._do(self._publish(version, adapter))

    def retire(self, version: Version) -> None:
        if self._published.retire(version) and (loop := self._running_loop()):
            loop.call_soon_threadsafe(self._begin_unload, version)

    def submit(self, version: Version, prompt_ids: Sequence[int], *, sampling: Sampling, n: int = 1) -> Generation:
        prompt = tuple(prompt_ids)
        self._open()
        self._published.require(version)
        self._check(prompt, sampling)
        sampling = replace(sampling, max_tokens=min(sampling.max_tokens, self.context_length - len(prompt)))
        generation = Generation(prompt, n=n, sampling=sampling, wake=lambda: self._wake(generation))
        with self._opening:
            # Under the lock, so that whatever has begun is there for `close` to end.
            self._require_open()
            assert self._loop is not None
            self._published.begin(version, n)
            self._unplaced[generation] = n
            self._loop.call_soon_threadsafe(self._begin, generation, version)
        return generation

    @contextmanager
    def resting(self) -> Generator[None]:
        """Leave the GPU to training while the block runs, where a server was started that shares it."""
        # A sampler that is closed meanwhile has no server any more, which frees as much.
        with suppress(InferenceError):
            self._do(_all(server.rest() for server in self._servers))
        try:
            yield
        finally:
            with suppress(InferenceError):
                self._do(_all(server.wake() for server in self._servers))

    def load(self) -> Load:
        return Load(rows=sum(server.rows for server in self._servers), waiting=len(self._unplaced))

    def close(self) -> None:
        with self._opening:
            loop, was_closed, self._closed = self._loop, self._closed, True
        if loop is None or was_closed:
            return
        asyncio.run_coroutine_threadsafe(self._close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()

    def _check(self, prompt: tuple[int, ...], sampling: Sampling) -> None:
        if len(self._unplaced) >= self._max_waiting:
            raise QueueFullError(f"{self._max_waiting} requests are waiting already; try again shortly.")
        if not prompt:
            raise ConfigurationError("The prompt is empty; give it at least one token.")
        if len(prompt) >= self.context_length:
            raise ConfigurationError(
                f"The prompt has {len(prompt)} tokens, which leaves no room in a context of {self.context_length}."
            )
        if min(prompt) < 0 or max(prompt) >= self._vocabulary:
            raise ConfigurationError(f"The prompt has token ids beyond the vocabulary of {self._vocabulary}.")
        if sampling.seed is not None and any(isinstance(each, Launch) and not each.is_on_gpu for each in self._sources):
            raise ConfigurationError(
                "vLLM on a CPU fails over a seed when it computes a prompt in pieces. Leave the seed out, or sample "
                "with sampler='own', whose seeds are exact."
            )
        if sampling.is_truncated and not sampling.is_greedy:
            raise ConfigurationError(
                "vLLM's log-probabilities are those after top_p, top_k and min_p have cut, and training needs those "
                "before. Leave the three out, or sample with sampler='own'."
            )

    def _open(self) -> asyncio.AbstractEventLoop:
        """Give the event loop; the first call makes it, and the servers, which start with the first that waits."""
        with self._opening:
            self._require_open()
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._servers = [VLLMServer(source, at_once=self._max_rows) for source in self._sources]
                self._thread = threading.Thread(target=self._loop.run_forever, name="art-vllm", daemon=True)
                self._thread.start()
            return self._loop

    def _require_open(self) -> None:
        if self._closed:
            raise InferenceError("The sampler is closed.")

    def _do(self, work: Coroutine[Any, Any, Result]) -> Result:
        try:
            loop = self._open()
        except InferenceError:
            work.close()
            raise
        try:
            return asyncio.run_coroutine_threadsafe(work, loop).result()
        except CancelledError:
            raise InferenceError("The sampler was closed before it was done.") from None

    def _running_loop(self) -> asyncio.AbstractEventLoop | None:
        return None if self._closed else self._loop

    def _name(self, version: Version) -> str | None:
        """Give what the servers call the version; None is the base model."""
        return f"{version}~{self._signature}" if version in self._adapted else None

    async def _ready(self) -> None:
        self._suitable = narrowest(await _all(server.ready() for server in self._servers))

    async def _publish(self, version: Version, adapter: Path | None) -> None:
        await self._ready()
        if adapter is not None:
            self._adapted.add(version)
            name = self._name(version)
            assert name is not None
            try:
                await _all(server.load(name, adapter.absolute()) for server in self._servers)
            except ArtError:
                await self._unload(version)
                raise
        self._published.add(version)

    async def _unload(self, version: Version) -> None:
        name = self._name(version)
        self._adapted.discard(version)
        if name:
            await _all(server.unload(name) for server in self._servers)

    def _begin_unload(self, version: Version) -> None:
        unloading = asyncio.ensure_future(self._unload(version))
        self._unloading.add(unloading)
        unloading.add_done_callback(self._unloading.discard)

    def _begin(self, generation: Generation, version: Version) -> None:
        tasks = self._tasks[generation] = {}
        for choice, seed in enumerate(_seeds(generation)):
            place = self._spread.choose(generation.prompt_ids, [server.burden for server in self._servers])
            body = completion(generation.prompt_ids, sampling=generation.sampling, seed=seed)
            work = self._stream(generation, choice, server=self._servers[place], body=body, adapter=self._name(version))
            tasks[choice] = asyncio.ensure_future(work)
            tasks[choice].add_done_callback(partial(self._end, generation, version, choice))
        self._drop_cancelled(generation)

    async def _stream(
        self, generation: Generation, choice: int, *, server: VLLMServer, body: dict[str, Any], adapter: str | None
    ) -> None:
        async with server.place():
            self._place(generation)
            top = generation.sampling.top_logprobs
            async with aclosing(server.complete(body, adapter=adapter, top=top)) as pieces:
                async for piece in pieces:
                    _deliver(generation, list(piece.tokens(choice)))

    def _place(self, generation: Generation) -> None:
        self._unplaced[generation] -= 1
        if not self._unplaced[generation]:
            del self._unplaced[generation]

    def _end(self, generation: Generation, version: Version, choice: int, task: asyncio.Task[None]) -> None:
        """Take it that a choice has ended, also one that never began."""
        error = None if generation.is_cancelled(choice) else _failure(task)
        if error:
            generation.give_up()
            _deliver(generation, error)
            self._drop_cancelled(generation)
        tasks = self._tasks[generation]
        del tasks[choice]
        if not tasks:
            del self._tasks[generation]
            self._unplaced.pop(generation, None)
        if self._published.end(version):
            self._begin_unload(version)

    def _wake(self, generation: Generation) -> None:
        if loop := self._running_loop():
            with suppress(RuntimeError):  # closed since: nothing runs any more
                loop.call_soon_threadsafe(self._drop_cancelled, generation)

    def _drop_cancelled(self, generation: Generation) -> None:
        for choice, task in self._tasks.get(generation, {}).items():
            if generation.is_cancelled(choice):
                task.cancel()

    async def _close(self) -> None:
        tasks = [task for tasks in self._tasks.values() for task in tasks.values()]
        for server in self._servers:
            server.begin_closing()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*self._unloading, return_exceptions=True)
        await _all(server.close() for server in self._servers)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


async def _all(works: Iterable[Awaitable[Result]]) -> list[Result]:
    """Wait for all of them, and only then raise what one of them raised."""
    results = await asyncio.gather(*works, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


def _seeds(generation: Generation) -> Sequence[int | None]:
    """Give each choice a seed of its own, where the request has one."""
    seed = generation.sampling.seed
    if seed is None:
        return [None] * generation.n
    return [int.from_bytes(blake3(f"{seed}/{choice}".encode()).digest(length=8)) for choice in range(generation.n)]


def _failure(task: asyncio.Task[None]) -> InferenceError | None:
    if task.cancelled():
        return InferenceError("The sampler stopped before the request was answered.")
    error = task.exception()
    return error if error is None or isinstance(error, InferenceError) else InferenceError(str(error) or repr(error))


def _deliver(generation: Generation, item: list[Token] | InferenceError) -> None:
    outbox = Outbox()
    outbox.put(generation, item)
    outbox.send()
