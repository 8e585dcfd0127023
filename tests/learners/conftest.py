"""Every implementation of `Learner`, over the same small model on the disk."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from art.adapter.loading import load_base
from art.train.learner import Learner
from small import write_small_model

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))

from learning import MAKERS, World


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> World:
    path = write_small_model(tmp_path_factory.mktemp("learners") / "base", family="llama")
    base, tokenizer = load_base(str(path), device=torch.device("cpu"), dtype=torch.float32)
    return World(path=path, base=base, tokenizer=tokenizer)


@pytest.fixture(scope="package", params=MAKERS)
def learners(request: pytest.FixtureRequest, world: World) -> Iterator[tuple[Learner, Learner]]:
    """Two learners that know nothing of each other."""
    make = MAKERS[request.param]
    both = make(world), make(world)
    yield both
    for each in both:
        each.close()
