"""What a certificate says of another trainer's script: in lines, and as a document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from art.cli.render import wording
from art.ops.certify import Certification, Finding, RunComparison

SHOWN = 6


def lines(certificate: Certification) -> Iterator[str]:
    """Give the verdict, then one line for each comparison with the whole run, and the first pieces that differ."""
    yield f"{certificate.verdict}: {_meaning(certificate)}"
    compared = {"again": certificate.again, "resumed": certificate.resumed, "weights only": certificate.weights_only}
    for name, comparison in compared.items():
        yield f"  {name:<13}{_words(comparison) if comparison else f'not tried: {certificate.not_tried}'}"
    verdict, told = certificate.verdict, certificate.resumed
    if verdict is Finding.NOT_DETERMINISTIC:
        told = certificate.again
    yield from _shown([str(piece) for piece in told.pieces])
    yield from _shown([f"{name} at step {step}" for step, name in told.figures])


def document(certificate: Certification) -> dict[str, Any]:
    """Give the certificate as an object."""
    weights_only = certificate.weights_only
    return {
        "verdict": certificate.verdict.value,
        "at": certificate.at,
        "end": certificate.end,
        "again": _document(certificate.again),
        "resumed": _document(certificate.resumed),
        "weights_only": _document(weights_only) if weights_only else None,
        "not_tried": certificate.not_tried or None,
    }


def _meaning(certificate: Certification) -> str:
    at, first = certificate.at, certificate.resumed.first_step
    match certificate.verdict:
        case Finding.NOT_DETERMINISTIC:
            return f"two whole runs differ from step {certificate.again.first_step} on, so no resume can be judged."
        case Finding.DIFFERS:
            return f"a resume at step {at} trains something else from step {first} on."
        case Finding.STATE_EXACT:
            return f"a resume at step {at} has the state of a run that never stopped, and logs other figures."
        case Finding.EXACT:
            return f"a resume at step {at} is the run that never stopped."


def _words(comparison: RunComparison) -> str:
    figures = f"{len(comparison.figures)} of {wording.count(comparison.compared_figures, 'figure')} differ"
    if comparison.first_step is not None:
        pieces = wording.count(comparison.of, "piece")
        return f"{len(comparison.pieces)} of {pieces} differ at step {comparison.first_step}"
    same = f"{wording.count(comparison.of, 'piece')} the same at {wording.count(len(comparison.steps), 'step')}"
    return f"{same}; {figures}" if comparison.figures else same


def _shown(names: list[str]) -> Iterator[str]:
    for name in names[:SHOWN]:
        yield f"    {name}"
    if len(names) > SHOWN:
        yield f"    and {len(names) - SHOWN} more"


def _document(comparison: RunComparison) -> dict[str, Any]:
    return {
        "steps": list(comparison.steps),
        "first_step": comparison.first_step,
        "pieces": [{"file": piece.file, "name": piece.part or None} for piece in comparison.pieces],
        "of": comparison.of,
        "figures": [{"step": step, "name": name} for step, name in comparison.figures],
    }
