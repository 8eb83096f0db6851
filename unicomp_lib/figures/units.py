"""The unit of every metric and column, and tables with units and few digits."""

import re

import polars as pl

VERSION = "2"

# Units by metric, the first pattern that matches its name; a p-value, a correlation or a logarithm has the unit 1.
METRICS = (
    (r".*_ratio|(.*_)?retention.*", "ratio to dense"),
    (r"mcnemar.*|mis_by_.*|.*growth.*", "1"),
    (r"bits_per_byte.*|margin", "bits/byte"),
    (r"bits_per_weight", "bits"),
    (r"nll.*|kl(_.*)?|log_likelihood", "nats"),
    (r"perplexity|.*correlation|kappa.*", "1"),
    (r"prefill|decode|decode_batch", "tokens/s"),
    (r"latency.*|first_token|token.*_batch|cost_seconds|cost_cpu_seconds", "s"),
    (r"bytes_on_disk|.*_memory|read|cache", "bytes"),
    (r"bandwidth", "bytes/s"),
    (r"tokens|cost_tokens|length_change.*", "tokens"),
    (r"flops", "FLOP"),
    (r"cost_joules", "J"),
    (r"macs|parameters|linear_weights|epochs", "1"),
)  # fmt: skip
SHARE = "share"  # of everything else: shares of items, of tokens, of weights, and scores between 0 and 1
VALUES = ("value", "low", "high")  # columns whose unit is that of the row's metric
# Columns of tables that are no metric, and metrics that are shares; any other column has no unit.
COLUMNS = {
    **dict.fromkeys(
        (
            "rate", "chance", "acc", "difference", "agreement", "overlap", "constant", "dense", "detectable", "lost",
            "gained",
        ),
        SHARE,
    ),
    "megabytes": "MB", "cost_cpu_minutes": "min", "bits_per_byte_of_dense": "bits/byte",
}  # fmt: skip
NONE = "1"
DIGITS = 3
TINY = 1e-12  # below it a number is the rounding error of zero


def unit(metric: str, dimension: str) -> str:
    """Unit of a metric."""
    if metric == "margin" and dimension == "vision":
        return "1"
    return next((name for pattern, name in METRICS if re.fullmatch(pattern, metric)), SHARE)


def rounded(table: pl.DataFrame) -> pl.DataFrame:
    """A table with three significant digits and its units.

    Where each row has a ``metric``, a column ``unit`` follows it, and says that of value, low and high. Every other
    column of numbers has its unit in its name, such as ``megabytes (MB)``; the unit 1 is none.
    """
    numbers = [name for name, kind in table.schema.items() if kind.is_float()]
    short = table.with_columns(short_number(pl.col(name)) for name in numbers)
    if "metric" in table.columns:
        of_rows = _of_rows(table)
        short = short.insert_column(table.columns.index("metric") + 1, pl.Series("unit", of_rows, dtype=pl.String))
        numbers = [name for name in numbers if name.partition("_y")[0] not in VALUES]
    return short.rename({name: f"{name} ({shown})" for name in numbers if (shown := _of_column(name)) != NONE})


def short_number(values: pl.Expr, digits: int = DIGITS) -> pl.Expr:
    """Numbers with few significant digits, without the rounding errors of what is zero, nor a sign before it."""
    defined = values.cast(pl.Float64).fill_nan(None)
    few = pl.when(defined.abs() > TINY).then(defined.round_sig_figs(digits))
    return few.when(defined.is_not_null()).then(0.0).name.keep()


def _of_rows(table: pl.DataFrame) -> list[str | None]:
    dimensions = table["dimension"].to_list() if "dimension" in table.columns else [""] * len(table)
    return [
        None if metric is None else unit(metric, dimension or "")
        for metric, dimension in zip(table["metric"].to_list(), dimensions, strict=True)
    ]


def _of_column(name: str) -> str:
    """Unit of a column by its name, or by that of the metric whose value or end of an interval it holds."""
    metric = re.sub(r"(_(low|high|after))+$", "", name)
    return COLUMNS.get(metric) or next((found for pattern, found in METRICS if re.fullmatch(pattern, metric)), NONE)
