"""Certificates on this disk: `certificates.jsonl` in a model's folder, a line for each edge that was gone again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from art.format import layout
from art.format.certificates import Certificate, Certificates, read_certificates
from art.names import ModelRef
from art.store import disk, regular

MAX_BYTES = 64 * 1024**2


def certificates_of(root: Path, model: ModelRef) -> Certificates:
    """Read the certificates of a model; none where nothing was ever replayed."""
    content = regular.find(root / layout.certificates_path(model), max_bytes=MAX_BYTES)
    return read_certificates((content or b"").split(b"\n"))


def add_certificate(root: Path, model: ModelRef, certificate: Certificate) -> Certificate:
    """Write a certificate, unless its checkpoint has one; gives the one that it has when this returns."""

    def missing() -> Iterator[bytes]:
        if certificate.checkpoint not in certificates_of(root, model):
            yield certificate.model_dump_json().encode()

    disk.append_lines(root / layout.certificates_path(model), missing())
    return certificates_of(root, model)[certificate.checkpoint]
