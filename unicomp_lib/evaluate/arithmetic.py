"""How much a model computes and reads for a token, and how fast this machine could read it."""

import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

VERSION = "1"

COPIED = 2**28  # bytes of the array that is copied: far more than any cache holds


def skeleton(folder: Path) -> PreTrainedModel:
    """A checkpoint's model without weights, attending by plain products, which the counter sees.

    It misses fused attention. Quantized formats count as what they stand for.
    """
    config = AutoConfig.from_pretrained(folder)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    return model


def flops(folder: Path, tokens: int) -> float:
    """Floating-point operations a token of reading ``tokens`` at once, counted by torch; twice the MACs."""
    model = skeleton(folder)
    given = torch.zeros(1, tokens, dtype=torch.long, device="meta")
    mask = torch.zeros(1, 1, tokens, tokens, device="meta")  # given, since one is not made without values
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(given, attention_mask=mask, position_ids=given, use_cache=False)
    return counter.get_total_flops() / tokens


def closed_form(model: PreTrainedModel, tokens: int) -> float:
    """The same from the shapes: 2 a weight of every linear map, and 4 a head, its width and a token attended to."""
    config: Any = model.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    weights = sum(part.in_features * part.out_features for part in model.modules() if isinstance(part, nn.Linear))
    return 2 * weights + 4 * config.num_hidden_layers * config.num_attention_heads * width * tokens


def read_bytes(model: PreTrainedModel) -> int:
    """Bytes of weights that one token of decode reads: all but an embedding that is no output layer too."""
    # By storage, since tied weights are read once; a wrapper around several tensors has none of its own.
    held = {tensor.data_ptr() or id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    inputs: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()
    if head is None or head.weight.data_ptr() != inputs.weight.data_ptr():
        held.pop(inputs.weight.data_ptr(), None)
    return sum(_bytes(tensor) for tensor in held.values())


def bandwidth() -> float:
    """Bytes a second this process moves between memory and processor: the best of five copies, both ways counted."""
    source, target = torch.ones(COPIED // 4), torch.empty(COPIED // 4)
    spent = []
    for _ in range(5):
        start = time.perf_counter()
        target.copy_(source)
        spent.append(time.perf_counter() - start)
    return 2 * COPIED / min(spent)


def _bytes(tensor: torch.Tensor) -> int:
    """Bytes of a tensor, or of the tensors that a quantized one is made of."""
    if hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        return sum(_bytes(getattr(tensor, name)) for name in names)
    return tensor.numel() * tensor.element_size()
