"""The numbered folders of what was set aside in a bucket, as a listing shows them. Writes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from art.format import layout
from art.format.json import parse_as
from art.names import parse_step
from art.remote.objects import Object, Objects
from art.store import foreign, journal

GIVEN_UP_AFTER = timedelta(days=1)
"""A rewind that has copied nothing for so long is not going on."""


class BucketRecord(journal.Record):
    """What was set aside together, as on a disk; `moves` are keys below the prefix."""

    owner: str = ""
    """Tells two writers of one number apart."""
    foreign: tuple[int, ...] = ()
    """The steps among them that another program wrote: these have no manifest."""


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """A numbered folder of what was set aside, as a listing shows it."""

    id: int
    files: Mapping[str, Object]
    """Its own: the record and the journal."""
    steps: Mapping[int, Mapping[str, Object]]
    """The files of each step, by their paths."""

    @property
    def is_recorded(self) -> bool:
        return layout.RECORD in self.files

    @property
    def is_pending(self) -> bool:
        """Whether its originals may still be in their place."""
        return self.is_recorded and layout.JOURNAL in self.files

    @property
    def without_manifest(self) -> tuple[int, ...]:
        return tuple(step for step, files in self.steps.items() if layout.MANIFEST not in files)

    def without(self, steps: Collection[int]) -> Shelf:
        """Give the files of its other steps alone."""
        return Shelf(id=self.id, files={}, steps={step: self.steps[step] for step in self.steps if step not in steps})

    def held(self, record: BucketRecord) -> tuple[int, ...]:
        """Give the steps that are whole here, lowest first; of what was kept as damaged, those with a file."""
        if record.damaged:
            return tuple(sorted(self.steps))
        whole = [step for step, files in self.steps.items() if layout.MANIFEST in files]
        others = [step for step in record.foreign if self.steps.get(step, {}).keys() >= set(foreign.FILES)]
        return tuple(sorted({*whole, *others}))


@dataclass(frozen=True)
class Broken:
    """What a rewind that broke off left: copies of checkpoints that are in their place."""

    url: str
    keys: tuple[str, ...]
    size_bytes: int


def shelves(objects: Objects, folder: str) -> list[Shelf]:
    """List the numbered folders below a folder, lowest first."""
    files: dict[int, dict[str, Object]] = {}
    steps: dict[int, dict[int, dict[str, Object]]] = {}
    for path, item in objects.files_below(folder).items():
        number, _, rest = path.partition("/")
        name, inside, file = rest.partition("/")
        aside_id, step = parse_step(number), parse_step(name)
        if aside_id is None or number != layout.step_name(aside_id):
            continue
        files.setdefault(aside_id, {})
        if not inside:
            files[aside_id][name] = item
        elif step is not None:
            steps.setdefault(aside_id, {}).setdefault(step, {})[file] = item
    return [Shelf(id=each, files=files[each], steps=steps.get(each, {})) for each in sorted(files)]


def record_of(content: bytes, *, where: str) -> BucketRecord:
    """Read a record; raises `CorruptCheckpointError`."""
    bounds = {"max_bytes": journal.MAX_BYTES, "max_values": journal.MAX_VALUES}
    return parse_as(BucketRecord, content, where=where, what="a record", **bounds)


def content_of(record: BucketRecord) -> bytes:
    """Give the bytes of a record; raises `ConfigurationError` for more moves than `record_of` reads."""
    return journal.bounded_json(record.model_dump(mode="json"), f"set_aside/{record.id}", len(record.moves))


def step_at(key: str) -> int | None:
    """Read a step from the key of its folder."""
    return parse_step(key.rpartition("/")[2])


def below(shelf: Shelf) -> Iterator[Object]:
    for files in shelf.steps.values():
        yield from files.values()


def is_old(shelf: Shelf) -> bool:
    items = [*below(shelf), *shelf.files.values()]
    return all(datetime.now(UTC) - item.modified > GIVEN_UP_AFTER for item in items)
