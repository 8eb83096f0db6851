"""From images and units to the scores of the vision study."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from unicomp_lib import tables
from unicomp_lib.evaluate import scoring, statistics
from unicomp_lib.evaluate.statistics import Estimate
from unicomp_lib.vision import repeats

VERSION = "5"

ONCE = ("macs", "parameters", "sparsity", "epochs")
SIZES = (*ONCE, "latency", "latency_dense")
Row = dict[str, object]


def score(images: pl.DataFrame, units: pl.DataFrame, variants: tables.Variants) -> pl.DataFrame:
    """Scores (``tables.SCORES``) from the image rows and the unit rows of all networks.

    ``variants`` holds the facts of each network: its label in figures, rate, schedule and control.

    Accuracy is compared with dense on the same images as every task is. Of the MIS, rows of the mean over
    units and of its paired difference to dense, with intervals over layers, since the units of one layer are
    not independent; by layer; the share of constant units; the null. ``mis_by_*`` are rank correlations over
    networks, whose ``bound`` is the smallest relation that they exclude in both directions.

    Where dense was trained with several seeds, each network is compared with the dense one of its own seed, and rows
    without a seed are means over trainings, with intervals that hold the trainings' spread (``repeats.widened``).
    """
    seeds = images.filter(pl.col("variant") == "dense")["seed"].unique(maintain_order=True)
    if len(seeds) < 2:
        return _score(images, units.with_columns(training=0), variants)
    units = units.with_columns(training="seed")
    each = pl.concat(_score(images.filter(seed=seed), units.filter(seed=seed), variants) for seed in seeds)
    each = each.filter(pl.col("seed").is_not_null())
    pooled = _score(repeats.mean_images(images), units.with_columns(seed=pl.lit(0, dtype=pl.Int64)), variants)
    means = pooled.with_columns(seed=pl.lit(None, dtype=pl.Int64)).unique(
        repeats.ROW, keep="first", maintain_order=True
    )
    return pl.concat([each, repeats.widened(means, each)])


def _score(images: pl.DataFrame, units: pl.DataFrame, variants: tables.Variants) -> pl.DataFrame:
    """Scores of networks that are compared with one dense network, or with that of the same ``training``."""
    accuracy = scoring.score(images.filter(~pl.col("metric").is_in(SIZES)), variants)
    rows: list[Row] = []
    for cell, of_cell in images.filter(pl.col("metric").is_in(SIZES)).group_by(tables.CELL, maintain_order=True):
        rows += [dict(zip(tables.CELL, cell, strict=True)) | row for row in _sizes(of_cell)]
    reference = units.filter(pl.col("variant") == "dense").select("layer", "channel", "training", dense="mis")
    for cell, of_cell in units.group_by(tables.CELL, maintain_order=True):
        paired = of_cell.join(reference, on=["layer", "channel", "training"], how="left", maintain_order="left")
        rows += [dict(zip(tables.CELL, cell, strict=True)) | row for row in _units(paired)]
    scores = pl.concat([accuracy, tables.scores(rows, variants)])
    return pl.concat([scores, tables.scores(_relations(scores), variants)])


def _sizes(frame: pl.DataFrame) -> Iterator[Row]:
    by = {metric: part["value"].to_numpy() for (metric,), part in frame.group_by(["metric"], maintain_order=True)}
    for metric in ONCE:
        yield _row(metric, Estimate(float(by[metric][0]), float("nan"), float("nan")), 1)
    ratio = by["latency_dense"] / by["latency"]
    yield _row("speed_ratio", statistics.middle(ratio), len(ratio))


def _units(paired: pl.DataFrame) -> Iterator[Row]:
    known = paired["constant"].drop_nulls()
    constant = float(known.mean()) if len(known) else float("nan")  # type: ignore[arg-type]
    yield _row("constant", Estimate(constant, float("nan"), float("nan")), len(known))
    if unknown := len(paired) - len(known):
        yield _row("not_finite", Estimate(unknown / len(paired), float("nan"), float("nan")), len(paired))
    alive = paired.filter(~pl.col("constant"))
    for metric in ("mis", "hard", "margin", "null", "overlap"):
        yield _row(metric, _by_layer(alive, pl.col(metric)), len(alive))
    both = alive.filter(pl.col("dense").is_not_null())
    yield _row("mis_difference", _by_layer(both, pl.col("mis") - pl.col("dense")), len(both))
    for (layer,), frame in alive.group_by(["layer"], maintain_order=True):
        units = np.arange(len(frame))
        yield _row("mis", statistics.bootstrap(frame["mis"].to_numpy().astype(float), units), len(frame), str(layer))


def _by_layer(frame: pl.DataFrame, value: pl.Expr) -> Estimate:
    values = frame.select(value.cast(pl.Float64).alias("value"), "layer").drop_nulls()
    if values.is_empty():
        return statistics.undefined("no unit has a score")
    return statistics.bootstrap(values["value"].to_numpy(), values["layer"].to_numpy())


def _relations(scores: pl.DataFrame) -> Iterator[Row]:
    """Over the trained networks: MIS by sparsity and by accuracy."""
    rows = scores.filter(
        pl.col("seed").is_not_null(), pl.col("variant") != "untrained", pl.col("task") != "all",
        pl.col("value").is_not_nan(),
    )  # fmt: skip
    wide = {
        metric: rows.filter(pl.col("metric") == metric).unique(["variant", "seed"], keep="first", maintain_order=True)
        for metric in ("mis", "sparsity", "acc")
    }
    for metric in ("sparsity", "acc"):
        both = wide["mis"].join(wide[metric], on=["variant", "seed"], suffix="_other", maintain_order="left")
        relation = statistics.rank_correlation(both["value_other"].to_numpy(), both["value"].to_numpy())
        bound = max(abs(relation.low), abs(relation.high))
        for name, value in (("", relation), ("_bound", Estimate(bound, float("nan"), float("nan")))):
            shared = {"model": scores["model"][0], "method": "all", "variant": "all", "calibration": "", "seed": None}
            yield shared | _row(f"mis_by_{metric}{name}", value, len(both))


def _row(metric: str, estimate: Estimate, n: int, task: str = "units") -> Row:
    capability = "size" if metric in (*ONCE, "speed_ratio") else "interpretability"
    return {
        "dimension": "vision", "capability": capability, "task": task, "format": "", "metric": metric,
        "value": estimate.value, "low": estimate.low, "high": estimate.high, "n": n, "chance": None,
        "reason": estimate.reason or None,
    }  # fmt: skip
