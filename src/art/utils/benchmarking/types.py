"""Which model's trajectories a chart shows, and under which name."""

from __future__ import annotations


class BenchmarkModelKey:
    """A model, what a chart calls it, and the split whose trajectories count."""

    def __init__(self, name: str, display_name: str | None = None, split: str | None = None) -> None:
        self.name = name
        self.display_name = display_name or name
        self.split = split or "val"

    def __str__(self) -> str:
        return self.display_name
