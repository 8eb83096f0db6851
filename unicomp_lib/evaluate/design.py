"""How many items of which task give the narrowest intervals of retention for a given time."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

from unicomp_lib.evaluate import forms, statistics
from unicomp_lib.evaluate.statistics import Part

VERSION = "2"

LEAST = 16  # items of a task, below which hardly an interval is defined
KEEPS = 0.5  # variants that retain less are settled with any design
ITEM = ["task", "doc_id", "metric"]


@dataclass(frozen=True)
class Known:
    """What a finished run tells of a task.

    ``above``: dense's mean above chance, 0 where it is not clearly above. ``sigma``: standard deviation, an item, of
    what a variant's value leaves to chance once dense's is known, root mean square over variants. Both in units of
    1 - chance. ``seconds``: CPU time an item. ``largest``: items that the set has. ``imagined``: n times the standard
    deviation that the imaginary answers of ``statistics.resample`` add, in the same units; 0 for values that are no
    outcomes.
    """

    task: str
    capability: str
    above: float
    sigma: float
    seconds: float
    largest: int
    imagined: float = 0.0

    def variance(self, n: float) -> float:
        """Of a variant's mean above chance from ``n`` items."""
        return self.sigma**2 / n + (self.imagined / n) ** 2


def known(items: pl.DataFrame, costs: pl.DataFrame, sizes: dict[str, int]) -> list[Known]:
    """What item rows (of dense and of variants), costs (task, items, seconds) and sizes of sets tell of each task.

    Variants that retain less than ``KEEPS`` of a task do not count for its ``sigma``, unless all do.
    """
    probability = pl.col("metric") == forms.PROBABILITY
    rows = items.filter(pl.when(probability.any().over("task")).then(probability).otherwise("primary"))
    seconds = dict(costs.group_by("task").agg(pl.col("seconds").sum() / pl.col("items").sum()).iter_rows())
    found = []
    for (task, capability), of_task in rows.group_by(["task", "capability"], maintain_order=True):
        parts = _parts(of_task)
        if task in seconds and parts:
            found.append(_known(str(task), str(capability), parts, seconds[task], sizes[str(task)]))
    return found


def _parts(rows: pl.DataFrame) -> list[Part]:
    """Dense and each variant on the items that both have; calibration seeds are averaged."""
    dense = rows.filter(variant="dense").select(*ITEM, dense="value")
    parts = []
    for (variant,), frame in rows.group_by(["variant"], maintain_order=True):
        if variant in ("dense", "dense-rerun"):
            continue
        pooled = frame.group_by(ITEM, maintain_order=True).agg(
            pl.col("value").mean(), pl.col("cluster").first(), pl.col("chance").first()
        )
        both = pooled.join(dense, on=ITEM, maintain_order="left").drop_nulls()
        rest = dense.join(pooled, on=ITEM, how="anti").drop_nulls()["dense"].to_numpy()
        value, of_dense = (both[name].to_numpy() for name in ("value", "dense"))
        names = np.arange(len(both) + len(rest))
        if len(both) > 2:
            parts.append(
                Part(value, of_dense, names[: len(both)], both["chance"][0], rest, rest_clusters=names[len(both) :])
            )
    return parts


def _known(task: str, capability: str, parts: list[Part], seconds: float, largest: int) -> Known:
    scale = 1 - parts[0].chance
    above = float(parts[0].all_dense.mean()) - parts[0].chance
    keeping = [part for part in parts if float(part.compressed.mean()) - part.chance > KEEPS * above]
    left = [np.var(part.compressed - statistics.slope(part) * part.dense, ddof=2) for part in keeping or parts]
    imagined = [_imagined(part) for part in keeping or parts]
    return Known(
        task,
        capability,
        above / scale if statistics.above_chance(parts[0]) else 0.0,
        float(np.mean(left)) ** 0.5 / scale,
        seconds,
        largest,
        float(np.mean(imagined)) ** 0.5 / scale,
    )


def _imagined(part: Part) -> float:
    """n^2 times the variance that the imaginary answers add to the compressed model's mean once dense's is known."""
    if not statistics.outcomes(np.concatenate([part.compressed, part.all_dense])):
        return 0.0
    compressed, dense = (statistics.ANSWERS - [part.compressed.mean(), part.dense.mean()]).T
    return statistics.HALF * float(np.square(compressed - statistics.slope(part) * dense).sum())


def allocate(tasks: list[Known], seconds: float, *, least: int = LEAST) -> dict[str, int]:
    """Items of each task for ``seconds`` of CPU time a cell, that make the sum of the variances of retention smallest.

    The variance of a capability's retention is the sum of ``Known.variance`` over its tasks, by the square of the sum
    of what dense has above chance. It is smallest where the last second spent on each task lowers it as much (Neyman,
    1934, with costs). Every task has ``least`` items, or all if it has fewer; those on which dense is not above chance
    have no more.
    """
    above: dict[str, float] = {}
    for one in tasks:
        above[one.capability] = above.get(one.capability, 0.0) + one.above

    fewest = {one.task: min(least, one.largest) for one in tasks}

    def wanted(price: float) -> dict[str, float]:
        return {
            one.task: float(
                np.clip(_worth(one, price * one.seconds * above[one.capability] ** 2), fewest[one.task], one.largest)
            )
            for one in tasks
            if one.above
        }

    free = seconds - sum(fewest[one.task] * one.seconds for one in tasks if not one.above)
    low, high = -60.0, 60.0  # of the logarithm of what a second may cost
    for _ in range(80):
        middle = (low + high) / 2
        numbers = wanted(float(np.exp(middle)))
        spent = sum(numbers[one.task] * one.seconds for one in tasks if one.above)
        low, high = (middle, high) if spent > free else (low, middle)
    return fewest | {task: int(number + 1e-6) for task, number in wanted(float(np.exp(high))).items()}


def _worth(one: Known, price: float) -> float:
    """The number of items n at which another one lowers the task's variance by ``price``: price n^3 = s^2 n + 2 i^2."""
    noise = 2 * one.imagined**2
    n = float(np.sqrt(one.sigma**2 / price) + np.cbrt(noise / price))  # at or above the root, where Newton's steps fall
    for _ in range(30):
        n -= (price * n**3 - one.sigma**2 * n - noise) / (3 * price * n**2 - one.sigma**2) if n else 0.0
    return n


def half_widths(tasks: Iterable[Known], numbers: dict[str, int]) -> dict[str, float]:
    """The expected half-width of each capability's retention, and of ``all``; NaN where dense is not above chance."""
    groups: dict[str, list[Known]] = {}
    for one in tasks:
        if one.above:
            groups.setdefault(one.capability, []).append(one)
            groups.setdefault("all", []).append(one)
        else:
            groups.setdefault(one.capability, [])
    expected = {}
    for capability, members in groups.items():
        variance = sum(one.variance(numbers[one.task]) for one in members)
        above = sum(one.above for one in members)
        expected[capability] = statistics.Z * float(np.sqrt(variance)) / above if above else float("nan")
    return expected
