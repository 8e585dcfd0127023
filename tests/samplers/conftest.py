"""A small base model, adapters over it, and samplers that end with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from adapters import write_random_adapter
from art.adapter.loading import load_base
from art.sample.base import LoadedBase, NewSampler
from art.sample.sampler import Sampler
from art.sample.version import BASE
from art.sample.vllm.factory import VLLM
from art.sample.vllm.launch import HOST
from small import write_small_model
from vllm_server.asking import KEY, launch_of, sampler_of


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small model whose heads are as wide as vLLM's kernels ask for on a CPU."""
    return write_small_model(tmp_path_factory.mktemp("models") / "small-wide", head_dim=32)


@pytest.fixture(scope="package")
def vllm(small_model: Path) -> Iterator[NewSampler]:
    """Makes samplers over a vLLM server that runs."""
    launch = launch_of(small_model, port=launch_of(small_model).free_port())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_API_KEY", KEY)
        starter = sampler_of(launch)
        starter.publish(BASE, None)
        yield VLLM(urls=(f"http://{HOST}:{launch.port}",))
        starter.close()


@pytest.fixture(scope="package")
def base(small_model: Path) -> LoadedBase:
    module, tokenizer = load_base(str(small_model), device=torch.device("cpu"), dtype=torch.float32)
    return LoadedBase(id=str(small_model), module=module, tokenizer=tokenizer)


@pytest.fixture(scope="package")
def adapter(base: LoadedBase, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Gives the folder of an adapter with numbers of its own for each step."""
    root, written = tmp_path_factory.mktemp("adapters"), dict[int, Path]()

    def write(step: int) -> Path:
        if step not in written:
            written[step] = write_random_adapter(root / str(step), base.module, seed=step)
        return written[step]

    return write


@pytest.fixture
def opened(base: LoadedBase) -> Iterator[Callable[[NewSampler], Sampler]]:
    """Makes samplers that serve the base, and closes them."""
    samplers: list[Sampler] = []

    def make(new: NewSampler) -> Sampler:
        samplers.append(new(base))
        samplers[-1].publish(BASE, None)
        return samplers[-1]

    yield make
    for sampler in samplers:
        sampler.close()
