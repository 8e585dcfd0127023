"""What a name means cannot go away between asking for it and using it, however often something newer is published."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from art.errors import CorruptCheckpointError, LoRAShapeMismatchError, NotFoundError
from art.http.catalogue import Catalogue
from art.local.published import EARLIER_VERSIONS, Published
from art.sample.base import LoadedBase
from art.sample.own.engine import Engine
from art.sample.sampling import Sampling
from art.sample.version import Version

from .asking import AGENT, PROMPT, ask, own


@pytest.fixture
def engine(opened: Callable[..., Engine]) -> Engine:
    return opened(own)


@pytest.fixture
def published(engine: Engine, adapter: Callable[[int], Path]) -> Published:
    return Published(AGENT, engine, find_adapter=adapter)


class Held:
    """A name whose lease begins when it is let."""

    def __init__(self, published: Published) -> None:
        self._published = published
        self.is_asked, self.may_begin = threading.Event(), threading.Event()

    def names(self) -> list[str]:
        return []

    @contextmanager
    def lease(self, _: str) -> Generator[Version]:
        self.is_asked.set()
        self.may_begin.wait()
        with self._published.lease(None) as version:
            yield version


class Trusting(Engine):
    """A sampler elsewhere, which may take an adapter for what it is not: it serves the base instead."""

    def publish(self, version: Version, adapter: Path | None) -> None:
        super().publish(version, None)


def test_whoever_samples_gets_no_adapter_that_means_more_than_is_implemented(base: LoadedBase, adapter, tmp_path: Path):
    folder = shutil.copytree(adapter(1), tmp_path / "pissa")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "init_lora_weights": "pissa"}))
    sampler = Trusting(base.module, base.tokenizer)
    published = Published(AGENT, sampler, find_adapter=lambda _: folder)
    published.serve(2, adapter(2))

    with pytest.raises(LoRAShapeMismatchError, match="init_lora_weights"):
        published.serve(3, folder)
    with pytest.raises(LoRAShapeMismatchError, match="init_lora_weights"), published.lease(1):
        pass

    with published.lease(None) as version:
        assert version.step == 2
    sampler.close()


def test_a_version_stays_until_its_last_lease_ends(engine: Engine, published: Published, adapter):
    published.serve(1, adapter(1))

    with published.lease(None) as old:
        published.serve(2, adapter(2))
        with published.lease(None) as new:
            asyncio.run(ask(engine, old))

    assert (old.step, new.step) == (1, 2)
    with pytest.raises(NotFoundError, match="shop/agent#0@1"):
        asyncio.run(ask(engine, old))
    asyncio.run(ask(engine, new))


def test_requests_are_never_refused_while_versions_come_and_go(engine: Engine, published: Published, adapter):
    published.serve(0, None)
    is_over = threading.Event()

    def train() -> None:
        for step in range(1, 60):
            published.serve(step, adapter(step % 3))
        is_over.set()

    async def request() -> list[Version]:
        versions = []
        while not is_over.is_set():
            lease = published.lease(None)
            versions.append(await asyncio.to_thread(lease.__enter__))
            engine.submit(versions[-1], PROMPT, sampling=Sampling(max_tokens=1))
            lease.__exit__(None, None, None)
        return versions

    thread = threading.Thread(target=train)
    thread.start()
    versions = asyncio.run(request())
    thread.join()

    assert len(set(versions)) > 1
    assert len(engine._cohorts) == 2  # the base and the newest


def test_a_request_that_is_given_up_keeps_no_version(engine: Engine, published: Published, adapter):
    published.serve(1, adapter(1))
    models = Held(published)
    catalogue = Catalogue(engine, models)

    async def give_up() -> None:
        sampling = Sampling(max_tokens=1)
        request = asyncio.ensure_future(catalogue.submit("agent", PROMPT, sampling=sampling, n=1, content=""))
        await asyncio.to_thread(models.is_asked.wait)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        models.may_begin.set()

    asyncio.run(give_up())
    published.serve(2, adapter(2))

    assert sorted(version.step for version in engine._cohorts) == [0, 2]


def test_few_earlier_steps_stay_published(engine: Engine, published: Published, adapter):
    published.serve(9, adapter(9))

    for step in range(5):
        with published.lease(step) as version:
            asyncio.run(ask(engine, version))

    assert sorted(version.step for version in engine._cohorts if version.model) == [3, 4, 9]
    assert EARLIER_VERSIONS == 2


def test_what_cannot_be_published_leaves_the_newest(engine: Engine, published: Published, adapter, tmp_path):
    published.serve(1, adapter(1))

    with pytest.raises(CorruptCheckpointError):
        published.serve(2, tmp_path)

    with published.lease(None) as version:
        assert version.step == 1
        asyncio.run(ask(engine, version))
