"""Tiny random models of many families, built by transformers from their configurations."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

VOCABULARY = 257  # that of the tiny model's byte tokenizer
HIDDEN, HEADS, GROUPS = 64, 4, 2
WINDOW = 24  # shorter than the texts of the tests, so that a window matters

SLIDING, FULL = "sliding_attention", "full_attention"

# What each family needs beside the common settings for a tiny model that uses what sets it apart: windows, layers
# of several kinds, experts. ``layer_types`` is repeated to the number of layers.
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 2},
    "qwen3": {"head_dim": 16},
    "mistral": {"sliding_window": WINDOW},
    "gemma": {"head_dim": 16},
    "gemma2": {"head_dim": 16, "sliding_window": WINDOW},
    "gemma3_text": {"head_dim": 16, "sliding_window": WINDOW, "layer_types": [SLIDING, FULL]},
    "phi3": {},
    "smollm3": {},  # every fourth layer has no rotary embedding
    "olmo2": {},
    "cohere2": {"sliding_window": WINDOW},
    "exaone4": {"sliding_window": WINDOW, "layer_types": [SLIDING, SLIDING, SLIDING, FULL]},
    "falcon": {},
    "bloom": {},
    "mpt": {"d_model": HIDDEN, "n_heads": HEADS, "expansion_ratio": 2},
    "opt": {"ffn_dim": 2 * HIDDEN, "word_embed_proj_dim": HIDDEN},
    "gpt2": {},
    "gpt_neox": {},
    "mixtral": {"num_local_experts": 4},
    "qwen2_moe": {
        "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32,
    },
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "lfm2": {"layer_types": ["conv", FULL]},
    "deepseek_v3": {
        "num_key_value_heads": HEADS, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1,
        "moe_intermediate_size": 32, "first_k_dense_replace": 1, "q_lora_rank": 32, "kv_lora_rank": 16,
        "qk_rope_head_dim": 8, "qk_nope_head_dim": 16, "v_head_dim": 16,
    },
}  # fmt: skip
WITHOUT_GROUPS = ("bloom", "gpt2", "gpt_neox", "mpt", "opt")  # their attention has no key-value groups


def build(family: str, layers: int = 4, **extra: Any) -> PreTrainedModel:
    """A model of ``family`` in float32 with seeded random weights; ``extra`` overrides its configuration.

    Weights are three times as large as the initialization and norms differ from one, so that every part
    of a layer shows in the logits.
    """
    settings: dict[str, Any] = {
        "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": 2 * HIDDEN, "num_hidden_layers": layers,
        "num_attention_heads": HEADS, "num_key_value_heads": GROUPS, "max_position_embeddings": 512,
        "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
    }  # fmt: skip
    if family in WITHOUT_GROUPS:
        settings.pop("num_key_value_heads")
    if family == "mpt":
        settings["n_layers"] = layers
    settings |= FAMILIES[family] | extra
    if "layer_types" in settings:
        kinds = settings["layer_types"]
        settings["layer_types"] = [kinds[index % len(kinds)] for index in range(layers)]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **settings)).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.2 * torch.randn_like(parameter)
        else:
            parameter.data *= 3
    return model


def tokens(rows: int = 3, length: int = 48) -> torch.Tensor:
    """Seeded random tokens (rows, length), none of them the end token."""
    return torch.randint(1, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(1))
