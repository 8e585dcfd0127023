"""The local backend: async at the door, synchronous behind it. It owns what is open and closes it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

from art.absent import SaysInstead
from art.backend import AnyModel, Inference, Trainable, TrainResult
from art.config import TrainConfig, TrainSFTConfig
from art.dev.meaning import EXPERT_REPLAY, ignore
from art.errors import ConfigurationError
from art.format.pick import Mode, Pick, pick_of
from art.guard import Guard
from art.http.limits import Limits
from art.http.server import Listen
from art.local import moving, transfers, words
from art.local.bases import Bases
from art.local.compatible import check_fits
from art.local.following import Following
from art.local.given import groups_of, trajectories_of
from art.local.interrupted import say_it_in_one_line
from art.local.logbook import Logbook
from art.local.openness import Openness
from art.local.pruning import prune
from art.local.reports import Reports, ReportTo
from art.local.samplers import OWN, Chosen, Samplers
from art.local.seeds import Seeds
from art.local.session import Session
from art.local.sessions import Sessions
from art.local.settling import Settling
from art.local.standing import OnCorrupt, Standing
from art.local.transfers import Pulling
from art.names import ModelRef
from art.ops.fork import ForkReport, ForkRequest, fork, if_exists
from art.ops.moving import Moved
from art.ops.place import open_remote
from art.ops.plan import plan
from art.ops.portrait import draw_model
from art.remote.hub import Hub
from art.store.history import HistoryStore
from art.store.store import CheckpointStore
from art.trajectories import Trajectory, TrajectoryGroup


class LocalBackend(SaysInstead):
    """Trains and serves on this machine, and keeps everything durable below one root folder.

    With `deterministic=True` whole runs repeat, rollouts included: a request without a seed gets one from the run's
    seed, the step and its content. It costs inference some speed; see docs/concepts/exactness.md.
    With a `remote` (a bucket, or a URL such as `s3://bucket/prefix`) every committed checkpoint is pushed there in the
    background, and a model that is not on this disk resumes from there; closing waits until all is pushed.
    The trackers in `report_to` are told of every history in the background (docs/guides/trackers.md), what no policy of
    `keep` keeps is deleted after each commit (docs/guides/retention.md), and a `guard` ends what goes wrong.
    With `ranks` above 1 so many processes train together, bit for bit as one would; see docs/guides/scaling.md.
    A newest checkpoint that is damaged raises, unless `on_corrupt` has it repaired or stands at the previous one.
    With `sampler="vllm"`, or the address of a vLLM server, that answers instead of our engine (docs/guides/vllm.md). It
    may also be a function that makes a sampler of your own (docs/guides/extending.md).
    Inference answers on `host` to requests that carry `api_key`, a random one unless it is given.
    """

    def __init__(
        self,
        *,
        path: str | Path = ".art",
        deterministic: bool = False,
        seed: int = 0,
        device: str = "auto",
        dtype: str | None = None,
        max_rows: int = 64,
        max_cache_bytes: int | None = None,
        ranks: int = 1,
        sampler: Chosen = OWN,
        remote: str | None = None,
        in_process: bool = True,
        host: str = "127.0.0.1",
        api_key: str | None = None,
        max_request_bytes: int = Limits.body_bytes,
        report_to: ReportTo | Iterable[ReportTo] | None = None,
        report_rollouts: bool = True,
        keep: str | Iterable[str] | None = None,
        on_corrupt: OnCorrupt = "raise",
        guard: Guard | None = None,
        gpu_cost_per_hour_usd: float | None = None,
        enable_expert_replay: bool = False,
    ) -> None:
        ignore("LocalBackend", [EXPERT_REPLAY] if enable_expert_replay else [])
        self._gpu_cost_per_s = (gpu_cost_per_hour_usd or 0.0) / 3600
        self._listen = Listen.with_key(api_key, host=host, body_bytes=max_request_bytes)
        self.store = CheckpointStore(path)
        self.history, self._logbook = HistoryStore(self.store.root), Logbook(self.store)
        samplers = Samplers(chosen=sampler, exact=deterministic, max_rows=max_rows, max_cache_bytes=max_cache_bytes)
        self._bases = Bases(device=device, dtype=dtype, ranks=ranks, samplers=samplers)
        self._models: list[AnyModel] = []
        mirrored = moving.open_remote(remote, None) if remote else None
        reports = Reports.of(self.store, report_to, rollouts=report_rollouts, price_per_hour=gpu_cost_per_hour_usd)
        self._following = Following.of(self.store, remote=mirrored, reports=reports, keep=keep, guard=guard)
        self._sessions = Sessions(
            Standing(self.store, on_corrupt, remote=mirrored),
            self._bases,
            following=self._following,
            listen=self._listen,
            seeds=Seeds(training=seed, requests=seed if deterministic else None),
        )
        self._settling, self._openness = Settling(), Openness(self.store.root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        with suppress(RuntimeError):  # outside an event loop there is no connection to close
            self._disconnecting = asyncio.get_running_loop().create_task(self._disconnect())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop inference and let go of every model. What was committed stays; a second call does nothing."""
        await self._disconnect()
        await asyncio.to_thread(self._close)

    async def _disconnect(self) -> None:
        while self._models:
            await self._models.pop().disconnect()

    plan = staticmethod(plan)

    async def register(self, model: AnyModel, *, port: int = 0) -> Inference | None:
        """Load a trainable model's base, stand at its newest checkpoint, and start inference. Writes nothing."""
        self._require_open()
        say_it_in_one_line()
        self._following.choose(model)
        self._models.append(model)
        if not model.trainable:
            return None
        return Inference(await self._sessions.attach(model, port), self._listen.key)

    async def train(
        self,
        model: Trainable,
        trajectory_groups: Iterable[TrajectoryGroup | None],
        *,
        config: TrainConfig | None = None,
        verbose: bool = False,
        **settings: Any,
    ) -> TrainResult:
        """Take one optimiser step on the groups, commit a checkpoint at step + 1, and serve it.

        `settings` are fields of `TrainConfig`: `backend.train(model, groups, learning_rate=1e-5)`. Trajectories that
        cannot be trained on are left out and counted; with `strict=True` they raise `TrainingDataError`, and nothing
        has changed then.
        """
        groups = groups_of(trajectory_groups)
        config = self._settling.train(model, config, settings)
        self._require_open()
        result = await self._sessions.train(model, groups, config=config)
        if self._gpu_cost_per_s:
            model.metrics_builder("train").add_cost("gpu", self._gpu_cost_per_s * result.metrics["seconds"])
        if verbose:
            words.say(words.step_line(model.ref, result))
        return result

    async def train_sft(
        self,
        model: Trainable,
        trajectories: Iterable[Trajectory],
        *,
        config: TrainSFTConfig | None = None,
        verbose: bool = False,
        **settings: Any,
    ) -> TrainResult:
        """Learn to say the answers of conversations, commit a checkpoint at step + 1, and serve it.

        `settings` are fields of `TrainSFTConfig`. What is only text is spelled by the chat template.
        """
        given, settled = trajectories_of(trajectories), self._settling.train_sft(model, config, settings)
        result = await self._sessions.train_sft(self._session(model), given, settled)
        if verbose:
            words.say(words.step_line(model.ref, result))
        return result

    async def log(
        self,
        model: AnyModel,
        groups: Sequence[TrajectoryGroup],
        *,
        split: str,
        metrics: Mapping[str, float] = MappingProxyType({}),
        step: int | None = None,
    ) -> None:
        """Write groups, means and `metrics` at `step` or the newest one; what training has written not again."""
        self._require_open()
        await asyncio.to_thread(self._logbook.write, model.ref, groups, split=split, metrics=metrics, step=step)
        self._following.logged(model.ref)

    async def get_step(self, model: AnyModel) -> int:
        """Give the newest step, 0 for an untrained model."""
        self._require_open()
        newest = await asyncio.to_thread(self.store.newest, model.ref)
        return newest.ref.step if newest else 0

    def write_state(self, model: AnyModel, state: dict[str, Any]) -> None:
        """Note a state at the model's newest checkpoint; it is on the disk when this returns."""
        self._require_open()
        self._logbook.note(model.ref, state)

    def read_state(self, model: AnyModel) -> dict[str, Any] | None:
        """Give what was noted at the model's newest checkpoint, None where nothing was."""
        self._require_open()
        return self._logbook.noted(model.ref)

    def describe(self, model: AnyModel, settings: Mapping[str, Any]) -> None:
        """Note what trackers show as settings of the model, from its next metrics on."""
        self._require_open()
        self._logbook.describe(model.ref, settings)

    async def delete_checkpoints(self, model: AnyModel, *, best_metric: str | None, mode: Mode | None = None) -> None:
        """Keep the newest checkpoint and the best by a metric; see `art.TrainableModel.delete_checkpoints`."""
        self._require_open()
        needed = self._following.unpushed
        await asyncio.to_thread(prune, self.store, model.ref, metric=best_metric, mode=mode, needed=needed)

    async def _experimental_fork_checkpoint(
        self,
        model: Trainable,
        from_model: str,
        from_project: str | None = None,
        from_s3_bucket: str | None = None,
        not_after_step: int | None = None,
        verbose: bool = False,
        prefix: str | None = None,
        *,
        reset: Collection[Literal["optimizer", "schedule", "random", "state"]] = (),
        overwrite: bool = False,
        continue_if_exists: bool = False,
        pick: Pick | None = None,
    ) -> ForkReport:
        """Begin `model` with a checkpoint of another one, at the same step; training continues from there, bit for bit.

        The newest checkpoint is taken, or the newest at or before `not_after_step`, or what a `pick` says. `reset`
        names parts that start afresh. Into a model that has checkpoints only the same fork can be repeated, unless
        `overwrite` sets them aside, or `continue_if_exists` lets the model go on where it stands. From `model` itself
        it is a rewind: later checkpoints are set aside. `from_s3_bucket` may be a bucket or a URL; with
        `hf://org/repo@revision` it is that repository's adapter, a foreign checkpoint at step 0.
        """
        self._require_open()
        if pick is not None and not_after_step is not None:
            raise ConfigurationError(f"{pick} and at most {not_after_step} cannot both be chosen; leave one out.")
        source = open_remote(from_s3_bucket, prefix=prefix) if from_s3_bucket is not None else self.store
        watch = words.bar(verbose=verbose)
        named = ModelRef(from_project or model.ref.project, from_model)
        request = ForkRequest(
            source=source,
            source_model=source.model if isinstance(source, Hub) else named,
            pick=pick_of(not_after=not_after_step) if pick is None else pick,
            destination=self.store,
            model=model.ref,
            reset=tuple(reset),
            if_exists=if_exists(overwrite=overwrite, continues=continue_if_exists),
            check=functools.partial(check_fits, model, base_of=lambda: self._sessions.base_of(model).info),
        )
        report = await asyncio.to_thread(fork, request, watch=watch)
        await asyncio.to_thread(self._following.hand_on, report.ref)
        await self._sessions.resume(model)
        if verbose:
            words.say(*words.fork_lines(report))
        return report

    async def _experimental_push_to_s3(
        self,
        model: AnyModel,
        s3_bucket: str | None = None,
        prefix: str | None = None,
        verbose: bool = False,
        delete: bool = False,
    ) -> Moved:
        """Write the model's checkpoints to a bucket, `BACKUP_BUCKET` unless one is named; what is there is kept.

        Pushing again completes what was interrupted. A different checkpoint under a taken step raises
        `CheckpointExistsError`, naming the key. `delete` removes checkpoints there that are not here.
        """
        self._require_open()
        return await asyncio.to_thread(
            transfers.push, self.store, model.ref, bucket=s3_bucket, prefix=prefix, delete=delete, verbose=verbose
        )

    async def _experimental_pull_from_s3(
        self,
        model: AnyModel,
        s3_bucket: str | None = None,
        prefix: str | None = None,
        verbose: bool = False,
        delete: bool = False,
        only_step: moving.Step = None,
        **older: Any,
    ) -> Moved:
        """Bring checkpoints here: all, one step, or the `"latest"`; every byte is checked. `older` are ART's names."""
        self._require_open()
        pulling = Pulling(self.store, bucket=s3_bucket, prefix=prefix, verbose=verbose)
        moved = await asyncio.to_thread(pulling.pull, model.ref, transfers.which(only_step, older), delete=delete)
        await self._sessions.resume(model)
        return moved

    async def _experimental_pull_model_checkpoint(
        self,
        model: AnyModel,
        *,
        step: moving.Step = None,
        s3_bucket: str | None = None,
        prefix: str | None = None,
        local_path: str | Path | None = None,
        verbose: bool = False,
    ) -> str:
        """Make one checkpoint present here and give its folder; with `local_path`, that of a copy."""
        self._require_open()
        target = Path(local_path) if local_path is not None else None
        pulling = Pulling(self.store, bucket=s3_bucket, prefix=prefix, verbose=verbose)
        return str(await asyncio.to_thread(pulling.pull_checkpoint, model.ref, step=step, local_path=target))

    async def _experimental_deploy(self, *_: Any, **__: Any) -> None:
        """Deploying is not done here; raises `ConfigurationError` that says what to use instead."""
        raise ConfigurationError(
            "artfork does not deploy models. A checkpoint folder is a PEFT adapter: serve it with vLLM "
            "(`--lora-modules name=FOLDER`) or any other server that loads LoRA adapters."
        )

    def draw(self, model: AnyModel) -> str:
        """Show in a notebook where a model stands: its verdict, its curve, and the way out where it went wrong."""
        return draw_model(self.store, model.ref)

    def _session(self, model: AnyModel) -> Session:
        self._require_open()
        return self._sessions.of(model)

    def _require_open(self) -> None:
        self._openness.require()

    def _close(self) -> None:
        if self._openness.end():
            self._sessions.close()
