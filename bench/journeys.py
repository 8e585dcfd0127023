"""Three journeys through the house, each as the functions that it passes: a fork from S3, a training step, a request.

`python bench/journeys.py` prints them; `--write` puts them into docs/design/journeys.md, which says what counts.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import art
import digits
from art.local import LocalBackend
from remote import servers
from small import write_small_model

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "art"
PAGE = ROOT / "docs/design/journeys.md"
NO_ROOMS = ("config", "drawing", "errors", "format", "names", "remote.errors", "store.refusal", "trajectories")
"""Values, and what words an error: they are read everywhere, and nobody goes there."""
BASE, BRANCH = "agent", "branch"


@dataclass(frozen=True)
class Stop:
    """A public function, and the module that it lies in."""

    module: str
    function: str

    def __str__(self) -> str:
        return f"{self.module}.{self.function}"


@dataclass
class Journey:
    """Functions in the order in which they were passed first."""

    stops: list[Stop] = field(default_factory=list[Stop])

    @property
    def visits(self) -> list[tuple[str, list[str]]]:
        """The modules one after the other, with the functions passed in each visit."""
        visits: list[tuple[str, list[str]]] = []
        for stop in self.stops:
            if not visits or visits[-1][0] != stop.module:
                visits.append((stop.module, []))
            visits[-1][1].append(stop.function)
        return visits

    @property
    def rooms(self) -> int:
        return len({stop.module for stop in self.stops})

    @property
    def returns(self) -> int:
        """How many visits are to a module that was left before."""
        return len(self.visits) - self.rooms


class Follower:
    """Follows every thread that begins after it was made."""

    def __init__(self) -> None:
        self._journey: Journey | None = None
        self._seen: set[CodeType] = set()
        self._lock = threading.Lock()
        threading.setprofile(self._note)
        sys.setprofile(self._note)

    @contextmanager
    def following(self) -> Generator[Journey]:
        journey, self._seen = Journey(), set()
        self._journey = journey
        try:
            yield journey
        finally:
            self._journey = None

    def close(self) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        if self._journey is None or event != "call" or frame.f_code in self._seen:
            return
        stop = _stop_of(frame.f_code)
        if stop is None or (frame.f_back and _module_of(frame.f_back.f_code) == stop.module):
            return
        with self._lock:
            if self._journey and frame.f_code not in self._seen:
                self._seen.add(frame.f_code)
                self._journey.stops.append(stop)


def _stop_of(code: CodeType) -> Stop | None:
    module, names = _module_of(code), code.co_qualname.split(".")
    if module is None or any(name.startswith(("_", "<")) for name in names):
        return None
    if any(module == room or module.startswith(f"{room}.") for room in NO_ROOMS) or _is_property(module, names):
        return None
    return Stop(module, code.co_qualname)


def _module_of(code: CodeType) -> str | None:
    path = Path(code.co_filename)
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts) if path.is_relative_to(PACKAGE) else None


def _is_property(module: str, names: list[str]) -> bool:
    holder: Any = sys.modules.get(f"art.{module}")
    for name in names[:-1]:
        holder = getattr(holder, name, None)
    return isinstance(inspect.getattr_static(holder, names[-1], None), property | cached_property)


def follow_all() -> dict[str, Journey]:
    """Follow the three journeys, with the small model and a real server."""
    follower = Follower()
    try:
        with tempfile.TemporaryDirectory() as folder, servers.moto() as server:
            os.environ.update(server.environment())
            server.client().create_bucket(Bucket="bucket")
            base = write_small_model(Path(folder) / "base")
            return asyncio.run(_follow(follower, str(base), Path(folder)))
    finally:
        follower.close()


async def _follow(follower: Follower, base: str, folder: Path) -> dict[str, Journey]:
    async with LocalBackend(path=folder / "there") as backend:
        model = art.TrainableModel(name=BASE, project="p", base_model=base)
        await model.register(backend)
        await digits.train(model, 1)
        groups = await digits.gather(model)
        with follower.following() as step:
            await model.train(groups, config=digits.TRAIN)
        client = model.openai_client()
        with follower.following() as request:
            await client.chat.completions.create(
                model=model.get_inference_name(), messages=[{"role": "user", "content": "1"}], max_completion_tokens=2
            )
        await backend._experimental_push_to_s3(model, s3_bucket="bucket")
    async with LocalBackend(path=folder / "here") as backend:
        model = art.TrainableModel(name=BRANCH, project="p", base_model=base)
        with follower.following() as fork:
            await backend._experimental_fork_checkpoint(model, from_model=BASE, from_s3_bucket="bucket")
    return {"fork from S3": fork, "one training step": step, "one chat request": request}


def section(name: str, journey: Journey) -> str:
    """Write a journey as the page shows it."""
    lines = [f"## {name[0].upper()}{name[1:]}", "", f"{journey.rooms} rooms, {journey.returns} returns.", ""]
    seen = set[str]()
    for number, (module, functions) in enumerate(journey.visits, 1):
        back = " (back)" if module in seen else ""
        seen.add(module)
        lines.append(f"{number}. `{module}`{back}: {', '.join(f'`{function}`' for function in functions)}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    written = "\n".join(section(name, journey) for name, journey in follow_all().items())
    if "--write" in sys.argv:
        PAGE.write_text(PAGE.read_text().partition("## Fork from S3")[0] + written)
    else:
        print(written)
