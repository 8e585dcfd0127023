"""A tokenizer for every test here, and one thread: on small models a second one only waits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from small import byte_tokenizer


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices this small are computed faster than threads are woken, the more so on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tokenizer():
    return byte_tokenizer()
