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
from art.adapter.reasons import known_reason
from art.config import LoRAConfig
from art.errors import ConfigurationError
from art.local.windows import hides_a_window
from art.sample.own.cache import CachedRow, Prompt, Rows
from art.sample.own.forward import decode
from art.sample.own.prefill import prefill
from art.train import tokenize
from art.train.batch import Example, collate
from art.train.forward import Scorer

PROMPTS, ANSWER = (12, 9), 4
TOLERANCE, COARSE_TOLERANCE = 0.01, 1.0
"""In nats. Rounding makes up to 6e-5 in float32, in some fifty families, and up to 0.5 where numbers have 16 bits."""
GRADIENT_TOLERANCE, COARSE_GRADIENT_TOLERANCE = 0.01, 0.3
"""Of the gradient's own norm."""
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

    Two of them share a prompt. The gradient of an adapter, through the trainer's pass, is compared as well.
    """
    conversations = _conversations(base.config.get_text_config().vocab_size)
    with torch.no_grad():
        own_N = [_own_logp(base, conversation) for conversation in conversations]
    # As the trainer lays them out: what follows a shared prompt comes first.
    trained_N = torch.cat([own_N[0][:1], own_N[1][:1], own_N[0][1:], own_N[1][1:], own_N[2]])
    own_gradient, gradient = _fresh_adapter(base), _fresh_adapter(base)
    _compare(base, "training", lambda: _trained_logp(gradient, conversations), trained_N)
    _compare_gradients(base, gradient, own_gradient, conversations)
    served = (conversations[0], conversations[2])
    _compare(base, "sampling", lambda: _served_logp(base, served), torch.stack([own_N[0][:2], own_N[2][:2]]))
    if hides_a_window(base, conversations[0].token_ids):
        raise _disagreement(base, "training", "a layer sees a window that only a mask tells of")


def _conversations(vocabulary: int) -> list[_Conversation]:
    def tokens(count: int, start: int) -> tuple[int, ...]:
        return tuple((start + 7 * place) % vocabulary for place in range(count))

    shared, other = tokens(PROMPTS[0], 3), tokens(PROMPTS[1], 5)
    return [
        _Conversation(shared, tokens(ANSWER, 11)),
        _Conversation(shared, tokens(ANSWER, 20)),
        _Conversation(other, tokens(ANSWER, 33)),
    ]


def _own_logp(model: PreTrainedModel, conversation: _Conversation) -> Tensor:
    ids = torch.tensor([conversation.token_ids], device=model.device)
    logp_TV = model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
    places = range(len(conversation.prompt) - 1, len(conversation.token_ids) - 1)
    return logp_TV[list(places), list(conversation.answer)]


def _fresh_adapter(base: PreTrainedModel) -> TrainedAdapter:
    adapter = TrainedAdapter(base, lora=LoRAConfig(rank=1), base_name="")
    adapter.start(0)
    return adapter


def _trained_logp(adapter: TrainedAdapter, conversations: Sequence[_Conversation]) -> Tensor:
    batch = collate([_example(each) for each in conversations], device=adapter.model.device)
    logp_N = Scorer(adapter.model, as_now=adapter.as_now).score(batch).logp_N
    logp_N.sum().backward()
    return logp_N.detach()


def _compare_gradients(
    base: PreTrainedModel, ours: TrainedAdapter, own: TrainedAdapter, conversations: Sequence[_Conversation]
) -> None:
    """Refuse a model whose gradient, in the trainer's pass, is not that of its own forward pass."""
    for conversation in conversations:
        _own_logp(own.model, conversation).sum().backward()
    differences: list[Tensor] = []
    wholes: list[Tensor] = []
    for name, parameter in own.parameters.items():
        wanted = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        gradient = ours.parameters[name].grad
        differences.append(wanted if gradient is None else gradient - wanted)
        wholes.append(wanted)
    difference, whole = (float(torch.nn.utils.get_total_norm(each)) for each in (differences, wholes))
    most = GRADIENT_TOLERANCE if base.dtype == torch.float32 else COARSE_GRADIENT_TOLERANCE
    # Not the other way round: NaN is beyond no bound.
    if not difference <= most * whole:
        raise _disagreement(
            base, "training", f"the gradient is off by {difference:.3g} of {whole:.3g}, of {most:g} times that at most"
        )


def _example(conversation: _Conversation) -> Example:
    span = tokenize.Span(start=len(conversation.prompt), logprobs=(0.0,) * ANSWER, temperature=1.0)
    return Example(
        row=tokenize.Row(conversation.token_ids, (span,)),
        advantages=(1.0,),
        trajectory=0,
        trajectory_tokens=ANSWER,
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
        rows.add(CachedRow(last_token=each.answer[0]), prompt, shared=True)
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
        raise _disagreement(base, what, f"it fails: {(str(error) or type(error).__name__).splitlines()[0]}") from error
    difference = (logp - own_logp).abs().max().item()
    tolerance = TOLERANCE if base.dtype == torch.float32 else COARSE_TOLERANCE
    # Not the other way round: NaN is beyond no bound.
    if not difference <= tolerance:
        raise _disagreement(
            base, what, f"a token's log-probability is {difference:.3g} nats off, of {tolerance:g} at most"
        )


def _disagreement(base: PreTrainedModel, what: str, how: str) -> ConfigurationError:
    reason = known_reason(base) or "its attention, cache or experts are of a kind that is not implemented"
    return ConfigurationError(
        f"{type(base).__name__} cannot be trained and served here: in our {what} pass it does not compute what it "
        f"computes by itself: {reason} ({how}). Use a Llama, Qwen, Gemma 1-3, Mistral or similar model."
    )
