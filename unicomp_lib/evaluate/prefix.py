"""The beginnings that prompts share, such as worked examples: read once, their keys and values used by all."""

import copy
import inspect
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

VERSION = "2"

SHORTEST = 16  # tokens of a shared beginning
WORTH = 96  # tokens that reading it once must save: a call of the model costs as much time as about 40 tokens
DEPTH = 4  # beginnings within beginnings: examples, a passage, a question; the keys and values of each are held


class Node(NamedTuple):
    """Prompts that begin with the same tokens: those that share no more, and parts of them that do."""

    beginning: tuple[int, ...]
    prompts: list[int]  # indices
    parts: list["Node"]


def tree(prompts: Sequence[tuple[int, ...]]) -> Node:
    """All prompts, by the beginnings that they share; each keeps at least one token of its own."""
    return _node(prompts, list(range(len(prompts))), 0, DEPTH)


def _node(prompts: Sequence[tuple[int, ...]], indices: list[int], start: int, depth: int) -> Node:
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index in indices:
        groups[prompts[index][start : start + SHORTEST]].append(index)
    alone: list[int] = []
    parts = []
    for group in groups.values():
        common = _common([prompts[index] for index in group])
        if depth and common - start >= SHORTEST and (common - start) * (len(group) - 1) >= WORTH:
            parts.append(_node(prompts, group, common, depth - 1))
        else:
            alone += group
    return Node(prompts[indices[0]][:start] if start else (), alone, parts)


def _common(prompts: list[tuple[int, ...]]) -> int:
    """Tokens that all prompts begin with, leaving each at least one more."""
    first, last = min(prompts), max(prompts)
    room = min(map(len, prompts)) - 1
    return next((index for index in range(room) if first[index] != last[index]), room)


@torch.no_grad()
def keeps(model: Any) -> bool:
    """Whether a model holds the keys and values of every token it has read, so that others can be put behind them.

    Models with sliding windows discard some, state-space models hold none, and where positions are no argument they
    are counted from a row that may be padded.
    """
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return False
    output = model(input_ids=torch.tensor([[1, 2]], device=model.device), use_cache=True, logits_to_keep=1)
    cache = getattr(output, "past_key_values", None)
    return isinstance(cache, DynamicCache) and all(
        type(layer) is DynamicLayer or getattr(layer, "keeps", False) for layer in cache.layers
    )


@torch.no_grad()
def read(model: Any, tokens: Sequence[int], before: Cache | None = None) -> Cache:
    """Keys and values of a beginning, behind those of one ``before`` it; for models that ``keeps`` is true of."""
    start = before.get_seq_length() if before is not None else 0
    cache: Cache = model(
        input_ids=torch.tensor([list(tokens)], device=model.device),
        attention_mask=torch.ones(1, start + len(tokens), dtype=torch.long, device=model.device),
        position_ids=torch.arange(start, start + len(tokens), device=model.device)[None],
        past_key_values=repeated(before, 1) if before is not None else None,
        use_cache=True,
        logits_to_keep=1,
    ).past_key_values
    return cache


def repeated(cache: Cache, rows: int) -> Cache:
    """Keys and values for every row of a batch, of which the original is left as it is."""
    copied = copy.copy(cache)
    layers: list[Any] = [copy.copy(layer) for layer in cache.layers]
    for layer in layers:  # views: the batch's own keys and values are put behind a copy
        layer.keys, layer.values = (part.expand(rows, -1, -1, -1) for part in (layer.keys, layer.values))
    copied.layers = layers
    return copied


def select(cache: Cache, rows: list[int]) -> None:
    """Keep what a cache holds of these rows. Not ``batch_select_indices``, which layers that hold states lack."""
    cache.reorder_cache(torch.tensor(rows))  # type: ignore[arg-type]


def join(cache: Cache, other: Cache) -> None:
    """Put the rows of another cache behind those of ``cache``; of the two, the shorter is padded on the left."""
    pairs: list[tuple[Any, Any]] = list(zip(cache.layers, other.layers, strict=True))
    for ours, theirs in pairs:
        ours.keys, ours.values = (
            torch.cat([_widened(part, columns) for part in parts])
            for parts in ((ours.keys, theirs.keys), (ours.values, theirs.values))
            for columns in [max(part.shape[2] for part in parts)]
        )


def _widened(part: torch.Tensor, columns: int) -> torch.Tensor:
    return torch.nn.functional.pad(part, (0, 0, columns - part.shape[2], 0))
