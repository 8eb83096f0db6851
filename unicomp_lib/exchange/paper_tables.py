"""Tables for a paper: variants by task, rounded, with units and intervals, as CSV and LaTeX; and all scores."""

from pathlib import Path
from typing import Any

import polars as pl

from unicomp_lib import files
from unicomp_lib.exchange.every_eval_ever import scored
from unicomp_lib.exchange.latex_tables import ROW, tabulars
from unicomp_lib.figures import panels, units

HEAD = r"""% Scores in per cent with 95 \% intervals, in blocks that fit the text of a page. The preamble needs
% \usepackage{booktabs}. The two lines of a header are one name, joined by an underscore."""


def write(scores: pl.DataFrame, folder: Path) -> list[str]:
    """``<dimension>.csv`` and ``.tex`` of each dimension, ``scores.csv`` with units; their names."""
    written = []
    for (dimension,), rows in scored(scores).group_by(["dimension"], maintain_order=True):
        table = wide(rows)
        notes = {name: meaning for name, (_, meaning) in meanings(rows).items()}
        with_units = table.rename({name: f"{name} (%)" for name in table.columns[len(ROW) :]})
        files.write_whole(folder / f"{dimension}.csv", with_units.write_csv)
        files.write_text(folder / f"{dimension}.tex", "\n\n".join([HEAD, *tabulars(table, notes)]) + "\n")
        written += [f"{dimension}.csv", f"{dimension}.tex"]
    files.write_whole(folder / "scores.csv", rounded(scores).write_csv)
    return [*written, "scores.csv"]


def wide(rows: pl.DataFrame) -> pl.DataFrame:
    """Columns model, variant, label and one for each task; dense is the first row of its model.

    A field is per cent with one decimal and the interval, such as ``45.0 [40.1, 50.0]``; without one, the value
    alone; null where the task was not asked.
    """
    shown = rows.select(*ROW, "task", shown=pl.Series(map(_cell, rows.iter_rows(named=True)), dtype=pl.String))
    table = shown.pivot(on="task", index=list(ROW), values="shown", aggregate_function="first", maintain_order=True)
    return dense_first(table)


def dense_first(table: pl.DataFrame) -> pl.DataFrame:
    """The rows model by model, in the order in which these appear, each with dense before its other variants."""
    models = {model: place for place, model in enumerate(table["model"].unique(maintain_order=True))}
    return table.sort(
        pl.col("model").replace_strict(models, return_dtype=pl.Int64), pl.col("variant") != "dense", maintain_order=True
    )


def _cell(row: dict[str, Any]) -> str:
    interval = "" if row["low"] is None else f" [{percent(row['low'])}, {percent(row['high'])}]"
    return f"{percent(row['value'])}{interval}"


def percent(share: float) -> str:
    """A share in per cent with one decimal; zero has no sign."""
    return f"{round(100 * share, 1) + 0.0:.1f}"


def meanings(rows: pl.DataFrame) -> dict[str, tuple[str, str]]:
    """Unit and meaning of each task's column: its metric, of how many items it is, what guessing scores, who judged."""
    return {str(task): ("%", _meaning(part)) for (task,), part in rows.group_by(["task"], maintain_order=True)}


def _meaning(rows: pl.DataFrame) -> str:
    first = rows.row(0, named=True)
    numbers = sorted({str(least) for least in (rows["n"].min(), rows["n"].max()) if least is not None}, key=int)
    parts = [first["metric"], f"{' to '.join(numbers)} items" if numbers else ""]
    parts += ["" if first["chance"] is None else f"chance {percent(first['chance'])} %"]
    parts += [f"judged by {first['judge']}" if first["judge"] else ""]
    return ", ".join(filter(None, parts))


def rounded(scores: pl.DataFrame) -> pl.DataFrame:
    """All scores with three significant digits, the unit of each, and whether a retention is undecided."""
    marked = scores.with_columns(pl.when(panels.undecided()).then(True).alias("undecided"))
    return units.rounded(marked).rename({"n": "n (items)", "labels": "labels (answers)"})
