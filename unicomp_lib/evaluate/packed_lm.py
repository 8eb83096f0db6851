"""A faster ``HFLM`` of lm-eval: a prompt is read once for all that is asked of it, a shared beginning once for all."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tqdm.auto import tqdm
from transformers.cache_utils import Cache, DynamicCache

from unicomp_lib.evaluate import greedy, packable, prefix

VERSION = "5"

Request = tuple[tuple[str, str], list[int], list[int]]
Likelihood = tuple[float, bool]

# Tokens of one batch, padding included. The cost of attention over a packed row grows with the square of its
# length: 16 rows of 1,500 tokens took 121 s in one batch on a CPU core, and 26 s in small batches.
BATCH_TOKENS = {"cpu": 2048, "mps": 8192}
OF_ACCELERATORS = 32_768

# What a call of the model costs beside its tokens, in tokens. On a CPU core a call with 32 tokens takes 97 ms, one
# with 256 takes 430 ms and one with 2,048 takes 2.7 s.
CALL = {"cpu": 40}
CALL_OF_ACCELERATORS = 1024

# Tokens of options in one row. 2,831 tokens of options behind one prompt of 8 took 15 s in one row, 4 s in rows of 256.
ROW = 256

CONTEXT = 8192  # tokens of prompt and answer, as in UniComp, where a model has as many positions


class Row(NamedTuple):
    """A prompt, the options ranked behind it, each with its request's index, and the indices of answers asked for."""

    prompt: tuple[int, ...]
    options: list[tuple[int, list[int]]]
    answers: list[int]


class PackedLM(HFLM):
    """lm-eval's ``HFLM``, faster: a prompt is read once for all that is asked of it.

    ``read`` answers requests of both kinds together, such as the letters of an item, the likelihood of its reference
    and an answer in words; lm-eval's own methods then give these answers. They also work alone.

    Ranking: plain ``HFLM`` computes the prompt again for every option. Here a row is ``prompt, option 1,
    option 2, ...``; each option's positions start where the prompt ends and its tokens attend to
    the prompt and to themselves only, so the log-likelihoods are those of separate sequences. Where packing would
    not be exact (``packable``), and for rows longer than a model's window, options are ranked as ``HFLM`` does.

    Generating: see ``greedy``. An answer goes on from the keys and values of its prompt's row. ``endings`` holds, by
    prompt, how each answer ended that ``generate_until`` gave last.

    Beginnings that prompts share are read once too (``prefix``). Models that do not hold the keys and values of all
    tokens share none, and read prompts once to rank and once to generate. Rows are sorted by length, padded on the
    left and cut into batches with little padding; logits are computed for the last prompt token and the options alone.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._max_length = min(self.max_length, CONTEXT)
        self.endings: dict[str, greedy.Ending] = {}
        self._likelihoods: dict[tuple[str, ...], Likelihood] = {}
        self._answers: dict[tuple[str, str], greedy.Ending] = {}
        self._packs_up_to: int | None = None
        self._keeps: bool | None = None

    def read(self, requests: list[Instance]) -> None:
        """Answer requests, reading each prompt once; ``loglikelihood`` and ``generate_until`` then give the answers.

        Those of an earlier call are forgotten. A request of another kind, with sampling or with an empty prompt is left
        to be answered when lm-eval asks.
        """
        ranked = [one for one in requests if one.request_type == "loglikelihood" and one.args[0]]
        generated = [
            one
            for one in requests
            if one.request_type == "generate_until" and greedy.applies(self.model, one.args[1]) and one.args[0]
        ]
        pairs = [(one.args, *self._encode_pair(*one.args)) for one in ranked]
        asked = [greedy.asked(self, *one.args) for one in generated]
        self._likelihoods, self._answers = {}, {}
        likelihoods, endings = self._answered(pairs, asked)
        self._likelihoods = dict(zip((one.args for one in ranked), likelihoods, strict=True))
        self._answers = dict(zip(map(_key, generated), endings, strict=True))

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[Likelihood]:
        """Log-likelihood of each continuation, and whether it is the greedy one."""
        if all(one.args in self._likelihoods for one in requests):
            return [self._likelihoods[one.args] for one in requests]
        return list(super().loglikelihood(requests, disable_tqdm=disable_tqdm))

    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[Likelihood]:
        return self._answered(requests, [], disable_tqdm, override_bs)[0]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Plainly greedy answers (see ``greedy``); a task that asks for sampling is left to ``HFLM``."""
        if not all(greedy.applies(self.model, one.args[1]) for one in requests):
            with greedy.plainly(self.model):
                return list(super().generate_until(requests, disable_tqdm))
        if all(_key(one) in self._answers for one in requests):
            endings = [self._answers[_key(one)] for one in requests]
        else:
            asked = [greedy.asked(self, *one.args) for one in requests]
            endings = self._answered([], asked, disable_tqdm)[1]
        self.endings |= {one.args[0]: ending for one, ending in zip(requests, endings, strict=True)}
        return [ending.text for ending in endings]

    def _answered(
        self, ranked: list[Request], asked: list[greedy.Asked], quiet: bool = False, size: int | None = None
    ) -> tuple[list[Likelihood], list[greedy.Ending]]:
        """Log-likelihoods of ``ranked`` options and the answers ``asked`` for, in their order."""
        likelihoods: dict[int, Likelihood] = {}
        endings: dict[int, greedy.Ending] = {}
        decoding = greedy.Decoding(self)
        keeps = self._keeps_all()
        rows, plain = self._rows(ranked, asked if keeps else [])
        if plain:
            found = super()._loglikelihood_tokens([ranked[index] for index in plain], quiet, size)
            likelihoods |= zip(plain, found, strict=True)
        kind = "reading" if ranked and asked else "ranking" if ranked else "generating"
        with tqdm(total=len(rows), disable=quiet or not rows, desc=kind, unit="prompt", mininterval=5) as bar:
            for batch, shared in self._planned(rows, size):
                wanted = {index: asked[index] for row in batch for index in row.answers}
                while wanted and decoding.rows and len(decoding.rows) + len(wanted) > (size or int(self.batch_size)):
                    endings |= decoding.step()
                scored, read = self._read(batch, shared)
                likelihoods |= scored
                if read is not None:
                    decoding.add(read, wanted)
                bar.update(len(batch))
            while decoding.rows:
                endings |= decoding.step()
        if not keeps:
            endings |= self._apart(asked, quiet)
        return [likelihoods[index] for index in range(len(ranked))], [endings[index] for index in range(len(asked))]

    def _apart(self, asked: list[greedy.Asked], quiet: bool) -> dict[int, greedy.Ending]:
        """Answers of a model that shares nothing between prompts."""
        order = sorted(range(len(asked)), key=lambda index: -len(asked[index].prompt))
        endings: dict[int, greedy.Ending] = {}
        with tqdm(total=len(order), disable=quiet or not order, desc="generating", unit="prompt", mininterval=5) as bar:
            for part in self._batches([len(asked[index].prompt) for index in order]):
                endings |= greedy.answer(self, {index: asked[index] for index in order[part]})
                bar.update(part.stop - part.start)
        return endings

    def _rows(self, ranked: list[Request], asked: list[greedy.Asked]) -> tuple[list[Row], list[int]]:
        """What is asked of each prompt, and the indices of options that are ranked as ``HFLM`` does."""
        rows: dict[tuple[int, ...], Row] = {}
        plain: list[int] = []
        longest = self._longest() if ranked else 0
        for index, (_, prompt, option) in enumerate(ranked):
            # As in HFLM, a pair that is too long loses prompt tokens from the left.
            room = self.max_length + 1 - len(option)
            if min(len(prompt), room) + len(option) - 1 > longest:
                plain.append(index)
            else:
                kept = tuple(prompt[-room:])
                rows.setdefault(kept, Row(kept, [], [])).options.append((index, option))
        for index, one in enumerate(asked):
            rows.setdefault(one.prompt, Row(one.prompt, [], [])).answers.append(index)
        return [part for row in rows.values() for part in _parts(row)], plain

    def _longest(self) -> int:
        """Tokens up to which a packed row is exact; asked of the model once, and said where that is never."""
        if self._packs_up_to is None:
            reason = packable.obstacle(self.model)
            self._packs_up_to = 0 if reason else packable.longest(self.model)
            if reason:
                print(f"{type(self.model).__name__}: options are ranked one by one, since {reason}")
        return self._packs_up_to

    def _keeps_all(self) -> bool:
        if self._keeps is None:
            self._keeps = prefix.keeps(self.model)
        return self._keeps

    def _planned(self, rows: list[Row], size: int | None) -> Iterator[tuple[list[Row], Cache | None]]:
        """Batches of rows, each with the keys and values of the beginning that its rows share."""
        prompts = [row.prompt for row in rows]
        whole = prefix.tree(prompts) if self._keeps_all() else prefix.Node((), list(range(len(rows))), [])
        waiting: list[tuple[prefix.Node, int, Cache | None]] = [(whole, 0, None)]
        while waiting:
            node, start, shared = waiting.pop()
            end = len(node.beginning)
            if end:
                shared = prefix.read(self.model, node.beginning[start:], shared)
            part = sorted((rows[index] for index in node.prompts), key=_length, reverse=True)
            most = size or int(self.batch_size)
            if any(row.answers for row in part):  # half of them, so that some join while others are being answered
                most = max(1, most // 2)
            for batch in self._batches([_length(row) - end for row in part], most):
                yield part[batch], shared
            waiting += [(child, end, shared) for child in node.parts]

    def _batches(self, lengths: list[int], rows: int | None = None) -> Iterator[slice]:
        kind = self.device.type
        tokens, call = BATCH_TOKENS.get(kind, OF_ACCELERATORS), CALL.get(kind, CALL_OF_ACCELERATORS)
        return _batches(lengths, rows or int(self.batch_size), tokens, call)

    @torch.no_grad()
    def _read(self, rows: list[Row], shared: Cache | None) -> tuple[dict[int, Likelihood], greedy.Read | None]:
        """Log-likelihoods of a batch's options, and where answers are asked for, its prompts as read."""
        before = 0 if shared is None else shared.get_seq_length()
        packed = [_pack(row.prompt[before:], [option for _, option in row.options]) for row in rows]
        segments = _padded([row.segments for row in packed], PADDING).to(self.device)
        tails = [len(row.tokens) - len(prompt.prompt) + before + 1 for row, prompt in zip(packed, rows, strict=True)]
        cache = prefix.repeated(shared, len(rows)) if shared is not None else None
        if cache is None and any(row.answers for row in rows):
            cache = DynamicCache(config=self.model.config)
        logits = self.model(
            input_ids=_padded([row.tokens for row in packed], 0).to(self.device),
            attention_mask=_mask(segments, before, self.model.dtype),
            position_ids=(_padded([row.positions for row in packed], -before) + before).to(self.device),
            past_key_values=cache,
            use_cache=cache is not None,
            logits_to_keep=max(tails),
        ).logits
        likelihoods: dict[int, Likelihood] = {}
        for row, scores, tail in zip(rows, logits, tails, strict=True):
            likelihoods |= _scored(row.options, scores[-tail:])
        chosen = [index for index, row in enumerate(rows) for _ in row.answers]
        if not chosen or cache is None:
            return likelihoods, None
        if chosen != list(range(len(rows))):
            prefix.select(cache, chosen)
        read = greedy.Read(
            torch.stack([logits[index, -tails[index]] for index in chosen]),
            torch.nn.functional.pad((segments == PROMPT).long(), (before, 0), value=1)[chosen],
            torch.tensor([[len(rows[index].prompt)] for index in chosen], device=self.device),
            cache,
        )
        return likelihoods, read


class Packed(NamedTuple):
    """Tokens of one row, their positions after what is shared, and what each belongs to: the prompt or an option."""

    tokens: list[int]
    positions: list[int]
    segments: list[int]


PADDING, PROMPT = -1, 0  # segments; the options have 1, 2, ...


def _key(request: Instance) -> tuple[str, str]:
    prompt, settings = request.args
    return prompt, str(settings)


def _length(row: Row) -> int:
    return len(row.prompt) + sum(len(option) - 1 for _, option in row.options)


def _parts(row: Row) -> Iterator[Row]:
    """Cut a row that has more than ``ROW`` tokens of options: they do not attend to each other, but pay as if so."""
    options: list[tuple[int, list[int]]] = []
    room = ROW
    for index, option in row.options:
        if options and room < len(option) - 1:
            yield Row(row.prompt, options, [])
            options, room = [], ROW
        options.append((index, option))
        room -= len(option) - 1
    yield Row(row.prompt, options, row.answers)


def _batches(lengths: list[int], size: int, tokens: int, call: int) -> Iterator[slice]:
    """Cut rows, longest first, into batches of at most ``size`` rows and ``tokens`` tokens that cost least in all.

    A batch costs its tokens, padding included, and ``call`` more.
    """
    least, cut = [0], [0]  # of the first rows: their cost, and where their last batch starts
    for end in range(1, len(lengths) + 1):
        starts = range(end - 1, max(end - size, 0) - 1, -1)
        allowed = [start for start in starts if start == end - 1 or lengths[start] * (end - start) <= tokens]
        costs = [least[start] + call + lengths[start] * (end - start) for start in allowed]
        least.append(min(costs))
        cut.append(allowed[costs.index(least[-1])])
    ends = []
    end = len(lengths)
    while end:
        ends.append(end)
        end = cut[end]
    return (slice(cut[end], end) for end in reversed(ends))


def _pack(prompt: tuple[int, ...], options: list[list[int]]) -> Packed:
    """One row. An option's last token is never an input, so left out."""
    tokens, positions, segments = list(prompt), list(range(len(prompt))), [PROMPT] * len(prompt)
    for number, option in enumerate(options, start=1):
        tokens += option[:-1]
        positions += range(len(prompt), len(prompt) + len(option) - 1)
        segments += [number] * (len(option) - 1)
    return Packed(tokens, positions, segments)


def _padded(rows: list[list[int]], value: int) -> torch.Tensor:
    """Rows of one width (rows, width), padded on the left."""
    width = max(map(len, rows))
    return torch.tensor([[value] * (width - len(row)) + row for row in rows])


def _mask(segments: torch.Tensor, before: int, dtype: torch.dtype) -> torch.Tensor:
    """What tokens (rows, width) attend to behind ``before`` shared ones: the mask that transformers takes.

    Rows without tokens of options need only say where they are padded: (rows, before + width). Otherwise a bias
    (rows, 1, width, before + width): options see the prompt and themselves, padding sees padding, and nothing else
    sees it.
    """
    if int(segments.max()) <= PROMPT:
        return torch.nn.functional.pad((segments != PADDING).long(), (before, 0), value=1)
    of_query, of_key = segments[:, :, None], segments[:, None, :]
    causal = torch.ones(segments.shape[1], segments.shape[1], dtype=torch.bool, device=segments.device).tril()
    visible = causal & ((of_query == of_key) | (of_key == PROMPT))
    visible = torch.nn.functional.pad(visible, (before, 0), value=True).unsqueeze(1)
    # The lowest number where attention is not allowed. Not -inf, since a row that is all -inf becomes NaN, and spreads.
    bias = torch.zeros(visible.shape, dtype=dtype, device=segments.device)
    return bias.masked_fill(~visible, torch.finfo(dtype).min)


def _scored(options: list[tuple[int, list[int]]], logits: torch.Tensor) -> dict[int, Likelihood]:
    """Log-likelihoods of a row's options from ``logits`` (tokens, vocabulary), from the prompt's last token on."""
    if not options:
        return {}
    logprobs = logits.float().log_softmax(-1)
    likeliest = logprobs.argmax(-1)
    likelihoods = {}
    offset = 1
    for index, option in options:
        # The first token of an option is predicted by the prompt's last, at 0.
        places = torch.tensor([0, *range(offset, offset + len(option) - 1)], device=logits.device)
        target = torch.tensor(option, device=logits.device)
        total = float(logprobs[places, target].sum())
        likelihoods[index] = (total, bool((likeliest[places] == target).all()))
        offset += len(option) - 1
    return likelihoods
