"""What a manifest tells of the update that led to its checkpoint: from which step, and whether any group taught it."""

from __future__ import annotations

from collections.abc import Mapping

from art.format.manifest import Manifest


def updated_from(manifest: Manifest) -> int | None:
    """Give the step whose weights were updated, and whose rollouts earned the rewards; None where it is not known."""
    parent = manifest.parent
    # A fork keeps the step and the metrics of its source, whose own parent it does not name.
    return parent.step if parent and parent.step < manifest.step else None


def is_without_signal(metrics: Mapping[str, float | None]) -> bool:
    """Tell whether in every group all rewards were equal, so that the weights stayed as they were."""
    groups = metrics.get("groups")
    return bool(groups) and metrics.get("groups_without_signal") == groups
