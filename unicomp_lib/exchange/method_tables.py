"""The table of a paper on compression: a row a method, a column a data set, by model, as CSV and LaTeX."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from unicomp_lib import files
from unicomp_lib.evaluate import task
from unicomp_lib.exchange.every_eval_ever import scored
from unicomp_lib.exchange.latex_tables import ROW, tabulars
from unicomp_lib.exchange.paper_tables import dense_first

NAME = "methods"
ACROSS = 9  # data sets side by side on a page, where they are narrow enough
PERPLEXITY = "perplexity"
HEAD = r"""% Perplexity per token of the held-out text, and scores in per cent by capability, in blocks that fit a page.
% Intervals of the scores are in methods.csv and in the tables of each dimension. The preamble needs
% \usepackage{booktabs}. The two lines of a header are one name, joined by an underscore."""


def write(scores: pl.DataFrame, folder: Path) -> list[str]:
    """``methods.csv``, each value with its 95 % interval, and ``methods.tex``; their names."""
    table, groups = by_method(scores)
    files.write_whole(folder / f"{NAME}.csv", with_intervals(scores).write_csv)
    files.write_text(folder / f"{NAME}.tex", "\n\n".join([HEAD, *latex(scores, table, groups)]) + "\n")
    return [f"{NAME}.csv", f"{NAME}.tex"]


def by_method(scores: pl.DataFrame, of: str = "value") -> tuple[pl.DataFrame, dict[str, list[str]]]:
    """Columns model, variant, label and one for each data set, and the data sets by capability.

    A field is the score that counts of its task, in per cent with one decimal, pooled over seeds; null where there
    is none. A data set that is asked in several formats has a column for each, called by its task. Perplexity on the
    held-out text, with two decimals, comes first. Controls, such as dense evaluated again, are no rows. ``of`` is
    value, or low or high for that end of the interval.
    """
    rows = _of_tasks(scores).with_columns((pl.col("value", "low", "high") * 100).round(1) + 0.0)
    rows = rows.with_columns(pl.col("task").replace_strict(names(scores), return_dtype=pl.String))
    perplexity = scores.filter(
        pl.col("metric") == PERPLEXITY, pl.col("seed").is_null(), pl.col("control").fill_null("") == ""
    ).with_columns(
        pl.col("value", "low", "high").fill_nan(None).round(2), task=pl.lit(PERPLEXITY), capability=pl.lit("fidelity")
    )
    cells = pl.concat([table.select(*ROW, "capability", "task", of) for table in (perplexity, rows)])
    groups = {
        str(capability): part["task"].unique(maintain_order=True).to_list()
        for (capability,), part in cells.group_by(["capability"], maintain_order=True)
    }
    order = [name for part in groups.values() for name in part]
    empty = pl.DataFrame(schema=dict.fromkeys(ROW, pl.String))
    if not order:
        return empty, {}
    table = cells.pivot(on="task", index=list(ROW), values=of, aggregate_function="first", maintain_order=True)
    return dense_first(table).select(*ROW, *order), groups


def _of_tasks(scores: pl.DataFrame) -> pl.DataFrame:
    return scored(scores).filter(pl.col("control").fill_null("") == "")


def names(scores: pl.DataFrame) -> dict[str, str]:
    """The column of each task: its item set, where no other of these tasks has it, else the task's own name."""
    tasks = _of_tasks(scores)["task"].unique(maintain_order=True).to_list()
    sources = {name: task.source(name) if task.is_own(name) else name for name in tasks}
    every = list(sources.values())
    return {name: source if every.count(source) == 1 else name for name, source in sources.items()}


def meanings(scores: pl.DataFrame, of_tasks: Mapping[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """Unit and meaning of each column, from those of the tasks (``paper_tables.meanings``)."""
    perplexity = {PERPLEXITY: ("1", "perplexity per token of the held-out text")}
    found = {column: (name, *of_tasks[name]) for name, column in names(scores).items()}
    return perplexity | {column: (unit, f"{name}: {meaning}") for column, (name, unit, meaning) in found.items()}


def with_intervals(scores: pl.DataFrame) -> pl.DataFrame:
    """The table of ``by_method`` with both ends of the interval after each value, and units in the columns' names."""
    table, groups = by_method(scores)
    low, high = by_method(scores, "low")[0], by_method(scores, "high")[0]
    columns = [table[name] for name in ROW]
    for name in (name for part in groups.values() for name in part):
        unit = "" if name == PERPLEXITY else " (%)"
        ends = {"": table, " low": low, " high": high}
        columns += [of[name].alias(f"{name}{end}{unit}") for end, of in ends.items()]
    return pl.DataFrame(columns)


def latex(scores: pl.DataFrame, table: pl.DataFrame, groups: dict[str, list[str]]) -> Iterator[str]:
    """A tabular for each capability, or several where it has many data sets; perplexity with its interval."""
    columns = {column: name for name, column in names(scores).items()}
    low, high = by_method(scores, "low")[0], by_method(scores, "high")[0]
    for capability, part in groups.items():
        texts = table.select(*ROW).with_columns(_texts(table, low, high, name) for name in part)
        notes = {name: f"{columns.get(name, 'per token of the held-out text')}, {capability}" for name in part}
        yield from tabulars(texts, notes, ACROSS)


def _texts(table: pl.DataFrame, low: pl.DataFrame, high: pl.DataFrame, name: str) -> pl.Series:
    if name != PERPLEXITY:
        return pl.Series(name, [None if value is None else f"{value:.1f}" for value in table[name]], dtype=pl.String)
    rows = zip(table[name], low[name], high[name], strict=True)
    return pl.Series(name, [_perplexity(*row) for row in rows], dtype=pl.String)


def _perplexity(value: float | None, low: float | None, high: float | None) -> str | None:
    if value is None:
        return None
    return f"{value:.2f}" if low is None or high is None else f"{value:.2f} [{low:.2f}, {high:.2f}]"
