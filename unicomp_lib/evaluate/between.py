"""Scores that rest on the same items, compared: their difference with its paired interval, from the item rows.

Two variants that answered the same items rise and fall together, so their difference is known better than either. Means
over items are compared by ``statistics.difference``; what is computed from means, such as retention, by resampling the
clusters once for both variants and dense. There, outcomes get the noise of imaginary answers of all three, which is
that of ``statistics.resample`` for any two of them.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from unicomp_lib.evaluate import forms, statistics
from unicomp_lib.evaluate.statistics import Estimate, Part

VERSION = "1"

ITEM = ["task", "doc_hash", "doc_id"]
KEY = [*ITEM, "metric"]
POOLED = ["model", "variant", "capability", "format", "chance", "cluster", "primary", *KEY]
# Imaginary answers of the first variant, the second and dense. A quarter of a time each, so that those of any two
# count half a time each, as ``statistics.ANSWERS`` do.
ANSWERS = np.array(list(itertools.product((1.0, 0.0), repeat=3)))
QUARTER = 0.25
DENSE = "dense"

Row = Mapping[str, Any]  # of columns tables.SCORES
Terms = Sequence[tuple[float, Row]]  # scores of at most two variants with their weights, such as 1 and -1
Name = tuple[Any, ...]


@dataclass(frozen=True)
class Paired:
    """A difference, and the number of ``items`` behind it; or ``why`` it cannot be had from the items."""

    estimate: Estimate
    items: int = 0
    why: str = ""


@dataclass(frozen=True)
class Quantity:
    """A score as a function of the means of its tasks.

    ``value`` maps these means, shape (..., tasks, 2) of compressed and dense, to shape (...). ``items`` are those that
    the compressed model was asked, in the order of the parts. ``linear``: a mean over items, or its difference from
    dense. ``shares``: values of 0 and 1 are outcomes, whose resamples get the noise of imaginary answers.
    """

    parts: list[Part]
    value: Callable[[np.ndarray], np.ndarray]
    items: pl.DataFrame
    linear: bool = False
    shares: bool = True


@dataclass(frozen=True)
class Term:
    """A quantity with its weight; ``role`` says whose imaginary answers it has, as a column of ``ANSWERS``."""

    weight: float
    role: int
    name: Name
    quantity: Quantity


class Unpaired(ValueError):
    """Why two scores cannot be compared on the same items."""


class Items:
    """Item rows of all variants, by dimension, and what has been made of them so far."""

    def __init__(self, by_dimension: Mapping[str, pl.DataFrame]) -> None:
        self._pooled = {name: _pooled(rows) for name, rows in by_dimension.items() if len(rows)}
        self._cells: dict[Name, pl.DataFrame] = {}
        self._quantities: dict[Name, Quantity] = {}

    def differences(self, comparisons: Sequence[Terms]) -> list[Paired]:
        """The weighted sum of each comparison's scores, all resampled together.

        Rows are those of a table of scores over all calibration seeds. There is no such difference, and the result
        says why, where items lack, where a score is no function of means over items, and where no item is the same.
        """
        prepared = [self._prepared(terms) for terms in comparisons]
        together = [terms for terms in prepared if isinstance(terms, list) and not _is_paired(terms)]
        drawn = _drawn({term.name: term.quantity for terms in together for term in terms})
        found = []
        for terms in prepared:
            if isinstance(terms, str):
                found.append(Paired(statistics.undefined(terms), why=terms))
            else:
                estimate = _of_pairs(terms) if _is_paired(terms) else _sum(terms, drawn)
                found.append(Paired(estimate, len(_items(terms))))
        return found

    def _prepared(self, comparison: Terms) -> list[Term] | str:
        others = [name for name in dict.fromkeys(row["variant"] for _, row in comparison) if name != DENSE]
        roles = {DENSE: 2} | {name: role for role, name in enumerate(others)}
        try:
            terms = [Term(weight, roles[row["variant"]], *self._quantity(row)) for weight, row in comparison]
        except Unpaired as error:
            return str(error)
        return terms if len(_items(terms)) else "no item is the same"

    def _quantity(self, row: Row) -> tuple[Name, Quantity]:
        name = tuple(row[column] for column in ("dimension", "model", "variant", "capability", "task", "format"))
        name += (row["metric"],)
        if name not in self._quantities:
            if row["dimension"] == "efficiency":
                raise Unpaired("measured apart")
            if row["dimension"] not in self._pooled:
                raise Unpaired(f"no items of {row['dimension']}")
            quantity = self._blocks(row) if row["dimension"] == "fidelity" else self._of_answers(row)
            _check(quantity)
            self._quantities[name] = quantity
        return name, self._quantities[name]

    def _blocks(self, row: Row) -> Quantity:
        return _of_blocks(self._pooled["fidelity"].filter(model=row["model"], variant=row["variant"]), row["metric"])

    def _of_answers(self, row: Row) -> Quantity:
        every = self._cell(row["dimension"], row["model"], row["variant"])
        if row["task"] != "all":
            return _of_task(every.filter(task=row["task"]), row["metric"])
        for field in ("capability", "format"):
            every = every if row[field] == "all" else every.filter(pl.col(field) == row[field])
        return _of_group(every, row["metric"])

    def _cell(self, dimension: str, model: str, variant: str) -> pl.DataFrame:
        """A variant's items with dense's values as ``dense``; then those of dense alone, which it was not ``asked``."""
        name = (dimension, model, variant)
        if name not in self._cells:
            of_model = self._pooled[dimension].filter(model=model)
            ours, dense = (of_model.filter(variant=each) for each in (variant, DENSE))
            if (dense["seeds"] > 1).any():  # the draw of the training counts too, which items do not show
                raise Unpaired("trained several times")
            how: dict[str, Any] = {"on": KEY, "nulls_equal": True, "maintain_order": "left"}
            asked = ours.join(dense.select(*KEY, dense="value"), **how).with_columns(asked=True)
            alone = dense.join(ours, how="anti", **how)
            alone = alone.with_columns(dense="value", value=pl.lit(None, dtype=pl.Float64), asked=False)
            self._cells[name] = pl.concat([asked, alone.select(asked.columns)])
        return self._cells[name]


def _pooled(rows: pl.DataFrame) -> pl.DataFrame:
    """Each item's value as the mean over its variant's seeds, null where one is no number; clusters as numbers."""
    value = pl.when(pl.col("value").is_finite()).then("value")
    mean = pl.when(pl.col("value").is_not_null().all()).then(pl.col("value").mean()).alias("value")
    rows = rows.with_columns(value, pl.col("cluster").rank("dense"))
    return rows.group_by(POOLED).agg(mean, seeds=pl.len()).sort(KEY)  # in one order for all variants


def _of_blocks(rows: pl.DataFrame, metric: str) -> Quantity:
    """A mean over blocks of text, or what is computed from that of the loss."""
    functions: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "perplexity": lambda means: np.exp(means[..., 0, 0]),
        "perplexity_ratio": lambda means: np.exp(means[..., 0, 0] - means[..., 0, 1]),
    }
    column = "nll" if metric in functions else metric
    frame = rows.filter(metric=column)
    if column not in ("nll", "kl", "agreement", "p_change"):
        raise Unpaired(f"{metric} is no mean over items")
    if frame.is_empty():
        raise Unpaired(f"no items have {metric}")
    dense = rows.filter(metric="nll_dense")["value"].to_numpy()
    values = frame["value"].to_numpy()
    part = Part(values, dense if len(dense) == len(values) else values, frame["cluster"].to_numpy(), 0.0)
    return Quantity([part], functions.get(metric, _mean), frame.select(ITEM), metric not in functions, shares=False)


def _of_task(every: pl.DataFrame, metric: str) -> Quantity:
    """A task's mean of one of its metrics, its difference from dense, or its share of answers lost or gained."""
    changes = {
        "difference": pl.col("value"),
        "flips_lost": (pl.col("dense") - pl.col("value")).clip(lower_bound=0),
        "flips_gained": (pl.col("value") - pl.col("dense")).clip(lower_bound=0),
    }
    if metric in changes:
        frame = every.filter("primary", "asked").with_columns(value=changes[metric])
        value = _gain if metric == "difference" else _mean
    else:
        frame, value = every.filter(metric=metric), _mean
    if frame.is_empty() or not frame["asked"].any():
        raise Unpaired(f"no items have {metric}")
    return Quantity([_part(frame)], value, _asked(frame), linear=True)


def _of_group(every: pl.DataFrame, metric: str) -> Quantity:
    """What ``scoring`` shows of a group of tasks, of the same tasks."""
    probability, bits = (pl.col("metric") == name for name in (forms.PROBABILITY, "bits_per_byte"))
    measured = pl.when(probability.any().over("task")).then(probability).otherwise("primary")
    counted = {
        "retention": measured, "accuracy_retention": pl.col("primary"), "plain_retention": pl.col("primary"),
        "bits_per_byte_growth": bits, "bits_per_byte_change": bits,
    }  # fmt: skip
    if metric not in counted:
        raise Unpaired(f"{metric} is no mean over items")
    known = (pl.col("value").is_not_null() | ~pl.col("asked")) & pl.col("dense").is_not_null()
    frame = every.filter(counted[metric]).filter(known.all().over("task"))
    if metric == "bits_per_byte_change":
        frame = frame.filter("asked")
        return Quantity([_part(frame)], _gain, _asked(frame), linear=True)
    parts = {of_task["task"][0]: _part(of_task) for of_task in frame.partition_by("task", maintain_order=True)}
    if metric == "plain_retention":
        parts = {task: Part(**{**vars(part), "chance": 0.0}) for task, part in parts.items()}
    elif metric != "bits_per_byte_growth":
        parts = {task: part for task, part in parts.items() if statistics.above_chance(part)}
    items = _asked(frame.filter(pl.col("task").is_in(list(parts))))
    growth = metric == "bits_per_byte_growth"
    return Quantity([*parts.values()], _growth if growth else _retained([*parts.values()]), items, shares=not growth)


def _part(frame: pl.DataFrame) -> Part:
    asked, alone = frame.filter("asked"), frame.filter(~pl.col("asked"))
    values, dense, clusters = (asked[name].to_numpy() for name in ("value", "dense", "cluster"))
    chance = float(frame["chance"][0] or 0) if len(frame) else 0.0
    return Part(values, dense, clusters, chance, alone["dense"].to_numpy(), alone["cluster"].to_numpy())


def _asked(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter("asked").select(ITEM)


def _mean(means: np.ndarray) -> np.ndarray:
    compressed: np.ndarray = means[..., 0, 0]
    return compressed


def _gain(means: np.ndarray) -> np.ndarray:
    gain: np.ndarray = means[..., 0, 0] - means[..., 0, 1]
    return gain


def _growth(means: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        growth: np.ndarray = np.log(means[..., 0] / means[..., 1]).mean(axis=-1)
    return growth


def _retained(parts: list[Part]) -> Callable[[np.ndarray], np.ndarray]:
    """Retention from means. As in ``statistics.contrast`` the denominator of a resample is held positive."""
    chance = np.array([part.chance for part in parts])[:, None]
    least = 0.05 * sum((float(part.all_dense.mean()) - part.chance) / (1 - part.chance) for part in parts)

    def value(means: np.ndarray) -> np.ndarray:
        total = ((means - chance) / (1 - chance)).sum(axis=-2)
        retained: np.ndarray = total[..., 0] / np.maximum(total[..., 1], least)
        return retained

    return value


def _check(quantity: Quantity) -> None:
    if not quantity.parts or not all(len(part.compressed) for part in quantity.parts):
        raise Unpaired("no task to compare")
    for part in quantity.parts:
        if lack := statistics.lacking(part.compressed, part.dense):
            raise Unpaired(lack)


def _items(terms: list[Term]) -> pl.DataFrame:
    """The items behind a comparison: those that two variants share, or those of all scores of one variant."""
    by_variant: dict[int, list[pl.DataFrame]] = {}
    for term in terms:
        by_variant.setdefault(term.role, []).append(term.quantity.items)
    first, *rest = (pl.concat(items).unique() for items in by_variant.values())
    for other in rest:
        first = first.join(other, on=ITEM, how="semi", nulls_equal=True)
    return first


def _is_paired(terms: list[Term]) -> bool:
    """Whether the comparison is the difference of two means over the same items."""
    if len(terms) != 2 or [term.weight for term in terms] != [1, -1]:
        return False
    first, second = (term.quantity for term in terms)
    alone = all(each.linear and not len(each.parts[0].rest) for each in (first, second))
    if not alone or first.value is not second.value or not first.items.equals(second.items):
        return False
    # Of two differences from dense, dense's values cancel.
    return first.value is _mean or np.array_equal(first.parts[0].dense, second.parts[0].dense)


def _of_pairs(terms: list[Term]) -> Estimate:
    first, second = (term.quantity.parts[0] for term in terms)
    if terms[0].quantity.shares:
        return statistics.difference(first.compressed, second.compressed, first.clusters)
    return statistics.bootstrap(first.compressed - second.compressed, first.clusters)


Draws = tuple[np.ndarray, np.ndarray, list[int]]  # observed (parts, 2), resampled (RESAMPLES, parts, 2), seed of a part


def _drawn(quantities: dict[Name, Quantity]) -> dict[Name, Draws]:
    """Means of the parts of each quantity, from the same resamples of clusters."""
    every = [part for quantity in quantities.values() for part in quantity.parts]
    if not every:
        return {}
    observed, resampled = statistics.resample(every, imaginary=False)
    seeds, drawn, start = _linked(every), {}, 0
    for name, quantity in quantities.items():
        members = slice(start, start := start + len(quantity.parts))
        drawn[name] = (observed[members], resampled[:, members], seeds[members])
    return drawn


def _linked(parts: list[Part]) -> list[int]:
    """A number for each part, the same for parts that share a cluster or are linked by others that do."""
    clusters = [np.unique(part.all_clusters) for part in parts]
    names, place = np.unique(np.concatenate(clusters), return_inverse=True)
    owner = np.repeat(np.arange(len(parts)), [len(each) for each in clusters])
    size = len(parts) + len(names)
    graph = coo_matrix((np.ones(len(owner)), (owner, len(parts) + place)), shape=(size, size))
    return [int(number) for number in connected_components(graph, directed=False)[1][: len(parts)]]


def _sum(terms: list[Term], drawn: dict[Name, Draws]) -> Estimate:
    value, draws = 0.0, np.zeros(statistics.RESAMPLES)
    for term in terms:
        observed, resampled, seeds = drawn[term.name]
        means = np.empty_like(resampled)
        for index, part in enumerate(term.quantity.parts):
            means[:, index] = _spread(part, term, observed[index], resampled[:, index], seeds[index])
        value += term.weight * float(term.quantity.value(observed))
        draws += term.weight * term.quantity.value(means)
    if any(len(np.unique(part.clusters)) < 2 for term in terms for part in term.quantity.parts):
        return statistics.undefined("a task with one cluster", value)
    return statistics.interval(value, draws)


def _spread(part: Part, term: Term, observed: np.ndarray, resampled: np.ndarray, seed: int) -> np.ndarray:
    """Resampled means, shape (RESAMPLES, 2), as uncertain as their number of clusters makes them.

    Of outcomes with the noise of imaginary answers, one cluster each beside the observed; stretched of other values.
    """
    clusters = len(np.unique(part.clusters))
    if not (term.quantity.shares and statistics.outcomes(np.concatenate([part.compressed, part.dense]))):
        stretched: np.ndarray = observed + statistics.stretch(clusters) * (resampled - observed)
        return stretched
    noise, beta = _noise(seed), statistics.slope(part)
    answers, dense = ANSWERS[:, term.role], ANSWERS[:, 2]
    rest = answers - part.compressed.mean() - beta * (dense - part.dense.mean())
    of_dense = noise @ (dense - part.all_dense.mean()) / len(np.unique(part.all_clusters))
    return resampled + np.column_stack([noise @ rest / clusters + beta * of_dense, of_dense])


@lru_cache(maxsize=32)  # of 640 kB each
def _noise(seed: int) -> np.ndarray:
    """Weights of the imaginary clusters of each resample, less their mean: shape (RESAMPLES, 8)."""
    return np.random.default_rng(seed).gamma(QUARTER, size=(statistics.RESAMPLES, len(ANSWERS))) - QUARTER
