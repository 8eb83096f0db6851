"""Scores by source: the parts of a subtask, and their average where the paper of the benchmark reports one."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from unicomp_lib.evaluate import statistics, totals
from unicomp_lib.evaluate.statistics import Estimate
from unicomp_lib.evaluate.tasks import trustllm

VERSION = "1"

# Verdicts beside the primary ones that the paper reports: accuracy before AdvGLUE's attacks, and leakage's TD.
REPORTED = ("original_right", "disclosed")

Score = tuple[pl.DataFrame, str, str, Estimate]  # the rows it is of, its task, metric and value


def scores(items: pl.DataFrame) -> Iterator[Score]:
    """Scores by source of one cell, whose rows have task, metric, value, primary, doc_id, cluster and source.

    ``<metric>_by_source``, with ``<task>/<source>`` as its task: the task's primary metric and its totals
    (see ``totals``) on the items of one source. ``<metric>_over_sources``, with the subtask as its task: their
    mean over the sources of ``trustllm.AVERAGED``, each source counting the same, as the paper averages. It is given
    where every source has items, since a mean over some of them is another score. A table of a time before sources
    were kept has no such scores.
    """
    if "source" not in items.columns:
        return
    items = items.filter(pl.col("source").is_not_null())
    for (task, source), part in items.group_by(["task", "source"], maintain_order=True):
        for metric, estimate in _of_source(part):
            yield part, f"{task}/{source}", f"{metric}_by_source", estimate
    for subtask, sources in trustllm.AVERAGED.items():
        part = items.filter(pl.col("task").str.starts_with(subtask))
        if set(part["source"]) == set(sources):
            for metric, estimate in _averages(part, sources):
                yield part, subtask, f"{metric}_over_sources", estimate


def _of_source(part: pl.DataFrame) -> Iterator[tuple[str, Estimate]]:
    for (metric,), rows in part.filter(_reported()).group_by(["metric"], maintain_order=True):
        yield str(metric), statistics.mean(rows["value"].to_numpy(), rows["cluster"].to_numpy())
    yield from totals.totals(part)


def _averages(items: pl.DataFrame, sources: tuple[str, ...]) -> Iterator[tuple[str, Estimate]]:
    for (metric,), rows in items.filter(_reported()).group_by(["metric"], maintain_order=True):
        if set(rows["source"]) != set(sources):
            continue
        parts = [_part(rows.filter(pl.col("source") == source)) for source in sources]
        observed, resampled = statistics.resample(parts)
        yield str(metric), statistics.interval(float(observed[:, 0].mean()), resampled[:, :, 0].mean(axis=1))
    answers = totals.each_seed(items)
    for name, formula in totals.formulas(set(items["metric"])):
        yield name, _average(answers, sources, formula)


def _part(rows: pl.DataFrame) -> statistics.Part:
    values = rows["value"].to_numpy()
    return statistics.Part(values, values, rows["cluster"].to_numpy(), chance=0.0)


def _reported() -> pl.Expr:
    """The task's metric, and the others that the paper reports."""
    return pl.col("primary") | pl.col("metric").is_in(REPORTED)


def _average(answers: pl.DataFrame, sources: tuple[str, ...], formula: totals.Formula) -> Estimate:
    """Mean over sources of a formula, all sources resampled together, since people may occur in several.

    As in TrustLLM's code, a share of no answers counts as 0.
    """
    wide = totals.wide(answers, [*formula.metrics])
    if set(wide["source"]) != set(sources):
        return statistics.UNDEFINED
    columns = formula.columns(wide.select(formula.metrics).to_numpy())
    inside = np.array([wide["source"].to_numpy() == source for source in sources], dtype=float).T[:, :, None]
    # A source's columns are 0 outside it, so that their means over its share are means within it.
    masked = np.concatenate([inside, inside * columns[:, None, :]], axis=2)

    def average(means: np.ndarray) -> np.ndarray:
        by_source = means.reshape(-1, *masked.shape[1:])
        with np.errstate(invalid="ignore", divide="ignore"):
            within = by_source[:, :, 1:] / by_source[:, :, :1]
        values = np.where(by_source[:, :, 0] > 0, np.nan_to_num(formula.value(within)), np.nan)
        mean: np.ndarray = values.mean(axis=1)
        return mean

    flat = masked.reshape(len(masked), -1)
    value = average(flat.mean(axis=0))[0]
    return totals.interval(float(value), average(statistics.resampled_means(flat, wide["cluster"].to_numpy())))
