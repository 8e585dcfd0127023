"""What `art show` prints: a checkpoint's manifest, where it came from and who holds the same files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from rich.text import Text

from art.cli.render import wording
from art.format.certificates import Edge
from art.format.manifest import TEMPLATE, Hop, Manifest
from art.ops.details import Details
from art.ops.held import Held
from art.ops.update import is_without_signal, updated_from

NAME_WIDTH = 12
SHORT_DIGEST = 12
DIGEST_SHOWN = 32


def lines(details: Details, *, now: datetime) -> Iterator[Text]:
    """Yield the page that a person reads."""
    checkpoint, manifest = details.checkpoint, details.checkpoint.manifest
    yield Text(str(checkpoint.ref), "bold cyan")
    yield Text()
    for name, value in (*_facts(checkpoint, now), *_edge(details, now)):
        yield Text.assemble((f"  {name:<{NAME_WIDTH}}", "dim"), value)
    for title, values in (
        ("environment", _brief(manifest.environment)),
        ("libraries", manifest.libraries),
    ):
        yield from _pairs(title, values)
    yield Text()
    yield from _metrics(details)
    yield from _lineage(details)
    yield from _files(details)


def _brief(environment: Mapping[str, object]) -> dict[str, object]:
    """Say of a template only how long it is."""
    template = environment.get(TEMPLATE)
    told = {} if template is None else {TEMPLATE: f"of the script, {len(str(template)):,} characters"}
    return {**environment, **told}


def document(details: Details) -> dict[str, Any]:
    """Give everything as one document."""
    checkpoint = details.checkpoint
    return {
        "ref": str(checkpoint.ref),
        "path": checkpoint.where,
        "digest": checkpoint.digest,
        "foreign": checkpoint.is_foreign,
        "size_bytes": checkpoint.size_bytes,
        "update": {
            "from": updated_from(checkpoint.manifest),
            "without_signal": is_without_signal(checkpoint.manifest.metrics),
            "metrics": checkpoint.manifest.metrics,
        },
        "earned": dict(details.earned),
        "edge": None if details.edge is None else str(details.edge),
        "certificate": details.certificate.model_dump(mode="json") if details.certificate else None,
        "manifest": checkpoint.manifest.model_dump(mode="json"),
        "past": [{**past.parent.model_dump(mode="json"), "where": past.where} for past in details.ancestors],
        "also_in": [
            {
                "ref": str(holder.ref),
                "files": [entry.path for entry in holder.files],
                "size_bytes": holder.size_bytes,
                "hard_links": sorted(holder.linked),
            }
            for holder in details.holders
        ],
    }


def _facts(checkpoint: Held, now: datetime) -> Iterator[tuple[str, Text | str]]:
    manifest = checkpoint.manifest
    yield "written", f"{manifest.created_at}  ({wording.age(manifest.created_at, now)})"
    if base := manifest.base_model:
        revision = f" at {base.revision}" if base.revision else ""
        fingerprint = f" · fingerprint {base.fingerprint[:SHORT_DIGEST]}" if base.fingerprint else ""
        yield "base model", f"{base.id}{revision}{fingerprint}"
    if lora := manifest.lora:
        targets = lora.targets if isinstance(lora.targets, str) else ", ".join(lora.targets)
        yield "LoRA", f"rank {lora.rank} · alpha {lora.alpha:g} · {targets}"
    yield "carries", wording.carried(manifest.carried)
    if manifest.reset:
        yield "reset", Text(", ".join(manifest.reset), "yellow")
    if checkpoint.is_foreign:
        yield "foreign", Text("written by another program; its optimizer starts afresh", "yellow")
    yield "identity", checkpoint.digest or "none"
    yield "folder", checkpoint.where


def _edge(details: Details, now: datetime) -> Iterator[tuple[str, Text | str]]:
    """Say what the way from the parent promises."""
    if details.certificate:
        age, same = wording.age(details.certificate.time, now), wording.count(len(details.certificate.same), "thing")
        yield "edge", Text(f"{details.edge}: replayed {age}, {same} compared", "green")
    elif details.edge is not None:
        yield "edge", Text(str(details.edge), "yellow" if details.edge is Edge.WEIGHTS_ONLY else "")


def _metrics(details: Details) -> Iterator[Text]:
    """Yield two sets of metrics that share their names: of the update that led here, and of what came of it."""
    manifest = details.checkpoint.manifest
    if manifest.metrics:
        yield Text.assemble(
            "  ", (update_title(manifest), "bold"), ("  rewards are those of that step's weights", "dim")
        )
        if is_without_signal(manifest.metrics):
            yield Text(f"  {wording.NO_SIGNAL}", "yellow")
        yield from _pairs("", {name: _value(name, number) for name, number in manifest.metrics.items()})
        yield Text()
    if details.earned:
        yield Text.assemble("  ", ("earned by these weights", "bold"))
        yield from _pairs("", {name: _value(name, number) for name, number in details.earned.items()})
        yield Text()


def update_title(manifest: Manifest) -> str:
    """Name the update that led to a checkpoint."""
    step = updated_from(manifest)
    return "update that led here" if step is None else f"update from step {step}"


def _value(name: str, number: float | None) -> str:
    return "–" if number is None else wording.metric(name, number)


def _pairs(title: str, values: Mapping[str, object]) -> Iterator[Text]:
    width = max((len(name) for name in values), default=0)
    for number, (name, value) in enumerate(sorted(values.items())):
        yield Text.assemble((f"  {'' if number else title:<{NAME_WIDTH}}", "dim"), f"{name:<{width}}  {value}")


def _lineage(details: Details) -> Iterator[Text]:
    yield Text("  lineage", "bold")
    yield Text.assemble(("  ● ", "cyan"), (str(details.checkpoint.ref), "bold"))
    for ancestor in details.ancestors:
        past, where = ancestor.parent, ancestor.where
        forked = past.ref.model != details.checkpoint.ref.model
        node = ("  ● ", "cyan") if where == "here" else ("  ◌ ", "yellow")
        line = Text.assemble(node, str(past.ref), ("  forked" if forked else "  parent", "dim"))
        if isinstance(past, Hop):
            line.append(f", {past.pick}", "dim")
        yield line.append("" if where == "here" else f"  {where}", "yellow")
    yield Text()


def _files(details: Details) -> Iterator[Text]:
    checkpoint = details.checkpoint
    width = max((len(name) for name in checkpoint.names), default=0)
    yield Text.assemble(
        ("  files", "bold"),
        (f"  {wording.count(len(checkpoint.names), 'file')}, {wording.size(checkpoint.size_bytes)}", "dim"),
    )
    for entry in checkpoint.manifest.files:
        size = wording.size(entry.size_bytes)
        yield Text.assemble(f"  {entry.path:<{width}}  {size:>9}", (f"  {entry.blake3[:DIGEST_SHOWN]}", "dim"))
    if details.holders:
        yield Text()
        yield Text("  same bytes in", "bold")
    for holder in details.holders:
        facts = f"  {wording.count(len(holder.files), 'file')}, {wording.size(holder.size_bytes)}"
        how = ", one on the disk (hard links)" if len(holder.linked) == len(holder.files) else ""
        yield Text.assemble(f"  {holder.ref}", (facts + how, "dim"))
