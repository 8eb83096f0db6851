"""Operations and bytes read per token, and how fast this machine can read memory."""

import math
import re
import time
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from unicomp_lib import paths
from unicomp_lib.checkpoints import decoder

VERSION = "1"

COPIED = 2**28  # bytes of the array that is copied, far more than any cache holds


def skeleton(folder: Path) -> PreTrainedModel:
    """A checkpoint's model without weights, with eager attention, whose products torch's counter sees.

    It does not count fused attention. Quantized formats count as the linear maps they represent.
    """
    config = AutoConfig.from_pretrained(folder)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    return model


def flops(folder: Path, tokens: int) -> float:
    """Floating-point operations per token when ``tokens`` are read at once, counted by torch; twice the MACs."""
    model = skeleton(folder)
    batch = torch.zeros(1, tokens, dtype=torch.long, device="meta")
    mask = torch.zeros(1, 1, tokens, tokens, device="meta")  # passed in: the model cannot make one without values
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(batch, attention_mask=mask, position_ids=batch, use_cache=False)
    return counter.get_total_flops() / tokens


def closed_form(model: PreTrainedModel, tokens: int) -> float:
    """The same from the shapes: 2 per weight of every linear map, and 4 per head, head dimension and attended token."""
    config: Any = model.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    linears = (module for module in model.modules() if isinstance(module, nn.Linear))
    weights = sum(linear.in_features * linear.out_features for linear in linears)
    return 2 * weights + 4 * config.num_hidden_layers * config.num_attention_heads * width * tokens


def read_bytes(model: PreTrainedModel) -> int:
    """Bytes of weights read to decode one token: all but an input embedding that is not the output layer too."""
    # Keyed by storage, since tied weights are read once; a wrapper around several tensors has no storage of its own.
    tensors = {tensor.data_ptr() or id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    embedding: Any = model.get_input_embeddings()
    output_layer: Any = model.get_output_embeddings()
    if output_layer is None or output_layer.weight.data_ptr() != embedding.weight.data_ptr():
        tensors.pop(embedding.weight.data_ptr(), None)
    return sum(_bytes(tensor) for tensor in tensors.values())


def stored_bytes(folder: Path) -> int:
    """``read_bytes`` of the weights as a checkpoint's files hold them, for an engine that reads these."""
    model = skeleton(folder)
    embedding, tied = model.get_input_embeddings(), model.config.tie_word_embeddings
    left_out = () if tied else tuple(f"{name}." for name, part in model.named_modules() if part is embedding)
    total = 0.0
    for shard in paths.shards(folder):
        with safe_open(shard, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118, safe_open is no mapping
                if not name.startswith(left_out):
                    stored = tensors.get_slice(name)
                    total += math.prod(stored.get_shape()) * _bits(stored.get_dtype()) / 8
    return int(total)


def exported_bytes(file: Path) -> int:
    """The same of a file of GGUF."""
    from gguf import GGUFReader

    held = {tensor.name: int(tensor.n_bytes) for tensor in GGUFReader(file).tensors}
    return sum(held.values()) - (held["token_embd.weight"] if "output.weight" in held else 0)


def _bits(kind: str) -> int:
    """Bits of a type of safetensors, such as BF16 and F8_E4M3; those of BOOL, which names none, are 8."""
    number = re.search(r"\d+", kind)
    return int(number.group()) if number else 8


@torch.no_grad()
def cache_bytes(model: PreTrainedModel) -> float:
    """Bytes that a model's cache holds for a token, all layers together; 0 for a family that has no such cache.

    Where keys share scales between tokens, it is the mean over the tokens of a group that is complete.
    """
    entry = getattr(model.config, decoder.CACHE, None) or {}
    count = entry["group_size"] if entry.get("per_channel") else 1
    tokens = torch.ones(1, count, dtype=torch.long, device=model.device)
    output = model(input_ids=tokens, use_cache=True, logits_to_keep=1)
    layers = getattr(output.get("past_key_values"), "layers", [])
    held = [part for layer in layers for part in (getattr(layer, "keys", None), getattr(layer, "values", None))]
    return sum(part.nbytes for part in held if part is not None) / count


def bandwidth(device: str | torch.device = "cpu") -> float:
    """Bytes per second this process moves in a device's memory: the best of five copies, reads and writes counted."""
    source, target = torch.ones(COPIED // 4, device=device), torch.empty(COPIED // 4, device=device)
    synchronize = torch.get_device_module(device).synchronize
    seconds = []
    for _ in range(5):
        synchronize()
        start = time.perf_counter()
        target.copy_(source)
        synchronize()
        seconds.append(time.perf_counter() - start)
    return 2 * COPIED / min(seconds)


def _bytes(tensor: torch.Tensor) -> int:
    """Bytes of a tensor, or of the tensors that a quantized one consists of."""
    if hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        return sum(_bytes(getattr(tensor, name)) for name in names)
    return tensor.numel() * tensor.element_size()
