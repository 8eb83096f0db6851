"""Parquet tables: written whole, read with a clear error."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from unicomp_lib import files

VERSION = "2"

ITEMS = {
    "dimension": pl.String, "capability": pl.String, "task": pl.String, "format": pl.String,
    "chance": pl.Float64, "doc_id": pl.Int64, "doc_hash": pl.String, "prompt_hash": pl.String,
    "cluster": pl.String, "metric": pl.String, "primary": pl.Boolean, "value": pl.Float64,
    "output": pl.String, "judge": pl.String,
}  # fmt: skip
CELL = ("model", "method", "variant", "calibration", "seed")
# What the method and parameters of a variant say of it, as ``study.variants`` derives it; its name says nothing.
FACTS = ("label", "sibling", "rate", "schedule", "control")
TOKEN_METRICS = ("kl", "p_change")  # of which ``fidelity`` keeps the value of every token, in ``output``
Variants = Mapping[str, Mapping[str, Any]]  # facts by variant
SCORES = {
    "model": pl.String, "method": pl.String, "variant": pl.String, "calibration": pl.String, "seed": pl.Int64,
    "label": pl.String, "sibling": pl.String, "rate": pl.Float64, "schedule": pl.String, "control": pl.String,
    "dimension": pl.String, "capability": pl.String, "task": pl.String, "format": pl.String, "metric": pl.String,
    "value": pl.Float64, "low": pl.Float64, "high": pl.Float64, "n": pl.Int64, "chance": pl.Float64,
    "reason": pl.String,  # why there is no value, or no interval, or of what the value is; null where all is plain
    # Who judged a task, and how well that judge agrees with labelled answers (``evaluate.judged``).
    "judge": pl.String, "kappa": pl.Float64, "kappa_low": pl.Float64, "kappa_high": pl.Float64, "labels": pl.Int64,
    "labelled_by": pl.String,
}  # fmt: skip


def write(table: pl.DataFrame, path: Path) -> Path:
    """Write a table as Parquet, whole or not at all."""
    return files.write_whole(path, table.write_parquet)


def read(path: Path) -> pl.DataFrame:
    """Read a Parquet table; a missing or damaged one is a ``ValueError`` that says what to do."""
    if not path.is_file():
        raise ValueError(f"{path} is not there; run the study first: nox -s reproduce")
    try:
        return pl.read_parquet(path)
    # A panic of polars' Rust code, which damage in the right place gives, is no Exception.
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{path} is no readable Parquet file ({reason}); delete the folder {path.parent} and run the "
            "same command again: only what was in it is computed again"
        ) from error


def label(rows: pl.DataFrame, cell: dict[str, object]) -> pl.DataFrame:
    """Put the cell's columns (model, method, variant, calibration, seed) before the rows' own."""
    if set(cell) != set(CELL):
        raise ValueError(f"cell has {', '.join(sorted(cell))}; it must have {', '.join(CELL)}")
    columns = [pl.lit(cell[name], dtype=SCORES[name]).alias(name) for name in CELL]
    return rows.select(*columns, pl.all())


def scores(rows: Iterable[Mapping[str, Any]], variants: Variants) -> pl.DataFrame:
    """Rows of scores as a table of columns ``SCORES``, with the facts of each row's variant.

    A variant of which ``variants`` holds nothing is called by its own name, and has no sibling, rate or schedule.
    """
    unknown = {"sibling": "", "rate": None, "schedule": "", "control": "", "reason": None}
    unknown |= dict.fromkeys(("judge", "kappa", "kappa_low", "kappa_high", "labels", "labelled_by"))
    full = ({"label": row["variant"], **unknown, **variants.get(row["variant"], {}), **row} for row in rows)
    table = pl.DataFrame([{name: row[name] for name in SCORES} for row in full], schema=SCORES)
    return table.with_columns(pl.col("value", "low", "high").fill_nan(None))


def measurements(rows: pl.DataFrame, *, dimension: str, task: str) -> pl.DataFrame:
    """Rows of (doc_id, metric, value) as item rows, so that all dimensions share one schema."""
    known = rows.with_columns(
        pl.lit(dimension).alias("dimension"),
        pl.lit(dimension).alias("capability"),
        pl.lit(task).alias("task"),
        pl.col("doc_id").cast(pl.String).alias("cluster"),
        pl.lit(value=False).alias("primary"),
    )
    missing = [pl.lit(None, dtype=kind).alias(name) for name, kind in ITEMS.items() if name not in known.columns]
    return known.with_columns(missing).select(pl.col(name).cast(kind) for name, kind in ITEMS.items())
