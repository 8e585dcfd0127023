"""A small real model behind a real engine and a real server, and OpenAI's own client in front."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from adapters import write_parrot
from art.sample.own.engine import Engine
from small import byte_tokenizer, small_causal_lm

from .serving import BASE, Served


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return byte_tokenizer()


@pytest.fixture(scope="session")
def base(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    return small_causal_lm(tokenizer).eval()


@pytest.fixture
def engines() -> Iterator[Callable[..., Engine]]:
    """Builds engines whose base is served, and closes them."""
    opened: list[Engine] = []

    def build(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, **options: int) -> Engine:
        engine = Engine(model, tokenizer, **options)
        opened.append(engine)
        engine.publish(BASE, None)
        return engine

    yield build
    for engine in opened:
        engine.close()


@pytest.fixture
def engine(engines: Callable[..., Engine], base: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Engine:
    return engines(base, tokenizer)


@pytest.fixture
def serve(tokenizer: PreTrainedTokenizerFast) -> Iterator[Callable[..., Served]]:
    """Serves an engine over HTTP, and stops."""
    running: list[Served] = []

    def start(engine: Engine, **options: object) -> Served:
        running.append(Served(engine, tokenizer, **options))
        return running[-1]

    yield start
    for each in running:
        each.stop()


@pytest.fixture
def served(serve: Callable[..., Served], engine: Engine) -> Served:
    return serve(engine)


@pytest.fixture(scope="session")
def parrot(
    tokenizer: PreTrainedTokenizerFast, base: PreTrainedModel, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Path]:
    """Trains an adapter to answer a prompt with one sentence; gives its folder."""

    def train(prompt: str, sentence: str) -> Path:
        # Two threads gain nothing on a model of this size, and lose much on a busy machine.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        folder = tmp_path_factory.mktemp("parrot") / "adapter"
        answer_ids = tokenizer.encode(sentence + "<|im_end|>")
        write_parrot(folder, base, prompt_ids=tokenizer.encode(prompt), answer_ids=answer_ids)
        torch.set_num_threads(threads)
        return folder

    return train
