"""Whether a resume of another trainer's script continues what was there: run whole, again, resumed, and compared.

The script is the user's own, in processes of its own, told by its arguments where to write and what to resume from.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from art.errors import ConfigurationError
from art.format.kinds import kind_of, left_out, resettable
from art.ops.contents import Name, differing, figures_of, pieces_of
from art.ops.saved import checkpoints_in
from art.store import disk
from art.store.refusal import explained

OUT, RESUME = "{out}", "{resume}"
LAST_LINES = 15
LAST_BYTES = 4096


class Finding(StrEnum):
    """What a certificate says."""

    EXACT = "exact"
    STATE_EXACT = "state exact, log differs"
    DIFFERS = "differs"
    NOT_DETERMINISTIC = "not deterministic"


@dataclass(frozen=True, kw_only=True)
class RunComparison:
    """One run against the whole one, at the steps behind the resume that both saved."""

    steps: tuple[int, ...]
    first_step: int | None = None
    """The first of them at which the state differs; None where it never does."""
    pieces: tuple[Name, ...] = ()
    """What differs there."""
    of: int = 0
    """How many pieces there are."""
    figures: tuple[tuple[int, str], ...] = ()
    """The logged figures that differ, by step and name."""
    compared_figures: int = 0

    @property
    def is_same_state(self) -> bool:
        return self.first_step is None

    @property
    def is_same(self) -> bool:
        return self.is_same_state and not self.figures


@dataclass(frozen=True, kw_only=True)
class Certification:
    """What was found about a script that was resumed at a step and ran to another one."""

    at: int
    end: int
    again: RunComparison
    resumed: RunComparison
    weights_only: RunComparison | None
    """None where it was not tried, for the reason in `not_tried`."""
    not_tried: str = ""

    @property
    def verdict(self) -> Finding:
        if not self.again.is_same_state:
            return Finding.NOT_DETERMINISTIC
        if not self.resumed.is_same_state:
            return Finding.DIFFERS
        # Figures that differ from one run to the next tell nothing about the resume.
        afresh = set(self.resumed.figures) - set(self.again.figures)
        return Finding.STATE_EXACT if afresh else Finding.EXACT

    @property
    def is_state_exact(self) -> bool:
        return self.verdict in (Finding.EXACT, Finding.STATE_EXACT)


@dataclass(frozen=True, kw_only=True)
class ResumedScript:
    """A command with `{out}` and `{resume}` in its words, and the steps between which a resume lies."""

    command: str
    at: int
    end: int
    environment: Mapping[str, str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for placeholder in (OUT, RESUME):
            if placeholder not in self.command:
                raise ConfigurationError(
                    f"The command has no {placeholder}; write, say, 'python train.py --out {OUT} --resume {RESUME}'."
                )
        if not 0 < self.at < self.end:
            raise ConfigurationError(f"A resume at step {self.at} has to lie between the first step and {self.end}.")
        self.words("out", "")

    def words(self, out: str, resume: str) -> list[str]:
        """Give the command's words. No shell reads them: a folder's name may hold anything."""
        try:
            words = shlex.split(self.command)
        except ValueError as error:
            raise ConfigurationError(f"{self.command} cannot be split into words: {error}.") from error
        return [word.replace(OUT, out).replace(RESUME, resume) for word in words]


def ignored(_: str) -> None:
    """Tell nobody what runs."""


def certify(script: ResumedScript, folder: Path, *, told: Callable[[str], None] = ignored) -> Certification:
    """Run a script four times below a new folder, and compare what it saved; `told` hears what runs.

    Raises `ConfigurationError` when the script fails, or saves no checkpoint at the two steps.
    """
    disk.make_folders(folder)
    if any(folder.iterdir()):
        raise ConfigurationError(f"{folder} is not empty; name a new folder to work in.")
    runs = _Runs(script, folder, told)
    whole = runs.run("whole")
    again = _compared(script, whole, runs.run("again"))
    start = runs.saved(whole)[script.at]
    resumed = _compared(script, whole, runs.run("resumed", start))
    weights_only, reason = _weights_only(runs, whole, start)
    return Certification(
        at=script.at, end=script.end, again=again, resumed=resumed, weights_only=weights_only, not_tried=reason
    )


class _Runs:
    """The runs of a script, each in a folder of its own."""

    def __init__(self, script: ResumedScript, folder: Path, told: Callable[[str], None]) -> None:
        self.script, self.folder, self._told = script, folder, told

    def run(self, name: str, start: Path | None = None, without: frozenset[str] = frozenset()) -> Path:
        """Run the script, resumed from a copy of `start`; gives the folder it wrote."""
        out = self.folder / name
        resume = self._copy(start, name, without) if start else None
        self._told(f"{name}: from step {self.script.at if start else 0} to {self.script.end}")
        log = self.folder / f"{name}.log"
        words = self.script.words(str(out), str(resume or ""))
        with log.open("wb") as output:
            try:
                status = subprocess.run(  # noqa: S603 - the user's own command, which no shell reads
                    words, stdout=output, stderr=subprocess.STDOUT, env=self.script.environment, check=False
                ).returncode
            except OSError as error:
                raise ConfigurationError(f"{words[0]} cannot be run: {error.strerror}.") from error
        if status:
            lines = _last_lines(log)
            raise ConfigurationError(
                f"The {name} run ended with status {status}"
                + (f". {log} has what it said:\n{lines}" if lines.strip() else ", and said nothing.")
            )
        needed = {self.script.end} if start else {self.script.at, self.script.end}
        if missing := sorted(needed - set(self.saved(out))):
            steps = ", ".join(map(str, sorted(self.saved(out)))) or "none"
            raise ConfigurationError(
                f"The {name} run left no checkpoint of step {' and '.join(map(str, missing))} in {out} (it has: "
                f"{steps}). Let it save at both steps, and keep what it saved."
            )
        return out

    def saved(self, out: Path) -> dict[int, Path]:
        return checkpoints_in(out) if out.is_dir() else {}

    def _copy(self, start: Path, name: str, without: frozenset[str]) -> Path:
        # A trainer may write where it resumes from.
        copy = self.folder / f"{name}-from" / start.name
        if not start.is_file():
            # What is no file has no copy, and may have no end.
            disk.files_below(start)
        with explained("copy", start):
            if start.is_file():
                disk.make_folders(copy.parent)
                shutil.copyfile(start, copy)
            else:
                shutil.copytree(start, copy, ignore=lambda _, names: [file for file in names if file in without])
        return copy


def _last_lines(log: Path) -> str:
    """Give the end of what a script said, which may be long."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LAST_BYTES))
        return "\n".join(file.read(LAST_BYTES).decode(errors="replace").splitlines()[-LAST_LINES:])


def _weights_only(runs: _Runs, whole: Path, start: Path) -> tuple[RunComparison | None, str]:
    below = [] if start.is_file() else disk.files_below(start)
    paths = [path.relative_to(start).as_posix() for path in below] or [start.name]
    kind = kind_of(paths)
    parts = resettable(kind)
    if not parts:
        return None, f"the trainer of a checkpoint of kind {kind} needs every file"
    try:
        out = runs.run("weights-only", start, left_out(kind, paths, parts))
    except ConfigurationError as error:
        return None, str(error).partition("\n")[0]
    return _compared(runs.script, whole, out), ""


def _compared(script: ResumedScript, whole: Path, other: Path) -> RunComparison:
    these, those = checkpoints_in(whole), checkpoints_in(other)
    steps = tuple(sorted(step for step in set(these) & set(those) if script.at < step <= script.end))
    logs = [_figures(saved[script.end], script) for saved in (these, those)]
    first_step, pieces, of = _first_difference(steps, (whole, these), (other, those))
    return RunComparison(
        steps=steps,
        first_step=first_step,
        pieces=pieces,
        of=of,
        figures=tuple(differing(*logs)),
        compared_figures=len(logs[0]),
    )


def _figures(saved: Path, script: ResumedScript) -> Mapping[tuple[int, str], float]:
    # A trainer that writes one file has no room for a log.
    return {} if saved.is_file() else figures_of(saved, after=script.at)


def _first_difference(
    steps: Iterable[int], whole: tuple[Path, Mapping[int, Path]], other: tuple[Path, Mapping[int, Path]]
) -> tuple[int | None, tuple[Name, ...], int]:
    """Give the first step at which two runs differ, the pieces that do, and how many there are."""
    of = 0
    for step in steps:
        these, those = (pieces_of(saved[step], out=out) for out, saved in (whole, other))
        of = len({*these, *those})
        if pieces := differing(these, those):
            return step, tuple(pieces), of
    return None, (), of
