"""A real vLLM server over a small model, started once; the markers skip what needs it where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, PreTrainedModel

from adapters import write_random_adapter
from art.sample.version import BASE
from art.sample.vllm.connection import Address
from art.sample.vllm.launch import HOST, Launch
from art.sample.vllm.sampler import VLLMSampler
from small import write_small_model

from .asking import KEY, launch_of, sampler_of


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small model whose heads are as wide as vLLM's kernels ask for on a CPU."""
    return write_small_model(tmp_path_factory.mktemp("models") / "small-wide", head_dim=32)


@pytest.fixture
def base(model: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(model).eval()


@pytest.fixture
def adapter(base: PreTrainedModel, tmp_path: Path) -> Callable[..., Path]:
    """Writes random adapters of the base."""
    return lambda seed, **options: write_random_adapter(tmp_path / f"adapter-{seed}", base, seed=seed, **options)


@pytest.fixture(scope="session")
def launch(model: Path) -> Launch:
    """The launch of the server that most tests share; its port is known."""
    return launch_of(model, port=launch_of(model).free_port())


@pytest.fixture
def address(launch: Launch) -> Address:
    return Address(scheme="http", host=HOST, port=launch.port, key=KEY)


@pytest.fixture(scope="session", autouse=True)
def known_key() -> Iterator[None]:
    """Let the servers that are started have a key that the tests know."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_API_KEY", KEY)
        yield


@pytest.fixture(scope="session")
def served(launch: Launch) -> Iterator[VLLMSampler]:
    """The sampler that has started the server that most tests share."""
    sampler = sampler_of(launch)
    sampler.publish(BASE, None)
    yield sampler
    sampler.close()


@pytest.fixture(scope="session")
def sampler(served: VLLMSampler) -> VLLMSampler:
    """A sampler whose server runs, and serves the base."""
    return served
