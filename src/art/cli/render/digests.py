"""What `art verify` finds: every file of a checkpoint against its manifest, all faults and not only the first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from rich.text import Text

from art.cli.render import wording
from art.errors import ArtError
from art.format import layout
from art.format.manifest import FileEntry, read_manifest
from art.names import CheckpointRef, ModelRef
from art.store import disk
from art.store.checkpoint import Checkpoint, look


@dataclass(frozen=True)
class Fault:
    """A file that is not what its manifest says."""

    file: str
    problem: str
    expected: str | None = None
    found: str | None = None
    """Digests; none found for a file that is gone."""


@dataclass(frozen=True)
class Report:
    """What was found in one step's folder."""

    ref: CheckpointRef
    files: int
    size_bytes: int
    faults: tuple[Fault, ...] = ()
    note: str | None = None
    """Why there was nothing to compare: not a fault."""

    @property
    def is_wrong(self) -> bool:
        return bool(self.faults)


class Verdict(Protocol):
    """The three-way check's outcome: three digests, and whether the first two agree and the third does not."""

    @property
    def continues(self) -> bool: ...
    @property
    def uninterrupted(self) -> str: ...
    @property
    def forked(self) -> str: ...
    @property
    def weights_only(self) -> str: ...


def total_bytes(folders: Iterable[Path]) -> int:
    files = (path for folder in folders for path in folder.glob("*") if path.name != layout.MANIFEST)
    return sum(path.stat().st_size for path in files if path.is_file())


def check(ref: CheckpointRef, folder: Path) -> Report:
    """Compare every file in a step's folder with its manifest."""
    manifest_file = folder / layout.MANIFEST
    try:
        manifest = read_manifest(manifest_file.read_bytes(), where=str(manifest_file))
    except FileNotFoundError:
        return _without_manifest(ref, folder)
    except ArtError as error:
        return Report(ref, 0, 0, (Fault(layout.MANIFEST, str(error)),))
    faults = [fault for entry in manifest.files if (fault := _compare(folder, entry))]
    if manifest.ref != ref:
        faults.append(Fault(layout.MANIFEST, f"it belongs to {manifest.ref}: this folder was copied by hand"))
    return Report(ref, len(manifest.files), manifest.size_bytes, tuple(faults))


def lines(reports: Sequence[Report]) -> Iterator[Text]:
    """Yield a line for each model's checkpoints that are right, one for each that is not, its faults, and the sum."""
    for model, members in groupby(reports, key=lambda report: report.ref.model):
        of_model = list(members)
        if right := [report for report in of_model if not report.is_wrong and report.note is None]:
            yield _right_line(model, right)
        for report in of_model:
            yield from _report_lines(report)
    wrong = sum(report.is_wrong for report in reports)
    checked = sum(report.note is None for report in reports)
    summary = f"{wording.count(checked, 'checkpoint')}, {wording.size(sum(r.size_bytes for r in reports))}: "
    verdict = (f"{wrong} wrong", "bold red") if wrong else ("all as their manifests say", "bold green")
    yield Text.assemble(summary, verdict)


def document(reports: Sequence[Report]) -> dict[str, Any]:
    """Give the reports as one document."""
    return {
        "ok": not any(report.is_wrong for report in reports),
        "checkpoints": [{**asdict(report), "ref": str(report.ref), "ok": not report.is_wrong} for report in reports],
    }


def verdict_lines(verdict: Verdict, ref: CheckpointRef, duration_s: float) -> Iterator[Text]:
    """Yield the three digests and what they mean."""
    same = "bold green" if verdict.uninterrupted == verdict.forked else "bold red"
    differs = "green" if verdict.weights_only != verdict.forked else "bold red"
    for name, digest, style in (
        ("never stopped", verdict.uninterrupted, same),
        ("forked, then continued", verdict.forked, same),
        ("weights only, continued", verdict.weights_only, differs),
    ):
        yield Text.assemble((f"  {name:<25}", "dim"), (digest, style))
    took = f"  ({wording.seconds(duration_s)})"
    if verdict.continues:
        yield Text.assemble((f"✓ A fork of {ref} continues bit for bit.", "bold green"), (took, "dim"))
    else:
        yield Text.assemble((f"✗ A fork of {ref} does not continue exactly.", "bold red"), (took, "dim"))


def _compare(folder: Path, entry: FileEntry) -> Fault | None:
    path = folder / entry.path
    if not path.is_file():
        return Fault(entry.path, "is gone", entry.blake3)
    size_bytes, found = path.stat().st_size, disk.digest(path)
    if size_bytes != entry.size_bytes:
        return Fault(entry.path, f"has {size_bytes:,} bytes of {entry.size_bytes:,}", entry.blake3, found)
    return None if found == entry.blake3 else Fault(entry.path, "was altered", entry.blake3, found)


def _without_manifest(ref: CheckpointRef, folder: Path) -> Report:
    found = look(ref, folder)
    if isinstance(found, Checkpoint):
        note = "foreign: its files are whole, and no manifest says what they should be"
        return Report(ref, len(found.manifest.files), found.manifest.size_bytes, note=note)
    return Report(ref, 0, 0, note=f"no checkpoint: {found.reason} (`art gc` removes it)")


def _right_line(model: ModelRef, reports: Sequence[Report]) -> Text:
    size_bytes = wording.size(sum(report.size_bytes for report in reports))
    name = f"{model}@{wording.span([report.ref.step for report in reports])}"
    files = wording.count(sum(report.files for report in reports), "file")
    many = f"{wording.count(len(reports), 'checkpoint')}, " if len(reports) > 1 else ""
    return Text.assemble(("✓ ", "green"), name, (f"  {many}{files}, {size_bytes}", "dim"))


def _report_lines(report: Report) -> Iterator[Text]:
    if report.note:
        yield Text.assemble(("– ", "yellow"), str(report.ref), (f"  {report.note}", "yellow"))
    if report.is_wrong:
        yield Text.assemble(("✗ ", "bold red"), (str(report.ref), "bold"))
    for fault in report.faults:
        yield Text.assemble("  ", (fault.file, "bold"), (f"  {fault.problem}", "red"))
        if fault.expected:
            yield Text.assemble(("    expected  ", "dim"), (fault.expected, "green"))
            yield Text.assemble(("    found     ", "dim"), (fault.found or "no file", "red"))
