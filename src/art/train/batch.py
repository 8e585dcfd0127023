"""Rows into tensors: what several rows begin with is laid out once, and so is what two of them repeat.

Knows tokens and where they lie; knows no model. Axes: P prompt, B branch (how rows go on after their prompt), T token,
Q query (a position whose next token is asked for), N loss token. Padding stands on the right, where a causal model
cannot see it from a real token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from art.train.tokenize import Row

# A row that shares its prompt holds the prompt's keys and values once more, a small part of what computing them takes.
SHARED_TOKEN_COST = 1 / 8
PADDING = 0


@dataclass(frozen=True)
class Example:
    """A row and how much better its trajectory did than its group."""

    row: Row
    advantage: float

    @property
    def loss_tokens(self) -> int:
        return sum(len(span.logprobs) for span in self.row.spans)


@dataclass(frozen=True)
class MicroBatch:
    """The tensors of one forward pass."""

    prompts_PT: Tensor
    branches_BT: Tensor
    """Empty where every row is its own prompt, computed as a whole."""
    branch_mask_BT: Tensor
    """Which columns of prompt and branch, side by side, hold a token: 1 or 0."""
    branch_positions_BT: Tensor
    branches_per_prompt: tuple[int, ...]
    query_Q: Tensor
    """Where the query lies in all positions of `prompts_PT`, then of `branches_BT`, counted row by row."""
    temperature_Q: Tensor
    query_N: Tensor
    """Never falls, so that a run of queries has a run of loss tokens."""
    target_N: Tensor
    sampler_logp_N: Tensor
    advantage_N: Tensor


def split(row: Row, *, share: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Give a row's prompt and branch; without sharing the whole row is its prompt. The last token predicts nothing."""
    inputs = row.token_ids[:-1]
    return (inputs[: row.prompt_length], inputs[row.prompt_length :]) if share else (inputs, ())


def worth_sharing(examples: Sequence[Example], longest: int) -> bool:
    """Say whether rows have prompts in common, in a layout of at most `longest` columns."""
    parts = [split(example.row, share=True) for example in examples]
    prompts = {prompt for prompt, _ in parts}
    columns = max(map(len, prompts)) + max(len(branch) for _, branch in parts)
    return len(prompts) < len(set(parts)) and columns <= longest


def micro_batches(examples: Iterable[Example], *, max_tokens: int, share: bool) -> Iterator[list[Example]]:
    """Cut examples, in their order, into batches that hold at most `max_tokens`, or a single row."""
    taken: list[Example] = []
    layout = _Layout()
    for example in examples:
        parts = split(example.row, share=share)
        if taken and layout.cost_with(*parts) > max_tokens:
            yield taken
            taken, layout = [], _Layout()
        layout.add(*parts)
        taken.append(example)
    if taken:
        yield taken


def collate(examples: Sequence[Example], *, share: bool, device: torch.device) -> MicroBatch:
    """Lay out one micro-batch on the device."""
    layout = _Layout()
    for example in examples:
        layout.add(*split(example.row, share=share))
    prompts = list(layout.branches)
    branches = [(prompt, branch) for prompt in prompts for branch in layout.branches[prompt]]
    width = max(map(len, prompts))
    tokens = sorted(_loss_tokens(examples, layout, share=share), key=lambda token: token.query)
    queries = {query: place for place, query in enumerate(dict.fromkeys(token.query for token in tokens))}

    def tensor(values: object, dtype: torch.dtype) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=device)

    return MicroBatch(
        prompts_PT=tensor(_padded(prompts, width), torch.long),
        branches_BT=tensor(_padded([branch for _, branch in branches], layout.branch_width), torch.long),
        branch_mask_BT=tensor([_mask(*pair, width, layout.branch_width) for pair in branches], torch.long),
        branch_positions_BT=tensor(
            _padded(
                [range(len(prompt), len(prompt) + len(branch)) for prompt, branch in branches], layout.branch_width
            ),
            torch.long,
        ),
        branches_per_prompt=tuple(len(layout.branches[prompt]) for prompt in prompts),
        query_Q=tensor([position for position, _ in queries], torch.long),
        temperature_Q=tensor([temperature for _, temperature in queries], torch.float32),
        query_N=tensor([queries[token.query] for token in tokens], torch.long),
        target_N=tensor([token.target for token in tokens], torch.long),
        sampler_logp_N=tensor([token.logprob for token in tokens], torch.float32),
        advantage_N=tensor([token.advantage for token in tokens], torch.float32),
    )


class _Layout:
    """The distinct prompts of a batch, in order, and the distinct branches of each."""

    def __init__(self) -> None:
        self.branches: dict[tuple[int, ...], dict[tuple[int, ...], None]] = {}
        self.prompt_width = 0
        self.branch_width = 0
        self.branch_count = 0

    def add(self, prompt: tuple[int, ...], branch: tuple[int, ...]) -> None:
        known = self.branches.setdefault(prompt, {})
        self.prompt_width = max(self.prompt_width, len(prompt))
        if branch and branch not in known:
            known[branch] = None
            self.branch_width = max(self.branch_width, len(branch))
            self.branch_count += 1

    def cost_with(self, prompt: tuple[int, ...], branch: tuple[int, ...]) -> float:
        """Give what the batch would hold with one more row, in tokens, padding included."""
        prompts = len(self.branches) + (prompt not in self.branches)
        width = max(self.prompt_width, len(prompt))
        branches = self.branch_count + (bool(branch) and branch not in self.branches.get(prompt, {}))
        branch_width = max(self.branch_width, len(branch))
        return prompts * width + branches * (branch_width + width * SHARED_TOKEN_COST)


@dataclass(frozen=True)
class _LossToken:
    query: tuple[int, float]
    """The position that predicts the token, and the temperature it was sampled at."""
    target: int
    logprob: float
    advantage: float


def _loss_tokens(examples: Sequence[Example], layout: _Layout, *, share: bool) -> Iterator[_LossToken]:
    prompt_places = {prompt: place * layout.prompt_width for place, prompt in enumerate(layout.branches)}
    pairs = [(prompt, branch) for prompt, branches in layout.branches.items() for branch in branches]
    offset = len(prompt_places) * layout.prompt_width
    branch_places = {pair: offset + place * layout.branch_width for place, pair in enumerate(pairs)}
    for example in examples:
        row = example.row
        prompt, branch = split(row, share=share)
        for span in row.spans:
            # Greedy sampling leaves the distribution itself unscaled, and so do we.
            temperature = span.temperature or 1.0
            for at, logprob in enumerate(span.logprobs, start=span.start):
                before = at - 1
                inside = before < len(prompt)
                place = (
                    prompt_places[prompt] + before if inside else branch_places[prompt, branch] + before - len(prompt)
                )
                yield _LossToken((place, temperature), row.token_ids[at], logprob, example.advantage)


def _padded(rows: Sequence[Sequence[int]], width: int) -> list[list[int]]:
    return [[*row, *[PADDING] * (width - len(row))] for row in rows]


def _mask(prompt: tuple[int, ...], branch: tuple[int, ...], prompt_width: int, branch_width: int) -> list[int]:
    prompt_mask = [1] * len(prompt) + [0] * (prompt_width - len(prompt))
    return prompt_mask + [1] * len(branch) + [0] * (branch_width - len(branch))
