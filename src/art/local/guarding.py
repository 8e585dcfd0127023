"""A guard at work: it judges a model by its history after each commit, and stops it or takes it back.

Runs in the training thread, between steps. Knows the store and the history; knows no trainer.
"""

from __future__ import annotations

import json
import logging
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from art.config import TrainConfig
from art.errors import GuardError, WebhookError
from art.format.manifest import utc_now
from art.guard import Guard
from art.local.follower import Follower
from art.names import ModelRef
from art.ops.histories import Histories
from art.ops.judge import HELD_OUT, Judgement, judge
from art.ops.series import Series
from art.program import command
from art.store.aside import SetAside
from art.store.checkpoint import Checkpoint
from art.store.store import CheckpointStore

MARK = "guard: "
"""What the reason of steps that a guard has set aside begins with: the store remembers how often it was."""
TIMEOUT_S = 10
_log = logging.getLogger("art")


class _NoDetours(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: there a GET would arrive, without what is to be told, wherever a stranger says."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoDetours)


class Guarding:
    """Watches the models of one backend."""

    def __init__(self, store: CheckpointStore, guard: Guard) -> None:
        self._store = store
        self._guard = guard
        self._histories = Histories(store.root)
        self._told: set[tuple[ModelRef, int | None, str]] = set()
        self._webhook = Follower[str]("art-webhook", self._post, on_failure=_warn)

    def before(self, model: ModelRef) -> None:
        """Raise `GuardError` for a run that went wrong and that no fork is to go on from."""
        past, judgement = self._judged(model)
        if judgement.is_alarm and (why := self._end(model, past, judgement)):
            self._tell(model, judgement, "stopped", {"why": why})
            suggest = command(self._store.root, "suggest", str(model))
            raise GuardError(
                f"{model} went wrong at step {judgement.onset}: {_evidence(judgement)}. {why} Nothing was trained, and "
                f"nothing is lost. `{suggest}` says where to fork from, and `art rewind` takes the run back."
            )

    def config(self, model: ModelRef, config: TrainConfig) -> TrainConfig:
        """Give the settings that a step is to be taken with: changed as often as the guard has taken the run back."""
        return self._guard.changed(config, times=self.forks(model))

    def after(self, model: ModelRef, config: TrainConfig) -> Checkpoint | None:
        """Take a run back that went wrong in what was just trained; gives the checkpoint that it stands at then."""
        past, judgement = self._judged(model)
        if not judgement.is_alarm:
            return None
        if why := self._end(model, past, judgement):
            self._tell(model, judgement, "stopped", {"why": why})
            return None
        good = self._store.open(model.at(self._good_step(model, past, judgement) or 0))
        changed = self._guard.changed(config, times=1).model_dump(mode="json")
        change = {name: changed.get(name) for name in self._guard.change}
        settings = "".join(f", {name}={value}" for name, value in change.items())
        why = f"{MARK}{judgement.state} at step {judgement.onset} ({_evidence(judgement)}){settings}"
        self._store.rewind(good, why=why)
        _log.warning("%s went back to step %d: %s", model, good.ref.step, why.removeprefix(MARK))
        self._tell(model, judgement, "forked", {"back_to": good.ref.step, "change": change})
        return good

    def forks(self, model: ModelRef) -> int:
        """Count how often a guard has taken a model back, whichever process it was in."""
        return sum(is_by_guard(aside) for aside in self._store.set_aside(model))

    def close(self) -> None:
        """Wait until the webhook is told; raises `WebhookError` when it was not."""
        if failures := self._webhook.close():
            raise WebhookError(
                f"The guard's webhook {self._guard.webhook} was not told of {len(failures)} events: "
                f"{next(iter(failures.values()))}. What the guard did is in the store all the same."
            )

    def _judged(self, model: ModelRef) -> tuple[Series, Judgement]:
        newest = self._store.newest(model)
        # What lies beyond the newest checkpoint was set aside: the detectors begin anew from there.
        past = self._histories.past(self._store.segments(model)).between(0, newest.ref.step if newest else 0)
        return past, judge(past)

    def _end(self, model: ModelRef, past: Series, judgement: Judgement) -> str:
        """Say why a run ends here; nothing where it can be taken back."""
        if self._guard.action == "stop":
            return "The guard stops it."
        if self.forks(model) >= self._guard.max_forks:
            return f"The guard took it back {self._guard.max_forks} times already."
        if self._good_step(model, past, judgement) is None:
            return "It has no checkpoint of its own from before, to which the guard could take it back."
        return ""

    def _good_step(self, model: ModelRef, past: Series, judgement: Judgement) -> int | None:
        """Give the best step before any sign that has a checkpoint: by held-out reward, or the newest without one."""
        if judgement.last_good is None:
            return None
        steps = [step for step in self._store.steps(model) if step <= judgement.last_good]
        scores = {step: value for step, value in past.points(HELD_OUT) if step in steps}
        return max(scores or steps, key=lambda step: (scores.get(step, 0.0), step), default=None)

    def _tell(self, model: ModelRef, judgement: Judgement, event: str, facts: dict[str, Any]) -> None:
        key = (model, judgement.onset, event)
        if self._guard.webhook is None or (event == "stopped" and key in self._told):
            return
        self._told.add(key)
        document = {
            "event": event,
            "model": str(model),
            "time": utc_now(),
            "state": str(judgement.state),
            "onset": judgement.onset,
            "last_good": judgement.last_good,
            "level": judgement.level,
            "now": judgement.now,
            "evidence": [asdict(seen) for seen in judgement.evidence],
            **facts,
        }
        self._webhook.put(json.dumps(document))

    def _post(self, document: str) -> None:
        headers = {"Content-Type": "application/json"}
        # A guard has nothing but http and https.
        request = urllib.request.Request(self._guard.webhook or "", document.encode(), headers)  # noqa: S310
        try:
            with _OPENER.open(request, timeout=TIMEOUT_S):
                pass
        except urllib.error.HTTPError as error:
            # It is the answer as well, whose connection would stay open.
            error.close()
            raise


def is_by_guard(aside: SetAside) -> bool:
    """Tell whether a guard has set steps aside."""
    return aside.reason.partition(": ")[2].startswith(MARK)


def _evidence(judgement: Judgement) -> str:
    signs: Sequence[str] = [f"{seen.text} at {seen.step}" for seen in judgement.evidence]
    return ", ".join(signs)


def _warn(_: str, error: Exception) -> None:
    _log.warning("The guard's webhook was not told yet: %s", error)
