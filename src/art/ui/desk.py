"""The documents of one root, by their paths: what the server answers and what a file brings along.

Paths are those that the page asks for: `status`, `tree`, `history/shop/agent-1`, `step/shop/agent-1/40`, ...
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from typing import Any

from art.errors import ArtError
from art.names import CheckpointRef, ModelRef
from art.ops import disk_documents, documents
from art.ops.compare import compare
from art.ops.disk_use import read_disk_use
from art.ops.histories import Histories
from art.ops.judge import REWARD
from art.ops.keep import policies_of
from art.ops.lanes import Lane, Overview, read_overview
from art.ops.on_disk import Memory
from art.ops.retention import plan_retention
from art.ops.rollouts import read_rollouts, rollout_steps
from art.store.history import TRAIN
from art.store.store import CheckpointStore

METRICS = (
    "train/reward",
    "val/reward",
    "train/entropy",
    "train/approx_kl",
    "train/kl",
    "train/grad_norm",
    "train/malformed",
    "train/truncated",
)
KEPT = "newest:2, best:train/reward"
"""What a clean-up keeps of each branch where nobody says otherwise, beside what stays in any case."""
Json = dict[str, Any]


class Desk:
    """Reads one root for the page; holds the last overview until it is told that something changed."""

    def __init__(self, store: CheckpointStore, *, project: str | None = None, price: float | None = None) -> None:
        self.store = store
        self._price = price
        self._project = project
        self._memory = Memory(Histories(store.root))
        self._overview: Overview | None = None
        self._models: list[Json] = []
        self._start, self._count = secrets.token_hex(4), 0
        self._lock = threading.Lock()

    def overview(self) -> Overview:
        with self._lock:
            return self._read()

    def _read(self) -> Overview:
        if self._overview is None:
            self._overview = read_overview(self.store, project=self._project, memory=self._memory)
            before = {(each["project"], each["model"]): each for each in self._models}
            models = documents.tree_document(self._overview)["models"]
            # A branch that has not changed is the same object as before: whoever has it needs it no second time.
            self._models = [_same_or(each, before.get((each["project"], each["model"]))) for each in models]
            self._count += 1
        return self._overview

    def forget(self) -> None:
        """Read anew at the next question."""
        with self._lock:
            self._overview = None

    def status(self) -> Json:
        return self.first()["status"]

    def tree(self) -> Json:
        return self.first()["tree"]

    def first(self) -> Json:
        """Give what a page begins with: the state and the tree, and the name of this version of both."""
        with self._lock:
            overview = self._read()
            return {
                "status": documents.status_document(overview, root=str(self.store.root), price=self._price),
                "tree": {"schema": documents.SCHEMA, "metric": REWARD, "models": self._models},
                "version": f"{self._start}-{self._count}",
            }

    def history(
        self, model: ModelRef, *, first: int = 0, last: int | None = None, most: int = documents.HISTORY_POINTS
    ) -> Json:
        return documents.history_document(self._lane(model), first=first, last=last, metrics=METRICS, most=most)

    def step(self, ref: CheckpointRef) -> Json:
        lane = self._lane(ref.model)
        recorded = rollout_steps(self.store.root, ref, TRAIN)
        try:
            checkpoint, problem = self.store.find(ref), None
        except ArtError as error:
            checkpoint, problem = None, str(error)
        return documents.step_document(lane, ref, checkpoint, problem=problem, recorded=recorded)

    def rollouts(self, ref: CheckpointRef, split: str = TRAIN) -> Json:
        return documents.rollouts_document(ref, split, read_rollouts(self.store.root, ref, split))

    def comparison(self, first: CheckpointRef, second: CheckpointRef) -> Json:
        return documents.comparison_document(compare(self.store, first, second))

    def disk(self) -> Json:
        return disk_documents.disk_document(read_disk_use(self.store, [lane.branch for lane in self.overview().lanes]))

    def cleanup(self, rule: str = KEPT) -> Json:
        """Give what policies would delete of all branches that are shown."""
        retention = plan_retention(self.store, self.models(), policies_of(rule))
        return disk_documents.cleanup_document(retention, rule=rule, root=self.store.root)

    def models(self) -> Sequence[ModelRef]:
        return [lane.model for lane in self.overview().lanes]

    def _lane(self, model: ModelRef) -> Lane:
        return self.overview().lane(model)


def _same_or(document: Json, before: Json | None) -> Json:
    """Give the object that was there before where the new one says the same."""
    return before if before is not None and before == document else document
