"""The decoding step of models built as Llama is, in few operations: no module is called, neighbours multiply at once.

Knows the arithmetic of such a model's layers; what is attended to is the pass's business, and whether the numbers are
those of the model's own forward pass is tried before this is used. Axes: B row, H hidden, N head, D size of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from art.adapter.adapted import AdaptedModel
from art.adapter.attention import ForwardPass, Rules
from art.adapter.layers import linear_layers
from art.adapter.neighbours import joined
from art.adapter.packed import PackedGroup, PackedLinear
from art.adapter.product import float32_products, multiply
from art.sample.own.steady import WHOLE

LEAST_ALIKE, ADAPTED_ROWS = 2, 16
"""From so many rows on oneDNN's products in float32 round alike; an adapter's narrow ones do with a fixed number."""


class KeepingPass(ForwardPass, Protocol):
    """A forward pass that keeps the new keys and values as well."""

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int) -> Any: ...


class PlainDecoder:
    """Decodes one token for each row.

    `rules` say how each layer attends; `at_once`, whether layers whose weights lie next to each other multiply at once.
    """

    def __init__(self, adapted: AdaptedModel, rules: Mapping[int, Rules], *, at_once: bool) -> None:
        model: Any = adapted.model
        body = model.model
        product = partial(_Product, adapted, at_once=at_once)
        self._embed, self._rotary = body.embed_tokens, body.rotary_emb
        self._layers = [_Layer(layer, rules[place], product) for place, layer in enumerate(body.layers)]
        self._norm = _Norm(body.norm)
        self._head = product([model.get_output_embeddings()])
        self.head_name = self._head.names[0]
        self.rounds_alike = model.dtype == torch.float32 and float32_products(model.device) == "onednn"
        """Whether a row's numbers depend neither on the number of the rows nor on what they hold, if asked for that."""
        self.prompts_alike = False
        """Whether prompts that are computed in one pass have the bits that each has alone; who tries it says so."""

    def __call__(self, ids_B: Tensor, positions_B: Tensor, step: KeepingPass, *, is_exact: bool) -> Tensor:
        """Give the logits of what follows [rows, vocabulary]; exact, no row depends on another one."""
        x_BH = self._embed(ids_B)
        cos_B1D, sin_B1D = self._rotary(x_BH, positions_B[:, None])
        half = sin_B1D.shape[-1] // 2
        # The half that is turned away has its sign in the sines: no negation, and the same bits.
        signed_B1D = torch.cat((-sin_B1D[..., :half], sin_B1D[..., half:]), dim=-1)
        kept = _Step(kept=step, cos_B1D=cos_B1D, sin_B1D=signed_B1D, is_exact=is_exact)
        for place, layer in enumerate(self._layers):
            x_BH = layer(x_BH, kept, place)
        return self._head(self._norm(x_BH), is_exact=is_exact)


@dataclass(frozen=True, kw_only=True)
class _Step:
    """What is the same for all layers."""

    kept: KeepingPass
    cos_B1D: Tensor
    sin_B1D: Tensor
    is_exact: bool


class _Layer:
    def __init__(self, layer: Any, rules: Rules, product: Callable[[Sequence[nn.Linear]], _Product]) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._rules, self._size = rules, attention.head_dim
        self._before, self._between = _Norm(layer.input_layernorm), _Norm(layer.post_attention_layernorm)
        self._qkv = product([attention.q_proj, attention.k_proj, attention.v_proj])
        self._out = product([attention.o_proj])
        self._gate_up = product([mlp.gate_proj, mlp.up_proj])
        self._down = product([mlp.down_proj])
        self._activation, self._inner = mlp.act_fn, mlp.gate_proj.out_features
        self._queries = attention.q_proj.out_features // self._size
        self._turned = self._queries + attention.k_proj.out_features // self._size
        norms = [getattr(attention, name, None) for name in ("q_norm", "k_norm")]
        self._qk_norm = _joined_norm(norms, (self._queries, self._turned - self._queries)) if all(norms) else None

    def __call__(self, x_BH: Tensor, step: _Step, place: int) -> Tensor:
        x_BH = x_BH + self._out(self._attend(self._before(x_BH), step, place), is_exact=step.is_exact)
        gate_up = self._gate_up(self._between(x_BH), is_exact=step.is_exact)
        gate_BI = gate_up[:, : self._inner]
        if self._inner % WHOLE:
            # Rows with others between them end by themselves, and what is left over at an end rounds otherwise.
            gate_BI = gate_BI.contiguous()
        inner = self._activation(gate_BI) * gate_up[:, self._inner :]
        return x_BH + self._down(inner, is_exact=step.is_exact)

    def _attend(self, x_BH: Tensor, step: _Step, place: int) -> Tensor:
        qkv_BND = self._qkv(x_BH, is_exact=step.is_exact).unflatten(1, (-1, self._size))
        qk_BND, value = qkv_BND[:, : self._turned], qkv_BND[:, self._turned :, None]
        if self._qk_norm:
            qk_BND = self._qk_norm(qk_BND)
        turned_BND = qk_BND * step.cos_B1D + qk_BND.roll(self._size // 2, dims=-1) * step.sin_B1D
        query, key = turned_BND[:, : self._queries, None], turned_BND[:, self._queries :, None]
        step.kept.update(key, value, place)
        return step.kept.attend(place, query, key, value, self._rules).reshape(len(x_BH), -1)


@dataclass(frozen=True)
class _Columns:
    """What one of several layers that multiply at once gives."""

    name: str
    at: slice


class _Product:
    """Linear layers of one input, whose outputs lie side by side, with the adapter's parts."""

    def __init__(self, adapted: AdaptedModel, layers: Sequence[nn.Linear], *, at_once: bool) -> None:
        names = {id(layer): name for name, layer in linear_layers(adapted.model).items()}
        self._adapted = adapted
        self._columns: list[_Columns] = []
        end = 0
        for layer in layers:
            start, end = end, end + layer.out_features
            self._columns.append(_Columns(names[id(layer)], slice(start, end)))
        # Not the layers themselves: they add the adapter's part as well.
        self._parts = (at_once and _at_once(layers)) or [layer.forward for layer in layers]

    @property
    def names(self) -> list[str]:
        return [each.name for each in self._columns]

    def __call__(self, x_BI: Tensor, *, is_exact: bool) -> Tensor:
        parts = [multiplied(x_BI) for multiplied in self._parts]
        y_BO = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        if self._adapted.is_bare:
            return y_BO
        if not is_exact:
            return self._adapt(x_BI, y_BO)
        rows = len(x_BI)
        more = (0, 0, 0, -rows % ADAPTED_ROWS)
        blocks = zip(*(functional.pad(each, more).split(ADAPTED_ROWS) for each in (x_BI, y_BO)), strict=True)
        return torch.cat([self._adapt(x_RI, y_RO) for x_RI, y_RO in blocks])[:rows]

    def _adapt(self, x_BI: Tensor, y_BO: Tensor) -> Tensor:
        """Add the adapter's parts to the outputs, in place."""
        for each in self._columns:
            part = y_BO[:, each.at]
            summed = self._adapted.add(each.name, x_BI, part)
            if summed is not part:
                part.copy_(summed)
        return y_BO


def _at_once(layers: Sequence[nn.Linear]) -> list[Callable[[Tensor], Tensor]] | None:
    """Give what multiplies for all of the layers; None where their weights lie apart."""
    groups: list[PackedGroup] = [layer.group for layer in layers if isinstance(layer, PackedLinear)]
    if groups:
        is_whole = len(groups) == len(layers) == len(groups[0].columns) and len(set(groups)) == 1
        return [partial(multiply, weight_OI=groups[0].packed, bias_O=groups[0].bias_O)] if is_whole else None
    weight = joined([layer.weight for layer in layers])
    biases: list[Any] = [layer.bias for layer in layers]
    if weight is None or len({bias is None for bias in biases}) > 1:
        return None
    return [partial(multiply, weight_OI=weight, bias_O=None if biases[0] is None else torch.cat(biases))]


class _Norm:
    """RMS normalisation over the last axis."""

    def __init__(self, norm: Any, weight: Tensor | None = None) -> None:
        self._weight, self._eps = norm.weight if weight is None else weight, norm.variance_epsilon

    def __call__(self, x: Tensor) -> Tensor:
        wide = x.float()
        scaled = wide * wide.square().mean(-1, keepdim=True).add_(self._eps).rsqrt_()
        return self._weight * scaled.to(x.dtype)


def _joined_norm(norms: Sequence[Any], heads: Sequence[int]) -> _Norm:
    """Give the norm of several kinds of heads that lie side by side."""
    weights = [norm.weight.expand(count, -1) for norm, count in zip(norms, heads, strict=True)]
    return _Norm(norms[0], torch.cat(weights))
