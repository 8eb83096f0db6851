"""Greedy decoding in batches that shrink as answers end.

One rule holds for every variant of a model: tasks are decoded plainly greedy, each token the most
likely one, whatever the generation settings of a checkpoint say of sampling or penalties; only a
task's own ``generation_kwargs`` ask for anything else. An answer ends at the end tokens that the
generation settings list, at the tokenizer's, and at the task's stop strings.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from transformers import GenerationConfig
from transformers.cache_utils import Cache, DynamicCache

from unicomp_lib.evaluate import prefix

if TYPE_CHECKING:
    from lm_eval.models.huggingface import HFLM

VERSION = "3"

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


class Asked(NamedTuple):
    """A tokenized prompt, the strings at which its answer stops, and its most tokens."""

    prompt: tuple[int, ...]
    stops: tuple[str, ...]
    limit: int


class Read(NamedTuple):
    """A batch of prompts that a model has read, one a row."""

    logits: torch.Tensor  # (rows, vocabulary), of the first token of each answer
    mask: torch.Tensor  # (rows, columns) of the cache: 1 for what an answer attends to, 0 for padding and the like
    positions: torch.Tensor  # (rows, 1), of the first token of each answer
    cache: Cache


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


def asked(lm: "HFLM", text: str, settings: dict[str, Any]) -> Asked:
    """A prompt as asked by a task's ``generation_kwargs``, of which ``until`` and ``max_gen_toks`` count.

    It is truncated on the left where the model's context would leave no room for the answer. A ``ValueError`` says
    where the longest answer alone fills that context.
    """
    kwargs = normalize_gen_kwargs(dict(settings), lm.max_gen_toks)
    limit = int(kwargs["max_gen_toks"])
    room = lm.max_length - limit
    if room < 1:
        raise ValueError(
            f"answers of up to {limit} tokens do not fit this model's context of {lm.max_length}; take a model with "
            "a longer one, or leave out the task"
        )
    eos = lm.tok_decode(lm.eot_token_id, skip_special_tokens=False)
    stops = handle_stop_sequences(list(kwargs["until"]), eos=eos)
    tokens = lm.tok_batch_encode([text], left_truncate_len=room)[0][0].tolist() if text else [lm.prefix_token_id]
    return Asked(tuple(tokens), tuple(stops), limit)


class Decoding:
    """Answers being written, one a row: rows join when their prompt has been read and leave when they end.

    On a CPU a step costs 59 ms with one row, 76 ms with 8 and 102 ms with 16 (135 million weights in bfloat16, one
    core), so that others join those that go on.
    """

    def __init__(self, lm: "HFLM") -> None:
        self.lm = lm
        self.rows: list[_Row] = []
        self._read: Read | None = None
        self._ends = _ends(lm)

    def add(self, read: Read, asked: dict[int, Asked]) -> None:
        """Let the rows of ``read`` join, with what was asked of each by an index that ``step`` gives back.

        Behind others only for models of which ``prefix.keeps`` is true. The cache is used up.
        """
        if self._read is not None:
            self._keep([index for index, row in enumerate(self.rows) if not row.done])
        self._read = read if self._read is None else _joined(self._read, read)
        self.rows += [_Row(index, one, []) for index, one in asked.items()]

    @torch.no_grad()
    def step(self) -> dict[int, Ending]:
        """Write a token of every answer, and return those that end with it."""
        assert self._read is not None
        logits, mask, positions, cache = self._read
        tokens = logits.argmax(-1, keepdim=True)
        highest = logits.gather(-1, tokens)[:, 0].tolist()  # NaN where any logit is
        endings = {}
        for row, token, logit in zip(self.rows, tokens[:, 0].tolist(), highest, strict=True):
            if not row.done:
                row.written.append(token)
                finite = math.isfinite(logit)
                end = token in self._ends or not finite or _stopped(self.lm, row.written, row.asked.stops)
                row.done = end or len(row.written) >= row.asked.limit
                if row.done:
                    text = postprocess_generated_text(self.lm.tok_decode(row.written), list(row.asked.stops), None)
                    endings[row.index] = Ending(text, len(row.written), truncated=not end, finite=finite)
        live = [index for index, row in enumerate(self.rows) if not row.done]
        if not live:
            self.rows, self._read = [], None
            return endings
        if len(live) <= 0.75 * len(self.rows):  # to leave copies the keys and values of the rows that stay
            self._keep(live)
            tokens, mask, positions = tokens[live], self._read.mask, self._read.positions
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        logits = self.lm.model(
            input_ids=tokens, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]  # fmt: skip
        self._read = Read(logits, mask, positions + 1, cache)
        return endings

    def _keep(self, rows: list[int]) -> None:
        if self._read is None or len(rows) == len(self.rows):
            return
        logits, mask, positions, cache = self._read
        prefix.select(cache, rows)
        self._read = Read(logits[rows], mask[rows], positions[rows], cache)
        self.rows = [self.rows[index] for index in rows]


@dataclass
class _Row:
    index: int
    asked: Asked
    written: list[int]
    done: bool = False


def answer(lm: "HFLM", asked: dict[int, Asked]) -> dict[int, Ending]:
    """Answers to one batch of prompts, the same as ``HFLM.generate_until`` gives in float32."""
    decoding = Decoding(lm)
    decoding.add(_read(lm, [one.prompt for one in asked.values()]), asked)
    endings: dict[int, Ending] = {}
    while decoding.rows:
        endings |= decoding.step()
    return endings


def _joined(one: Read, other: Read) -> Read:
    """The rows of both, the shorter ones padded on the left."""
    columns = max(one.mask.shape[1], other.mask.shape[1])
    masks = [torch.nn.functional.pad(read.mask, (columns - read.mask.shape[1], 0)) for read in (one, other)]
    prefix.join(one.cache, other.cache)
    return Read(
        torch.cat([one.logits, other.logits]), torch.cat(masks), torch.cat([one.positions, other.positions]), one.cache
    )


def _ends(lm: "HFLM") -> set[int]:
    """The tokens at which an answer ends: those of the model's generation settings and the tokenizer's."""
    known = lm.model.generation_config.eos_token_id
    return {lm.eot_token_id, *(known if isinstance(known, list) else [] if known is None else [known])}


@torch.no_grad()
def _read(lm: "HFLM", prompts: list[tuple[int, ...]]) -> Read:
    width = max(map(len, prompts))
    tokens = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.zeros(len(prompts), width, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        tokens[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    tokens, mask, cache = tokens.to(lm.device), mask.to(lm.device), DynamicCache(config=lm.model.config)
    positions = mask.cumsum(-1) - 1
    logits = lm.model(
        input_ids=tokens, attention_mask=mask, position_ids=positions.clamp(min=0), past_key_values=cache,
        use_cache=True, logits_to_keep=1,
    ).logits[:, -1]  # fmt: skip
    return Read(logits, mask, positions[:, -1:] + 1, cache)


def _stopped(lm: "HFLM", tokens: list[int], stops: tuple[str, ...]) -> bool:
    # Only the end is decoded: a stop string spans no more tokens than it has letters.
    end = lm.tok_decode(tokens[-max(map(len, stops)) - 1 :], skip_special_tokens=False)
    return any(stop in end for stop in stops)
