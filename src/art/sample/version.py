"""Which weights a request is answered with: a value, and the one text by which everybody else calls it.

Knows names alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from art.names import CheckpointRef, ModelRef, parse_step


@dataclass(frozen=True, kw_only=True)
class Version:
    """Weights as they were published once."""

    model: ModelRef | None
    """None is the base model, without any adapter."""
    publication: int
    """Counts a session's publications: after a rewind the same step has other weights, while requests may still run on
    the old ones."""
    step: int

    def __str__(self) -> str:
        return f"{self.model}#{self.publication}@{self.step}" if self.model else "base"

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read what an adapter's version is called; a text that names no publication means the first.

        Raises `InvalidNameError`.
        """
        ref = CheckpointRef.parse(text)
        name, mark, digits = ref.model.name.rpartition("#")
        publication = parse_step(digits) if mark else None
        model = ref.model if publication is None else ModelRef(ref.model.project, name)
        return cls(model=model, publication=publication or 0, step=ref.step)


BASE = Version(model=None, publication=0, step=0)
