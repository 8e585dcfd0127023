"""Watching an engine's passes, whoever computes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from art.sample.own.engine import Engine


def watch_passes(engine: Engine, watch: Callable[[], None]) -> None:
    """Call this in every pass: each begins with the embeddings of its tokens."""
    embeddings: Any = engine._adapted.model.get_input_embeddings()  # pyright: ignore[reportPrivateUsage]
    embeddings.register_forward_hook(lambda *_: watch())
