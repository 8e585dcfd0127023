"""Which families of transformers are trained and sampled from right: each is tried as `register` tries a model.

Small random models of every causal language model that transformers can make from a small configuration. Prints the
table of docs/reference/families.md: `bench/families.py > docs/reference/families.md`.
"""

from __future__ import annotations

import re
import sys
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import torch
import transformers
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from art.errors import ConfigurationError
from art.local.agreement import check_agreement
from small import byte_tokenizer, small_causal_lm

MOST_PARAMETERS = 20_000_000
EXPERTS = {
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "moe_intermediate_size": 32, "n_group": 1, "topk_group": 1, "moe_num_experts": 4, "moe_k": 2,
    "shared_expert_intermediate_size": 32, "first_k_dense_replace": 1, "ffn_dim": 128, "word_embed_proj_dim": 64,
    "n_embd": 64, "n_layer": 2, "n_head": 4, "n_inner": 128, "d_model": 64, "n_layers": 2, "n_heads": 4,
    "rotary_dim": 8, "num_layers": 2, "ffn_hidden_size": 128, "kv_lora_rank": 16, "q_lora_rank": 16,
    "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16,
}  # fmt: skip


LATENT = {"head_dim": 8, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1}
# What a family needs beside these, and hybrids of which two layers would all be of one kind.
OWN: dict[str, dict[str, Any]] = {
    "deepseek_v2": LATENT, "deepseek_v3": LATENT, "glm4_moe_lite": LATENT, "youtu": LATENT,
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "gemma4_text": {"vocab_size_per_layer_input": 300, "num_kv_shared_layers": 0},
    "dots1": {"n_group": 1, "topk_group": 1, "num_experts_per_tok": 2, "n_routed_experts": 4, "n_shared_experts": 1},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "num_heads": 4},
}  # fmt: skip
WINDOW = 6
"""Tokens of a sliding window that is tried too: fewer than the conversations have."""


def main() -> None:
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    print(HEAD.format(release=transformers.__version__, window=WINDOW))
    found = dict(sorted(verdicts()))
    for verdict in ("right", "refused", "not made"):
        rows = {family: words for family, (kind, words) in found.items() if kind == verdict}
        print(f"\n## {TITLES[verdict].format(count=len(rows))}\n")
        if verdict == "refused":
            print("| family | why |\n|---|---|")
            print("\n".join(f"| {family} | {words} |" for family, words in rows.items()))
        else:
            print(textwrap.fill(", ".join(rows) + ".", 118))


def verdicts() -> Iterator[tuple[str, tuple[str, str]]]:
    for family in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        plain, windowed = (made(family, windowed=each) for each in (False, True))
        found = verdict(plain) if plain else ("not made", "")
        yield family, found
        if windowed and found[0] == "right" and (narrow := verdict(windowed))[0] != "right":
            yield f"{family} with a sliding window", narrow


def verdict(base: Any) -> tuple[str, str]:
    try:
        check_agreement(base)
    except ConfigurationError as error:
        return "refused", reason(str(error))
    return "right", ""


def made(family: str, *, windowed: bool = False) -> Any:
    """Make a small random model; None where a few small numbers are not a configuration of the family."""
    try:
        known = AutoConfig.for_model(family).get_text_config().to_dict()
        sizes = {name: value for name, value in EXPERTS.items() if isinstance(known.get(name), int)}
        sizes.update(OWN.get(family, {}))
        if windowed:
            if "sliding_window" not in known:
                return None
            sizes["sliding_window"] = WINDOW
        with torch.device("meta"):
            size = sum(each.numel() for each in small_causal_lm(byte_tokenizer(), family=family, **sizes).parameters())
        if size > MOST_PARAMETERS:
            return None
        base = small_causal_lm(byte_tokenizer(), family=family, **sizes).eval()
        base(input_ids=torch.arange(10)[None], use_cache=False)
        return base.requires_grad_(False)
    except Exception:  # noqa: BLE001 - a hundred configurations of others, each with errors of its own
        return None


def reason(words: str) -> str:
    """Give the part of a refusal that says why."""
    _, _, why = words.replace("|", "/").replace("\n", " ").partition(" here: ")
    why = why.partition(". Use a ")[0]
    why = re.sub(r"in our (\w+) pass it does not compute what it computes by itself: (.*)", r"\1: \2", why)
    return re.sub(r"[\d.]+(e[+-]?\d+)? (nats off|of) .* at most", "other numbers", why)[:200]


TITLES = {"right": "{count} are right", "refused": "{count} are refused", "not made": "{count} were not tried"}
HEAD = """# Families

`bench/families.py` made this page with transformers {release}: small random models of every family of causal language
models, tried in float32 as `register` tries a model, and once more with a sliding window of {window} tokens where there
can be one. Log-probabilities of packed conversations, in training and in sampling, and the gradient are those of the
model by itself, or the family is refused by name."""


if __name__ == "__main__":
    main()
