"""What `art gc --keep` prints: what goes, what the rest stays for, and what that frees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from art.cli.render import removal as render
from art.names import CheckpointRef
from art.ops.retention import Retention


def lines(retention: Retention, deleted: Sequence[CheckpointRef], *, dry_run: bool) -> Iterator[str]:
    """Yield a line for each checkpoint that stays, with every reason, then what goes."""
    width = max((len(str(ref)) for ref in retention.reasons), default=0)
    for ref, why in sorted(retention.reasons.items()):
        yield f"keeps {ref!s:<{width}}  {', '.join(why)}"
    yield next(render.lines(retention.removal, deleted, dry_run=dry_run))


def document(retention: Retention, deleted: Sequence[CheckpointRef], *, dry_run: bool) -> dict[str, Any]:
    """Give the same as one document."""
    kept = [{"ref": str(ref), "why": list(why)} for ref, why in sorted(retention.reasons.items())]
    return {**render.document(retention.removal, deleted, dry_run=dry_run), "kept": kept}
