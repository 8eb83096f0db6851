"""From item rows to scores: means, retentions and differences to dense, each with its interval."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from unicomp_lib import tables
from unicomp_lib.evaluate import siblings, statistics
from unicomp_lib.evaluate.statistics import Estimate

VERSION = "3"

ITEM = ["task", "doc_hash", "doc_id"]
Row = dict[str, Any]


def score(items: pl.DataFrame) -> pl.DataFrame:
    """Scores of one dimension from the item rows of all its cells: columns ``tables.SCORES``.

    Every cell gives its own rows, and every variant rows with ``seed`` null: each item's value is
    then its mean over the seeds, so that the interval shows the sampling of items alone. Cells
    are compared with the dense cell of their model on the same items, and the calibrations of a
    method with each other (``siblings``). Raises a ``ValueError``
    when a model has no dense cell or a cell lacks items that dense has.
    """
    rows: list[Row] = []
    for (model,), of_model in items.group_by(["model"], maintain_order=True):
        dense = of_model.filter(pl.col("method") == "dense")
        if dense.is_empty():
            raise ValueError(f"model {model} has no dense cell to compare with; add compression 'dense'")
        for cell, frame in _cells(of_model):
            rows += [{**cell, **row} for row in _cell_rows(frame, dense)]
    effects = [siblings.effect(items, metric) for metric in ("primary", "bits_per_byte")]
    return pl.concat([pl.DataFrame(rows, schema=tables.SCORES), *effects])


def _cells(items: pl.DataFrame) -> Iterator[tuple[Row, pl.DataFrame]]:
    """Each cell with its rows, then each variant with the mean over its seeds."""
    for cell, frame in items.group_by(list(tables.CELL), maintain_order=True):
        yield dict(zip(tables.CELL, cell, strict=True)), frame
    group = [*ITEM, "metric", "dimension", "capability", "format", "chance", "cluster", "primary"]
    names = [name for name in tables.CELL if name != "seed"]
    for cell, frame in items.group_by(names, maintain_order=True):
        pooled = frame.group_by(group, maintain_order=True).agg(pl.col("value").mean())
        yield {**dict(zip(names, cell, strict=True)), "seed": None}, pooled


def _cell_rows(items: pl.DataFrame, dense: pl.DataFrame) -> Iterator[Row]:
    paired = _paired(items, dense)
    for _, frame in paired.group_by(["task", "metric"], maintain_order=True):
        yield _row(frame, frame["metric"][0], statistics.mean(*_columns(frame, "value", "cluster")))
        if frame["primary"][0]:
            yield from _flips(frame)
    for _, frame in paired.group_by(["capability"], maintain_order=True):
        yield from _against_dense(frame)
    for row in _against_dense(paired):
        yield {**row, "capability": "all"}


def _against_dense(frame: pl.DataFrame) -> Iterator[Row]:
    """Retention over a group of tasks, and the change of the reference answers' bits per byte."""
    primary = frame.filter(pl.col("primary"))
    if not primary.is_empty():
        yield _retention(primary)
    continuous = frame.filter(pl.col("metric") == "bits_per_byte")
    if not continuous.is_empty():
        change = statistics.difference(*_columns(continuous, "value", "dense", "cluster"))
        yield _row(continuous, "bits_per_byte_change", change, task="all")


def _paired(items: pl.DataFrame, dense: pl.DataFrame) -> pl.DataFrame:
    reference = dense.select(*ITEM, "metric", pl.col("value").alias("dense"))
    paired = items.join(reference, on=[*ITEM, "metric"], how="inner", maintain_order="left")
    if len(paired) != len(reference) or len(paired) != len(items):
        raise ValueError(
            f"a cell has {len(items)} item rows, dense has {len(reference)}, and {len(paired)} are the same items; "
            "evaluate both on the same tasks and numbers of items"
        )
    return paired


def _retention(primary: pl.DataFrame) -> Row:
    """Chance-corrected retention over the tasks on which dense is above chance.

    ``n`` counts their items; where dense is clearly above chance on none, the value is NaN and n is 0.
    """
    parts, used = [], 0
    for _, frame in primary.group_by(["task"], maintain_order=True):
        values, dense, clusters = _columns(frame, "value", "dense", "cluster")
        chance = float(frame["chance"][0])
        if statistics.above_chance(dense, clusters, chance):
            parts.append(statistics.Part(values, dense, clusters, chance))
            used += len(frame)
    found = statistics.retention(parts)
    return {**_row(primary, "retention", found, task="all"), "n": 0 if np.isnan(found.value) else used}


def _flips(frame: pl.DataFrame) -> Iterator[Row]:
    """Share of items that dense has right and the compressed model wrong, and the reverse."""
    values, dense, clusters = _columns(frame, "value", "dense", "cluster")
    yield _row(frame, "flips_lost", statistics.mean(np.maximum(dense - values, 0), clusters))
    yield _row(frame, "flips_gained", statistics.mean(np.maximum(values - dense, 0), clusters))


def fidelity(items: pl.DataFrame) -> pl.DataFrame:
    """Scores of the fidelity rows: ``perplexity`` is added, the exponential of the mean ``nll``.

    Its interval is that of the mean, exponentiated; ``perplexity_ratio`` is to the dense model on
    the same blocks, paired.
    """
    rows: list[Row] = []
    for cell, frame in _cells(items):
        by = {metric: part for (metric,), part in frame.group_by(["metric"], maintain_order=True)}
        for metric in ("nll", "kl", "agreement"):
            # Block means that happen to be all 0 or 1 are no coin tosses: never Wilson's interval here.
            found = statistics.bootstrap(*_columns(by[metric], "value", "cluster"))
            rows.append({**cell, **_row(by[metric], metric, found)})
        nll, clusters = _columns(by["nll"], "value", "cluster")
        mean = statistics.bootstrap(nll, clusters)
        ratio = statistics.difference(nll, by["nll_dense"]["value"].to_numpy(), clusters)
        rows.append({**cell, **_row(by["nll"], "perplexity", _exp(mean))})
        rows.append({**cell, **_row(by["nll"], "perplexity_ratio", _exp(ratio))})
    return pl.concat([pl.DataFrame(rows, schema=tables.SCORES), siblings.effect(items, "nll")])


def efficiency(items: pl.DataFrame) -> pl.DataFrame:
    """Scores of the efficiency rows: medians over repeats, and ratios to dense in the same run.

    Every metric has a row ``<metric>_dense`` of the dense model measured in turn. A ratio is the
    median of the repeats' ratios; its interval is their range, since a bootstrap of five
    repeats would promise more than they hold. Metrics measured once have no interval.
    """
    rows: list[Row] = []
    for cell, frame in _cells(items):
        by = {metric: part for (metric,), part in frame.group_by(["metric"], maintain_order=True)}
        for metric, part in by.items():
            if metric.endswith("_dense"):
                continue
            values = part["value"].to_numpy()
            rows.append({**cell, **_row(part, metric, _median(values))})
            if f"{metric}_dense" in by:
                ratio = _median(values / by[f"{metric}_dense"]["value"].to_numpy())
                rows.append({**cell, **_row(part, f"{metric}_ratio", ratio)})
    return pl.DataFrame(rows, schema=tables.SCORES)


def _median(values: np.ndarray) -> Estimate:
    if len(values) == 1:
        return Estimate(float(values[0]), float("nan"), float("nan"))
    return Estimate(float(np.median(values)), float(values.min()), float(values.max()))


def _exp(estimate: Estimate) -> Estimate:
    return Estimate(*(float(np.exp(part)) for part in (estimate.value, estimate.low, estimate.high)))


def _columns(frame: pl.DataFrame, *names: str) -> tuple[np.ndarray, ...]:
    return tuple(frame[name].to_numpy() for name in names)


def _row(frame: pl.DataFrame, metric: str, estimate: Estimate, task: str | None = None) -> Row:
    first = frame.row(0, named=True)
    return {
        "dimension": first["dimension"],
        "capability": first["capability"],
        "task": task or first["task"],
        "format": first["format"] if task is None else "all",
        "metric": metric,
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "n": len(frame),
        "chance": first["chance"] if task is None else None,
    }
