"""Whether a base model computes in our forward passes what it computes by itself, tried once when it is loaded.

A model whose attention is of a kind that we do not know would otherwise be served and trained on other numbers, without
a word. Knows the passes of sampling and of training; nothing about checkpoints. Axis: N token of an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from art.adapter.adapted import AdaptedModel
from art.adapter.attention import use_own_attention
from art.adapter.lora import TrainedAdapter
from art.config import LoRAConfig
from art.errors import ConfigurationError
from art.sample.own.cache import Prompt, Row, Rows
from art.sample.own.forward import decode, prefill
from art.train import tokenize
from art.train.batch import Example, collate
from art.train.forward import Scorer

PROMPTS, ANSWER = (12, 9), 4
TOLERANCE, COARSE_TOLERANCE = 0.01, 1.0
"""In nats. Rounding makes up to 6e-5 in float32, in some fifty families, and up to 0.5 where numbers have 16 bits."""
_FAILURES = (RuntimeError, TypeError, ValueError, LookupError, AttributeError)


@dataclass(frozen=True)
class _Conversation:
    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    @property
    def token_ids(self) -> tuple[int, ...]:
        return self.prompt + self.answer


def check_agreement(base: PreTrainedModel) -> None:
    """Compare short conversations, packed, with the model's own forward pass; raises `ConfigurationError`.

    Two of them share a prompt. A gradient is taken through the trainer's pass, too.
    """
    conversations = _conversations(base.config.get_text_config().vocab_size)
    own_N = [_own_logp(base, conversation) for conversation in conversations]
    # As the trainer lays them out: what follows a shared prompt comes first.
    trained_N = torch.cat([own_N[0][:1], own_N[1][:1], own_N[0][1:], own_N[1][1:], own_N[2]])
    _compare(base, "training", lambda: _trained_logp(base, conversations), trained_N)
    served = (conversations[0], conversations[2])
    _compare(base, "sampling", lambda: _served_logp(base, served), torch.stack([own_N[0][:2], own_N[2][:2]]))


def _conversations(vocabulary: int) -> list[_Conversation]:
    def tokens(count: int, start: int) -> tuple[int, ...]:
        return tuple((start + 7 * place) % vocabulary for place in range(count))

    shared, other = tokens(PROMPTS[0], 3), tokens(PROMPTS[1], 5)
    return [
        _Conversation(shared, tokens(ANSWER, 11)),
        _Conversation(shared, tokens(ANSWER, 20)),
        _Conversation(other, tokens(ANSWER, 33)),
    ]


@torch.no_grad()
def _own_logp(base: PreTrainedModel, conversation: _Conversation) -> Tensor:
    ids = torch.tensor([conversation.token_ids], device=base.device)
    logp_TV = base(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
    places = range(len(conversation.prompt) - 1, len(conversation.token_ids) - 1)
    return logp_TV[list(places), list(conversation.answer)]


def _trained_logp(base: PreTrainedModel, conversations: Sequence[_Conversation]) -> Tensor:
    adapter = TrainedAdapter(base, lora=LoRAConfig(rank=1), base_name="")
    adapter.start(0)
    batch = collate([_example(each) for each in conversations], device=base.device)
    logp_N = Scorer(adapter.model).score(batch).logp_N
    logp_N.sum().backward()
    gradients = [parameter.grad for parameter in adapter.parameters.values() if parameter.grad is not None]
    if not gradients or not all(bool(gradient.isfinite().all()) for gradient in gradients):
        raise _disagreement(base, "training", "it has no finite gradient")
    return logp_N.detach()


def _example(conversation: _Conversation) -> Example:
    span = tokenize.Span(start=len(conversation.prompt), logprobs=(0.0,) * ANSWER, temperature=1.0)
    return Example(
        row=tokenize.Row(conversation.token_ids, (span,)), advantages=(1.0,), trajectory=0, trajectory_tokens=ANSWER
    )


@torch.no_grad()
def _served_logp(base: PreTrainedModel, conversations: Sequence[_Conversation]) -> Tensor:
    """Give the log-probabilities of each answer's first two tokens: one after the prompt, one in a decoding step."""
    model = AdaptedModel(base).model
    use_own_attention(model)
    prompts = [Prompt(each.prompt) for each in conversations]
    prefill(model, prompts)
    rows = Rows()
    for prompt, each in zip(prompts, conversations, strict=True):
        rows.add(Row(last_token=each.answer[0]), prompt, shared=True)
    second_BV = decode(model, rows.all(), exact_places=None)
    first_BV = torch.stack([prompt.logits_V for prompt in prompts if prompt.logits_V is not None])
    target_B2 = torch.tensor([each.answer[:2] for each in conversations], device=base.device)
    return torch.stack([first_BV, second_BV], 1).log_softmax(-1).gather(-1, target_B2[..., None])[..., 0]


def _compare(base: PreTrainedModel, what: str, ours: Callable[[], Tensor], own_logp: Tensor) -> None:
    try:
        logp = ours()
    except (ConfigurationError, torch.OutOfMemoryError):
        raise
    except _FAILURES as error:
        raise _disagreement(base, what, f"it fails: {error}") from error
    difference = (logp - own_logp).abs().max().item()
    tolerance = TOLERANCE if base.dtype == torch.float32 else COARSE_TOLERANCE
    # Not the other way round: NaN is beyond no bound.
    if not difference <= tolerance:
        raise _disagreement(
            base, what, f"a token's log-probability is {difference:.3g} nats off, of {tolerance:g} at most"
        )


def _disagreement(base: PreTrainedModel, what: str, how: str) -> ConfigurationError:
    return ConfigurationError(
        f"{type(base).__name__} cannot be trained and served here: in our {what} pass it does not compute what it "
        f"computes by itself ({how}). Its attention, cache or experts are of a kind that is not implemented. Use a "
        "Llama, Qwen, Gemma 1-3, Mistral or similar model."
    )
