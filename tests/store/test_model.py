"""Any order of operations: the store does what a dict of steps would, and loses nothing on the way."""

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from art.errors import CheckpointExistsError, DestinationNotEmptyError
from art.format.manifest import Hop
from art.format.pick import Exact
from art.names import ModelRef
from art.store.store import CheckpointStore

from .conftest import write_checkpoint

MODELS = [ModelRef("shop", name) for name in ("a", "b", "c")]
models = st.sampled_from(MODELS)


@dataclass
class Branch:
    """What a model ought to hold: digests by step, what was set aside, and the fork it began with."""

    steps: dict[int, str] = field(default_factory=dict[int, str])
    aside: dict[int, tuple[int | None, dict[int, str]]] = field(
        default_factory=dict[int, tuple[int | None, dict[int, str]]]
    )
    records: int = 0

    def set_aside(self, kept: int | None) -> None:
        taken = {step: digest for step, digest in self.steps.items() if kept is None or step > kept}
        self.steps = {step: digest for step, digest in self.steps.items() if step not in taken}
        self.records += 1
        if taken:
            self.aside[self.records] = (kept, taken)


class StoreMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.expected = {model: Branch() for model in MODELS}
        self.ancestry: dict[str, tuple[Hop, ...]] = {}

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @property
    def store(self) -> CheckpointStore:
        """A fresh one each time: nothing may live in memory only."""
        return CheckpointStore(self.folder)

    @rule(model=models, ahead=st.integers(1, 3))
    def commit(self, model: ModelRef, ahead: int) -> None:
        newest = self.store.newest(model)
        step = (newest.ref.step if newest else 0) + ahead
        checkpoint = write_checkpoint(self.store, model, step, parent=newest)
        self._remember(model, step, checkpoint.digest, checkpoint.manifest.ancestry)

    @precondition(lambda self: any(branch.steps for branch in self.expected.values()))
    @rule(data=st.data())
    def commit_again(self, data: st.DataObject) -> None:
        model, step = self._some_step(data)

        with pytest.raises(CheckpointExistsError):
            write_checkpoint(self.store, model, step, reward=0.9)

    @precondition(lambda self: any(branch.steps for branch in self.expected.values()))
    @rule(data=st.data(), into=models, overwrite=st.booleans())
    def fork(self, data: st.DataObject, into: ModelRef, overwrite: bool) -> None:
        model, step = self._some_step(data)
        branch = self.expected[into]
        if model == into:
            return
        source = self.store.open(model.at(step))
        same = self._is_fork_of(into, model, step, source.digest)
        if branch.steps and not same and not overwrite:
            with pytest.raises(DestinationNotEmptyError):
                self.store.fork(source, into, pick=Exact(step))
            return

        forked = self.store.fork(source, into, pick=Exact(step), overwrite=overwrite)

        assert forked.repeated == same
        if same:
            assert forked.newest_step == max(branch.steps)
            return
        if branch.steps:
            branch.set_aside(None)
        self._remember(into, step, forked.checkpoint.digest, forked.checkpoint.manifest.ancestry)

    @precondition(lambda self: any(branch.steps for branch in self.expected.values()))
    @rule(data=st.data())
    def rewind(self, data: st.DataObject) -> None:
        model, step = self._some_step(data)
        later = any(other > step for other in self.expected[model].steps)

        aside = self.store.rewind(self.store.open(model.at(step)))

        assert (aside is not None) == later
        if later:
            self.expected[model].set_aside(step)

    @precondition(lambda self: any(branch.aside for branch in self.expected.values()))
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        model = data.draw(st.sampled_from([model for model in MODELS if self.expected[model].aside]))
        branch = self.expected[model]
        aside_id = data.draw(st.sampled_from([None, *branch.aside]))
        chosen = max(branch.aside) if aside_id is None else aside_id

        self.store.restore(model, aside_id)

        kept, back = branch.aside.pop(chosen)
        branch.set_aside(kept)
        branch.steps |= back

    @precondition(lambda self: any(branch.steps for branch in self.expected.values()))
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        model, step = self._some_step(data)

        self.store.delete(self.store.open(model.at(step)))

        del self.expected[model].steps[step]

    @rule(torn=models, step=st.integers(50, 60))
    def crash_and_collect(self, torn: ModelRef, step: int) -> None:
        debris = self.folder / torn.project / "models" / torn.name / "checkpoints" / f"{step:04d}"
        if debris.exists():
            return
        debris.mkdir(parents=True)
        (self.folder / ".staging" / "abandoned").mkdir(parents=True, exist_ok=True)

        self.store.collect()

        assert self.store.debris() == []

    @invariant()
    def everything_is_as_expected(self) -> None:
        for model, branch in self.expected.items():
            found = {step: self.store.open(model.at(step)) for step in self.store.steps(model)}
            assert {step: checkpoint.digest for step, checkpoint in found.items()} == branch.steps
            newest = self.store.newest(model)
            assert (newest.ref.step if newest else None) == max(branch.steps, default=None)
            asides = {aside.id: (aside.kept, aside.steps) for aside in self.store.set_aside(model)}
            assert asides == {key: (kept, tuple(sorted(taken))) for key, (kept, taken) in branch.aside.items()}
            for checkpoint in found.values():
                self.store.verify(checkpoint)
                assert next(self.store.lineage(checkpoint.ref))[1] == checkpoint

    def _some_step(self, data: st.DataObject) -> tuple[ModelRef, int]:
        return data.draw(
            st.sampled_from([(model, step) for model in MODELS for step in sorted(self.expected[model].steps)])
        )

    def _remember(self, model: ModelRef, step: int, digest: str | None, ancestry: tuple[Hop, ...]) -> None:
        assert digest is not None
        self.expected[model].steps[step] = digest
        self.ancestry[digest] = ancestry

    def _is_fork_of(self, target: ModelRef, source: ModelRef, step: int, digest: str | None) -> bool:
        steps = self.expected[target].steps
        hops = self.ancestry[steps[max(steps)]] if steps else ()
        return bool(hops) and (hops[-1].ref, hops[-1].digest) == (source.at(step), digest)


StoreMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
test_any_order_of_operations_does_what_a_dict_would = StoreMachine.TestCase
