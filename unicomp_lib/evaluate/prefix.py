"""The prefix that prompts share, such as worked examples: computed once, its keys and values used by all."""

import copy
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache

VERSION = "1"

SHORTEST = 48  # for a shorter prefix, copying its keys and values costs more than it saves


def shared(prompts: list[tuple[int, ...]] | list[list[int]]) -> int:
    """Tokens that all prompts begin with, leaving every prompt at least one more; 0 if fewer than ``SHORTEST``."""
    first, last = min(prompts), max(prompts)
    room = min(map(len, prompts)) - 1
    common = next((index for index in range(room) if first[index] != last[index]), room)
    return common if len(prompts) > 1 and common >= SHORTEST else 0


@torch.no_grad()
def read(model: Any, tokens: tuple[int, ...] | list[int]) -> Cache | None:
    """Keys and values of a prefix; None for models that discard some, such as those with sliding windows."""
    batch = torch.tensor([list(tokens)], device=model.device)
    cache = model(input_ids=batch, use_cache=True, logits_to_keep=1).past_key_values
    complete = isinstance(cache, DynamicCache) and not any(getattr(layer, "is_sliding", True) for layer in cache.layers)
    return cache if complete else None


def repeated(cache: Cache | None, rows: int) -> Cache | None:
    """A copy for every row of a batch."""
    copied = copy.deepcopy(cache)
    if copied is not None:
        copied.batch_repeat_interleave(rows)
    return copied
