"""What each tracker wrote, read back with its own package from its own files."""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from art.ops.telling import TrackerReport
from art.track.known import maker
from trackers.stories import FORK, ListTracker, Shown, flat

Read = Callable[[str], Shown]
NAMES = ("list", "jsonl", "tensorboard", "wandb", "mlflow", "trackio")


def prepare(name: str, folder: Path, patch: pytest.MonkeyPatch) -> tuple[TrackerReport, Read]:
    """Give a tracker that writes below a folder, offline, and what reads a run back."""
    if name == "list":
        runs: dict[str, Shown] = {}
        return TrackerReport("list", lambda: ListTracker(runs)), lambda run: runs.get(run, Shown())
    if name != "jsonl":
        pytest.importorskip(name, reason=f"needs {name}: `make test-trackers`")
    patch.setenv("WANDB_MODE", "offline")
    patch.setenv("WANDB_DIR", str(folder))
    patch.setenv("WANDB_SILENT", "true")
    patch.setenv("TRACKIO_DIR", str(folder / "trackio"))
    patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    if name == "wandb":
        importlib.import_module(name).teardown()  # it reads the environment once
    if name == "trackio":
        importlib.import_module(name).delete_project(FORK.project, force=True)  # and so does this one
    if name == "mlflow":
        shutil.copy(_empty_mlflow(), folder / "mlflow.db")
    patch.chdir(folder)
    readers = {
        "jsonl": lambda run: _jsonl(folder / "jsonl" / FORK.project / run),
        "tensorboard": lambda run: _tensorboard(folder / "tensorboard" / FORK.project, run),
        "wandb": lambda run: _wandb(folder / "wandb", run),
        "mlflow": _mlflow,
        "trackio": _trackio,
    }
    return TrackerReport(name, maker(name, folder)), readers[name]


@functools.cache
def _empty_mlflow() -> Path:
    """Make an empty database once: MLflow goes through years of its own changes for each new one."""
    import mlflow

    path = Path(tempfile.mkdtemp(prefix="artfork-tests-mlflow-")) / "mlflow.db"
    atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


def _jsonl(folder: Path) -> Shown:
    if not folder.exists():
        return Shown()
    shown = Shown()
    for line in map(json.loads, (folder / "history.jsonl").read_text().splitlines()):
        shown.points += [(line["step"], name, value) for name, value in line.items() if "/" in name]
        shown.inherited_steps |= {line["step"]} if "inherited_from" in line else set()
    settings = json.loads((folder / "run.json").read_text())
    shown.settings, shown.forked_from = flat(settings), settings.get("forked_from")
    shown.texts = "".join(path.read_text() for path in sorted(folder.glob("rollouts/*/*")))
    return shown


def _tensorboard(folder: Path, run: str) -> Shown:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown = Shown()
    for name in (run, f"{run} (inherited)"):
        if not (folder / name).exists():
            continue
        events = EventAccumulator(str(folder / name), size_guidance={"scalars": 0, "tensors": 0})
        events.Reload()
        own = [(each.step, tag, each.value) for tag in events.Tags()["scalars"] for each in events.Scalars(tag)]
        shown.points += own
        shown.inherited_steps |= {step for step, _, _ in own} if name != run else set()
        for tag in events.Tags()["tensors"]:
            text = "".join(each.tensor_proto.string_val[0].decode() for each in events.Tensors(tag))
            if tag == "run":
                cells = [line.strip("| ").split(" | ") for line in text.splitlines()]
                shown.settings = {cell[0]: cell[1] for cell in cells}
            else:
                shown.texts += text
    shown.forked_from = shown.settings.get("forked_from")
    return shown


def _wandb(folder: Path, run: str) -> Shown:
    import wandb
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()  # waits for the process that writes, which `finish` may be ahead of
    shown = Shown()
    for path in sorted(folder.glob(f"offline-run-*/run-{run}.wandb")):
        for content in _leveldb_records(path.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(content)
            config = {item.key or ".".join(item.nested_key): item.value_json for item in record.config.update}
            shown.settings = {**shown.settings, **{name: str(json.loads(value)) for name, value in config.items()}}
            _add_row(shown, {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item})
        shown.texts += "".join(each.read_text() for each in path.parent.glob("files/media/table/**/*.json"))
    shown.forked_from = shown.settings.get("forked_from")
    return shown


def _leveldb_records(content: bytes) -> Iterator[bytes]:
    """Yield the records of W&B's own file: LevelDB's log format, behind seven bytes of W&B's."""
    block_bytes, header_bytes, whole_or_last = 32768, 7, (1, 4)
    at, record = header_bytes, b""
    while at + header_bytes <= len(content):
        if block_bytes - at % block_bytes < header_bytes:
            at += block_bytes - at % block_bytes
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + header_bytes])
        at += header_bytes + length
        record += content[at - length : at]
        if kind in whole_or_last:
            yield record
            record = b""


def _add_row(shown: Shown, row: dict[str, str]) -> None:
    if "training_step" not in row:
        return
    step = int(row["training_step"])
    numbers = {name: value for name, value in row.items() if name.startswith(("train/", "val/"))}
    shown.points += [(step, name, float(value)) for name, value in numbers.items()]
    shown.inherited_steps |= {step} if row.get("inherited") == "1" else set()


def _mlflow(run: str) -> Shown:
    import mlflow

    client: Any = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(FORK.project)
    found = client.search_runs([experiment.experiment_id], f"tags.`art.run` = '{FORK.project}/{run}'")
    if not found:
        return Shown()
    (one,) = found
    histories = {name: client.get_metric_history(one.info.run_id, name) for name in one.data.metrics}
    shown = Shown(settings=flat(one.data.params), forked_from=one.data.tags.get("art.forked_from"))
    for name, points in histories.items():
        if name == "inherited":
            shown.inherited_steps |= {point.step for point in points}
        else:
            shown.points += [(point.step, name, point.value) for point in points]
    for split in client.list_artifacts(one.info.run_id, "rollouts"):
        for file in client.list_artifacts(one.info.run_id, split.path):
            shown.texts += Path(client.download_artifacts(one.info.run_id, file.path)).read_text()
    return shown


def _trackio(run: str) -> Shown:
    from trackio.sqlite_storage import SQLiteStorage

    shown = Shown()
    for row in SQLiteStorage.get_logs(FORK.project, run):
        step = int(row["step"])
        shown.points += [(step, name, value) for name, value in row.items() if "/" in name and "rollouts" not in name]
        shown.inherited_steps |= {step} if row.get("inherited") == 1 else set()
    shown.settings = flat(SQLiteStorage.get_run_config(FORK.project, run) or {})
    shown.forked_from = shown.settings.get("forked_from")
    shown.texts = json.dumps(SQLiteStorage.get_traces(FORK.project, run), default=str)
    return shown
