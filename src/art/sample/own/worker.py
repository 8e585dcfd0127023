"""The decoding loop's body: requests become rows, rows become tokens.

Knows the model, its versions and the rows; lives in the engine's worker thread alone.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from art.adapter.adapted import AdaptedModel, Span
from art.adapter.rope import rope_limit
from art.errors import FormTooLargeError, InferenceError
from art.footprint import capacity_of, padded
from art.sample.generation import FinishReason, Generation, Outbox, Token
from art.sample.own.cache import CachedRow, Prompt, Rows
from art.sample.own.cohort import Cohort
from art.sample.own.forward import decode
from art.sample.own.orders import Order, alike_orders, is_shared
from art.sample.own.prefill import LEAST_TOKENS, packs_of, prefill, prefill_alike
from art.sample.own.trial import plain_decoder
from art.sample.sampling import Draw, Drawn, draw, uniform
from art.sample.shaping import Shaper

NOT_FINITE = "the model's logits are not finite: its weights are broken, or its numbers overflow."


@dataclass(eq=False, kw_only=True)
class ChoiceRow(CachedRow):
    """A choice that is being sampled."""

    generation: Generation
    choice: int
    seed: int
    sampled: int
    """How many tokens of the choice there are."""
    shaper: Shaper | None
    token_ids: list[int]
    """The tokens of the choice."""


class Worker:
    """Runs rows of any versions in one forward pass a turn; a version with seeded requests gets a pass of its own."""

    def __init__(
        self, adapted: AdaptedModel, *, exact_places: int, reserves: bool, is_stopping: Callable[[], bool]
    ) -> None:
        self._adapted = adapted
        self._plain = plain_decoder(adapted)
        self._exact_places = exact_places
        self._rope_limit = rope_limit(adapted.model.config)
        self._is_stopping = is_stopping
        self._outbox = Outbox()
        self._cohorts: list[Cohort] = []
        self._reserves = reserves
        self.token_bytes: int | None = None
        """What the keys and values of a token take; None before the first prompt."""
        self.prompts_prefilled = 0
        self.row_count = 0

    def drop_cancelled(self) -> None:
        """Free the slots of choices that nobody waits for."""
        for cohort in self._cohorts:
            for row in _choice_rows(cohort.rows):
                if row.generation.is_cancelled(row.choice):
                    cohort.rows.remove(row)
        self._count_rows()

    def begin(self, orders: Sequence[Order]) -> None:
        """Prefill the prompts that are not known yet, and sample the first token of every choice."""
        for cohort in dict.fromkeys(order.cohort for order in orders):
            ours = [order for order in orders if order.cohort is cohort]
            fresh = self._prefill_fresh(cohort, [order for order in ours if order.generation.sampling.seed is None])
            seeded = [order for order in ours if order.generation.sampling.seed is not None]
            if self._computes_alike(cohort):
                self._prefill_fresh(cohort, seeded, exact=True)
            groups = [(alike, is_shared(alike, fresh)) for alike in alike_orders(ours)]
            coming = Counter(
                self._capacity(order, shared=shared)
                for alike, shared in groups for order in alike for _ in order.choices
            )  # fmt: skip
            for alike, shared in groups:
                with self._failing({cohort: [order.generation for order in alike]}):
                    self._begin(cohort, alike, shared=shared, coming=coming)
            cohort.prompts.trim()
            if cohort.rows and cohort not in self._cohorts:
                self._cohorts.append(cohort)
        self._count_rows()
        self._outbox.send()

    def _capacity(self, order: Order, *, shared: bool) -> int:
        """Give the capacity of the slab that a choice begins in."""
        generation = order.generation
        prompt_tokens = 0 if shared else len(generation.prompt_ids)
        return capacity_of(prompt_tokens + (generation.sampling.max_tokens if self._reserves else 1))

    def _begin(self, cohort: Cohort, orders: Sequence[Order], *, shared: bool, coming: Counter[int]) -> None:
        """Sample the first tokens after one prompt, for orders that are all seeded or all not.

        `coming` says how many rows of each capacity begin in this turn, and is counted down.
        """
        begun = [
            (order, choice) for order in orders for choice in order.choices if not order.generation.is_cancelled(choice)
        ]
        if not begun:
            return
        prompt_ids, seeded = orders[0].generation.prompt_ids, orders[0].generation.sampling.seed is not None
        prompt = cohort.prompts.find(prompt_ids, exact=seeded)
        if prompt is None:
            [prompt] = self._prefill(cohort, [Prompt(prompt_ids)], orders)
        if prompt.logits_V is None:
            return
        draws = [
            _draw(order.generation, order.seed, choice, 0, order.generation.sampling.begin_shaping(prompt_ids))
            for order, choice in begun
        ]
        drawn_B = draw(prompt.logits_V.expand(len(draws), -1), draws)
        broken: dict[Generation, str | None] = {}
        for (order, choice), drawn, each in zip(begun, drawn_B, draws, strict=True):
            generation, capacity = order.generation, self._capacity(order, shared=shared)
            if drawn is None:
                broken[generation] = each.problem
            elif self._hand_out(generation, choice, drawn, sampled=1) is None:
                row = ChoiceRow(
                    last_token=drawn.token_id,
                    generation=generation,
                    choice=choice,
                    seed=order.seed,
                    sampled=1,
                    shaper=each.shaper,
                    token_ids=[drawn.token_id],
                )
                most_tokens = generation.sampling.max_tokens if self._reserves else None
                cohort.rows.add(row, prompt, shared=shared, most_tokens=most_tokens, coming=coming[capacity])
            coming[capacity] -= 1
        self._fail_broken(cohort, broken)

    def step(self) -> None:
        """Sample one more token for every row."""
        for cohorts in self._packed([cohort for cohort in self._cohorts if cohort.rows]):
            affected = {cohort: [row.generation for row in _choice_rows(cohort.rows)] for cohort in cohorts}
            with self._failing(affected):
                self._step(cohorts)
        for cohort in self._cohorts:
            cohort.prompts.trim()
        self._cohorts = [cohort for cohort in self._cohorts if cohort.rows]
        self._count_rows()
        self._outbox.send()

    def fail(self, generations: Iterable[Generation], error: InferenceError) -> None:
        """Tell the requests that they will not be answered."""
        for generation in generations:
            generation.give_up()
            self._outbox.put(generation, error)
        self._outbox.send()

    def fail_all(self, message: str) -> None:
        rows = itertools.chain.from_iterable(_choice_rows(cohort.rows) for cohort in self._cohorts)
        self.fail({row.generation: None for row in rows}, InferenceError(message))
        self._cohorts = []
        self._count_rows()

    def _count_rows(self) -> None:
        self.row_count = sum(len(cohort.rows) for cohort in self._cohorts)

    def _computes_alike(self, cohort: Cohort) -> bool:
        """Tell whether several of the cohort's prompts may be computed in one pass, each with the bits it has alone."""
        plain = self._plain
        return plain is not None and plain.prompts_alike and plain.head_name not in cohort.low_ranks

    def _prefill_fresh(self, cohort: Cohort, orders: Sequence[Order], *, exact: bool = False) -> list[tuple[int, ...]]:
        """Compute the prompts that are not known yet, several in a pass; gives them.

        With `exact`, for seeded requests, numbers do not depend on the other prompts; a single token is left out.
        """
        prompts = dict.fromkeys(order.generation.prompt_ids for order in orders)
        fresh = [ids for ids in prompts if cohort.prompts.find(ids, exact=exact) is None]
        fresh = [ids for ids in fresh if len(ids) >= LEAST_TOKENS or not exact]
        for pack in packs_of(fresh, self._rope_limit):
            asking = [order for order in orders if order.generation.prompt_ids in pack]
            with self._failing({cohort: [order.generation for order in asking]}):
                self._prefill(cohort, [Prompt(ids) for ids in pack], asking, exact=exact)
        return fresh

    def _prefill(
        self, cohort: Cohort, prompts: list[Prompt], orders: Sequence[Order], *, exact: bool = False
    ) -> list[Prompt]:
        """Compute the prompts, unless everyone who asked has gone meanwhile: then they stay without logits."""
        position = 0
        while position < max(map(len, prompts)):
            if self._is_stopping():
                raise InferenceError("the engine was closed")
            if all(order.generation.is_cancelled(choice) for order in orders for choice in order.choices):
                return prompts
            with self._adapted.replaced(cohort.low_ranks):
                if exact and len(prompts) > 1:
                    prefill_alike(self._adapted, prompts)
                    break
                position = prefill(self._adapted.model, prompts, start=position)
        self.prompts_prefilled += len(prompts)
        self.token_bytes = prompts[0].size_bytes // padded(len(prompts[0]))
        for prompt in prompts:
            prompt.is_exact |= len(prompts) == 1
            cohort.prompts.keep(prompt)
        return prompts

    def _packed(self, cohorts: Sequence[Cohort]) -> list[list[Cohort]]:
        """Put versions together that one pass may advance: those without a seeded request, whose numbers may round."""
        together = [cohort for cohort in cohorts if not _is_exact(cohort)]
        if self._rope_limit is not None or not self._adapted.keeps_rows or len(together) < 2:
            return [[cohort] for cohort in cohorts]
        return [together, *([cohort] for cohort in cohorts if _is_exact(cohort))]

    def _step(self, cohorts: Sequence[Cohort]) -> None:
        if len(cohorts) == 1:
            with self._adapted.replaced(cohorts[0].low_ranks):
                rows, logits_BV = self._advance(cohorts[0])
        else:
            rows, logits_BV = self._advance_together(cohorts)
        cohort_of = {row: cohort for cohort in cohorts for row in _choice_rows(cohort.rows)}
        draws = [_draw(row.generation, row.seed, row.choice, row.sampled, row.shaper) for row in rows]
        broken: dict[Cohort, dict[Generation, str | None]] = {cohort: {} for cohort in cohorts}
        for row, drawn, each in zip(rows, draw(logits_BV, draws), draws, strict=True):
            cohort = cohort_of[row]
            if drawn is None:
                row.slab.wipe(row.slot)
                broken[cohort][row.generation] = each.problem
                continue
            row.last_token, row.sampled = drawn.token_id, row.sampled + 1
            row.token_ids.append(drawn.token_id)
            if self._hand_out(row.generation, row.choice, drawn, sampled=row.sampled):
                cohort.rows.remove(row)
        for cohort, ending in broken.items():
            self._fail_broken(cohort, ending)

    def _advance_together(self, cohorts: Sequence[Cohort]) -> tuple[list[ChoiceRow], Tensor]:
        """Read the last token of every row of several versions in one pass, each row with its version's adapter."""
        rows: list[ChoiceRow] = []
        spans: list[Span] = []
        for cohort in cohorts:
            cohort.rows.make_room(cohort.rows.all())
            ours = _choice_rows(cohort.rows)
            spans.append((slice(len(rows), len(rows) + len(ours)), cohort.low_ranks))
            rows += ours
        with self._adapted.side_by_side(spans):
            return rows, decode(self._adapted.model, rows, exact_places=None, plain=self._plain)

    def _advance(self, cohort: Cohort) -> tuple[list[ChoiceRow], Tensor]:
        """Read every row's last token; gives the rows and the logits of what follows."""
        rows, is_exact = _choice_rows(cohort.rows), _is_exact(cohort)
        crossing = [row for row in rows if row.position == self._rope_limit]
        again = [self._read_again(cohort, row) for row in crossing]
        rest = [row for row in _choice_rows(cohort.rows) if row not in crossing]
        if not rest:
            return crossing, torch.stack(again)
        cohort.rows.make_room(rest)
        rest = [row for row in _choice_rows(cohort.rows) if row not in crossing]
        places = self._exact_places if is_exact else None
        logits_BV = decode(self._adapted.model, rest, exact_places=places, plain=self._plain)
        return [*rest, *crossing], torch.cat([logits_BV, *(logits_V[None] for logits_V in again)])

    def _read_again(self, cohort: Cohort, row: ChoiceRow) -> Tensor:
        """Read a row from its beginning, because with its next token positions mean something else."""
        whole = Prompt((*row.generation.prompt_ids, *row.token_ids))
        prefill(self._adapted.model, [whole])
        cohort.rows.remove(row)
        row.prompt = None
        left = row.generation.sampling.max_tokens - row.sampled if self._reserves else None
        cohort.rows.add(row, whole, shared=False, most_tokens=left)
        assert whole.logits_V is not None
        return whole.logits_V

    def _fail_broken(self, cohort: Cohort, broken: Mapping[Generation, str | None]) -> None:
        """End the requests of which a row cannot go on, and say why; the other rows of the pass do."""
        if broken:
            _remove(cohort.rows, broken.keys())
        for generation, reason in broken.items():
            failed = f"Sampling from {cohort.version} failed: "
            error = FormTooLargeError(failed + reason) if reason else InferenceError(failed + NOT_FINITE)
            self.fail([generation], error)

    def _hand_out(self, generation: Generation, choice: int, drawn: Drawn, *, sampled: int) -> FinishReason | None:
        reason: FinishReason | None = None
        if drawn.token_id in generation.sampling.stop_ids:
            reason = "stop"
        elif sampled >= generation.sampling.max_tokens:
            reason = "length"
        self._outbox.put(generation, [Token(choice, drawn, reason)])
        return reason

    @contextmanager
    def _failing(self, affected: Mapping[Cohort, Sequence[Generation]]) -> Generator[None]:
        """Turn whatever goes wrong into the failure of these requests; the others go on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the thread's edge: who waits must hear of it, whatever it is
            for cohort, generations in affected.items():
                hit = set(generations)
                staying = [row for row in _choice_rows(cohort.rows) if row.generation not in hit]
                if staying:
                    _remove(cohort.rows, hit)
                else:
                    cohort.rows, cohort.prompts = Rows(), type(cohort.prompts)()
                self.fail(dict.fromkeys(generations), InferenceError(f"Sampling from {cohort.version} failed: {error}"))


def _is_exact(cohort: Cohort) -> bool:
    return any(row.generation.sampling.seed is not None for row in _choice_rows(cohort.rows))


def _choice_rows(rows: Rows) -> list[ChoiceRow]:
    return [row for row in rows.all() if isinstance(row, ChoiceRow)]


def _remove(rows: Rows, generations: Collection[Generation]) -> None:
    for row in _choice_rows(rows):
        if row.generation in generations:
            rows.remove(row)


def _draw(generation: Generation, seed: int, choice: int, sampled: int, shaper: Shaper | None) -> Draw:
    return Draw(generation.sampling, uniform(seed, choice=choice, position=sampled), shaper)
