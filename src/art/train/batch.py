"""Rows into tensors: what several rows begin with is laid out once, and so is what two of them repeat.

Knows tokens and where they lie; knows no model. Tokens lie one behind the other, without padding: a prompt, the
branches that rows go on with after it, the next prompt. Axes: T token, Q query (a token whose next one is asked for),
N loss token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from art.adapter.rope import is_long
from art.train.tokenize import Row, Span

Tokens = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Example:
    """A row, and what each stretch that was sampled is to teach."""

    row: Row
    advantages: tuple[float, ...]
    """How much better it did than its group, for each span of the row."""
    trajectory: int
    """Which trajectory of the batch the row belongs to."""
    trajectory_tokens: int
    """How many loss tokens all rows of that trajectory have together."""

    @property
    def loss_tokens(self) -> int:
        return sum(len(span.logprobs) for span in self.row.spans if not span.masked)


@dataclass(frozen=True)
class Family:
    """A prompt and its branches, where they lie: each branch sees the prompt and itself."""

    start: int
    prompt: int
    """How many tokens the prompt has."""
    branches: tuple[int, ...]
    """How many tokens each branch has; none where a single row lies here as a whole."""


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """The tensors of one forward pass."""

    token_T: Tensor
    position_T: Tensor
    families: tuple[Family, ...]
    """Next to each other, from the first token to the last."""
    query_Q: Tensor
    """Where the query lies among the tokens."""
    temperature_Q: Tensor
    query_N: Tensor
    """Never falls, so that a run of queries has a run of loss tokens."""
    target_N: Tensor
    sampler_logp_N: Tensor
    """NaN where the sampler did not say."""
    advantage_N: Tensor
    trajectory_N: Tensor
    trajectory_tokens_N: Tensor
    """How many loss tokens the token's trajectory has."""
    sequence_N: Tensor
    """Which row of the micro-batch the token belongs to."""
    mask_N: Tensor
    comparable_N: Tensor
    """Where trainer and sampler should agree before the first optimiser step."""


def micro_batches(
    examples: Iterable[Example], *, max_tokens: int, apart_at: int | None = None
) -> Iterator[list[Example]]:
    """Cut examples, in their order, into batches that hold at most `max_tokens`, or a single row.

    Rows of more than `apart_at` tokens are never with shorter ones.
    """
    taken: list[Example] = []
    layout = _Layout()
    for example in examples:
        if taken and (layout.size_with(example.row) > max_tokens or _are_apart(taken[-1], example, apart_at)):
            yield taken
            taken, layout = [], _Layout()
        layout.add(example.row)
        taken.append(example)
    if taken:
        yield taken


def _are_apart(one: Example, other: Example, apart_at: int | None) -> bool:
    # The last token of a row predicts nothing and is not read.
    return is_long(len(one.row.token_ids) - 1, apart_at) != is_long(len(other.row.token_ids) - 1, apart_at)


def collate(examples: Sequence[Example], *, device: torch.device) -> MicroBatch:
    """Lay out one micro-batch on the device."""
    layout = _Layout()
    for example in examples:
        layout.add(example.row)
    token_ids: list[int] = []
    positions: list[int] = []
    families: list[Family] = []
    places: dict[tuple[Tokens, Tokens], int] = {}
    for prompt, branches in layout.families():
        places[prompt, ()] = start = len(token_ids)
        token_ids += prompt
        positions += range(len(prompt))
        for branch in branches:
            places[prompt, branch] = len(token_ids)
            token_ids += branch
            positions += range(len(prompt), len(prompt) + len(branch))
        families.append(_family(start, prompt, branches))
    tokens = sorted(_loss_tokens(examples, places), key=lambda token: token.query)
    queries = {query: place for place, query in enumerate(dict.fromkeys(token.query for token in tokens))}

    def tensor(values: object, dtype: torch.dtype) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=device)

    return MicroBatch(
        token_T=tensor(token_ids, torch.long),
        position_T=tensor(positions, torch.long),
        families=tuple(families),
        query_Q=tensor([place for place, _ in queries], torch.long),
        temperature_Q=tensor([temperature for _, temperature in queries], torch.float32),
        query_N=tensor([queries[token.query] for token in tokens], torch.long),
        target_N=tensor([token.target for token in tokens], torch.long),
        sampler_logp_N=tensor([token.logprob for token in tokens], torch.float32),
        advantage_N=tensor([token.advantage for token in tokens], torch.float32),
        trajectory_N=tensor([token.example.trajectory for token in tokens], torch.long),
        trajectory_tokens_N=tensor([token.example.trajectory_tokens for token in tokens], torch.float32),
        sequence_N=tensor([token.sequence for token in tokens], torch.long),
        mask_N=tensor([not token.span.masked for token in tokens], torch.bool),
        comparable_N=tensor([token.span.comparable for token in tokens], torch.bool),
    )


def _family(start: int, prompt: Tokens, branches: Sequence[Tokens]) -> Family:
    if len(branches) == 1:
        # One sequence: attention to a whole is faster than to two parts of it.
        return Family(start, len(prompt) + len(branches[0]), ())
    return Family(start, len(prompt), tuple(len(branch) for branch in branches))


def _split(row: Row) -> tuple[Tokens, Tokens]:
    """Give a row's prompt and branch, which may be empty. The last token predicts nothing."""
    inputs = row.token_ids[:-1]
    return inputs[: row.prompt_length], inputs[row.prompt_length :]


class _Layout:
    """The distinct prompts of a batch, in order, and the distinct branches of each."""

    def __init__(self) -> None:
        self._branches: dict[Tokens, dict[Tokens, None]] = {}
        self._size = 0

    def add(self, row: Row) -> None:
        self._size = self.size_with(row)
        prompt, branch = _split(row)
        known = self._branches.setdefault(prompt, {})
        if branch:
            known[branch] = None

    def size_with(self, row: Row) -> int:
        """Give how many tokens there would be with one more row."""
        prompt, branch = _split(row)
        known = self._branches.get(prompt)
        return self._size + (known is None) * len(prompt) + (branch not in (known or ())) * len(branch)

    def families(self) -> Iterator[tuple[Tokens, Sequence[Tokens]]]:
        """Yield prompts with their branches, in the order in which they lie."""
        for prompt, branches in self._branches.items():
            yield prompt, list(branches)


@dataclass(frozen=True, kw_only=True)
class _LossToken:
    query: tuple[int, float]
    """Where the token lies that predicts it, and the temperature it was sampled at."""
    target: int
    logprob: float
    advantage: float
    span: Span
    example: Example
    sequence: int


def _loss_tokens(examples: Sequence[Example], places: Mapping[tuple[Tokens, Tokens], int]) -> Iterator[_LossToken]:
    for sequence, example in enumerate(examples):
        row = example.row
        prompt, branch = _split(row)
        for span, advantage in zip(row.spans, example.advantages, strict=True):
            # Greedy sampling leaves the distribution itself unscaled, and so do we.
            temperature = span.temperature or 1.0
            for at, logprob in enumerate(span.logprobs, start=span.start):
                before = at - 1
                inside = before < len(prompt)
                place = places[prompt, ()] + before if inside else places[prompt, branch] + before - len(prompt)
                yield _LossToken(
                    query=(place, temperature),
                    target=row.token_ids[at],
                    logprob=logprob,
                    advantage=advantage,
                    span=span,
                    example=example,
                    sequence=sequence,
                )
