"""Greedy decoding in batches that shrink as answers end."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from transformers.cache_utils import Cache, DynamicCache

from unicomp_lib.evaluate import prefix

if TYPE_CHECKING:
    from lm_eval.models.huggingface import HFLM

VERSION = "1"


@dataclass(frozen=True)
class Ending:
    """An answer, its length in tokens, and whether it was cut off at the limit."""

    text: str
    tokens: int
    truncated: bool


def applies(model: Any, settings: dict[str, Any]) -> bool:
    """Whether the settings of a request and of the model ask for plain greedy decoding."""
    config = model.generation_config
    penalized = getattr(config, "repetition_penalty", None) not in (None, 1.0)
    return not (settings.get("do_sample") or settings.get("temperature") or penalized)


def encoded(lm: "HFLM", prompts: list[str], settings: dict[str, Any]) -> list[list[int]]:
    """Tokens of prompts, truncated on the left where the model's context would leave no room for an answer."""
    room = lm.max_length - normalize_gen_kwargs(dict(settings), lm.max_gen_toks)["max_gen_toks"]
    return [lm.tok_batch_encode([prompt], left_truncate_len=room)[0][0].tolist() for prompt in prompts]


@torch.no_grad()
def answer(lm: "HFLM", prompts: list[list[int]], settings: dict[str, Any]) -> list[Ending]:
    """Answers to one batch of tokenized prompts, the same as ``HFLM.generate_until`` gives in float32.

    ``settings`` are a task's ``generation_kwargs``: ``until``, the strings at which an answer
    ends, and ``max_gen_toks``.
    """
    eos = lm.tok_decode(lm.eot_token_id, skip_special_tokens=False)
    kwargs = normalize_gen_kwargs(dict(settings), lm.max_gen_toks)
    stops, limit = handle_stop_sequences(list(kwargs["until"]), eos=eos), int(kwargs["max_gen_toks"])
    tokens, mask, cache = _begin(lm, prompts)
    ends = lm.model.generation_config.eos_token_id
    ends = {lm.eot_token_id, *(ends if isinstance(ends, list) else [ends])}
    written: list[list[int]] = [[] for _ in prompts]
    ended = [False] * len(prompts)
    running = list(range(len(prompts)))
    positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
    for _ in range(limit):
        logits = lm.model(
            input_ids=tokens, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True,
            logits_to_keep=1,
        ).logits  # fmt: skip
        tokens = logits[:, -1].argmax(-1, keepdim=True)
        for row, token in zip(running, tokens[:, 0].tolist(), strict=True):
            if not ended[row]:
                written[row].append(token)
                ended[row] = token in ends or _stopped(lm, written[row], stops)
        unfinished = [index for index, row in enumerate(running) if not ended[row]]
        if not unfinished:
            break
        positions, mask = positions[:, -1:] + 1, torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        if len(unfinished) <= 0.75 * len(running):  # shrinking copies the keys and values of the remaining rows
            keep = torch.tensor(unfinished, device=lm.device)
            cache.batch_select_indices(keep)
            tokens, positions, mask = tokens[keep], positions[keep], mask[keep]
            running = [running[index] for index in unfinished]
    texts = [postprocess_generated_text(lm.tok_decode(row), stops, None) for row in written]
    return [Ending(text, len(row), truncated=not end) for text, row, end in zip(texts, written, ended, strict=True)]


def _begin(lm: "HFLM", prompts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor, Cache]:
    """Tokens still to be read, padded on the left; the mask of whole rows; keys and values of the tokens read."""
    start = prefix.shared(prompts)
    cache = prefix.repeated(prefix.read(lm.model, prompts[0][:start]), len(prompts)) if start else None
    start = start if cache is not None else 0
    width = max(map(len, prompts)) - start
    tokens = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.ones(len(prompts), start + width, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        padding = width - (len(prompt) - start)
        tokens[row, padding:] = torch.tensor(prompt[start:])
        mask[row, start : start + padding] = 0
    cache = DynamicCache(config=lm.model.config) if cache is None else cache
    return tokens.to(lm.device), mask.to(lm.device), cache


def _stopped(lm: "HFLM", tokens: list[int], stops: list[str]) -> bool:
    # Only the end is decoded: a stop string spans no more tokens than it has letters.
    end = lm.tok_decode(tokens[-max(map(len, stops)) - 1 :], skip_special_tokens=False)
    return any(stop in end for stop in stops)
