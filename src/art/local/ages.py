"""How many steps ago an answer was sampled, in the past of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from art.errors import InvalidNameError
from art.format.lineage import Segment
from art.sample.version import Version


def ages(segments: Sequence[Segment], *, here: int) -> Callable[[str], int | None]:
    """Give what tells the age of a version's answers at step `here`, None for one that is no ancestor of the weights.

    A fork's past is its own: what its parent sampled before the fork has an age, and what it sampled later has none.
    """

    def age_of(version: str) -> int | None:
        try:
            sampled = Version.parse(version)
        except InvalidNameError:
            return None
        if sampled.step > here:
            return None
        is_ancestor = any(segment.model == sampled.model and sampled.step in segment for segment in segments)
        return here - sampled.step if is_ancestor else None

    return age_of
