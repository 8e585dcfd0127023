"""Signing checkpoints, and checking who signed them: bundles of OpenSSF Model Signing, which others check without us.

What is signed is the folder: its manifest, which holds every digest and the parent, and every other file. A signature
belongs to one identity, so a fork, which is another checkpoint, is not signed by the signature of its source.
"""

from __future__ import annotations

import binascii
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, cast

from art.errors import ArtError, CheckpointNotFoundError, ConfigurationError, CorruptCheckpointError
from art.format import layout
from art.format.json import parse_object
from art.names import CheckpointRef
from art.ops.held import Held, StepState
from art.ops.signatures import SignedPlace, signed_place
from art.ops.verify import Signature, StepReport
from art.remote.remote import Remote
from art.store.refusal import explained
from art.store.signatures import MAX_BYTES, read_signature, signature_name
from art.store.store import CheckpointStore

PASSWORD_VARIABLE = "ART_KEY_PASSWORD"


@dataclass(frozen=True)
class Signed:
    """A signature that was written."""

    where: str
    """Its file, or its URL in a bucket."""
    key: str
    """SHA-256 of the public key, as the signature names it."""


def sign(place: CheckpointStore | Remote, checkpoint: Held, private_key: Path) -> Signed:
    """Sign a checkpoint whose every byte is right; signing it again with the same key writes the signature anew.

    What lies in a bucket is fetched for that, and nothing of it stays here. Raises `CorruptCheckpointError` for a
    damaged checkpoint, `CheckpointNotFoundError` for one that goes meanwhile, and `ConfigurationError` for a key that
    cannot sign.
    """
    digest = _identity(checkpoint)
    signing, signed = _extra().signing, signed_place(place)
    signed.verify(checkpoint.ref)
    with signed.brought(checkpoint.ref, digest) as signable, TemporaryDirectory(prefix="art-signature-") as fresh:
        bundle = Path(fresh, "bundle")
        _write_bundle(signing, signable.folder, bundle, private_key)
        content = bundle.read_bytes()
    if signed.open(checkpoint.ref).digest != digest:
        raise CheckpointNotFoundError(f"{checkpoint.ref} was deleted or replaced meanwhile; it is not signed.")
    key = _hint(content, str(private_key))
    return Signed(signed.write(checkpoint.ref.model, signature_name(digest, key), content), key)


def check_signatures(
    place: CheckpointStore | Remote, reports: Sequence[StepReport], public_key: Path
) -> list[StepReport]:
    """Say of every checkpoint that was checked whether the holder of a key signed it.

    In a bucket the files of each that has a signature are fetched, for that and no longer.
    """
    new_verifier = partial(_verifier, _extra().verifying, public_key)
    new_verifier()
    signed = signed_place(place)
    return [
        replace(report, signature=_checked(signed, report.model.at(report.step), new_verifier))
        if report.step is not None and report.state in (StepState.CHECKED, StepState.FOREIGN)
        else report
        for report in reports
    ]


def _verifier(verifying: ModuleType, public_key: Path) -> Any:
    try:
        return verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    except (ValueError, TypeError, OSError, AttributeError) as error:
        raise ConfigurationError(f"{public_key} is no public key of an elliptic curve in PEM: {error}") from error


def _identity(checkpoint: Held) -> str:
    if checkpoint.digest is None:
        raise ConfigurationError(
            f"{checkpoint.ref} has no manifest: another program wrote it. Fork it or push it, and sign what has one."
        )
    return checkpoint.digest


def _checked(place: SignedPlace, ref: CheckpointRef, new_verifier: Callable[[], Any]) -> Signature:
    try:
        checkpoint = place.open(ref)
        if checkpoint.digest is None:
            return Signature(problem="it has no manifest, so it is not signed")
        if not place.names(ref.model, checkpoint.digest):
            return Signature(problem=_unsigned(place, checkpoint))
        with place.brought(ref, checkpoint.digest) as signable:
            problems = {
                name: _problem(new_verifier(), signable.folder, path) for name, path in signable.signatures.items()
            }
    except ArtError as error:
        return Signature(problem=str(error))
    right = next((name for name, problem in problems.items() if problem is None), None)
    if right is not None:
        return Signature(file=right)
    return Signature(problem="; ".join(filter(None, problems.values())) or "it is not signed")


def _unsigned(place: SignedPlace, checkpoint: Held) -> str:
    parent = checkpoint.manifest.parent
    if parent and parent.ref.model != checkpoint.ref.model and place.names(parent.ref.model, parent.digest):
        return f"it is not signed; {parent.ref}, which it was forked from, is"
    return "it is not signed"


def _problem(verifier: Any, folder: Path, path: Path) -> str | None:
    """Say what is wrong with a signature, None when it is right."""
    from cryptography.exceptions import InvalidSignature

    try:
        content = read_signature(path)
        names = _signed_names(content, str(path))
        with redirect_stdout(sys.stderr):
            verifier.verify(folder, path)
    except InvalidSignature:
        return f"{path.name} was altered: the key did not sign what it says"
    except (ArtError, ValueError, TypeError, KeyError, AttributeError, IndexError, OSError) as error:
        return f"{path.name} does not fit: {str(error).strip() or type(error).__name__}"
    if layout.MANIFEST not in names:
        return f"{path.name} leaves {layout.MANIFEST} out"
    return None


def _write_bundle(signing: ModuleType, folder: Path, bundle: Path, private_key: Path) -> None:
    password = os.environ.get(PASSWORD_VARIABLE)
    try:
        config = signing.Config().use_elliptic_key_signer(
            private_key=private_key, password=password.encode() if password else None
        )
    except (ValueError, TypeError, OSError, AttributeError) as error:
        raise ConfigurationError(
            f"{private_key} cannot sign: {error}. It must be a private key of the curve P-256, P-384 or P-521 in PEM; "
            f"the password of an encrypted one is read from {PASSWORD_VARIABLE}."
        ) from error
    try:
        with redirect_stdout(sys.stderr), explained("write", bundle):
            config.sign(folder, bundle)
    except ValueError as error:
        raise CorruptCheckpointError(f"{folder} cannot be signed: {error}") from error


def _hint(content: bytes, where: str) -> str:
    material = parse_object(content, where=where, max_bytes=MAX_BYTES).get("verificationMaterial")
    hint = cast("dict[str, Any]", material)["publicKey"]["hint"]
    assert isinstance(hint, str)
    return hint


def _signed_names(content: bytes, where: str) -> set[str]:
    """Give the files that a bundle speaks of; raises what its structure lets it."""
    bundle = parse_object(content, where=where, max_bytes=MAX_BYTES)
    payload = binascii.a2b_base64(bundle["dsseEnvelope"]["payload"])
    statement = parse_object(payload, where=where, max_bytes=MAX_BYTES)
    return {resource["name"] for resource in statement["predicate"]["resources"]}


def _extra() -> ModuleType:
    try:
        import model_signing
    except ImportError as error:
        raise ConfigurationError("Signing needs its package; pip install 'artfork[sign]'.") from error
    return model_signing
