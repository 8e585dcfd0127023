"""A model's history in a bucket: the files that it has on a disk, joined line by line in both directions.

The signatures of its checkpoints go the same way, each as a whole.

Lines are only ever added. Two machines that push at once lose nothing: a server that knows conditions refuses the
second, which joins again; elsewhere its next push adds what the bucket lacks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from art.errors import InvalidNameError, RemoteUnavailableError
from art.format import layout
from art.names import ModelRef, check_name
from art.remote.errors import TakenError
from art.remote.objects import LINES_BYTES, Object, Objects
from art.remote.signatures import create_signature, find_signatures
from art.store import disk, regular
from art.store.signatures import read_signature, signatures_of, write_signature

ATTEMPTS = 5


def send_history(objects: Objects, root: Path, model: ModelRef) -> int:
    """Add to the bucket the lines that only this disk has; gives the bytes of them."""
    folder = root / layout.model_path(model)
    beside = (layout.HISTORY, layout.PINS, layout.CERTIFICATES)
    own = [*(folder / name for name in beside), *_trajectories(folder / layout.TRAJECTORIES)]
    files = [path for path in own if path.is_file() and not path.is_symlink()]
    lines = sum(_send(objects, path, str(PurePosixPath(path.relative_to(root)))) for path in files)
    return lines + sum(_send_signature(objects, path, root) for path in signatures_of(root, model))


def fetch_history(objects: Objects, root: Path, model: ModelRef) -> int:
    """Add to this disk the lines that only the bucket has; gives the bytes of them."""
    _check_plain(root / layout.model_path(model) / layout.TRAJECTORIES)
    files, signatures = _listed(objects, model)
    lines = sum(_fetch(objects, key, root / path) for key, path in files)
    return lines + _fetch_signatures(objects, root, model, signatures)


def copy_history(source: Objects, target: Objects, model: ModelRef) -> int:
    """Add to a bucket what only another one knows of a model's history; gives the bytes of it."""
    files, signatures = _listed(source, model)
    lines = sum(add_lines(target, key, source.read_versioned(key)[0]) for key, _ in files)
    return lines + sum(create_signature(target, item.key, source.read(item.key)) for item in signatures)


def _trajectories(folder: Path) -> list[Path]:
    _check_plain(folder)
    return sorted(folder.glob("*/*.jsonl"))


def _check_plain(folder: Path) -> None:
    """Check that no link stands for a folder or one in it, which may lead to a user's own files.

    Raises `CorruptCheckpointError`.
    """
    regular.require_folders([folder])
    regular.require_folders(folder / split for split in disk.names(folder))


def _send(objects: Objects, path: Path, key: str) -> int:
    return add_lines(objects, key, _content(path))


def _content(path: Path) -> bytes:
    return regular.find(path, max_bytes=LINES_BYTES) or b""


def _send_signature(objects: Objects, path: Path, root: Path) -> int:
    return create_signature(objects, str(PurePosixPath(path.relative_to(root))), read_signature(path))


def _fetch_signatures(objects: Objects, root: Path, model: ModelRef, signatures: Iterable[Object]) -> int:
    here = {path.name for path in signatures_of(root, model)}
    fetched = 0
    for item in signatures:
        if item.name not in here:
            content = objects.read(item.key)
            write_signature(root, model, item.name, content)
            fetched += len(content)
    return fetched


def lines_beyond(content: bytes, known: bytes) -> list[bytes]:
    """Give the whole lines of a file that another one lacks, in their order."""
    seen = set(_lines(known))
    return [line for line in _lines(content) if line not in seen]


def add_lines(objects: Objects, key: str, content: bytes) -> int:
    """Add the lines that an object lacks; gives the bytes of them."""
    refused: str | None = None
    for _ in range(ATTEMPTS):
        known, version = objects.read_versioned(key)
        new = b"".join(line + b"\n" for line in lines_beyond(content, known))
        if not new:
            return 0
        try:
            if version is None:
                objects.create(key, new)
            elif version == refused:
                # Ceph refuses also the version that it gave: its conditions are no help.
                objects.overwrite(key, known + new)
            else:
                objects.replace(key, known + new, version)
        except TakenError:
            refused = version  # another machine wrote in between: join with what is there now
            continue
        return len(new)
    raise RemoteUnavailableError(f"{objects.place(key)} changes all the time; its lines were not added. Push again.")


def _fetch(objects: Objects, key: str, path: Path) -> int:
    content, _ = objects.read_versioned(key)
    new = list[bytes]()

    def missing() -> Iterator[bytes]:
        new.extend(lines_beyond(content, _content(path)))
        yield from new

    if lines_beyond(content, _content(path)):
        disk.append_lines(path, missing())
    return sum(len(line) + 1 for line in new)


def _listed(objects: Objects, model: ModelRef) -> tuple[list[tuple[str, PurePosixPath]], list[Object]]:
    """Name the files of a model's history in the bucket, and where each lies on a disk; then its signatures.

    Costs one request where there are no trajectories and no signatures.
    """
    history = layout.history_path(model)
    own, folders = objects.level(str(history.parent))
    beside = (history, layout.pins_path(model), layout.certificates_path(model))
    files = [(str(path), path) for path in beside if path.name in own]
    if layout.TRAJECTORIES in folders:
        files += _trajectories_in(objects, model, history.parent / layout.TRAJECTORIES)
    has_signatures = layout.SIGNATURES in folders
    return files, list(find_signatures(objects, model)) if has_signatures else []


def _trajectories_in(objects: Objects, model: ModelRef, folder: PurePosixPath) -> Iterator[tuple[str, PurePosixPath]]:
    """Name the files of trajectories below a key; a stranger's are left out."""
    for item in objects.all(str(folder)):
        split, _, name = item.key.removeprefix(f"{folder}/").partition("/")
        step = layout.parse_step(name.removesuffix(".jsonl"))
        if step is None or not _is_name(split):
            continue
        path = layout.trajectories_path(model, split, step)
        if str(path) == item.key:
            yield item.key, path


def _is_name(split: str) -> bool:
    try:
        check_name("split", split)
    except InvalidNameError:
        return False
    return True


def _lines(content: bytes) -> list[bytes]:
    # What follows the last newline is being written, or was torn.
    whole = content[: content.rfind(b"\n") + 1]
    return [line for line in whole.split(b"\n") if line]
