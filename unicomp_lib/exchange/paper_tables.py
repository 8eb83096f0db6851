"""Tables for a paper: variants by task, rounded, with units, as CSV and LaTeX; and the dictionary of all columns."""

from pathlib import Path
from typing import Any

import polars as pl

from unicomp_lib import files, tables
from unicomp_lib.compare.written import escaped
from unicomp_lib.exchange.columns import dictionary
from unicomp_lib.exchange.every_eval_ever import scored
from unicomp_lib.figures.units import unit


def write(scores: pl.DataFrame, folder: Path) -> list[str]:
    """``<dimension>.csv`` and ``.tex`` of each dimension, ``scores.csv`` with units, ``columns.csv``; their names."""
    written = []
    for (dimension,), rows in scored(scores).group_by(["dimension"], maintain_order=True):
        table = wide(rows)
        files.write_whole(folder / f"{dimension}.csv", table.write_csv)
        files.write_text(folder / f"{dimension}.tex", latex(table, str(dimension)))
        written += [f"{dimension}.csv", f"{dimension}.tex"]
    files.write_whole(folder / "scores.csv", rounded(scores).write_csv)
    files.write_whole(folder / "columns.csv", dictionary(list(tables.SCORES)).write_csv)
    return [*written, "scores.csv", "columns.csv"]


def wide(rows: pl.DataFrame) -> pl.DataFrame:
    """Per cent with one decimal and the interval, such as ``45.0 [40.1, 50.0]``, of variants by task.

    There are as many columns as there are variants or tasks, whichever are fewer, since a page is higher than wide.
    """
    cells = rows.select("task", _name(rows), shown=pl.Series(map(_cell, rows.iter_rows(named=True)), dtype=pl.String))
    down, across = (
        ("variant", "task") if cells["task"].n_unique() <= cells["variant"].n_unique() else ("task", "variant")
    )
    return cells.pivot(on=across, index=down, values="shown", aggregate_function="first")


def _name(rows: pl.DataFrame) -> pl.Expr:
    several = rows["model"].n_unique() > 1
    return (
        pl.concat_str(["model", "label"], separator=", ").alias("variant")
        if several
        else pl.col("label").alias("variant")
    )


def _cell(row: dict[str, Any]) -> str:
    interval = "" if row["low"] is None else f" [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
    return f"{100 * row['value']:.1f}{interval}"


def rounded(scores: pl.DataFrame) -> pl.DataFrame:
    """All scores with three significant digits, and the unit of each."""
    units = [unit(metric, dimension) for metric, dimension in scores.select("metric", "dimension").iter_rows()]
    short = [pl.col(name).cast(pl.Float64).fill_nan(None).round_sig_figs(3) for name in ("value", "low", "high")]
    return scores.with_columns(*short, unit=pl.Series(units, dtype=pl.String))


def latex(table: pl.DataFrame, dimension: str) -> str:
    """A table with the commands of the package booktabs."""
    body = [" & ".join(escaped(str(cell or "")) for cell in row) + r" \\" for row in table.iter_rows()]
    return "\n".join(
        [
            f"% Scores of {dimension} in per cent with 95 \\% intervals.",
            rf"\begin{{tabular}}{{l{'r' * (table.width - 1)}}}", r"\toprule",
            " & ".join(map(escaped, table.columns)) + r" \\", r"\midrule", *body, r"\bottomrule", r"\end{tabular}", "",
        ]
    )  # fmt: skip
