"""Families of models as llama.cpp knows them: names and order of their tensors, and the facts of a file's header."""

from dataclasses import dataclass
from typing import Any

import gguf
import torch
from gguf import MODEL_ARCH, GGUFWriter
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

VERSION = "1"

FULL = "full_attention"


@dataclass(frozen=True)
class Family:
    """A family of transformers that llama.cpp computes in the same way.

    ``neighbours``: its queries and keys are rotated in pairs of neighbours and not of halves of a head, so that the
    rows of their weights change places. ``ropes`` are the forms of rotary embeddings that a file can say.
    """

    architecture: MODEL_ARCH
    neighbours: bool
    ropes: tuple[str, ...] = ("default",)


FAMILIES = {
    "llama": Family(MODEL_ARCH.LLAMA, neighbours=True, ropes=("default", "llama3")),
    "qwen2": Family(MODEL_ARCH.QWEN2, neighbours=False),
    "qwen3": Family(MODEL_ARCH.QWEN3, neighbours=False),
}


def family(config: Any) -> Family:
    """The family of a model; a ``ValueError`` names what llama.cpp would compute in another way."""
    known = FAMILIES.get(config.model_type)
    if known is None:
        raise ValueError(
            f"models of type {config.model_type!r} are not exported to GGUF; allowed are {', '.join(FAMILIES)}"
        )
    rope = _rope(config)
    wrong = {
        f"hidden_act {config.hidden_act!r}": config.hidden_act != "silu",
        f"rope_type {rope['rope_type']!r}": rope["rope_type"] not in known.ropes,
        "partial rotary embeddings": rope.get("partial_rotary_factor", 1.0) != 1.0,
        "a sliding window": any(kind != FULL for kind in getattr(config, "layer_types", None) or []),
    }
    for what, given in wrong.items():
        if given:
            raise ValueError(
                f"a {config.model_type} with {what} is not exported to GGUF; allowed are silu, rotary embeddings of "
                f"type {' or '.join(known.ropes)} over whole heads, and full attention"
            )
    return known


def _rope(config: Any) -> dict[str, Any]:
    return {"rope_type": "default"} | config.rope_parameters


def names(config: Any, known: Family, tensors: list[str]) -> dict[str, str]:
    """llama.cpp's names of a model's ``tensors``; a ``ValueError`` names one that has none."""
    table = gguf.get_tensor_name_map(known.architecture, config.num_hidden_layers)
    found = {name: table.get_name(name, try_suffixes=(".weight", ".bias")) for name in tensors}
    for name, other in found.items():
        if other is None:
            raise ValueError(
                f"llama.cpp has no place for {name} in a {config.model_type}; such a model is not exported"
            )
    return {name: str(other) for name, other in found.items()}


def rows(config: Any, known: Family, name: str, outputs: int) -> torch.Tensor | None:
    """The order in which llama.cpp wants the rows of a tensor, or None where they stay.

    transformers rotates row i of a head with row i + half, llama.cpp neighbours 2i and 2i + 1.
    """
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
    if not known.neighbours or heads is None:
        return None
    return torch.arange(outputs).view(heads, 2, -1).transpose(1, 2).flatten()


def head_dim(config: Any) -> int:
    """Width of an attention head."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def rope_factors(config: Any) -> torch.Tensor | None:
    """Divisors of the rotary frequencies, float32 (head width / 2), where Llama 3 scales them; else None.

    llama.cpp divides the angles of ``rope_theta`` by them, as llama3's scaling of frequencies was made for it.
    """
    rope = _rope(config)
    if rope["rope_type"] != "llama3":
        return None
    width = head_dim(config)
    plain = 1.0 / rope["rope_theta"] ** (torch.arange(0, width, 2, dtype=torch.float32) / width)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    return plain / scaled


def add_facts(writer: GGUFWriter, config: Any) -> None:
    """Write the shape of a model into a header."""
    width = head_dim(config)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(_rope(config)["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
