"""One server: found or started, given its adapters, and brought back with them when it goes away.

Everything here runs in the sampler's event loop; only starting and stopping a process happen in threads.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from art.errors import ArtError, InferenceError, SamplerLostError
from art.sample.vllm.client import Client, not_loaded
from art.sample.vllm.connection import Address
from art.sample.vllm.launch import HOST, KEY, Launch
from art.sample.vllm.process import Process
from art.sample.vllm.sleeping import Answers, put_to_sleep, wake_up
from art.sample.vllm.suitable import Suitable, check_suitable
from art.sample.vllm.wire import StreamedPiece

POLL_S = 0.25
AWAY_S = 60.0
"""How long a server that we did not start may be away before requests are told."""
AWAY_LOAD = 1 << 20
_log = logging.getLogger("art")


class VLLMServer:
    """A vLLM server that runs at an address, or that is started by a launch."""

    def __init__(self, source: Address | Launch, *, at_once: int) -> None:
        self._source = source
        self._process: Process | None = None
        self._client: Client | None = None
        self._adapters: dict[str, Path] = {}
        self._starting: asyncio.Task[Suitable] | None = None
        self._places = asyncio.Semaphore(at_once)
        self._awake, self._idle = asyncio.Event(), asyncio.Event()
        self._awake.set()
        self._idle.set()
        self._before: Answers | None = None
        """How it answered before it fell asleep; None while it is awake."""
        self._is_closing = False
        self.requests = 0
        """Choices that wait for it, or are sampled by it."""
        self.rows = 0

    @property
    def burden(self) -> int:
        """How much it has to do; one that is away has more than any that answers."""
        is_up = self._starting is not None and self._starting.done() and not _failed(self._starting)
        return self.requests if is_up else self.requests + AWAY_LOAD

    async def ready(self) -> Suitable:
        """Wait until it answers and has every adapter; raises what kept it from that, and the next call tries again."""
        if self._starting is None or _failed(self._starting):
            self._begin_start()
        assert self._starting is not None
        return await asyncio.shield(self._starting)

    def _begin_start(self) -> None:
        self._starting = asyncio.ensure_future(self._start())
        self._starting.add_done_callback(_failed)  # looks at its error, which nobody may be waiting for

    async def load(self, name: str, folder: Path) -> None:
        """Take an adapter; on any error it has none of that name."""
        await self._awake.wait()
        await self.ready()
        await self._load(name, folder)
        self._adapters[name] = folder

    async def unload(self, name: str) -> None:
        """Let go of an adapter; one that is not there, or a server that is away, is no matter."""
        if self._adapters.pop(name, None) is None:
            return
        await self._awake.wait()
        if self._client is None or (self._is_closing and isinstance(self._source, Launch)):
            return
        try:
            await self._client.unload(name)
        except SamplerLostError as error:
            self.lose(error)

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[None]:
        """Wait for a place, and keep it."""
        self.requests += 1
        try:
            async with self._places:
                await self._awake.wait()
                self.rows += 1
                self._idle.clear()
                try:
                    yield
                finally:
                    self.rows -= 1
                    if not self.rows:
                        self._idle.set()
        finally:
            self.requests -= 1

    async def complete(self, body: dict[str, Any], *, adapter: str | None, top: int) -> AsyncGenerator[StreamedPiece]:
        """Yield a choice's tokens. `adapter` None is the base model."""
        suitable = await self.ready()
        assert self._client is not None
        request = {**body, "model": adapter or suitable.base}
        try:
            async with aclosing(self._client.complete(request, top=top)) as pieces:
                async for piece in pieces:
                    yield piece
        except SamplerLostError as error:
            self.lose(error)
            raise

    def lose(self, error: SamplerLostError) -> None:
        """Take it that the server is gone, and bring it back."""
        if self._starting and self._starting.done() and not _failed(self._starting):
            _log.warning("%s%s", error, self._where_it_says_why())
            self._begin_start()

    def _where_it_says_why(self) -> str:
        return f" Its log is {self._process.keep_log()}." if self._process else ""

    async def rest(self) -> None:
        """Leave the GPU to training: what runs ends first, what comes waits until `wake`.

        A server that does not fall asleep is stopped, which frees as much; so nothing is raised.
        """
        if not (isinstance(self._source, Launch) and self._source.sleeps):
            return
        self._awake.clear()
        await self._idle.wait()
        if self._starting is None or _failed(self._starting):
            await self._stop()
            return
        try:
            suitable = await self.ready()
            assert self._client is not None
            self._before = await put_to_sleep(self._client, [suitable.base, *self._adapters])
        except ArtError as error:
            _log.warning("%s It is stopped, and starts again after the step.%s", error, self._where_it_says_why())
            self._starting = None
            await self._stop()

    async def wake(self) -> None:
        """Answer again as before; a server that does not is started again with every adapter. Raises nothing."""
        before, self._before = self._before, None
        try:
            if before is not None and self._client is not None:
                await wake_up(self._client, before)
        except ArtError as error:
            _log.warning("%s It is started again.%s", error, self._where_it_says_why())
            self._begin_start()
        finally:
            self._awake.set()

    def begin_closing(self) -> None:
        """Let go of whoever waits for it to wake."""
        self._is_closing = True
        self._awake.set()

    async def close(self) -> None:
        """Take back what was given to a server of others, and end one of ours."""
        if self._starting:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        if isinstance(self._source, Address):
            for name in list(self._adapters):
                await self.unload(name)
        await self._stop()

    async def _stop(self) -> None:
        if self._process is None:
            return
        await asyncio.to_thread(self._process.stop)
        self._process = None

    async def _start(self) -> Suitable:
        if isinstance(self._source, Launch):
            client = await self._launch(self._source)
        else:
            client = await self._find(self._source)
        suitable = await check_suitable(client)
        self._client = client
        for name, folder in list(self._adapters.items()):
            await self._load(name, folder, may_have_it=True)
        return suitable

    async def _find(self, address: Address) -> Client:
        client = Client(address)
        # At the first call a wrong address is told at once; later a server may need its time to start again.
        end = time.monotonic() + (AWAY_S if self._client else 0)
        while not await client.is_healthy():
            if time.monotonic() >= end:
                raise SamplerLostError(f"No vLLM server answers at {address}. Start it there, or give its address.")
            await asyncio.sleep(POLL_S)
        return client

    async def _launch(self, launch: Launch) -> Client:
        await self._stop()
        started = time.monotonic()
        port, variables = launch.free_port(), launch.environment()
        process = self._process = await asyncio.to_thread(Process, launch.command(port), variables)
        _log.info("Starting vLLM for %s; its log is %s.", launch.base, process.log)
        client = Client(Address(scheme="http", host=HOST, port=port, key=variables[KEY]))
        while not await client.is_healthy():
            status = process.exit_status
            if status is not None:
                raise InferenceError(
                    f"vLLM ended while it started (exit status {status}): {process.last_words()}. "
                    f"Its log is {process.log}."
                )
            if time.monotonic() - started > launch.timeout_s:
                log = process.keep_log()
                await asyncio.to_thread(process.stop)
                raise InferenceError(
                    f"vLLM did not answer within {launch.timeout_s:g} s, and was stopped. Its log is {log}."
                )
            await asyncio.sleep(POLL_S)
        _log.info("vLLM answers after %.0f s.", time.monotonic() - started)
        return client

    async def _load(self, name: str, folder: Path, *, may_have_it: bool = False) -> None:
        assert self._client is not None
        reply = await self._client.load(name, folder)
        if reply.status == 200 or (may_have_it and "already been loaded" in reply.message):
            return
        error = not_loaded(self._client.address, folder, reply)
        if isinstance(error, SamplerLostError):
            self.lose(error)
        raise error


def _failed(starting: asyncio.Task[Suitable]) -> bool:
    return starting.done() and (starting.cancelled() or starting.exception() is not None)
