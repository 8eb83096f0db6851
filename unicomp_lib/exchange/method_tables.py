"""The table of a paper on compression: a row a method, a column a data set, by model, as CSV and LaTeX."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from unicomp_lib import files
from unicomp_lib.compare.written import escaped
from unicomp_lib.evaluate import task
from unicomp_lib.exchange.every_eval_ever import scored

NAME = "methods"
ROW = ("model", "variant", "label")  # what a row is of
ACROSS = 9  # data sets side by side on a page
PERPLEXITY = "perplexity"


def write(scores: pl.DataFrame, folder: Path) -> list[str]:
    """``methods.csv`` and ``methods.tex``; their names."""
    table, groups = by_method(scores)
    files.write_whole(folder / f"{NAME}.csv", table.write_csv)
    files.write_text(folder / f"{NAME}.tex", "\n\n".join(latex(table, groups)) + "\n")
    return [f"{NAME}.csv", f"{NAME}.tex"]


def by_method(scores: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, list[str]]]:
    """Columns model, variant, label and one for each data set, and the data sets by capability.

    A field is the score that counts of its task, in per cent with one decimal, pooled over seeds; null where there
    is none. A data set that is asked in several formats has a column for each, called by its task. Perplexity on the
    held-out text, with two decimals, comes first. Controls, such as dense evaluated again, are no rows.
    """
    rows = scored(scores).filter(pl.col("control").fill_null("") == "").with_columns((pl.col("value") * 100).round(1))
    names = _names(rows["task"].unique(maintain_order=True).to_list())
    rows = rows.with_columns(pl.col("task").replace_strict(names, return_dtype=pl.String))
    perplexity = scores.filter(
        pl.col("metric") == PERPLEXITY, pl.col("seed").is_null(), pl.col("control").fill_null("") == ""
    ).with_columns(pl.col("value").fill_nan(None).round(2), task=pl.lit(PERPLEXITY), capability=pl.lit("fidelity"))
    cells = pl.concat([table.select(*ROW, "capability", "task", "value") for table in (perplexity, rows)])
    groups = {
        str(capability): part["task"].unique(maintain_order=True).to_list()
        for (capability,), part in cells.group_by(["capability"], maintain_order=True)
    }
    order = [name for part in groups.values() for name in part]
    empty = pl.DataFrame(schema=dict.fromkeys(ROW, pl.String))
    if not order:
        return empty, {}
    table = cells.pivot(on="task", index=list(ROW), values="value", aggregate_function="first", maintain_order=True)
    models = {model: place for place, model in enumerate(table["model"].unique(maintain_order=True))}
    return table.sort(pl.col("model").replace_strict(models), maintain_order=True).select(*ROW, *order), groups


def _names(tasks: list[str]) -> dict[str, str]:
    """The item set of each task, where no other of these tasks has it, else the task's own name."""
    sources = {name: task.source(name) if task.is_own(name) else name for name in tasks}
    every = list(sources.values())
    return {name: source if every.count(source) == 1 else name for name, source in sources.items()}


def latex(table: pl.DataFrame, groups: dict[str, list[str]]) -> Iterator[str]:
    """A table for each capability, or several where it has many data sets, with the commands of booktabs."""
    for capability, names in groups.items():
        for first in range(0, len(names), ACROSS):
            yield _tabular(table.select(*ROW, *names[first : first + ACROSS]), capability)


def _tabular(table: pl.DataFrame, capability: str) -> str:
    names = table.columns[len(ROW) :]
    unit = "per token of the held-out text" if names == [PERPLEXITY] else "in per cent"
    lines = [
        f"% {capability}, {unit}.", rf"\begin{{tabular}}{{l{'r' * len(names)}}}", r"\toprule",
        " & ".join(["method", *map(escaped, names)]) + r" \\",
    ]  # fmt: skip
    for (model,), rows in table.group_by(["model"], maintain_order=True):
        lines += [r"\midrule", rf"\multicolumn{{{len(names) + 1}}}{{l}}{{\emph{{{escaped(str(model))}}}}} \\"]
        for row in rows.drop("model", "variant").iter_rows():
            lines.append(" & ".join([escaped(str(row[0])), *map(_shown, row[1:], names)]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _shown(value: float | None, name: str) -> str:
    return "--" if value is None else f"{value:.{2 if name == PERPLEXITY else 1}f}"
