"""The engine: token ids in, sampled token ids and log-probabilities out, many requests at once.

Knows a plain causal language model and adapters beside it. Thread-safe; everything that touches a tensor happens
in one worker thread.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from art.adapter.adapted import AdaptedModel
from art.adapter.attention import use_own_attention
from art.adapter.files import read_adapter
from art.errors import ConfigurationError, InferenceError, NotFoundError, QueueFullError
from art.sample.base import stop_ids_of
from art.sample.generation import Generation
from art.sample.own.cohort import Cohort
from art.sample.own.orders import Order
from art.sample.own.prefill import PREFILL_TOKENS
from art.sample.own.room import Bound, Needs, needs_of
from art.sample.own.worker import Worker
from art.sample.sampler import Load, Traits
from art.sample.sampling import Sampling
from art.sample.version import Version

EXACT_PLACES_CPU = 16
"""Rows of every forward pass that serves a seeded request: fewer suit a lone request, more a full batch."""

GATHER_TURNS, QUIET_TURNS = 2.0, 1 / 8
"""How long an idle engine lets requests gather, and when it takes it that no more come; in times of its last turn."""


@dataclass(eq=False, kw_only=True)
class _Waiting:
    generation: Generation
    cohort: Cohort
    seed: int
    begun: int = 0
    """How many of its choices have begun."""


class Engine:
    """Samples from versions of one model, with continuous batching."""

    def __init__(
        self,
        base: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_rows: int = 64,
        max_cache_bytes: int | None = None,
        max_waiting: int = 1024,
        exact_places: int | None = None,
    ) -> None:
        self._adapted = AdaptedModel(base)
        use_own_attention(self._adapted.model)
        self._config = self._adapted.model.config.get_text_config()
        self._tokenizer = tokenizer
        self._max_rows = max_rows
        self._max_cache_bytes = max_cache_bytes
        self._max_waiting = max_waiting
        self._cohorts: dict[Version, Cohort] = {}
        self._retired: list[Cohort] = []
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._has_news = False
        self._has_cancelled = False
        self._closed = False
        self._turn_s = 0.0
        places = exact_places or (EXACT_PLACES_CPU if base.device.type == "cpu" else max_rows)
        # An expert computes the rows that chose it: how many they are depends on the neighbours, also in a full pass.
        places = places if self._adapted.keeps_rows else 1
        self._worker = Worker(
            self._adapted,
            exact_places=places,
            reserves=max_cache_bytes is not None,
            is_stopping=lambda: self._closed,
        )
        self._thread: threading.Thread | None = None

    @property
    def context_length(self) -> int:
        """How many tokens a prompt and its answer may have together."""
        return int(getattr(self._config, "max_position_embeddings", None) or 1 << 20)

    @property
    def stop_ids(self) -> frozenset[int]:
        """The tokens that end an answer according to the model and its tokenizer."""
        return stop_ids_of(self._adapted.model, self._tokenizer)

    @property
    def traits(self) -> Traits:
        return Traits(exact_seeds=True, shapes_logits=True)

    @property
    def vocabulary(self) -> int:
        """How many tokens there are."""
        return int(self._config.vocab_size)

    def load(self) -> Load:
        return Load(rows=self._worker.row_count, waiting=len(self._waiting))

    @property
    def prompts_prefilled(self) -> int:
        """How many prompts were computed since the engine started; others were known already."""
        return self._worker.prompts_prefilled

    def publish(self, version: Version, adapter: Path | None) -> None:
        """Serve the adapter in a folder as this version, the base for None.

        Requests that run on an earlier adapter of the same version finish on that. Raises `LoRAShapeMismatchError`,
        `CorruptCheckpointError`, and `InferenceError` when closed.
        """
        device = self._adapted.model.device
        low_ranks = read_adapter(adapter, self._adapted.sizes, device=device) if adapter else {}
        with self._changed:
            self._require_running()
            replaced = self._cohorts.get(version)
            self._cohorts[version] = Cohort(version, low_ranks)
            if replaced:
                self._retired.append(replaced)
            self._notify()

    def retire(self, version: Version) -> None:
        """Take no new requests for the version; its tensors go when the last running one has finished."""
        with self._changed:
            known = self._cohorts.pop(version, None)
            if known:
                self._retired.append(known)
            self._notify()

    def submit(self, version: Version, prompt_ids: Sequence[int], *, sampling: Sampling, n: int = 1) -> Generation:
        """Queue a request; call it in the event loop that will iterate over the tokens.

        Raises `NotFoundError`, `ConfigurationError` (a prompt that cannot be), `QueueFullError`, and `InferenceError`
        when closed.
        """
        prompt = tuple(prompt_ids)
        self._check_prompt(prompt)
        room = self.context_length - len(prompt)
        sampling = replace(sampling, max_tokens=min(sampling.max_tokens, room))
        generation = Generation(prompt, n=n, sampling=sampling, wake=self._wake)
        seed = secrets.randbits(64) if sampling.seed is None else sampling.seed
        with self._changed:
            self._require_running()
            known = self._cohorts.get(version)
            if known is None:
                served = ", ".join(map(str, self._cohorts)) or "none"
                raise NotFoundError(f"No version {version} is served; there are {served}.")
            if len(self._waiting) >= self._max_waiting:
                raise QueueFullError(f"{len(self._waiting)} requests are waiting already; try again shortly.")
            self._waiting.append(_Waiting(generation=generation, cohort=known, seed=seed))
            known.want(prompt)
            self._notify()
        return generation

    def close(self) -> None:
        """Fail what is running or waiting and end the worker thread. May be called again."""
        with self._changed:
            self._closed = True
            self._notify()
        if self._thread:
            self._thread.join()

    def _require_running(self) -> None:
        if self._closed:
            raise InferenceError("The engine is closed.")
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="art-serve", daemon=True)
            self._thread.start()

    def _check_prompt(self, prompt: tuple[int, ...]) -> None:
        if not prompt:
            raise ConfigurationError("The prompt is empty; give it at least one token.")
        if len(prompt) >= self.context_length:
            raise ConfigurationError(
                f"The prompt has {len(prompt)} tokens, which leaves no room in a context of {self.context_length}."
            )
        if min(prompt) < 0 or max(prompt) >= self._config.vocab_size:
            raise ConfigurationError(f"The prompt has token ids beyond the vocabulary of {self._config.vocab_size}.")

    def _wake(self) -> None:
        with self._changed:
            self._has_cancelled = True
            self._notify()

    def _notify(self) -> None:
        self._has_news = True
        self._changed.notify_all()

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._wait_for_work():
                    self._turn()
        finally:
            with self._changed:
                self._closed = True
            message = "The engine stopped before the request was answered."
            self._worker.fail_all(message)
            self._worker.fail([each.generation for each in self._waiting], InferenceError(message))

    def _wait_for_work(self) -> bool:
        with self._changed:
            while not (self._closed or self._has_news or self._waiting or self._worker.row_count):
                self._changed.wait()
            if self._waiting and not self._worker.row_count:
                self._gather()
            self._has_news = False
            return not self._closed

    def _gather(self) -> None:
        """Let requests that arrive together begin together: wait while more come, at most for some turns."""
        end = time.monotonic() + self._turn_s * GATHER_TURNS
        while not self._closed and len(self._waiting) < self._max_rows and time.monotonic() < end:
            known = len(self._waiting)
            self._changed.wait(self._turn_s * QUIET_TURNS)
            if len(self._waiting) == known:
                return

    def _turn(self) -> None:
        if self._has_cancelled:
            self._drop_cancelled()
        started, orders = time.monotonic(), self._next_orders()
        if orders or self._worker.row_count:
            self._worker.begin(orders)
            self._worker.step()
            self._turn_s = time.monotonic() - started
        self._drop_retired()

    def _drop_cancelled(self) -> None:
        with self._changed:
            self._has_cancelled = False
            for each in list(self._waiting):
                if all(each.generation.is_cancelled(choice) for choice in range(each.begun, each.generation.n)):
                    self._waiting.remove(each)
                    each.cohort.unwant(each.generation.prompt_ids)
        self._worker.drop_cancelled()

    def _next_orders(self) -> list[Order]:
        """Take choices from the head of the queue: as many as there are free rows, and not too much to prefill."""
        orders: list[Order] = []
        prompts: set[tuple[Cohort, tuple[int, ...]]] = set()
        free, promised_bytes = self._max_rows - self._worker.row_count, 0
        with self._changed:
            while self._waiting and free > 0 and sum(len(prompt) for _, prompt in prompts) < PREFILL_TOKENS:
                needs = self._needs(self._waiting[0], prompts)
                fitting = self._fitting(needs, promised_bytes, coming=prompts)
                if not fitting:
                    break
                promised = needs() if needs else None
                order = self._next_order(min(free, fitting))
                if order.choices:
                    orders.append(order)
                    free -= len(order.choices)
                    promised_bytes += promised.bytes_of(len(order.choices)) if promised else 0
                    prompts.add((order.cohort, order.generation.prompt_ids))
        return orders

    def _needs(self, head: _Waiting, coming: Collection[tuple[Cohort, tuple[int, ...]]]) -> Callable[[], Needs] | None:
        """Give what says, anew each time, how much of the cache a request takes; None before that is known."""
        token_bytes = self._worker.token_bytes
        if token_bytes is None:
            return None
        is_coming = (head.cohort, head.generation.prompt_ids) in coming
        return partial(needs_of, head.generation, head.cohort, token_bytes=token_bytes, is_coming=is_coming)

    def _fitting(
        self,
        needs: Callable[[], Needs] | None,
        promised_bytes: int,
        *,
        coming: Collection[tuple[Cohort, tuple[int, ...]]],
    ) -> int:
        """Give how many of a request's choices may begin within the bound of bytes; one where nothing else runs."""
        if self._max_cache_bytes is None:
            return self._max_rows
        least = int(not coming and not self._worker.row_count)
        if needs is None:
            return least
        cohorts = [*self._cohorts.values(), *self._retired]
        spare = {prompt for _, prompt in coming}
        bound = Bound(
            most_bytes=self._max_cache_bytes,
            held_bytes=lambda: sum(cohort.cache_bytes for cohort in cohorts),
            give_up=lambda: [cohort.prompts.trim(0, spare=spare) for cohort in cohorts],
        )
        return max(least, bound.fitting(needs, promised_bytes=promised_bytes))

    def _next_order(self, free: int) -> Order:
        head = self._waiting[0]
        generation, cohort = head.generation, head.cohort
        end = min(generation.n, head.begun + free)
        choices = tuple(each for each in range(head.begun, end) if not generation.is_cancelled(each))
        head.begun = end
        if end == generation.n:
            self._waiting.popleft()
            cohort.unwant(generation.prompt_ids)
        else:
            # Whoever came later gets the next free row; a request for very many choices waits its turn again.
            self._waiting.rotate(-1)
        is_repeated = generation.n > 1 or generation.prompt_ids in cohort.wanted
        return Order(generation=generation, cohort=cohort, seed=head.seed, choices=choices, is_repeated=is_repeated)

    def _drop_retired(self) -> None:
        with self._changed:
            finished = [cohort for cohort in self._retired if cohort.is_idle]
            self._retired = [cohort for cohort in self._retired if not cohort.is_idle]
        for cohort in finished:
            cohort.drop()
