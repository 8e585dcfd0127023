"""What is fuzzed, by name: each target takes bytes, and raises where something happens that must not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

CORPUS = Path(__file__).with_name("corpus")
TARGETS = ("documents", "files", "places", "trained", "requests")


def opened(name: str, folder: Path) -> Callable[[bytes], None]:
    """Prepare a target, with a folder for what it writes."""
    # Each imports what it needs and no more: tensors and templates take seconds.
    if name == "files":
        from . import files, world

        return partial(files.check, world.write_world(folder / "world"), folder)
    if name == "places":
        from . import places

        return partial(places.check, places.write_bucket(folder), folder)
    if name == "trained":
        from . import trained

        return partial(trained.check, trained.write_good(folder / "good"), folder / "good")
    if name == "requests":
        from . import requests

        return partial(requests.check, requests.open_door())
    from . import documents

    return documents.check
