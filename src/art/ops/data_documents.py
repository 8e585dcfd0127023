"""What a branch was trained on, as a JSON document: the same for the program, an agent and Python. Opens nothing."""

from __future__ import annotations

from typing import Any

from art.ops.trained import Trained


def trained_document(found: Trained) -> dict[str, Any]:
    """Say how often each scenario was trained on, and what proves it."""
    return {
        "ref": str(found.ref),
        "forked_at": str(found.forked_at) if found.forked_at else None,
        "since": found.since,
        "groups": found.groups,
        "is_proved": not found.problems,
        "problems": list(found.problems),
        "recounted": [str(ref) for ref in found.recounted],
        "counted_from": str(found.counted_from) if found.counted_from else None,
        "scenarios": [
            {
                "key": scenario.key,
                "total": scenario.total,
                "own": None if scenario.inherited is None else scenario.total - scenario.inherited,
                "inherited": scenario.inherited,
                "steps": [str(ref) for ref in scenario.steps],
                "prompt": scenario.prompt,
            }
            for scenario in found.scenarios
        ],
        "data_sets": [
            {"id": name, "size": each.size, "front": each.front, "ahead": [list(span) for span in each.ahead]}
            for name, each in sorted(found.data_sets.items())
        ],
    }
