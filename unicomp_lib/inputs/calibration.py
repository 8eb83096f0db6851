"""Blocks of tokens for calibration and for fidelity."""

import random

import torch
from transformers import PreTrainedTokenizerBase

from unicomp_lib.inputs import texts
from unicomp_lib.inputs.texts import GENERAL, Text

VERSION = "2"


def blocks(
    tokenizer: PreTrainedTokenizerBase,
    source: str = GENERAL,
    *,
    samples: int = 32,
    length: int = 256,
    seed: int = 0,
    chat_template: bool = False,
) -> torch.Tensor:
    """Draw ``samples`` blocks of ``length`` tokens: a LongTensor of shape (samples, length).

    ``source`` is one of ``texts.texts``, or a mixture such as ``general+reasoning``, whose shares
    are shares of the samples. Texts are shuffled by ``seed``, joined by the end-of-text token and
    cut into blocks. With ``chat_template`` each text is a conversation in the model's own format:
    the question is the user's turn, the answer the assistant's; a text without an answer is a
    user's turn. A source that is too short is a ``ValueError``, and so are blocks longer than the model's positions.
    """
    if samples < 1 or length < 1:
        raise ValueError(f"samples={samples} and length={length} are not allowed; give whole numbers above 0")
    if length > tokenizer.model_max_length:
        raise ValueError(
            f"length={length} is more than the {tokenizer.model_max_length} tokens that this model reads; give fewer"
        )
    if chat_template and tokenizer.chat_template is None:
        raise ValueError("chat_template is on, but this model's tokenizer has none; turn it off")
    shares = texts.parts(source)
    counts = [round(share * samples) for _, share in shares]
    counts[0] += samples - sum(counts)
    if min(counts) < 1:
        raise ValueError(f"{samples} samples do not cover all parts of calibration {source!r}; give more samples")
    return torch.cat(
        [
            _cut(tokenizer, name, count, length, seed, chat_template)
            for (name, _), count in zip(shares, counts, strict=True)
        ]
    )


def _cut(
    tokenizer: PreTrainedTokenizerBase, source: str, samples: int, length: int, seed: int, chat_template: bool
) -> torch.Tensor:
    shuffled = texts.texts(source)
    random.Random(seed).shuffle(shuffled)
    tokens: list[int] = []
    for text in shuffled:
        tokens += _encoded(tokenizer, text, chat_template)
        if len(tokens) >= samples * length:
            return torch.tensor(tokens[: samples * length]).view(samples, length)
    raise ValueError(
        f"calibration source {source!r} holds {len(tokens)} tokens, {samples} samples of {length} "
        f"need {samples * length}; give fewer or shorter samples, or more text"
    )


def _encoded(tokenizer: PreTrainedTokenizerBase, text: Text, chat_template: bool) -> list[int]:
    if chat_template:
        turns = [text] if isinstance(text, str) else text
        roles = ("user", "assistant")
        messages = [{"role": roles[index % 2], "content": turn} for index, turn in enumerate(turns)]
        text = tokenizer.apply_chat_template(messages, tokenize=False)  # type: ignore[assignment]
    joined = text if isinstance(text, str) else "\n".join(text)
    return [*tokenizer.encode(joined, add_special_tokens=False), tokenizer.eos_token_id]
