"""How long generated answers are, how they end, and what that has to do with their scores."""

import json
import re
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from unicomp_lib.evaluate import statistics, totals
from unicomp_lib.evaluate.statistics import Estimate

VERSION = "1"

CYCLES = 3  # times that a cycle must stand at an answer's end
SHORTEST = 16  # characters of a cycle's repeats within a word, which three noughts in a number are not
# Scripts without blanks between words: from Thai and Lao to Chinese.
_SOLID = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
# What repeats in a cycle: a number, a letter of such a script, a word, or a mark.
_WORD = re.compile(rf"\d+(?:[.,]\d+)*|[{_SOLID}]|(?:(?![{_SOLID}])\w)+|[^\w\s]")

Score = tuple[str, str, Estimate, int]  # capability, metric, value and the number of items


def looped(text: str, *, truncated: bool) -> bool:
    """Whether an answer was going round in a cycle when it was cut off at its limit.

    It ends in ``CYCLES`` or more repeats of the same words and marks, or of the same characters over at least
    ``SHORTEST`` of them; the last repeat, and its last word, may be cut. An answer that ended by itself is no loop,
    whatever it repeats: a refrain, a list. Neither is a list whose numbers go on, since no cycle repeats.
    """
    return truncated and (_cycles(_WORD.findall(text), cut=True) or _cycles(text, at_least=SHORTEST))


def _cycles(units: Sequence[str], *, cut: bool = False, at_least: int = 0) -> bool:
    """Whether a sequence ends in a cycle; ``cut``: its last unit may be only the beginning of one."""
    last = len(units) - 1
    for period in range(1, len(units) // CYCLES + 1):
        begins = cut and units[last - period].startswith(units[last])
        place = last - 1 if begins else last
        while place >= period and units[place] == units[place - period]:
            place -= 1
        length = last - place + period
        if length >= max(CYCLES * period, at_least):
            return True
    return False


def with_loops(items: pl.DataFrame) -> pl.DataFrame:
    """Item rows, with one more for every generated answer: its ``looped``, 1 where it is and else 0.

    Read from the stored answer, so that a table of any age has it.
    """
    endings = items.filter(pl.col("metric") == "truncated")
    if endings.is_empty():
        return items
    values = [
        float(looped(json.loads(output)["answers"][0], truncated=value == 1))
        for output, value in endings.select("output", "value").iter_rows()
    ]
    loops = endings.with_columns(pl.lit("looped").alias("metric"), pl.Series("value", values, dtype=pl.Float64))
    return pl.concat([items, loops])


def scores(items: pl.DataFrame) -> Iterator[Score]:
    """Length of one cell's generated answers compared with dense, by capability and over all.

    ``items`` has a cell's rows with the column ``dense``, and those of ``with_loops``. ``length_change``: paired
    difference in mean tokens, compressed minus dense; ``length_change_without_loops``: the same over the items on
    which neither of the two loops. ``length_cut_off`` and ``length_looped``: shares of answers that reached the limit,
    without and with a loop. ``length_score_ended`` and ``length_score_cut``: the mean of the tasks' primary metrics
    over the answers that ended by themselves and over those that reached the limit. A score of no items has no value.
    """
    rows = items.filter(pl.col("format") == "generate")
    if "tokens" not in set(rows["metric"]):
        return
    answers = _answers(rows)
    capabilities = answers["capability"].unique(maintain_order=True).to_list()
    for capability in ("all", *capabilities):
        part = answers if capability == "all" else answers.filter(capability=capability)
        for metric, (estimate, count) in _of(part).items():
            yield capability, metric, estimate, count


def _answers(rows: pl.DataFrame) -> pl.DataFrame:
    """One row per answer: tokens, truncated, looped and score, each also of dense with ``_dense`` behind."""
    score = pl.when("primary").then(pl.lit("score")).otherwise("metric").alias("metric")
    rows = totals.each_seed(rows.with_columns(score))
    known = rows.filter(pl.col("metric").is_in(("tokens", "truncated", "looped", "score")))
    keys = [name for name in ("capability", "task", "doc_id", "doc_hash", "cluster", "draw") if name in known.columns]
    own, dense = (known.pivot(on="metric", index=keys, values=name) for name in ("value", "dense"))
    return own.join(dense, on=keys, suffix="_dense", maintain_order="left").drop_nulls("tokens")


def _of(answers: pl.DataFrame) -> dict[str, tuple[Estimate, int]]:
    straight = answers.filter(pl.col("looped") == 0, pl.col("looped_dense") == 0)
    cut = answers.with_columns(cut_off=pl.col("truncated") - pl.col("looped"))
    scored = answers.drop_nulls("score") if "score" in answers.columns else answers.clear()
    by_ending = {name: scored.filter(pl.col("truncated") == value) for name, value in (("ended", 0), ("cut", 1))}
    return {
        "length_change": _change(answers),
        "length_change_without_loops": _change(straight),
        "length_cut_off": _mean(cut, "cut_off"),
        "length_looped": _mean(answers, "looped"),
        **{f"length_score_{name}": _mean(part, "score") for name, part in by_ending.items()},
    }


def _change(answers: pl.DataFrame) -> tuple[Estimate, int]:
    if answers.is_empty():
        return statistics.UNDEFINED, 0
    return statistics.difference(*_columns(answers, "tokens", "tokens_dense", "cluster")), len(answers)


def _mean(answers: pl.DataFrame, name: str) -> tuple[Estimate, int]:
    if answers.is_empty():
        return statistics.UNDEFINED, 0
    return statistics.mean(*_columns(answers, name, "cluster")), len(answers)


def _columns(answers: pl.DataFrame, *names: str) -> tuple[np.ndarray, ...]:
    return tuple(answers[name].to_numpy() for name in names)
