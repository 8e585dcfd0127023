"""What each branch keeps on the disk, and what a clean-up would free, as JSON documents. Opens nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from art.ops.disk_use import BranchUse
from art.ops.retention import Retention
from art.program import command

SCHEMA = 1
Json = dict[str, Any]


def disk_document(uses: Sequence[BranchUse]) -> Json:
    """Give what each branch keeps on the disk."""
    rows = [
        {
            "model": str(use.model),
            "checkpoints": use.checkpoints,
            "kept_bytes": use.kept_bytes,
            "aside_bytes": use.aside_bytes,
        }
        for use in uses
    ]
    kept, aside = sum(use.kept_bytes for use in uses), sum(use.aside_bytes for use in uses)
    return {"schema": SCHEMA, "kept_bytes": kept, "aside_bytes": aside, "rows": rows}


def cleanup_document(retention: Retention, *, rule: str, root: str | Path) -> Json:
    """Give what policies would delete of each branch, and why the rest stays."""
    removal, reasons = retention.removal, retention.reasons
    models = sorted({ref.model for ref in (*removal.refs, *reasons)})
    rows = [
        {
            "model": str(model),
            "stays": sum(1 for ref in reasons if ref.model == model),
            "goes": sum(1 for ref in removal.refs if ref.model == model),
            "freed_bytes": sum(size for ref, size in removal.freed.items() if ref.model == model),
            "why": list(dict.fromkeys(why for ref, whys in reasons.items() if ref.model == model for why in whys)),
        }
        for model in models
    ]
    return {
        "schema": SCHEMA,
        "rule": rule,
        "command": command(root, "gc", "--keep", rule, "--plan"),
        "freed_bytes": removal.freed_bytes,
        "rows": rows,
    }
