"""Every model's history goes to the trackers in the background, as it is written down.

A tracker is told from the history, from where it was told last: one that is slow or gone holds nothing up, and learns
at the next step or the next start what it missed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Self

from art.dev.meaning import ignore
from art.errors import ConfigurationError, TrackerError
from art.format import layout
from art.local.follower import Follower
from art.names import ModelRef, check_name
from art.ops.telling import Teller, TrackerReport
from art.store.store import CheckpointStore
from art.track.known import NAMES, is_installed, maker
from art.track.tracker import Tracker

ReportTo = str | Callable[[], Tracker]
"""A tracker's name, or what makes one for a model."""
WANDB_KEY = "WANDB_API_KEY"
_log = logging.getLogger("art")


def reports_of(report_to: ReportTo | Iterable[ReportTo] | None, root: Path, *, rollouts: bool) -> list[TrackerReport]:
    """Find the trackers that a user asked for; those that write files do so below `root`.

    Raises `ConfigurationError` for one that is unknown or not installed.
    None is W&B where its key is set, as in ART, and metrics only; an empty list is none.
    """
    if report_to is None:
        if WANDB_KEY not in os.environ:
            return []
        if not is_installed("wandb"):
            ignore(WANDB_KEY, ["set, but wandb is not installed: pip install 'artfork[wandb]', or report_to=[]"])
            return []
        return [_report("wandb", root, rollouts=False)]
    trackers = [report_to] if isinstance(report_to, str) or callable(report_to) else list(report_to)
    reports = [_report(each, root, rollouts=rollouts) for each in trackers]
    if len({report.name for report in reports}) < len(reports):
        raise ConfigurationError(f"A tracker is named twice: {', '.join(report.name for report in reports)}.")
    return reports


def _report(tracker: ReportTo, root: Path, *, rollouts: bool) -> TrackerReport:
    if isinstance(tracker, str):
        return TrackerReport(tracker, maker(tracker, root / layout.TRACKERS), has_rollouts=rollouts)
    if not callable(tracker):
        raise ConfigurationError(f"{tracker!r} is no tracker; give one of {', '.join(NAMES)}, or a class.")
    name = getattr(tracker, "__name__", type(tracker).__name__)
    check_name("tracker", name)
    return TrackerReport(name, tracker, has_rollouts=rollouts)


class Reports:
    """Tells trackers about the models of a root, each in a thread of its own."""

    @classmethod
    def of(
        cls,
        store: CheckpointStore,
        report_to: ReportTo | Iterable[ReportTo] | None,
        *,
        rollouts: bool,
        price_per_hour: float | None,
    ) -> Self:
        """Make what tells the trackers that a user asked for; errors are those of `reports_of`.

        With a price of an hour by the clock they are told what each step has cost until then.
        """
        reports = reports_of(report_to, store.root, rollouts=rollouts)
        # What nobody named is W&B, by its key: a model may name others in its place.
        always = frozenset() if report_to is None else frozenset(report.name for report in reports)
        return cls(store, reports, price_per_hour=price_per_hour, always=always)

    def __init__(
        self,
        store: CheckpointStore,
        reports: Sequence[TrackerReport],
        *,
        price_per_hour: float | None = None,
        always: Collection[str] = (),
    ) -> None:
        self._store, self._price = store, price_per_hour
        self._always = always
        self._usual = [report.name for report in reports]
        self._chosen: dict[ModelRef, frozenset[str]] = {}
        self._tellers: list[Teller] = []
        self._followers: list[Follower[ModelRef]] = []
        for report in reports:
            self._add(report)

    def choose(self, model: ModelRef, names: Collection[str]) -> None:
        """Tell of a model those trackers that it names, as ART's `report_metrics` does, and those the backend names."""
        known = {teller.report.name for teller in self._tellers}
        for name in dict.fromkeys(names):
            if name not in known:
                self._add(_report(name, self._store.root, rollouts=name != "wandb"))
        self._chosen[model] = frozenset((*names, *self._always))

    def put(self, model: ModelRef) -> None:
        """Note that a model's history has grown. Never waits."""
        told = self._chosen.get(model, self._usual)
        for teller, follower in zip(self._tellers, self._followers, strict=True):
            if teller.report.name in told:
                follower.put(model)

    def _add(self, report: TrackerReport) -> None:
        teller = Teller(self._store, report)
        follow = _teach(teller, self._price or None)
        self._followers.append(Follower[ModelRef](f"art-{report.name}", follow, on_failure=_warn(teller)))
        self._tellers.append(teller)

    def close(self) -> None:
        """Tell what is waiting, and let go of every run; raises `TrackerError` when something could not be told."""
        missing: list[str] = []
        for teller, follower in zip(self._tellers, self._followers, strict=True):
            missing += [f"{teller.report.name} was not told of {ref}: {why}" for ref, why in follower.close().items()]
            try:
                teller.close()
            except TrackerError as error:
                missing.append(f"{teller.report.name} could not end a run: {error}")
        if missing:
            raise TrackerError(f"{'; '.join(missing)}. The history has it all, and the next start tells it.")


def _teach(teller: Teller, price: float | None) -> Callable[[ModelRef], None]:
    def teach(model: ModelRef) -> None:
        teller.tell(model, price=price)

    return teach


def _warn(teller: Teller) -> Callable[[ModelRef, Exception], None]:
    def warn(model: ModelRef, error: Exception) -> None:
        _log.warning("%s was not told of %s yet: %s", teller.report.name, model, error)

    return warn
