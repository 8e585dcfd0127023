"""Kinds of attention that are not implemented, each recognised by its mark and said in words of its own.

Knows configurations and names of weights. Whether a model is refused is decided by trying it, not here.
"""

from __future__ import annotations

from transformers import PreTrainedModel

from art.adapter.rope import is_dynamic

LATENT = (
    "it keeps a latent cache: keys and values come out of one compressed vector (kv_lora_rank), with heads of two sizes"
)
SINKS = "its attention has sinks: a learned score that takes probability and gives no value"
DYNAMIC = "its attention masks are dynamic: which keys a token sees depends on what they hold"
STATES = "some layers keep a running state instead of keys and values, as linear attention and state spaces do"
CHUNKS = "some layers attend within chunks of a fixed size"
STRETCHED = "its positions are stretched with every token beyond a length (dynamic NTK), and stay so for shorter texts"
SHARED = "some layers use the keys and values of other layers"


def known_reason(model: PreTrainedModel) -> str | None:
    """Give why a model's attention is not implemented, None where that is not known beforehand."""
    config = model.config.get_text_config(decoder=True)
    kinds = {str(kind) for kind in getattr(config, "layer_types", None) or ()}
    marks = {
        LATENT: getattr(config, "kv_lora_rank", None),
        SINKS: any("sink" in name for name, _ in model.named_parameters()),
        DYNAMIC: getattr(config, "keep_window_size", None) or getattr(config, "index_topk", None),
        STATES: any("linear" in kind or "mamba" in kind or "conv" in kind or "recurrent" in kind for kind in kinds),
        STRETCHED: is_dynamic(model.config),
        CHUNKS: any("chunk" in kind for kind in kinds),
        SHARED: getattr(config, "num_kv_shared_layers", 0),
    }
    return next((reason for reason, is_there in marks.items() if is_there), None)
