"""One score for each aspect of efficiency, with the parts it is made of."""

import polars as pl

from unicomp_lib.evaluate import statistics

VERSION = "2"

SCORE = "score"
# Track: its parts, metrics of the scores table; whether less is better; what a part is divided by.
TRACKS = {
    "runtime acceleration": (("decode_ratio", "prefill_ratio", "decode_batch_ratio"), False, "dense"),
    "inference footprint": (("bytes_on_disk_ratio", "peak_memory_ratio", "flops_ratio"), True, "dense"),
    "compression cost": (("cost_cpu_seconds", "cost_peak_memory"), True, "the cheapest variant"),
}
# On an accelerator its memory is what a model has to fit into, and the CPU's time says little.
ON_ACCELERATOR = {
    "peak_memory_ratio": "device_memory_ratio",
    "cost_cpu_seconds": "cost_seconds",
    "cost_peak_memory": "cost_device_memory",
}


def tracks(scores: pl.DataFrame) -> pl.DataFrame:
    """Normalised efficiency of the compressed variants, higher is better: parts and their geometric mean, ``score``.

    ``scores`` is the efficiency table. Speed and footprint are ratios to dense, so 1 is dense and 2
    twice as fast or half as large; costs, which dense does not have, are the cheapest variant's divided by
    this one's, so 1 is the cheapest. A score's interval is the geometric mean of its parts' ranges over the
    repeats, where what was measured once counts as known; there is none with too few repeats of one part. UniComp
    normalises the same three tracks; its code does not contain the formula, so these values are to be compared with
    each other, not with the paper's. A mean hides which part made the difference: it is never shown without its
    parts. Of what was measured on an accelerator, footprint and cost are by its memory and by wall time
    (``ON_ACCELERATOR``); a method that did not use it has no such memory. Columns: model, method, variant, track,
    part, value, low, high.
    """
    frames = [_track(scores, name) for name in TRACKS]
    return pl.concat(frame for frame in frames if not frame.is_empty())


def _track(scores: pl.DataFrame, track: str) -> pl.DataFrame:
    parts, less_is_better, _ = TRACKS[track]
    if "device_memory_ratio" in set(scores["metric"]):
        parts = tuple(ON_ACCELERATOR.get(part, part) for part in parts)
    pooled = scores.filter(pl.col("seed").is_null(), pl.col("method") != "dense", pl.col("metric").is_in(parts))
    cheapest = pl.col("value").min().over("model", "metric") if track == "compression cost" else pl.lit(1.0)
    known = pl.when(pl.col("reason").ne_missing(statistics.FEW_REPEATS)).then("value").otherwise(float("nan"))
    filled = pooled.with_columns(pl.col("low", "high").fill_nan(None).fill_null(known), by=cheapest)
    bounds = ("high", "low") if less_is_better else ("low", "high")
    normalised = [pl.col("by") / pl.col(name) if less_is_better else pl.col(name) for name in ("value", *bounds)]
    rows = filled.select(
        "model", "method", "variant", pl.lit(track).alias("track"), pl.col("metric").alias("part"),
        *(column.alias(name) for column, name in zip(normalised, ("value", "low", "high"), strict=True)),
    )  # fmt: skip
    means = rows.group_by("model", "method", "variant", "track", maintain_order=True).agg(
        pl.lit(SCORE).alias("part"), pl.col("value", "low", "high").log().mean().exp()
    )
    return pl.concat([rows, means.select(rows.columns)]).with_columns(pl.col("low", "high").fill_nan(None))
