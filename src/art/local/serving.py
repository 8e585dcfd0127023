"""A committed checkpoint behind the OpenAI-compatible door, for people and programs that only ask. Trains nothing."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from art.errors import BaseModelMismatchError, ConfigurationError, IncompatibleError
from art.format.kinds import ADAPTER
from art.http.app import create_app
from art.http.catalogue import Catalogue
from art.http.server import Listen, Server
from art.local.bases import Base, Bases
from art.local.naming import Naming
from art.local.past import open_past
from art.local.published import Published
from art.local.templates import with_recorded
from art.names import CheckpointRef
from art.store.checkpoint import Checkpoint
from art.store.store import CheckpointStore


@dataclass(frozen=True, kw_only=True)
class Door:
    """Where a checkpoint answers, what it is called there, and the key that a request carries."""

    base_url: str
    key: str
    model: str
    ref: CheckpointRef


@contextmanager
def serve_checkpoint(
    store: CheckpointStore, checkpoint: Checkpoint, *, base_model: str | None = None, listen: Listen | None = None
) -> Generator[Door]:
    """Answer with a checkpoint's weights until the block ends; writes nothing into the store.

    Other steps of its model answer as `name@500`, the base under its own name. `base_model` is where the base lies now,
    if not where it lay. Raises `ConfigurationError`, `IncompatibleError` for a checkpoint of another trainer,
    `CorruptCheckpointError` for a damaged one, and `InferenceError` where the port cannot be had.
    """
    named = _base_model(checkpoint, base_model)
    store.verify(checkpoint)
    listen = listen or Listen(key=secrets.token_urlsafe(24))
    with ExitStack() as ending:
        bases = Bases(device="auto", dtype=None)
        ending.callback(bases.close)
        base = bases.open(named)
        _check_base(checkpoint, base)
        yield _open(store, checkpoint, base, listen, ending)


def _open(store: CheckpointStore, checkpoint: Checkpoint, base: Base, listen: Listen, ending: ExitStack) -> Door:
    model, step = checkpoint.ref.model, checkpoint.ref.step

    def find_adapter(step: int) -> Path | None:
        past = open_past(store, model, step=step)
        return past and past.path

    published = Published(model, base.sampler, find_adapter=find_adapter)
    ending.callback(published.close)
    published.serve(step, checkpoint.path)
    naming = Naming(model, base.info.id, store=store, published=published)
    tokenizer = with_recorded(base.tokenizer, checkpoint.manifest.environment)
    server = Server(create_app(Catalogue(base.sampler, naming), tokenizer, listen=listen), listen)
    server.start()
    ending.callback(server.stop)
    return Door(base_url=server.base_url, key=listen.key, model=model.name, ref=checkpoint.ref)


def _base_model(checkpoint: Checkpoint, given: str | None) -> str:
    manifest = checkpoint.manifest
    if manifest.kind != ADAPTER:
        raise IncompatibleError(f"{checkpoint.ref} is of kind {manifest.kind}; only adapters are served.")
    base_model = given or (manifest.base_model.id if manifest.base_model else None)
    if not base_model:
        raise ConfigurationError(f"{checkpoint.ref} does not say which base model it is for; name it: --base-model.")
    return base_model


def _check_base(checkpoint: Checkpoint, base: Base) -> None:
    """Compare fingerprints where there are two; another program's adapter is checked by its shapes when it is read."""
    trained_on = checkpoint.manifest.base_model
    if trained_on and trained_on.fingerprint and trained_on.fingerprint != base.info.fingerprint:
        raise BaseModelMismatchError(
            f"{checkpoint.ref} was trained on {trained_on.id} (fingerprint {trained_on.fingerprint[:12]}), and "
            f"{base.info.id} is another model (fingerprint {(base.info.fingerprint or 'unknown')[:12]})."
        )
