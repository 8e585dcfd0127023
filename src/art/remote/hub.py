"""LoRA adapters on the Hugging Face Hub, as a place to read from: `hf://organisation/repository@revision`.

`huggingface_hub` says which token goes where, what a revision means and what its files are; their bytes come as from
any other remote. Knows that library; everything else is a remote's.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Unpack

from art.errors import (
    ArtError,
    CheckpointNotFoundError,
    ConfigurationError,
    CorruptCheckpointError,
    InvalidNameError,
    MetricNotFoundError,
    ModelNotFoundError,
    RemoteAccessError,
    RemoteError,
    RemoteNotFoundError,
    RemoteUnavailableError,
)
from art.format.lineage import ForkTerms
from art.format.pick import NEWEST, Best, Exact, Pick
from art.format.selection import Selection
from art.names import CheckpointRef, ModelRef
from art.remote.checkpoint import RemoteCheckpoint, RemoteFile, describe_foreign
from art.remote.clients import Clients, client_options, retry_options
from art.remote.copy import Copied, fork_between
from art.remote.deadline import patiently, within
from art.remote.errors import MissingError
from art.remote.fetch import Fetching
from art.remote.location import Location, Patience
from art.remote.objects import Object, Objects
from art.remote.transfer import Progress
from art.store import foreign

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

    from art.remote.remote import Remote

SCHEME = "hf"
DEFAULT_REVISION = "main"
STEP = 0
"""An adapter of the Hub has no step; as a checkpoint it stands at this one."""
_COMMIT = re.compile("[0-9a-f]{40}")
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class _File:
    """What the Hub says of a file."""

    name: str
    commit: str
    size_bytes: int
    sha256: str | None
    """None for a file that lies in Git itself."""


class Hub(Fetching):
    """One repository at one revision: a model of the same name with one checkpoint, which another program wrote."""

    def __init__(self, repository: str, revision: str, patience: Patience) -> None:
        self.location = Location(SCHEME, f"{repository}@{revision}", "")
        self.model = _model(repository)
        self._repository, self._revision, self._patience = repository, revision, patience
        super().__init__(Objects(self.location, patience, self._connect))

    @classmethod
    def open(cls, url: str, *, patience: Patience | None = None) -> Hub:
        """Open `hf://org/repo` or `hf://org/repo@revision`, at HF_ENDPOINT where that is set. Sends no request.

        Raises `ConfigurationError` for a URL that names no repository.
        """
        repository, revision = _parsed(url)
        return cls(repository, revision, patience or Patience())

    def __str__(self) -> str:
        return str(self.location)

    def models(self, project: str | None = None) -> list[ModelRef]:
        """List the one model that a repository is."""
        return [self.model] if project in (None, self.model.project) else []

    def steps(self, model: ModelRef) -> list[int]:
        """List the one step of the model; raises `CorruptCheckpointError` for a repository that is no adapter."""
        return [self.open_checkpoint(model.at(STEP)).ref.step] if model == self.model else []

    def open_checkpoint(self, ref: CheckpointRef) -> RemoteCheckpoint:
        """Open the adapter, at the commit that the revision means now.

        Raises `CheckpointNotFoundError` for any other step, `RemoteNotFoundError`, `RemoteAccessError`, or
        `CorruptCheckpointError` for a repository that is no adapter.
        """
        self._require_model(ref.model)
        if ref.step != STEP:
            raise CheckpointNotFoundError(f"There is no checkpoint {ref} in {self}; it has step {STEP}.")
        config = self._look(foreign.FILES[0], self._revision)
        files = [config, *(self._look(name, config.commit) for name in foreign.FILES[1:])]
        now = datetime.now(UTC)
        listed = {file.name: Object(f"{file.commit}/{file.name}", file.size_bytes, now) for file in files}
        try:
            manifest = describe_foreign(self._objects, ref, listed)
        except (CorruptCheckpointError, MissingError) as error:
            raise CorruptCheckpointError(f"{self} is no LoRA adapter: {error}.") from error
        remote_files = tuple(
            RemoteFile(
                name=file.name,
                key=listed[file.name].key,
                size_bytes=file.size_bytes,
                blake3=None,
                sha256=file.sha256,
            )
            for file in files
        )
        return RemoteCheckpoint(
            ref=ref, key=config.commit, url=str(self), manifest=manifest, content=None, files=remote_files
        )

    def select(self, model: ModelRef, pick: Pick = NEWEST) -> Selection[RemoteCheckpoint]:
        """Choose the one checkpoint; raises `MetricNotFoundError` for the best by a metric, which it has none of."""
        if isinstance(pick, Best):
            raise MetricNotFoundError(f"{self} has no metrics; leave out {pick.metric!r}.")
        step = pick.step if isinstance(pick, Exact) else STEP
        return Selection(checkpoint=self.open_checkpoint(model.at(step)), pick=pick, considered=1)

    def fork(
        self,
        checkpoint: RemoteCheckpoint,
        destination: ModelRef,
        *,
        to: Remote,
        overwrite: bool = False,
        progress: Progress | None = None,
        **terms: Unpack[ForkTerms],
    ) -> Copied:
        """Begin a model in a bucket with the adapter: its bytes pass through this machine and are checked."""
        return to.receive(
            destination.at(checkpoint.ref.step),
            lambda receiver: fork_between(self._objects, checkpoint, receiver, progress=progress, **terms),
            overwrite=overwrite,
        )

    def newest(self, model: ModelRef) -> RemoteCheckpoint | None:
        """Open the one checkpoint, None of another model."""
        return self.open_checkpoint(model.at(STEP)) if model == self.model else None

    def _require_model(self, model: ModelRef) -> None:
        if model != self.model:
            raise ModelNotFoundError(f"There is no model {model} in {self}; it is {self.model}.")

    def _look(self, name: str, revision: str) -> _File:
        """Ask the Hub for a file's commit, size and digest."""
        return patiently(self._patience, lambda: self._look_once(name, revision))

    def _look_once(self, name: str, revision: str) -> _File:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        with _explained(self, name):
            url = hf_hub_url(self._repository, name, revision=revision, endpoint=_endpoint())
            ask = functools.partial(get_hf_file_metadata, url, timeout=self._patience.silence_s)
            return _file(name, within(self._patience.timeout_s, ask), self)

    def _connect(self) -> Clients:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers
        from obstore.store import HTTPStore

        url = hf_hub_url(self._repository, "file", revision="revision", endpoint=_endpoint())
        root = url.removesuffix("/revision/file")
        headers = build_hf_headers()

        def client(request_s: float) -> HTTPStore:
            options = client_options(self._patience, request_s=request_s, allow_http=root.startswith("http://"))
            options["default_headers"] = {name: value for name, value in headers.items() if name == "authorization"}
            return HTTPStore(root, client_options=options, retry_config=retry_options(self._patience))

        return Clients(client(self._patience.timeout_s), client(self._patience.transfer_s))


def _parsed(url: str) -> tuple[str, str]:
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    repository, _, revision = url.removeprefix(f"{SCHEME}://").partition("@")
    problem = ConfigurationError(f"{url!r} names no repository; write hf://organisation/repository@revision.")
    if not url.startswith(f"{SCHEME}://") or repository.count("/") != 1 or "/" in revision:
        raise problem
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise problem from error
    return repository, revision or DEFAULT_REVISION


def _model(repository: str) -> ModelRef:
    organisation, _, name = repository.partition("/")
    try:
        return ModelRef(organisation, name)
    except InvalidNameError as error:
        raise ConfigurationError(f"{repository!r} of the Hub has a name that no model may have: {error}") from error


def _file(name: str, metadata: HfFileMetadata, hub: Hub) -> _File:
    commit, size_bytes, etag = metadata.commit_hash or "", metadata.size, metadata.etag or ""
    if not _COMMIT.fullmatch(commit) or size_bytes is None or size_bytes < 0:
        raise _malformed(hub, name)
    return _File(name=name, commit=commit, size_bytes=size_bytes, sha256=etag if _SHA256.fullmatch(etag) else None)


@contextmanager
def _explained(hub: Hub, name: str) -> Generator[None]:
    """Turn what `huggingface_hub` raises into our errors."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except OfflineModeIsEnabled as error:
        raise RemoteUnavailableError(f"{hub} is not read: HF_HUB_OFFLINE is set; unset it.") from error
    except EntryNotFoundError as error:
        raise CorruptCheckpointError(f"{hub} is no LoRA adapter: it has no {name}.") from error
    except GatedRepoError as error:
        raise _not_allowed(hub) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise _absent(hub) from error
    except HfHubHTTPError as error:
        raise _refused(hub, name, getattr(error.response, "status_code", None)) from error
    except ArtError:
        raise
    except TimeoutError as error:
        raise RemoteUnavailableError(f"{hub} does not answer in time; try again later.") from error
    except (HTTPError, OSError) as error:
        why = str(error).partition("\n")[0][:200]
        raise RemoteUnavailableError(f"{hub} cannot be reached ({why}); try again, or check HF_ENDPOINT.") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        # The library looks into an answer without a check that it has the Hub's form.
        raise _malformed(hub, name) from error


def _refused(hub: Hub, name: str, status: int | None) -> RemoteError:
    if status in (401, 403):
        return _not_allowed(hub)
    if status == 404:
        return _absent(hub)
    if status is not None and (status >= 500 or status == 429):
        return RemoteUnavailableError(f"{hub} cannot be read: the Hub answered {status}; try again later.")
    return RemoteError(f"Could not look at {name} of {hub}: the Hub answered {status}. Check the name and HF_ENDPOINT.")


def _absent(hub: Hub) -> RemoteNotFoundError:
    return RemoteNotFoundError(f"There is no {hub}, or HF_TOKEN is needed to see it; check the name and the revision.")


def _not_allowed(hub: Hub) -> RemoteAccessError:
    return RemoteAccessError(f"{hub} may not be read; set HF_TOKEN to a token that may.")


def _malformed(hub: Hub, name: str) -> RemoteError:
    where = _endpoint() or "The Hub"
    return RemoteError(f"{where} does not answer as the Hub does about {name} of {hub}; check HF_ENDPOINT.")


def _endpoint() -> str | None:
    return (os.environ.get("HF_ENDPOINT") or "").rstrip("/") or None
