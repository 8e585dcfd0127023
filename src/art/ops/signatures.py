"""Checkpoints as they are signed and checked: a folder of this disk with every file, and the signatures beside it.

What lies in a bucket is fetched for as long as that takes, and compared with its manifest on the way.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Protocol

from art.format import layout
from art.names import CheckpointRef, ModelRef
from art.ops.held import Held
from art.remote.checkpoint import RemoteCheckpoint
from art.remote.remote import Remote
from art.store.checkpoint import Checkpoint
from art.store.refusal import explained
from art.store.signatures import signatures_of, write_signature
from art.store.store import CheckpointStore


@dataclass(frozen=True)
class Signable:
    """A checkpoint's folder on this disk, and the signatures of it: where each lies, and the file that has it here."""

    folder: Path
    signatures: Mapping[str, Path]


class SignedPlace(Protocol):
    """A place that has signatures."""

    def open(self, ref: CheckpointRef) -> Held:
        """Open a checkpoint; raises `ArtError`."""
        ...

    def names(self, model: ModelRef, digest: str | None) -> list[str]:
        """Say where the signatures of a checkpoint lie."""
        ...

    def brought(self, ref: CheckpointRef, digest: str) -> AbstractContextManager[Signable]:
        """Have the files of a checkpoint here for a while."""
        ...

    def verify(self, ref: CheckpointRef) -> None:
        """Check every byte that `brought` does not check; raises `CorruptCheckpointError`."""
        ...

    def write(self, model: ModelRef, name: str, content: bytes) -> str:
        """Write a signature, over an earlier one of the same key; gives where it lies."""
        ...


@dataclass(frozen=True)
class SignedHere:
    """A root on this disk."""

    store: CheckpointStore

    def open(self, ref: CheckpointRef) -> Checkpoint:
        return self.store.open(ref)

    def names(self, model: ModelRef, digest: str | None) -> list[str]:
        return [str(path) for path in signatures_of(self.store.root, model, digest)]

    @contextmanager
    def brought(self, ref: CheckpointRef, digest: str) -> Generator[Signable]:
        paths = signatures_of(self.store.root, ref.model, digest)
        yield Signable(self.store.open(ref).path, {str(path): path for path in paths})

    def verify(self, ref: CheckpointRef) -> None:
        self.store.verify(self.store.open(ref))

    def write(self, model: ModelRef, name: str, content: bytes) -> str:
        return str(write_signature(self.store.root, model, name, content))


@dataclass(frozen=True)
class SignedThere:
    """A bucket."""

    remote: Remote

    def open(self, ref: CheckpointRef) -> RemoteCheckpoint:
        return self.remote.open_checkpoint(ref)

    def names(self, model: ModelRef, digest: str | None) -> list[str]:
        return list(self.remote.signatures(model, digest))

    @contextmanager
    def brought(self, ref: CheckpointRef, digest: str) -> Generator[Signable]:
        with fetched(self.remote, self.open(ref)) as folder:
            paths = dict[str, Path]()
            for url, key in self.remote.signatures(ref.model, digest).items():
                paths[url] = folder.parent / key.rpartition("/")[2]
                paths[url].write_bytes(self.remote.read_signature(key))
            yield Signable(folder, paths)

    def verify(self, ref: CheckpointRef) -> None:
        """What is fetched is compared with the manifest on the way."""

    def write(self, model: ModelRef, name: str, content: bytes) -> str:
        return self.remote.write_signature(model, name, content)


def signed_place(place: CheckpointStore | Remote) -> SignedPlace:
    """Look for signatures in a place."""
    return SignedHere(place) if isinstance(place, CheckpointStore) else SignedThere(place)


@contextmanager
def fetched(remote: Remote, checkpoint: RemoteCheckpoint) -> Generator[Path]:
    """Give a folder with every file of a checkpoint in a bucket, for a while; beside it other files may be written.

    Raises `CorruptCheckpointError` for a file whose bytes are not those of the manifest.
    """
    with explained("write in", Path(gettempdir())), TemporaryDirectory(prefix="art-signed-") as above:
        folder = Path(above, "checkpoint")
        folder.mkdir()
        (folder / layout.MANIFEST).write_bytes(checkpoint.content or b"")
        for file in checkpoint.files:
            target = folder / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            remote.fetch_file(file, target)
        yield folder
