"""The sessions that a backend has open, the bases below them, and the one thread that they train in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from art.backend import AnyModel, Trainable, TrainResult
from art.config import TrainConfig, TrainSFTConfig
from art.dev.meaning import context_length, ignore, in_4bit, without_meaning
from art.errors import ArtError, NotRegisteredError
from art.http.app import create_app
from art.http.catalogue import Catalogue
from art.http.recent import RecentAnswers
from art.http.server import Listen, Server
from art.local.bases import Base, Bases
from art.local.following import Following
from art.local.given import as_now
from art.local.knowing import known_again
from art.local.naming import Naming
from art.local.neighbours import say_neighbours
from art.local.past import open_past
from art.local.published import Published
from art.local.registration import Registration
from art.local.seeds import Seeds
from art.local.session import Session
from art.local.standing import Standing
from art.local.stopping import stop_at_signals
from art.local.templates import with_template
from art.names import ModelRef
from art.store.checkpoint import Checkpoint
from art.train.memory import uncommitted
from art.trajectories import Trajectory, TrajectoryGroup

P = ParamSpec("P")
R = TypeVar("R")
_log = logging.getLogger("art")


class Sessions:
    """Opens a session for each registered model, and closes them all. What they commit is pushed and told."""

    def __init__(
        self,
        standing: Standing,
        bases: Bases,
        *,
        following: Following,
        listen: Listen,
        seeds: Seeds,
    ) -> None:
        self._bases = bases
        self._standing = standing
        self._following = following
        self._listen = listen
        self._seeds = seeds
        self._open: dict[ModelRef, Registration] = {}
        self._opening = asyncio.Lock()
        self._recent = RecentAnswers()
        # All training in one thread: OpenMP keeps a team of threads, and malloc an arena, for every thread that
        # computes; spread over a pool they added up to gigabytes.
        self._training = ThreadPoolExecutor(1, thread_name_prefix="art-train")

    def base_of(self, model: Trainable) -> Base:
        """Give the base that a model is trained over, loading it the first time; raises as `Bases.open` does.

        Its chat template is the one that the model asks for, if it does.
        """
        base = self._bases.open(model.base_model, in_4bit=in_4bit(model.settings))
        tokenizer = with_template(base.tokenizer, model.settings)
        own = None if tokenizer is base.tokenizer else tokenizer.chat_template
        return replace(base, tokenizer=tokenizer, template=own)

    async def attach(self, model: AnyModel, port: int) -> str:
        """Let a model's session serve this object, the first object of a model opening it; gives the server's URL."""
        trainable: Trainable = model  # pyright: ignore[reportAssignmentType] - `trainable` was asked
        async with self._opening:
            registration = self._open.get(model.ref)
            if registration is None:
                registration = await self.in_training_thread(self._new, trainable, port)
                stop_at_signals()
                self._open[model.ref] = registration
            await self.in_training_thread(registration.session.attach, trainable)
        self._following.logged(model.ref)
        return registration.server.base_url

    def of(self, model: AnyModel) -> Session:
        """Give a model's session; raises `NotRegisteredError` when it has none."""
        if model.ref not in self._open:
            raise NotRegisteredError(f"{model.ref} is not registered; call `await model.register(backend)` first.")
        return self._open[model.ref].session

    async def resume(self, model: AnyModel) -> None:
        """Let a model that is registered stand at its newest checkpoint, after another one came to be that."""
        if registration := self._open.get(model.ref):
            await self.in_training_thread(registration.session.resume)

    async def train(self, model: AnyModel, groups: Sequence[TrajectoryGroup], *, config: TrainConfig) -> TrainResult:
        """Take a training step, under the guard if there is one; see `LocalBackend.train`."""
        session = self.of(model)
        with uncommitted("the next step"):
            taken, given = as_now(groups), [trajectory for group in groups for trajectory in group]
        train = partial(self._train, session, model.ref, groups=taken, given=given)
        return await self.in_training_thread(train, config=config)

    async def train_sft(
        self, session: Session, trajectories: Sequence[Trajectory], config: TrainSFTConfig
    ) -> TrainResult:
        """Take a training step on the answers of conversations; see `LocalBackend.train_sft`."""
        with uncommitted("the next step"):
            taken = as_now([TrajectoryGroup(trajectories)])

        def train() -> TrainResult:
            with uncommitted("the next step"):
                (known,) = known_again(taken, self._recent)
            return session.train_sft(known.trajectories, config)

        return await self.in_training_thread(train)

    def _train(
        self,
        session: Session,
        model: ModelRef,
        *,
        groups: Sequence[TrajectoryGroup],
        given: Sequence[Trajectory],
        config: TrainConfig,
    ) -> TrainResult:
        guarding = self._following.guarding
        with uncommitted("the next step"):
            if guarding:
                guarding.before(model)
                config = guarding.config(model, config)
            known = known_again(groups, self._recent)
        result = session.train(known, config)
        for trajectory in given:
            trajectory.learned_at = result.step - 1
        try:
            return self._guarded(session, model, result, config) if guarding else result
        except (ArtError, OSError, RuntimeError, MemoryError) as error:
            # The step is committed: to raise would have its groups trained on once more.
            why = str(error) or type(error).__name__
            _log.error("%s is committed, but the guard could not judge it: %s", model.at(result.step), why)
            return result

    def _guarded(self, session: Session, model: ModelRef, result: TrainResult, config: TrainConfig) -> TrainResult:
        """Let the guard judge what was trained; gives where the model stands then."""
        guarding = self._following.guarding
        back = guarding.after(model, config) if guarding else None
        if back is None or guarding is None:
            return result
        session.resume()
        self._following.hand_on(back.ref)
        metrics = {**result.metrics, "guard_forks": float(guarding.forks(model))}
        return TrainResult(back.ref.step, metrics, back.path)

    async def in_training_thread(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        run = partial(_in_a_thread_that_ends, partial(function, *args, **kwargs))
        return await asyncio.get_running_loop().run_in_executor(self._training, run)

    def close(self) -> None:
        """Stop inference, let go of sessions and bases, and wait until all is pushed and told."""
        while self._open:
            self._open.popitem()[1].close()
        self._bases.close()
        self._training.shutdown()
        self._following.close()

    def _new(self, model: Trainable, port: int) -> Registration:
        say_neighbours(self._standing.store.root, model.ref)
        self._standing.settle(model.ref)
        self._following.catch_up(model.ref)
        ignore(where := f"{model.ref}: _internal_config", without_meaning(model.settings, where=where))
        listen = replace(self._listen, port=port)
        # The port first: where it is taken, no model is loaded for nothing.
        with ExitStack() as undoing:
            listener = undoing.enter_context(listen.bind())
            registration = self._assemble(model, self.base_of(model), listen)
            registration.start(listener)
            undoing.pop_all()
        return registration

    def _assemble(self, model: Trainable, base: Base, listen: Listen) -> Registration:
        """Put together what a model is trained and served by; starts nothing."""
        published = Published(model.ref, base.sampler, find_adapter=partial(self._find_adapter, model.ref))
        session = Session(
            model,
            base,
            self._standing,
            seed=self._seeds.training,
            publish=published.serve,
            on_commit=self._committed,
        )
        naming = Naming(model.ref, model.base_model, store=self._standing.store, published=published)
        catalogue = Catalogue(base.sampler, naming, run_seed=self._seeds.requests)
        longest = context_length(model.settings)
        app = create_app(catalogue, base.tokenizer, listen=listen, max_context=longest, recent=self._recent)
        return Registration(session=session, published=published, server=Server(app, listen))

    def _find_adapter(self, model: ModelRef, step: int) -> Path | None:
        checkpoint = open_past(self._standing.store, model, step=step)
        return checkpoint and checkpoint.path

    def _committed(self, checkpoint: Checkpoint) -> None:
        self._following.committed(checkpoint.ref)


def _in_a_thread_that_ends(function: Callable[[], R]) -> R:
    """Compute beside the training thread, which waits.

    OpenMP keeps helpers for each thread that has computed. With more of them than processors they no longer wait
    actively for the next product, and a sampler's step takes up to half as long again.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="art-train") as computing:
        return computing.submit(function).result()
