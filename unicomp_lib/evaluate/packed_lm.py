"""A faster ``HFLM`` of lm-eval: all options of an item in one sequence, shared prefixes computed once."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from tqdm.auto import tqdm
from transformers.cache_utils import Cache

from unicomp_lib.evaluate import greedy, packable, prefix

VERSION = "4"

Request = tuple[tuple[str, str], list[int], list[int]]
Group = tuple[tuple[int, ...], list[tuple[int, list[int]]]]

# Tokens of one batch, padding included. The cost of attention over a packed row grows with the square of its
# length: 16 rows of 1,500 tokens took 121 s in one batch on a CPU core, and 26 s in small batches.
BATCH_TOKENS = {"cpu": 2048, "mps": 8192}
OF_ACCELERATORS = 32_768

CONTEXT = 8192  # tokens of prompt and answer, as in UniComp, where a model has as many positions


class PackedLM(HFLM):
    """lm-eval's ``HFLM``, faster: shared prompts are computed once, and finished answers leave the batch.

    Ranking: plain ``HFLM`` computes the prompt again for every option. Here a row is ``prompt, option 1,
    option 2, ...``; each option's positions start where the prompt ends and its tokens attend to
    the prompt and to themselves only, so the log-likelihoods are those of separate sequences.
    Prompts with a common prefix, such as the same worked examples, also share its keys and
    values. Rows are sorted by length, padded on the left and batched, and logits are
    computed for the last prompt token and the options alone. Where packing would not be exact (``packable``),
    and for rows longer than a model's window, options are ranked as ``HFLM`` does.

    Generating: see ``greedy``. ``endings`` holds, by prompt, how each answer ended.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._max_length = min(self.max_length, CONTEXT)
        self.endings: dict[str, greedy.Ending] = {}
        self._packs_up_to: int | None = None

    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        groups: dict[tuple[int, ...], list[tuple[int, list[int]]]] = defaultdict(list)
        plain: list[int] = []
        longest = self._longest()
        for index, (_, prompt, option) in enumerate(requests):
            # As in HFLM, a pair that is too long loses prompt tokens from the left.
            room = self.max_length + 1 - len(option)
            if min(len(prompt), room) + len(option) - 1 > longest:
                plain.append(index)
            else:
                groups[tuple(prompt[-room:])].append((index, option))
        answers: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        if plain:
            ranked = super()._loglikelihood_tokens([requests[index] for index in plain], disable_tqdm, override_bs)
            for index, answer in zip(plain, ranked, strict=True):
                answers[index] = answer
        with tqdm(total=len(groups), disable=disable_tqdm, desc="ranking", unit="item", mininterval=5) as bar:
            for rows in _by_prefix(list(groups.items())):
                start = prefix.shared([prompt for prompt, _ in rows])
                cache = prefix.read(self.model, rows[0][0][:start]) if start else None
                start = start if cache is not None else 0
                rest = sorted(((prompt[start:], options) for prompt, options in rows), key=_length, reverse=True)
                for batch in self._batches([_length(row) for row in rest], override_bs):
                    for index, answer in self._score(rest[batch], cache):
                        answers[index] = answer
                    bar.update(batch.stop - batch.start)
        return answers

    def _longest(self) -> int:
        """Tokens up to which a packed row is exact; asked of the model once, and said where that is never."""
        if self._packs_up_to is None:
            reason = packable.obstacle(self.model)
            self._packs_up_to = 0 if reason else packable.longest(self.model)
            if reason:
                print(f"{type(self.model).__name__}: options are ranked one by one, since {reason}")
        return self._packs_up_to

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Plainly greedy answers (see ``greedy``); a task that asks for sampling is left to ``HFLM``."""
        if not all(greedy.applies(self.model, request.args[1]) for request in requests):
            with greedy.plainly(self.model):
                return list(super().generate_until(requests, disable_tqdm))
        texts: list[str] = [""] * len(requests)
        with tqdm(total=len(requests), disable=disable_tqdm, desc="generating", unit="item", mininterval=5) as bar:
            for settings in {str(request.args[1]): request.args[1] for request in requests}.values():
                indices = [index for index, request in enumerate(requests) if request.args[1] == settings]
                prompts = greedy.encoded(self, [requests[index].args[0] for index in indices], settings)
                order = sorted(zip(prompts, indices, strict=True), key=lambda pair: -len(pair[0]))
                for batch in self._batches([len(prompt) for prompt, _ in order]):
                    answers = greedy.answer(self, [prompt for prompt, _ in order[batch]], settings)
                    for (_, index), ending in zip(order[batch], answers, strict=True):
                        texts[index] = ending.text
                        self.endings[requests[index].args[0]] = ending
                    bar.update(len(answers))
        return texts

    def _batches(self, lengths: list[int], rows: int | None = None) -> Iterator[slice]:
        return _batches(lengths, rows or int(self.batch_size), BATCH_TOKENS.get(self.device.type, OF_ACCELERATORS))

    @torch.no_grad()
    def _score(self, rows: list[Group], shared: Cache | None = None) -> list[tuple[int, tuple[float, bool]]]:
        before = 0 if shared is None else shared.get_seq_length()
        packed = [_pack(prompt, [option for _, option in options]) for prompt, options in rows]
        width = max(len(row["tokens"]) for row in packed)
        batch = [_pad(row, width, before) for row in packed]
        mask = torch.stack([row["mask"] for row in batch]).unsqueeze(1)
        keep = width - min(row["start"] for row in batch)
        # A float mask: 0 where attention is allowed, the lowest number elsewhere. Not -inf, since a
        # row of padding would then be all -inf and its NaN would spread through the values.
        dtype = self.model.dtype
        bias = torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)
        logits = self.model(
            input_ids=torch.stack([row["tokens"] for row in batch]).to(self.device),
            attention_mask=bias.to(self.device),
            position_ids=torch.stack([row["positions"] for row in batch]).to(self.device),
            past_key_values=prefix.repeated(shared, len(rows)),
            use_cache=shared is not None,
            logits_to_keep=keep,
        ).logits
        answers = []
        for row, (_, options), scores in zip(batch, rows, logits, strict=True):
            logprobs = scores[row["start"] - width :].float().log_softmax(-1)
            offset = 1
            for request, option in options:
                # The first token of an option is predicted by the prompt's last, at row 0.
                predictors = torch.tensor([0, *range(offset, offset + len(option) - 1)], device=logprobs.device)
                target = torch.tensor(option, device=logprobs.device)
                chosen = logprobs[predictors]
                total = chosen.gather(-1, target.unsqueeze(-1)).sum().item()
                answers.append((request, (total, bool((chosen.argmax(-1) == target).all()))))
                offset += len(option) - 1
        return answers


def _by_prefix(rows: list[Group]) -> list[list[Group]]:
    """Groups of rows that begin with the same ``prefix.SHORTEST`` tokens; the rows that share none form one group."""
    groups: dict[tuple[int, ...], list[Group]] = defaultdict(list)
    for row in rows:
        groups[row[0][: prefix.SHORTEST]].append(row)
    shared = [group for start, group in groups.items() if len(group) > 1 and len(start) == prefix.SHORTEST]
    rest = [row for start, group in groups.items() if len(group) == 1 or len(start) < prefix.SHORTEST for row in group]
    return [*shared, *([rest] if rest else [])]


def _length(group: Group) -> int:
    prompt, options = group
    return len(prompt) + sum(len(option) - 1 for _, option in options)


def _batches(lengths: list[int], size: int, tokens: int) -> Iterator[slice]:
    """Cut rows, longest first, into batches of at most ``size`` rows and ``tokens`` tokens."""
    start = 0
    while start < len(lengths):
        step = max(1, min(size, tokens // max(lengths[start], 1)))
        yield slice(start, min(start + step, len(lengths)))
        start += step


def _pack(prompt: tuple[int, ...], options: list[list[int]]) -> dict[str, Any]:
    """Tokens, positions and mask of one row. An option's last token is never an input, so left out."""
    tokens, positions = list(prompt), list(range(len(prompt)))
    segments = [0] * len(prompt)
    for number, option in enumerate(options, start=1):
        tokens += option[:-1]
        positions += range(len(prompt), len(prompt) + len(option) - 1)
        segments += [number] * (len(option) - 1)
    segment = torch.tensor(segments)
    causal = torch.ones(len(tokens), len(tokens), dtype=torch.bool).tril()
    visible = (segment[:, None] == segment[None, :]) | (segment[None, :] == 0)
    return {"tokens": tokens, "positions": positions, "mask": causal & visible, "start": len(prompt) - 1}


def _pad(row: dict[str, Any], width: int, before: int) -> dict[str, Any]:
    """Pad on the left, after ``before`` shared tokens; padding attends only to itself, and nothing attends to it."""
    padding = width - len(row["tokens"])
    mask = torch.eye(width, before + width, dtype=torch.bool).roll(before, dims=1)
    mask[padding:, :before] = True
    mask[padding:, before + padding :] = row["mask"]
    return {
        "tokens": torch.tensor([0] * padding + row["tokens"]),
        "positions": torch.tensor([0] * padding + [before + position for position in row["positions"]]),
        "mask": mask,
        "start": row["start"] + padding,
    }
