"""What a branch was trained on, as a JSON document: the same for the program, an agent and Python. Opens nothing."""

from __future__ import annotations

from typing import Any

from art.ops.trained import Trained


def trained_document(trained: Trained) -> dict[str, Any]:
    """Say how often each scenario was trained on, and what proves it."""
    return {
        "ref": str(trained.ref),
        "forked_at": str(trained.forked_at) if trained.forked_at else None,
        "since": trained.since,
        "groups": trained.groups,
        "is_proved": not trained.problems,
        "problems": list(trained.problems),
        "recounted": [str(ref) for ref in trained.recounted],
        "counted_from": str(trained.counted_from) if trained.counted_from else None,
        "scenarios": [
            {
                "key": scenario.key,
                "total": scenario.total,
                "own": None if scenario.inherited is None else scenario.total - scenario.inherited,
                "inherited": scenario.inherited,
                "steps": [str(ref) for ref in scenario.steps],
                "prompt": scenario.prompt,
            }
            for scenario in trained.scenarios
        ],
        "data_sets": [
            {"id": name, "size": each.size, "front": each.front, "ahead": [list(span) for span in each.ahead]}
            for name, each in sorted(trained.data_sets.items())
        ],
    }
