"""Scores of networks that were trained several times: means over trainings, and intervals that hold their spread."""

from typing import Any

import numpy as np
import polars as pl
from scipy.stats import t

VERSION = "1"

ROW = ["model", "variant", "capability", "task", "format", "metric"]  # what a score is of, whatever the training
SHARES = ("acc", "mis", "hard", "null", "overlap", "constant")  # cannot leave 0 to 1


def mean_images(images: pl.DataFrame) -> pl.DataFrame:
    """Rows of images with the mean over trainings as ``value``, null where a training has none; the seed is 0."""
    rest = [name for name in images.columns if name not in ("seed", "value", "output")]
    mean = pl.when(pl.col("value").is_not_null().all()).then(pl.col("value").mean()).alias("value")
    pooled = images.group_by(rest, maintain_order=True).agg(mean, pl.col("output").drop_nulls().first())
    return pooled.with_columns(seed=pl.lit(0, dtype=images.schema["seed"])).select(images.columns)


def widened(means: pl.DataFrame, each: pl.DataFrame) -> pl.DataFrame:
    """``means`` over trainings, with intervals over trainings as well as over images or layers.

    ``means`` and ``each`` have columns ``tables.SCORES``: one row a score, and one a score and training. The interval
    of a mean, which is over images or layers alone, gets the half-width of Student's t over the trainings added in
    quadrature, as variances add. The part of a training's draw that differs by image counts in both, so that the
    interval is rather too wide. Scores without an interval, and relations over networks, stay as they are. A score
    that a training lacks has no interval, and says so.
    """
    trainings = each["seed"].n_unique()
    values = each.group_by(ROW).agg(pl.col("value").fill_nan(None).drop_nulls().alias("by_training"))
    rows = [
        _widen(row, trainings)
        for row in means.join(values, on=ROW, how="left", nulls_equal=True, maintain_order="left").iter_rows(named=True)
    ]
    return pl.DataFrame(rows, schema=means.schema)


def _widen(row: dict[str, Any], trainings: int) -> dict[str, Any]:
    values = row.pop("by_training") or []
    value, low, high = (row[name] for name in ("value", "low", "high"))
    if row["variant"] == "all" or not _known(value, low, high):
        return row
    if len(values) < trainings:
        reason = f"{len(values)} of {trainings} trainings have this score"
        return row | {"low": None, "high": None, "reason": row["reason"] or reason}
    half = float(t.ppf(0.975, trainings - 1) * np.std(values, ddof=1) / np.sqrt(trainings))
    ends = [value - np.hypot(value - low, half), value + np.hypot(high - value, half)]
    if row["metric"] in SHARES:
        ends = [min(max(end, 0.0), 1.0) for end in ends]
    return row | {"low": float(ends[0]), "high": float(ends[1])}


def _known(*values: object) -> bool:
    return all(isinstance(value, float) and np.isfinite(value) for value in values)
