"""What a trainer's checkpoint holds, piece by piece, so that two of them can be compared. Nothing is unpickled.

A piece is a tensor of a safetensors file, a storage or the structure of a file of torch's, a field of a JSON file, or
else a whole file. Of a Trainer's log every figure is one.
"""

from __future__ import annotations

import json
import pickletools
import re
import zipfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from art.errors import ArtError, CorruptCheckpointError
from art.format.json import parse, shown_name
from art.format.safetensors import read_header
from art.ops import trainer_log
from art.store import disk, regular
from art.store.hashing import hasher

SETTINGS = frozenset({"training_args.bin", "README.md"})
"""What a run was told, and words about it: it names the run's own folder, and nothing continues from it."""
MAX_JSON_BYTES = 64 * 1024**2
CHUNK_BYTES = 4 * 1024**2
MAX_STRUCTURE_BYTES = 64 * 1024**2
STRUCTURE = "data.pkl"
ENCRYPTED = 0x1
"""The bit of a member's flags."""
STORED_BESIDE = re.compile(r"(version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id)")
"""Members of torch's archive that tell of the archive itself."""


class Name(NamedTuple):
    """Where a piece lies: its file, and its name inside it."""

    file: str
    part: str = ""

    def __str__(self) -> str:
        return f"{self.file}: {self.part}" if self.part else self.file


Pieces = Mapping[Name, str]
"""The pieces of a folder, each with a digest of what it holds."""


def pieces_of(folder: Path, *, out: Path) -> Pieces:
    """Read every piece of a checkpoint but its log; `out`, the run's folder, counts as the same in every run.

    Raises `CorruptCheckpointError` for a file that is not what its name says.
    """
    pieces: dict[Name, str] = {}
    paths = [folder] if folder.is_file() else sorted(disk.files_below(folder))
    for path in paths:
        name = path.name if path == folder else path.relative_to(folder).as_posix()
        if name not in SETTINGS and name != trainer_log.STATE and not _is_index_of_shards(path):
            pieces.update((Name(name, part), value) for part, value in _pieces_in(path, str(out)))
    return pieces


def figures_of(folder: Path, *, after: int) -> dict[tuple[int, str], float]:
    """Read what a Trainer logged behind a step: each figure by its step and name. What a clock says is left out."""
    figures: dict[tuple[int, str], float] = {}
    for line in trainer_log.read_log(folder):
        step = line.get("step")
        if type(step) is int and step > after:
            named = trainer_log.metrics_of([line]).items()
            figures.update(((step, name), value) for name, value in named if not trainer_log.CLOCK.search(name))
    return figures


def differing(these: Mapping[Any, Any], those: Mapping[Any, Any]) -> list[Any]:
    """Name the pieces that are not the same in both, or in one of them only."""
    return [name for name in sorted({*these, *those}) if these.get(name) != those.get(name)]


def _is_index_of_shards(path: Path) -> bool:
    """Tell whether a file only says where tensors lie in the shards beside it: it names its own folder."""
    return path.name == ".metadata" and any(path.parent.glob("*.distcp"))


def _pieces_in(path: Path, out: str) -> Iterator[tuple[str, str]]:
    file = regular.find_opened(path)
    if file is None:
        raise CorruptCheckpointError(f"{path} went away while it was read.")
    with file:
        if path.suffix == ".safetensors":
            yield from _tensors(file, path)
        elif (archive := _find_archive(file, path)) is not None:
            yield from _members(archive, path, out)
        elif path.suffix == ".json":
            yield from _fields(path, out)
        else:
            yield "", disk.digest(path)


def _tensors(file: BinaryIO, path: Path) -> Iterator[tuple[str, str]]:
    tensors = read_header(path.stat().st_size, file.read, where=str(path))
    begin = file.tell()
    for name, entry in tensors.items():
        file.seek(begin + entry.begin)
        yield name, f"{entry.dtype} {entry.shape} {_digest(file, entry.end - entry.begin)}"


def _find_archive(file: BinaryIO, path: Path) -> zipfile.ZipFile | None:
    """Open an archive of torch's, whose members are neither compressed nor encrypted; None for any other file.

    A shard has an archive for each of its tensors, one behind the other, of which only the last would be read.
    """
    if not zipfile.is_zipfile(file):
        return None
    file.seek(0)
    with _explained(path):
        archive = zipfile.ZipFile(file)
    members = archive.infolist()
    if min((member.header_offset for member in members), default=0) > 0:
        return None
    if any(member.compress_type != zipfile.ZIP_STORED or member.flag_bits & ENCRYPTED for member in members):
        # What it becomes has no bound: it is compared as it is.
        return None
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise CorruptCheckpointError(f"{path} is a damaged archive: its members are larger than it is.")
    return archive


def _members(archive: zipfile.ZipFile, path: Path, out: str) -> Iterator[tuple[str, str]]:
    for member in archive.infolist():
        # The folder at the top is named after the file.
        part = member.filename.partition("/")[2]
        if not STORED_BESIDE.fullmatch(part):
            with _explained(path), archive.open(member) as content:
                is_structure = part == STRUCTURE and member.file_size <= MAX_STRUCTURE_BYTES
                digest = _structure(content.read(), out) if is_structure else _digest(content, member.file_size)
            yield part, digest


def _structure(content: bytes, out: str) -> str:
    """Digest a pickle by its operations, which nobody carries out: where it names the run's folder, it is the same."""
    digest = hasher()
    try:
        for operation, argument, _ in pickletools.genops(content):
            told = argument.replace(out, "{out}") if isinstance(argument, str) else argument
            digest.update(repr((operation.name, told)).encode())
    except ValueError:
        digest = hasher()
        digest.update(content)
    return digest.hexdigest()


@contextmanager
def _explained(path: Path) -> Generator[None]:
    try:
        yield
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError) as error:
        raise CorruptCheckpointError(f"{path} is a damaged archive: {shown_name(str(error))}.") from error


def _fields(path: Path, out: str) -> Iterator[tuple[str, str]]:
    content = regular.find(path, max_bytes=MAX_JSON_BYTES) or b""
    try:
        value = parse(content.replace(out.encode(), b"{out}"), where=str(path), max_bytes=MAX_JSON_BYTES)
    except ArtError:
        # Other programs write NaN and the like; their bytes are compared.
        yield "", disk.digest(path)
        return
    fields = value if isinstance(value, dict) else {"": value}
    for name, field in fields.items():
        yield name, json.dumps(_in_order(field), sort_keys=True)


def _in_order(value: Any) -> Any:
    """Sort lists of texts: PEFT writes its target modules in another order in every process."""
    if isinstance(value, Sequence) and value and all(isinstance(entry, str) for entry in value):
        return sorted(value) if not isinstance(value, str) else value
    return value


def _digest(file: Any, length: int) -> str:
    digest = hasher()
    while length > 0 and (chunk := file.read(min(length, CHUNK_BYTES))):
        digest.update(chunk)
        length -= len(chunk)
    return digest.hexdigest()
