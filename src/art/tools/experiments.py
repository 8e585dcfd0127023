"""What an agent may ask of a root, and change there: each method is one tool.

Reads what the page reads. Changes need a permission that the user gave by name, and forks have a budget. A rewind sets
aside, and is undone by name; a clean-up deletes, and only in branches that agents began.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from art.errors import ConfigurationError
from art.format.pick import Exact, Pick, best_of, pick_of
from art.names import CheckpointRef, ModelRef
from art.ops.data_documents import trained_document
from art.ops.fork import ForkOutcome, ForkRequest, fork, if_exists
from art.ops.keep import policies_of
from art.ops.pins import set_pin
from art.ops.removal import remove
from art.ops.retention import plan_retention
from art.ops.rewind import restore, rewind
from art.ops.trained import read_trained
from art.ops.verify import verify
from art.store.store import CheckpointStore
from art.tools.ledger import Ledger
from art.ui.desk import KEPT, Desk

PERMISSIONS = ("fork", "rewind", "pin", "clean-up")
DEFAULT_MAX_FORKS = 20
MOST_STEPS = 500

Json = dict[str, Any]
ModelName = Annotated[str, Field(description="project/model, as in shop/agent-1")]
Step = Annotated[str, Field(description="project/model@step, as in shop/agent-1@500")]
Rule = Annotated[str, Field(description="policies, as in 'newest:1, best:val/reward'")]
Part = Literal["optimizer", "schedule", "random", "state"]


@dataclass
class Experiments:
    """One root, and what may be changed in it; `allowed` are names of `PERMISSIONS`."""

    store: CheckpointStore
    allowed: Collection[str] = ()
    max_forks: int = DEFAULT_MAX_FORKS
    """Of all agents in this root, over all servers."""
    _ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        self._ledger = Ledger(self.store.root)
        if unknown := sorted(set(self.allowed) - set(PERMISSIONS)):
            raise ConfigurationError(f"{', '.join(unknown)} cannot be allowed; there are {', '.join(PERMISSIONS)}.")

    @property
    def reading(self) -> list[Callable[..., Json]]:
        """The tools that change nothing."""
        runs = [self.status, self.tree, self.history, self.step, self.rollouts, self.compare]
        return [*runs, self.data, self.disk, self.plan_clean_up, self.verify]

    @property
    def changing(self) -> list[Callable[..., Json]]:
        """The tools that change something and are allowed."""
        tools: dict[str, list[Callable[..., Json]]] = {
            "fork": [self.fork],
            "rewind": [self.rewind, self.undo_rewind],
            "pin": [self.pin, self.unpin],
            "clean-up": [self.clean_up],
        }
        return [tool for permission in PERMISSIONS if permission in self.allowed for tool in tools[permission]]

    def status(self) -> Json:
        """Say which runs went wrong, since which step, by what evidence, and what everything cost so far.

        `alerts` hold the last good step of each and the command that forks there. Ask this first.
        """
        return self._desk.status()

    def tree(self) -> Json:
        """List every branch: where it was forked, what changed there, its best and newest step and its state."""
        return self._desk.tree()

    def history(
        self,
        model: ModelName,
        first: Annotated[int, Field(ge=0, description="first step")] = 0,
        last: Annotated[int | None, Field(description="last step; the newest if left out")] = None,
    ) -> Json:
        """Give the metrics of one branch as columns over its own steps: reward, entropy, KL, gradient norm, ..."""
        document = self._desk.history(ModelRef.parse(model), first=first, last=last)
        if len(document["steps"]) > MOST_STEPS:
            raise ConfigurationError(
                f"{len(document['steps'])} steps are more than {MOST_STEPS}; name a first and a last step."
            )
        return document

    def step(self, ref: Step) -> Json:
        """Give one checkpoint: what its weights earned, its settings, its files and what it carries."""
        return self._desk.step(_ref(ref))

    def rollouts(self, ref: Step, split: Literal["train", "val"] = "train") -> Json:
        """Give the conversations that a step's weights had, the worst prompt first, with their rewards."""
        return self._desk.rollouts(_ref(ref), split)

    def compare(self, first: Step, second: Step) -> Json:
        """Say where two checkpoints part, which settings and metrics differ, and the same prompts through both."""
        return self._desk.comparison(_ref(first), _ref(second))

    def data(self, ref: Step) -> Json:
        """Say how often a branch was trained on each scenario up to a step, what of it was inherited, and the proof."""
        return trained_document(read_trained(self.store, _ref(ref)))

    def disk(self) -> Json:
        """Say how many bytes each branch keeps, and how many are set aside."""
        return self._desk.disk()

    def plan_clean_up(self, keep: Rule = KEPT) -> Json:
        """Say which checkpoints retention policies would delete of every branch, why others stay, and the bytes."""
        return self._desk.cleanup(keep)

    def verify(self, ref: Step) -> Json:
        """Read every byte of a checkpoint again and compare it with its manifest."""
        checked = _ref(ref)
        self.store.select(checked.model, Exact(checked.step))
        report = verify(self.store, [checked.model], step=checked.step, progress=lambda *_: None)[0]
        faults = [{"file": fault.file, "problem": fault.problem} for fault in report.faults]
        return {"ref": ref, "state": str(report.state), "files": report.files, "faults": faults}

    def fork(
        self,
        source: Annotated[str, Field(description="project/model, or project/model@step")],
        destination: ModelName,
        not_after: Annotated[int | None, Field(description="the newest step at or before this one")] = None,
        best: Annotated[str | None, Field(description="the best step by val/reward, or by val/score:min")] = None,
        reset: Annotated[list[Part] | None, Field(description="parts that start afresh")] = None,
        settings: Annotated[
            dict[str, JsonValue] | None, Field(description="what the branch is begun to try, as in {'lr': 1e-5}")
        ] = None,
    ) -> Json:
        """Begin a branch with a checkpoint of another one, at the same step; training continues from there bit for bit.

        The same fork again changes nothing. Another fork into a model that has checkpoints is refused, and so is a
        second branch that begins with the same checkpoint and tries the same settings under another name.
        """
        named, pick = _pick(source, not_after, best)
        request = ForkRequest(
            source=self.store,
            source_model=named,
            pick=pick,
            destination=self.store,
            model=ModelRef.parse(destination),
            reset=tuple(sorted(reset or ())),
            settings=settings or {},
            if_exists=if_exists(overwrite=False, continues=False),
        )
        _refuse_rewind(request)
        with self._ledger.held():
            spent = len(self._ledger.forks())
            # Into a model that is there a fork is the same again, or refused; neither spends anything.
            if not self.store.steps(request.model):
                self._require_new(request, spent)
            report = fork(request)
            if report.outcome is ForkOutcome.FORKED and not report.repeated:
                self._ledger.add(report.ref.model, report.selected)
                spent += 1
        return {
            "ref": str(report.ref),
            "source": str(report.selected),
            "repeated": report.repeated,
            "copied_bytes": report.copied_bytes,
            "forks_left": max(0, self.max_forks - spent),
        }

    def _require_new(self, request: ForkRequest, spent: int) -> None:
        """Refuse a fork beyond the budget, and one that tries what another branch tries already."""
        if spent >= self.max_forks:
            raise ConfigurationError(f"The budget of {self.max_forks} forks is spent; ask the user for a larger one.")
        chosen = self.store.select(request.source_model, request.pick).checkpoint
        tried = (chosen.ref, chosen.digest, request.reset, dict(request.settings))
        for lane in self._desk.overview().lanes:
            hop = lane.branch.origin.hop if lane.branch.origin else None
            if hop and (hop.ref, hop.digest, hop.reset, dict(hop.settings)) == tried:
                raise ConfigurationError(
                    f"{lane.model} began with the same checkpoint and tries the same. Go on with it, or say in "
                    "`settings` what another branch is to try."
                )

    def rewind(self, ref: Step) -> Json:
        """Make an earlier step the newest of its model again; later ones are set aside, never deleted."""
        rewound = rewind(self.store, _ref(ref))
        return {"newest": str(rewound.ref), "set_aside": list(rewound.steps)}

    def undo_rewind(self, model: ModelName) -> Json:
        """Bring back what the last rewind of a model set aside."""
        restored = restore(self.store, ModelRef.parse(model))
        return {"newest": str(restored.ref), "brought_back": list(restored.steps)}

    def pin(self, ref: Step) -> Json:
        """Keep a checkpoint whatever the user's retention policies say."""
        return self._set_pin(ref, pinned=True)

    def unpin(self, ref: Step) -> Json:
        """Take a pin out: the retention policies decide again."""
        return self._set_pin(ref, pinned=False)

    def clean_up(self, keep: Rule) -> Json:
        """Delete for good what retention policies do not keep, of the branches that agents began; no other is touched.

        `plan_clean_up` says beforehand what they keep.
        """
        models = set(self.store.models())
        own = [model for model in dict.fromkeys(self._ledger.branches()) if model in models]
        retention = plan_retention(self.store, own, policies_of(keep))
        deleted = [str(ref) for ref in remove(self.store, retention.removal)]
        return {
            "branches": [str(model) for model in own],
            "deleted": deleted,
            "freed_bytes": retention.removal.freed_bytes,
        }

    def _set_pin(self, ref: str, *, pinned: bool) -> Json:
        return {"ref": str(set_pin(self.store, _ref(ref), pinned=pinned).ref), "pinned": pinned}

    @property
    def _desk(self) -> Desk:
        # Read anew each time: a run goes on while the agent thinks.
        return Desk(self.store)


def _refuse_rewind(request: ForkRequest) -> None:
    if request.source_model == request.model:
        raise ConfigurationError(f"{request.model} would be rewound, which another tool does; name a new model.")


def _ref(text: str) -> CheckpointRef:
    return CheckpointRef.parse(text)


def _pick(source: str, not_after: int | None, best: str | None) -> tuple[ModelRef, Pick]:
    model, _, step = source.partition("@")
    if sum((bool(step), not_after is not None, best is not None)) > 1:
        raise ConfigurationError("A step, not_after and best choose in three ways; leave two of them out.")
    if step:
        return ModelRef.parse(model), Exact(_ref(source).step)
    return ModelRef.parse(model), best_of(best, written=best) if best else pick_of(not_after=not_after)
