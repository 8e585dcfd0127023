"""What a backend says when asked to be verbose: on stderr, so that stdout stays the script's own."""

from __future__ import annotations

from rich.console import Console

from art.backend import TrainResult
from art.names import ModelRef

SHOWN = ("reward", "loss", "kl", "entropy", "grad_norm", "learning_rate", "seconds")


def say(text: str) -> None:
    """Print to stderr, as plain as it is given."""
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(text)


def step_line(model: ModelRef, result: TrainResult) -> str:
    """Tell a training step in one line."""
    shown = [f"{name} {result.metrics[name]:.4g}" for name in SHOWN if name in result.metrics]
    return f"{model}@{result.step}: {', '.join(shown)}"
