from __future__ import annotations

import os

import pytest
from worlds import make_tokenizer

os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def tokenizer():
    return make_tokenizer()
