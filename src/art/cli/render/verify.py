"""What `art verify` prints: what is right, what is wrong and how, and the digests of the three-way check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from rich.text import Text

from art.cli.render import wording
from art.names import CheckpointRef, ModelRef
from art.ops.continuation import Verdict
from art.ops.held import StepState
from art.ops.verify import Fault, Repair, StepReport

NOTES = {
    StepState.FOREIGN: "foreign: its files are whole, and no manifest says what they should be",
    StepState.DEBRIS: "no checkpoint: {reason} (`art gc` removes it)",
    StepState.UNKNOWN: "no checkpoint: {reason} (another program's; nothing removes it)",
    StepState.GONE: "it was deleted or set aside while it was read",
}


def lines(reports: Sequence[StepReport]) -> Iterator[Text]:
    """Yield a line for each model's checkpoints that are right, one for each that is not, its faults, and the sum."""
    for model, members in groupby(reports, key=lambda report: report.model):
        of_model = list(members)
        if right := [report for report in of_model if _is_right(report)]:
            yield _right_line(model, right)
        for report in of_model:
            yield from _report_lines(report)
    wrong = sum(report.is_wrong for report in reports)
    checked = sum(report.step is not None and report.state is StepState.CHECKED for report in reports)
    summary = f"{wording.count(checked, 'checkpoint')}, {wording.size(sum(r.size_bytes for r in reports))}: "
    outcome = (f"{wrong} wrong", "bold red") if wrong else ("all as their manifests say", "bold green")
    repaired = sum(report.is_repaired for report in reports)
    mended = f"{repaired} repaired, " if repaired else ""
    signed = sum(report.signature is not None and not report.signature.problem for report in reports)
    mended += f"{signed} signed, " if signed else ""
    yield Text.assemble(summary, mended, outcome)


def document(reports: Sequence[StepReport]) -> dict[str, Any]:
    """Give the reports as one document."""
    return {
        "ok": not any(report.is_wrong for report in reports),
        "checkpoints": [_report_document(report) for report in reports],
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


def _is_right(report: StepReport) -> bool:
    return report.state is StepState.CHECKED and not report.faults and not report.is_wrong


def _right_line(model: ModelRef, reports: Sequence[StepReport]) -> Text:
    size_bytes = wording.size(sum(report.size_bytes for report in reports))
    name = f"{model}@{wording.span([report.step for report in reports if report.step is not None])}"
    files = wording.count(sum(report.files for report in reports), "file")
    many = f"{wording.count(len(reports), 'checkpoint')}, " if len(reports) > 1 else ""
    return Text.assemble(("✓ ", "green"), name, (f"  {many}{files}, {size_bytes}", "dim"))


def _report_lines(report: StepReport) -> Iterator[Text]:
    if note := NOTES.get(report.state):
        yield Text.assemble(("– ", "yellow"), report.name, (f"  {note.format(reason=report.reason)}", "yellow"))
    if report.faults or report.is_wrong:
        mark = ("✗ ", "bold red") if report.is_wrong else ("✓ ", "green")
        yield Text.assemble(mark, (report.name, "bold"), "  repaired" if report.is_repaired else "")
    for fault in report.faults:
        yield Text.assemble("  ", (fault.file, "bold"), (f"  {fault.problem}", "red"))
        if fault.expected:
            yield Text.assemble(("    expected  ", "dim"), (fault.expected, "green"))
            yield Text.assemble(("    found     ", "dim"), (fault.digest or "no digest", "red"))
    if report.signature and report.signature.problem:
        yield Text.assemble("  ", ("signature", "bold"), (f"  {report.signature.problem}", "red"))
    if report.repair:
        yield from _repair_lines(report.repair)


def _repair_lines(repair: Repair) -> Iterator[Text]:
    if repair.problem:
        yield Text.assemble("  ", ("not repaired  ", "bold red"), (repair.problem, "yellow"))
    for each in repair.brought:
        yield Text.assemble("  ", (each.file, "bold"), ("  from ", "dim"), (each.source, "green"))
    if repair.set_aside is not None:
        yield Text.assemble(("  the damaged folder is set aside", "dim"), (f" (id {repair.set_aside})", "dim"))


def _report_document(report: StepReport) -> dict[str, Any]:
    return {
        "ref": report.name,
        "ok": not report.is_wrong,
        "state": str(report.state),
        "reason": report.reason,
        "files": report.files,
        "size_bytes": report.size_bytes,
        "faults": [_fault_document(fault) for fault in report.faults],
        "repair": asdict(report.repair) if report.repair else None,
        "signature": asdict(report.signature) if report.signature else None,
    }


def _fault_document(fault: Fault) -> dict[str, Any]:
    return {"file": fault.file, "problem": fault.problem, "expected": fault.expected, "found": fault.digest}
