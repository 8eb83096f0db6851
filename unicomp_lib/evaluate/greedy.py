"""Greedy decoding in batches that shrink as answers end.

One rule holds for every variant of a model: tasks are decoded plainly greedy, each token the most
likely one, whatever the generation settings of a checkpoint say of sampling or penalties; only a
task's own ``generation_kwargs`` ask for anything else. An answer ends at the end tokens that the
generation settings list, at the tokenizer's, and at the task's stop strings.
"""

import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from transformers import GenerationConfig
from transformers.cache_utils import Cache, DynamicCache

from unicomp_lib.evaluate import prefix

if TYPE_CHECKING:
    from lm_eval.models.huggingface import HFLM

VERSION = "2"

# What of a task's settings leaves greedy answers as they are: limits, and options of sampling only.
HARMLESS = {"until", "max_gen_toks", "max_new_tokens", "do_sample", "temperature", "top_k", "top_p", "min_p"}
OFF = (None, False, 0, 1, 1.0, "")  # values that ask for nothing: one beam, a penalty of one


@dataclass(frozen=True)
class Ending:
    """An answer, its length in tokens, whether it was cut off at the limit, and whether its logits were numbers."""

    text: str
    tokens: int
    truncated: bool
    finite: bool = True


def applies(model: Any, settings: dict[str, Any]) -> bool:
    """Whether a task's settings ask for plain greedy decoding; the ``model``'s own have no say."""
    if settings.get("do_sample") or settings.get("temperature"):
        return False
    return all(value in OFF for key, value in settings.items() if key not in HARMLESS)


@contextmanager
def plainly(model: Any) -> Iterator[None]:
    """Within it, ``model.generate`` follows what it is told, and of the model's own settings its special tokens only.

    For requests to which ``applies`` says no: they are decoded by lm-eval as their task asks.
    """
    own = model.generation_config
    special = {key: value for key, value in own.to_dict().items() if key.endswith("_token_id") and value is not None}
    kept = ("bos_token_id", "decoder_start_token_id", "eos_token_id", "pad_token_id")
    model.generation_config = GenerationConfig(**{key: special[key] for key in kept if key in special})
    try:
        yield
    finally:
        model.generation_config = own


def encoded(lm: "HFLM", prompts: list[str], settings: dict[str, Any]) -> list[list[int]]:
    """Tokens of prompts, truncated on the left where the model's context would leave no room for an answer.

    A ``ValueError`` says where the longest answer alone fills that context.
    """
    longest = normalize_gen_kwargs(dict(settings), lm.max_gen_toks)["max_gen_toks"]
    room = lm.max_length - longest
    if room < 1:
        raise ValueError(
            f"answers of up to {longest} tokens do not fit this model's context of {lm.max_length}; take a model with "
            "a longer one, or leave out the task"
        )
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
    ends = _ends(lm)
    written: list[list[int]] = [[] for _ in prompts]
    ended, finite = [False] * len(prompts), [True] * len(prompts)
    running = list(range(len(prompts)))
    positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
    for _ in range(limit):
        logits = lm.model(
            input_ids=tokens, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True,
            logits_to_keep=1,
        ).logits  # fmt: skip
        tokens = logits[:, -1].argmax(-1, keepdim=True)
        highest = logits[:, -1].gather(-1, tokens)[:, 0].tolist()  # NaN where any logit is
        for row, token, logit in zip(running, tokens[:, 0].tolist(), highest, strict=True):
            if not ended[row]:
                written[row].append(token)
                finite[row] = math.isfinite(logit)
                ended[row] = token in ends or not finite[row] or _stopped(lm, written[row], stops)
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
    return [
        Ending(text, len(row), truncated=not end, finite=number)
        for text, row, end, number in zip(texts, written, ended, finite, strict=True)
    ]


def _ends(lm: "HFLM") -> set[int]:
    """The tokens at which an answer ends: those of the model's generation settings and the tokenizer's."""
    known = lm.model.generation_config.eos_token_id
    return {lm.eot_token_id, *(known if isinstance(known, list) else [] if known is None else [known])}


def _begin(lm: "HFLM", prompts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor, Cache]:
    """Tokens still to be read, padded on the left; the mask of whole rows; keys and values of the tokens read."""
    # Padding stands between the prefix and the rest, which a model that counts positions itself would count.
    start = prefix.shared(prompts) if "position_ids" in inspect.signature(lm.model.forward).parameters else 0
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
