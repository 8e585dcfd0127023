"""What an edge of the tree promises, and the certificates that prove it, as lines that are only ever added.

An edge leads from a checkpoint to the one that came of it, by a step or by a fork. Pure: opens no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, JsonValue

from art.errors import CorruptCheckpointError
from art.format.fields import Count, Digest, Time
from art.format.json import parse_as
from art.format.kinds import ADAPTER
from art.format.manifest import Manifest

MAX_LINE_BYTES = 64 * 1024
OPTIMIZER = "optimizer"


class Edge(StrEnum):
    """What is known of the way from a checkpoint's parent to it."""

    CERTIFIED = "certified"
    """It was gone again with what was recorded, and led to the same bits."""
    CONTINUES = "continues"
    """Everything that continuing needs came along; nobody has gone it again."""
    WEIGHTS_ONLY = "weights only"
    """The optimizer did not come along: what follows is another run."""


class Certificate(BaseModel):
    """One line: the way to a checkpoint was gone again, and led to the same bits."""

    model_config = ConfigDict(frozen=True, strict=True, defer_build=True)

    step: Count
    checkpoint: Digest
    """Identity of the checkpoint: after a rewind the same step is another one."""
    parent: Digest | None = None
    """Identity of what it came from, None for a fresh adapter or a foreign checkpoint."""
    same: tuple[str, ...]
    """What was compared."""
    changed: dict[str, JsonValue] = {}
    """What the bits may depend on and was not as it had been, and what it was at the replay."""
    time: Time


Certificates = Mapping[str, Certificate]
"""Certificates by the identity of their checkpoint."""


def read_certificates(lines: Iterable[bytes]) -> Certificates:
    """Read lines in any order: of one checkpoint the first counts. A line that a crash tore is left out."""
    certificates: dict[str, Certificate] = {}
    for certificate in filter(None, map(_parse, lines)):
        first = certificates.setdefault(certificate.checkpoint, certificate)
        if certificate.time < first.time:
            certificates[certificate.checkpoint] = certificate
    return certificates


def edge_of(manifest: Manifest, digest: str | None, certificates: Certificates) -> Edge | None:
    """Tell what the edge to a checkpoint promises; None where there is none, or another trainer's files are kept."""
    if digest is None or manifest.kind != ADAPTER:
        return None
    parent = manifest.parent
    is_fork = parent is not None and parent.ref.model != manifest.ref.model
    if is_fork and OPTIMIZER not in manifest.carried:
        return Edge.WEIGHTS_ONLY
    if digest in certificates:
        return Edge.CERTIFIED
    if parent is None:
        return None
    return Edge.WEIGHTS_ONLY if parent.digest is None else Edge.CONTINUES


def _parse(line: bytes) -> Certificate | None:
    try:
        return parse_as(Certificate, line, where="a certificate", what="a certificate", max_bytes=MAX_LINE_BYTES)
    except CorruptCheckpointError:
        return None
