"""Scores beside the agreement of their judge: how far a number that a judge gave can be trusted."""

import textwrap
from typing import Any

import polars as pl

from unicomp_lib.evaluate.judges import measured

VERSION = "1"

COLUMNS = {
    "judge": pl.String, "kappa": pl.Float64, "kappa_low": pl.Float64, "kappa_high": pl.Float64,
    "labels": pl.Int64, "labelled_by": pl.String,
}  # fmt: skip


def with_agreement(scores: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """The scores with ``COLUMNS``: who judged a task, and how well that judge agrees with labelled answers.

    ``kappa`` is Cohen's, with its 95 % interval, on ``labels`` answers; null where it was not measured, as for an
    endpoint, or is undefined. The columns are null for what no judge read, and for groups of tasks. ``items`` are the
    rows that were scored, whose column ``judge`` names the judge.
    """
    scores = scores.drop(COLUMNS.keys() & set(scores.columns))
    if "judge" not in items.columns:
        return scores.with_columns(pl.lit(None, dtype=kind).alias(name) for name, kind in COLUMNS.items())
    named = items.filter(pl.col("primary"), pl.col("judge").fill_null("") != "")
    rows = []
    for (task, metric), frame in named.group_by(["task", "metric"], maintain_order=True):
        judges = frame["judge"].unique(maintain_order=True).to_list()
        found = measured.agreement(str(task), judges[0], str(metric)) if len(judges) == 1 else None
        numbers = {name: found[name] for name in ("kappa", "kappa_low", "kappa_high", "labelled_by")} if found else {}
        rows.append({"task": task, "judge": ", ".join(judges), "labels": found["n"] if found else 0, **numbers})
    table = pl.DataFrame(rows, schema={"task": pl.String, **COLUMNS})
    # What no judge read of the same answers, such as their length, is not the judge's.
    counted = items.filter(pl.col("judge").fill_null("") == "").select("task", "metric").unique()
    read = scores.select("task", "metric").unique().join(counted, on=["task", "metric"], how="anti")
    table = read.join(table, on="task", how="inner")
    return scores.join(table, on=["task", "metric"], how="left", maintain_order="left").select(
        *scores.columns, *COLUMNS
    )


def caption(scores: pl.DataFrame, width: int = 160) -> str:
    """For each judge of a table of scores its kappa on the tasks that it judged, or why they have no number.

    Lines of at most ``width`` letters; empty where nothing was judged.
    """
    if "judge" not in scores.columns:
        return ""
    said: dict[str, list[str]] = {}
    for row in scores.filter(pl.col("judge").fill_null("") != "").unique("task", maintain_order=True).to_dicts():
        said.setdefault(_said(row), []).append(row["task"].removesuffix("_generate"))
    lines = [f"{', '.join(tasks)}: {text}" for text, tasks in said.items()]
    return "\n".join(textwrap.fill(line, width, subsequent_indent="   ") for line in lines)


def _said(row: dict[str, Any]) -> str:
    if row["judge"].startswith(measured.NOT_JUDGED):
        return str(row["judge"])
    if not row["labels"]:
        return f"read by {row['judge']}, whose agreement was not measured"
    return f"read by {row['judge']}, kappa {measured.spelled({**row, 'n': row['labels']})}"
