"""Efficiency for a paper: variants by size, speed, memory and cost, with what they lose, as CSV and LaTeX."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from unicomp_lib import files
from unicomp_lib.evaluate import tracks
from unicomp_lib.exchange.latex_tables import ROW, tabulars
from unicomp_lib.exchange.paper_tables import dense_first

NAME = "efficiency"
HEAD = r"""% Size, speed, memory and cost of each variant, in blocks that fit the text of a page. Intervals of
% ratios are the range of the repeats, that of the divergence has 95 \%. What was not measured is --. The preamble
% needs \usepackage{booktabs}."""
FINEST = 6  # decimals


class Column(NamedTuple):
    """A column: its metric, in units of ``scale`` of the metric's, with at least so many decimals; what it means."""

    name: str
    unit: str  # in the name, unless the name says it
    metric: str
    decimals: int
    meaning: str
    scale: float = 1.0

    def title(self) -> str:
        """Name with the unit."""
        return self.name if self.name.startswith(self.unit) else f"{self.name} ({self.unit})"


TIMES = "times dense"
COLUMNS = (
    Column("size", "MB", "bytes_on_disk", 1, "bytes of the checkpoint on disk, in millions", 1e6),
    Column("bits per weight", "bits", "bits_per_weight", 2, "stored bits per weight, scales and offsets included"),
    Column("decode", TIMES, "decode_ratio", 2, "tokens per second after the first, one answer at a time"),
    Column("batched decode", TIMES, "decode_batch_ratio", 2, "tokens per second after the first, answers in a batch"),
    Column("prefill", TIMES, "prefill_ratio", 2, "tokens of a prompt read per second"),
    Column("peak memory", TIMES, "peak_memory_ratio", 2, "highest memory of the process"),
    Column("device memory", TIMES, "device_memory_ratio", 2, "highest memory on the accelerator"),
    Column("CPU time to make", "s", "cost_cpu_seconds", 1, "CPU time of all steps that made the variant from dense"),
    Column("time to make", "s", "cost_seconds", 1, "time of all steps that made the variant from dense"),
    Column("KL", "nats", "kl", 3, "divergence of its tokens from dense's on the held-out text, KL(dense || variant)"),
)


def write(scores: pl.DataFrame, folder: Path) -> list[str]:
    """``efficiency.csv`` and ``.tex``; their names, and none where no variant was measured."""
    table = wide(scores)
    if table.is_empty():
        return []
    rows = _measured(scores)
    notes = {column.title(): _meaning(column, rows) for column in _shown(rows)}
    files.write_whole(folder / f"{NAME}.csv", table.write_csv)
    files.write_text(folder / f"{NAME}.tex", "\n\n".join([HEAD, *tabulars(table, notes)]) + "\n")
    return [f"{NAME}.csv", f"{NAME}.tex"]


def wide(scores: pl.DataFrame) -> pl.DataFrame:
    """Columns model, variant, label and one for each of ``COLUMNS`` that was measured; dense is the first of its model.

    A field has two significant digits or more and its interval, such as ``1.87 [1.74, 2.01]``; null where that variant
    was not measured. Variants of a model that was measured at all are rows, without controls, such as dense evaluated
    again. Of what was measured on an accelerator, memory and cost are those of ``tracks.ON_ACCELERATOR``.
    """
    rows = _measured(scores)
    columns = {column.metric: column for column in _shown(rows)}
    cells = [
        {**{name: row[name] for name in ROW}, "title": columns[row["metric"]].title(), "shown": _cell(row, columns)}
        for row in rows.filter(pl.col("metric").is_in(columns)).iter_rows(named=True)
    ]
    long = pl.DataFrame(cells, schema=dict.fromkeys((*ROW, "title", "shown"), pl.String))
    table = long.pivot(on="title", index=list(ROW), values="shown", aggregate_function="first", maintain_order=True)
    return dense_first(table.select(*ROW, *(column.title() for column in columns.values())))


def meanings(scores: pl.DataFrame) -> dict[str, tuple[str, str]]:
    """Unit and meaning of each column, with the tokens that speeds are of, and the number of repeats."""
    rows = _measured(scores)
    return {column.name: (column.unit, _meaning(column, rows)) for column in _shown(rows)}


def _meaning(column: Column, rows: pl.DataFrame) -> str:
    if column.unit != TIMES:
        return column.meaning
    of = rows.filter(metric=column.metric)
    tokens = ", ".join(of["task"].unique(maintain_order=True))
    numbers = sorted({int(number) for number in (of["n"].min(), of["n"].max()) if number is not None})  # type: ignore[arg-type]
    how = f"median of {' to '.join(map(str, numbers))} repeats" if numbers and numbers[-1] > 1 else "measured once"
    return f"{column.meaning}, with {tokens} of prompt and answer, {how}, over that of dense"


def _measured(scores: pl.DataFrame) -> pl.DataFrame:
    """Scores of the metrics of ``COLUMNS``, pooled over seeds, with a value, of models that were measured."""
    pooled = scores.filter(pl.col("seed").is_null(), pl.col("control").fill_null("") == "")
    known = pooled.with_columns(pl.col("value", "low", "high").fill_nan(None)).filter(pl.col("value").is_not_null())
    timed = pl.col("model").is_in(known.filter(dimension="efficiency")["model"].unique().to_list())
    own = (pl.col("dimension") == "efficiency") & pl.col("metric").is_in([column.metric for column in COLUMNS])
    rows = known.filter(own | ((pl.col("dimension") == "fidelity") & (pl.col("metric") == "kl") & timed))
    return rows.unique(["model", "variant", "metric"], keep="first", maintain_order=True)


def _shown(rows: pl.DataFrame) -> Iterator[Column]:
    """The columns that are measured; on an accelerator its memory and the time stand for those of the CPU."""
    metrics = set(rows["metric"])
    on_device = "device_memory_ratio" in metrics
    left_out = tracks.ON_ACCELERATOR.keys() if on_device else tracks.ON_ACCELERATOR.values()
    yield from (column for column in COLUMNS if column.metric in metrics - set(left_out))


def _cell(row: dict[str, Any], columns: Mapping[str, Column]) -> str:
    column = columns[row["metric"]]
    value = row["value"] / column.scale
    low, high = (None if row[end] is None else row[end] / column.scale for end in ("low", "high"))
    decimals = column.decimals
    if math.isfinite(value) and abs(value) >= 10**-FINEST:
        decimals = min(FINEST, max(decimals, 1 - math.floor(math.log10(abs(value)))))
    interval = "" if low is None or high is None else f" [{low:z.{decimals}f}, {high:z.{decimals}f}]"
    return f"{value:z.{decimals}f}{interval}"
