"""How far each judge can be trusted: its agreement with labelled answers, as ``labels/agreement.csv`` holds it.

The table is measured on answers that no judge was tuned on (``labels.measure``). Raise ``VERSION`` with ``DIGEST``.
"""

import hashlib
from functools import cache
from typing import Any

import polars as pl

from unicomp_lib import paths

VERSION = "2"

DIGEST = "46ef0a8ed950c35f05ac589c704b7f58d468b921294066d68087937f997473c9"
LEAST = 0.6  # kappa from which on a verdict counts: "substantial" agreement of Landis and Koch (1977) begins at 0.61
# Labels, and labels of the rarer kind, from which on a kappa says something: with two refusals among thirty answers a
# single verdict moves it by a third.
ENOUGH, OF_EACH = 20, 5
ALL = "all"
NOT_JUDGED = "not judged without an endpoint"

COLUMNS = {
    "task": pl.String, "judge": pl.String, "metric": pl.String, "labelled_by": pl.String,
    "n": pl.Int64, "ones": pl.Int64, "prompts": pl.Int64, "accuracy": pl.Float64,
    "accuracy_low": pl.Float64, "accuracy_high": pl.Float64,
    "kappa": pl.Float64, "kappa_low": pl.Float64, "kappa_high": pl.Float64,
}  # fmt: skip


@cache
def table() -> pl.DataFrame:
    """The measured agreements, columns ``COLUMNS``; a ``ValueError`` where the file is not the recorded one."""
    path = paths.project() / "labels" / "agreement.csv"
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != DIGEST:
        raise ValueError(
            f"{path} is not the table that measured.py records; restore it with git, or record its SHA-256 as DIGEST "
            "and raise VERSION"
        )
    return pl.read_csv(content, schema=COLUMNS)


def agreement(task: str, judge: str, metric: str) -> dict[str, Any] | None:
    """The row that says how far a judge's verdicts on a task can be trusted; None where nothing was measured.

    That of the task itself if its labels are enough, else that of the judge on all its tasks.
    """
    rows = table().filter(judge=judge, metric=metric)
    own, everything = rows.filter(task=task), rows.filter(task=ALL)
    chosen = own if len(own) and (_enough(own.row(0, named=True)) or everything.is_empty()) else everything
    return chosen.row(0, named=True) if len(chosen) else None


def _enough(row: dict[str, Any]) -> bool:
    return bool(row["n"] >= ENOUGH and min(row["ones"], row["n"] - row["ones"]) >= OF_EACH)


def reason(task: str, judge: str, metric: str) -> str:
    """Why a judge's verdicts on a task are not reported; empty where they are.

    The estimate of kappa decides, however wide its interval. Labels that are too few, or of one kind, decide nothing.
    """
    row = agreement(task, judge, metric)
    if row is None or not _enough(row) or row["kappa"] is None or row["kappa"] >= LEAST:
        return ""
    return f"{NOT_JUDGED}: kappa of {judge} is {spelled(row)}, below {LEAST}"


def spelled(row: dict[str, Any]) -> str:
    """An agreement in words, such as "0.31 [0.02, 0.60] on 40 labels of people"."""
    value = "undefined" if row["kappa"] is None else f"{row['kappa']:.2f}"
    ends = "" if row["kappa_low"] is None else f" [{row['kappa_low']:.2f}, {row['kappa_high']:.2f}]"
    return f"{value}{ends} on {row['n']} labels of {row['labelled_by']}"
