"""Ranking options fast: all options of an item in one sequence behind their shared prompt."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from tqdm import tqdm

VERSION = "1"

Request = tuple[tuple[str, str], list[int], list[int]]
Group = tuple[tuple[int, ...], list[tuple[int, list[int]]]]

# Tokens of one batch, padding included. Attention over a packed row costs the square of its
# length: 16 rows of 1,500 tokens took 121 s in one batch on a CPU core, and 26 s in small ones.
BATCH_TOKENS = 2048


class PackedLM(HFLM):
    """lm-eval's ``HFLM``, scoring the options of one prompt in one packed sequence.

    Plain ``HFLM`` reads the prompt again for every option. Here a row is ``prompt, option 1,
    option 2, ...``; each option's positions start where the prompt ends and its tokens attend to
    the prompt and to themselves only, so the log-likelihoods are those of separate sequences.
    Rows are sorted by length, padded on the left and batched, and logits are computed for the
    last prompt token and the options alone.
    """

    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        groups: dict[tuple[int, ...], list[tuple[int, list[int]]]] = defaultdict(list)
        for place, (_, prompt, option) in enumerate(requests):
            # As HFLM: too long a pair loses tokens of the prompt, from the left.
            room = self.max_length + 1 - len(option)
            groups[tuple(prompt[-room:])].append((place, option))
        rows = sorted(groups.items(), key=lambda group: -_length(group))
        answers: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        with tqdm(total=len(rows), disable=disable_tqdm, desc="ranking", unit="item", mininterval=5) as bar:
            for batch in _batches(rows, override_bs or int(self.batch_size)):
                for place, answer in self._score(batch):
                    answers[place] = answer
                bar.update(len(batch))
        return answers

    @torch.no_grad()
    def _score(self, rows: list[Group]) -> list[tuple[int, tuple[float, bool]]]:
        packed = [_pack(prompt, [option for _, option in options]) for prompt, options in rows]
        width = max(len(row["tokens"]) for row in packed)
        batch = [_pad(row, width) for row in packed]
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
            use_cache=False,
            logits_to_keep=keep,
        ).logits
        found = []
        for row, (_, options), scores in zip(batch, rows, logits, strict=True):
            logprobs = scores[row["start"] - width :].float().log_softmax(-1)
            place = 1
            for request, option in options:
                # The first token of an option is predicted by the prompt's last, at row 0.
                at = torch.tensor([0, *range(place, place + len(option) - 1)], device=logprobs.device)
                target = torch.tensor(option, device=logprobs.device)
                chosen = logprobs[at]
                total = chosen.gather(-1, target.unsqueeze(-1)).sum().item()
                found.append((request, (total, bool((chosen.argmax(-1) == target).all()))))
                place += len(option) - 1
        return found


def _length(group: Group) -> int:
    prompt, options = group
    return len(prompt) + sum(len(option) - 1 for _, option in options)


def _batches(rows: list[Group], size: int) -> Iterator[list[Group]]:
    """Cut rows, longest first, into batches of at most ``size`` rows and ``BATCH_TOKENS`` tokens."""
    start = 0
    while start < len(rows):
        step = max(1, min(size, BATCH_TOKENS // _length(rows[start])))
        yield rows[start : start + step]
        start += step


def _pack(prompt: tuple[int, ...], options: list[list[int]]) -> dict[str, Any]:
    """Tokens, positions and mask of one row. An option's last token is never read, so left out."""
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


def _pad(row: dict[str, Any], width: int) -> dict[str, Any]:
    """Pad on the left; padding attends to itself only, and nothing attends to it."""
    empty = width - len(row["tokens"])
    mask = torch.eye(width, dtype=torch.bool)
    mask[empty:, empty:] = row["mask"]
    return {
        "tokens": torch.tensor([0] * empty + row["tokens"]),
        "positions": torch.tensor([0] * empty + row["positions"]),
        "mask": mask,
        "start": row["start"] + empty,
    }
