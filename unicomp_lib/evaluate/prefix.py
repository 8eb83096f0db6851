"""The beginning that prompts share, such as worked examples: read once, its keys and values used by all."""

import copy
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache

VERSION = "1"

SHORTEST = 48  # shorter beginnings do not pay for the copies of their keys and values


def shared(prompts: list[tuple[int, ...]] | list[list[int]]) -> int:
    """How many tokens all prompts begin with, leaving each at least one; 0 if fewer than ``SHORTEST``."""
    first, last = min(prompts), max(prompts)
    room = min(map(len, prompts)) - 1
    common = next((place for place in range(room) if first[place] != last[place]), room)
    return common if len(prompts) > 1 and common >= SHORTEST else 0


@torch.no_grad()
def read(model: Any, tokens: tuple[int, ...] | list[int]) -> Cache | None:
    """Keys and values of a beginning; None for models that forget some, as with sliding windows."""
    given = torch.tensor([list(tokens)], device=model.device)
    found = model(input_ids=given, use_cache=True, logits_to_keep=1).past_key_values
    kept = isinstance(found, DynamicCache) and not any(getattr(layer, "is_sliding", True) for layer in found.layers)
    return found if kept else None


def repeated(cache: Cache | None, rows: int) -> Cache | None:
    """A copy for each row of a batch."""
    found = copy.deepcopy(cache)
    if found is not None:
        found.batch_repeat_interleave(rows)
    return found
