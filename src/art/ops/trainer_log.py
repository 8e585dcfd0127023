"""What a Trainer logged: the lines of its `log_history`, as metrics of a model's history."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from art.errors import ArtError
from art.format.json import parse_object
from art.names import ModelRef
from art.store import regular
from art.store.checkpoint import Checkpoint
from art.store.history import TRAIN, VALIDATION, HistoryStore, Measured

STATE = "trainer_state.json"
MAX_STATE_BYTES = 64 * 1024**2
EVALUATED = "eval_"
CLOCK = re.compile(r"(?i)(^|[^a-z])(run)?time([^a-z]|$)|per_second|_s$")
"""Names of figures that a clock says."""

Line = Mapping[str, Any]


def read_log(folder: Path) -> list[Line]:
    """Read the log that a Trainer keeps beside a checkpoint, empty where there is none.

    Raises `CorruptCheckpointError`, also for a loss that is no number: JSON has none.
    """
    content = regular.find(folder / STATE, max_bytes=MAX_STATE_BYTES)
    if content is None:
        return []
    log = parse_object(content, where=str(folder / STATE), max_bytes=MAX_STATE_BYTES).get("log_history")
    return [line for line in log if isinstance(line, dict)] if isinstance(log, list) else []


def between(log: Iterable[Line], after: int, upto: int) -> list[Line]:
    """Give the lines of the steps behind `after`, up to `upto`."""
    return [line for line in log if type(step := line.get("step")) is int and after < step <= upto]


def continues(folder: Path, checkpoint: Checkpoint) -> bool:
    """Tell whether the log of a folder begins with that of a checkpoint, whose run it then goes on with.

    What a clock says is left out: a step that was taken again took another time. Logs that cannot be read tell nothing.
    """
    try:
        before, log = read_log(checkpoint.path), read_log(folder)
    except ArtError:
        return True
    told = [[_without_clock(line) for line in lines] for lines in (before, log[: len(before)])]
    return not log or told[0] == told[1]


def metrics_of(lines: Iterable[Line]) -> dict[str, float]:
    """Give the numbers that were logged, the last of each name."""
    return {name: value for line in lines for name, value in _numbers(line).items()}


def record(history: HistoryStore, model: ModelRef, lines: Iterable[Line]) -> None:
    """Write lines into a model's history: `eval_loss` as `val/loss`, every other number under `train/`.

    What stands there already is not written again.
    """
    history.append_missing(model, _parts(lines))


def _parts(lines: Iterable[Line]) -> Iterator[Measured]:
    for line in lines:
        numbers = _numbers(line)
        evaluated = {name: value for name, value in numbers.items() if name.startswith(EVALUATED)}
        trained = {name: value for name, value in numbers.items() if name not in evaluated}
        if trained:
            yield line["step"], TRAIN, trained
        if evaluated:
            yield line["step"], VALIDATION, {name.removeprefix(EVALUATED): value for name, value in evaluated.items()}


def _without_clock(line: Line) -> Line:
    return {name: value for name, value in line.items() if not CLOCK.search(name)}


def _numbers(line: Line) -> dict[str, float]:
    numbers = {name: value for name, value in line.items() if isinstance(value, int | float) and name != "step"}
    return {name: float(value) for name, value in numbers.items() if not isinstance(value, bool)}
