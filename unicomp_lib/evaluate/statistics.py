"""Intervals for means, differences and retentions of clustered items, none narrower than its n allows; tests.

What an interval is, by what it is of (``docs/reading_the_numbers.md`` has the coverage of each, by simulation):

- shares of outcomes: exact, by Clopper and Pearson (1934), with the effective number of outcomes where items are
  clustered or are means over seeds (Korn and Graubard, 1998);
- paired differences of shares: Newcombe's hybrid (1998, method 10) of these exact limits;
- retention: the paired cluster bootstrap, with the noise of imaginary answers in each task;
- means of other values, their differences and growth: the cluster bootstrap, stretched to Student's t;
- medians of repeats, as of a speed: the range of the repeats, of which there must be six (``middle``);
- where these have nothing to go by (one cluster, equal values), the interval is undefined, and says why.
"""

import zlib
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import special, stats

VERSION = "8"

RESAMPLES = 10_000
LEVEL = 0.95
Z = float(stats.norm.ppf((1 + LEVEL) / 2))
POWER = 0.8
CLEAR = 2.5
REPEATS = 6  # the fewest values whose range holds their true median with a probability of ``LEVEL``
FEW_REPEATS = "fewer than six repeats: their range is no 95 % interval"
SEEDS = 10  # an item's value may be the mean of so many outcomes
# Of resampling draws that are kept: those of 26,000 clusters. They suffice for a table with 11,000 items of dense: each
# is drawn for its task, for groups of tasks, and again where a variant has fewer items. Drawing takes at least 40 times
# as long as the product that follows, and each cell would draw again what is not kept.
CACHE_BYTES = 256 * 2**20
BLOCK = 100_000  # numbers of draws that are multiplied at once: as floats, what a processor's cache holds
# Imaginary answers (compressed, dense) of retention, each counted half a time: Jeffreys' prior of a two by two table.
ANSWERS = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
HALF = 0.5


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; ``low`` and ``high`` are NaN where no interval is defined, for the ``reason``."""

    value: float
    low: float
    high: float
    reason: str = ""


@dataclass(frozen=True)
class Part:
    """One task of a retention: both models' values of the same items, in the same order.

    ``rest`` are dense's values of further items of the same random order, which the compressed model was not asked,
    and ``rest_clusters`` their clusters.
    """

    compressed: np.ndarray
    dense: np.ndarray
    clusters: np.ndarray
    chance: float
    rest: np.ndarray = field(default_factory=lambda: np.zeros(0))
    rest_clusters: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def all_dense(self) -> np.ndarray:
        """Dense's values of all items."""
        return np.concatenate([self.dense, self.rest])

    @property
    def all_clusters(self) -> np.ndarray:
        """The clusters of all of dense's items."""
        return np.concatenate([self.clusters, self.rest_clusters]) if len(self.rest) else self.clusters


def undefined(reason: str, value: float = float("nan")) -> Estimate:
    """A value without an interval, or nothing at all, and why."""
    return Estimate(value, float("nan"), float("nan"), reason)


UNDEFINED = undefined("no item has a value")


def lacking(*columns: np.ndarray) -> str:
    """How many items lack a finite value in one of these columns, in words; empty where none does."""
    known = np.isfinite(np.stack(columns)).all(axis=0)
    if not known.any():
        return "no item has a value"
    missing = int((~known).sum())
    return f"{missing} of {len(known)} items {'has' if missing == 1 else 'have'} no value" if missing else ""


def resampled_means(values: np.ndarray, clusters: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Means of bootstrap resamples: shape (RESAMPLES, columns) for values (items, columns).

    Whole clusters are drawn with replacement, since items of one cluster (one question in two
    languages, say) are not independent. All columns share the draws, which pairs them. The mean
    of a resample is the sum over its clusters divided by their number of items (a ratio estimator).
    """
    sums, sizes = _by_cluster(values, *_indexed(clusters))
    drawn = _resampled(np.column_stack([sums, sizes]), seed)
    means: np.ndarray = drawn[:, :-1] / drawn[:, -1:]
    return means


_kept: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()  # the draws used last, of at most CACHE_BYTES


def _draws(count: int, seed: int) -> np.ndarray:
    """How often each of ``count`` clusters is drawn in each resample: shape (RESAMPLES, count), a byte each.

    Multinomial weights draw the same distribution as indices, and turn means into a matrix product. The cells of a
    table have the same clusters, so the latest draws are kept.
    """
    if (count, seed) not in _kept:
        rng, even = np.random.default_rng(seed), np.full(count, 1 / count)
        parts = [rng.multinomial(count, even, size=RESAMPLES // 10).astype(np.uint8) for _ in range(10)]
        _kept[count, seed] = np.concatenate(parts)
    drawn = _kept[count, seed]
    _kept.move_to_end((count, seed))
    while sum(kept.nbytes for kept in _kept.values()) > CACHE_BYTES:
        _kept.popitem(last=False)
    return drawn


def draws(count: int, *, number: int = 1000) -> np.ndarray:
    """How often each of ``count`` clusters is drawn in the first ``number`` resamples: shape (number, count)."""
    return _draws(count, 0)[:number]


def _resampled(columns: np.ndarray, seed: int) -> np.ndarray:
    """Sums of columns (clusters, columns) over the clusters of each resample: shape (RESAMPLES, columns)."""
    parts: list[Any] = np.array_split(_draws(len(columns), seed), -(-RESAMPLES * len(columns) // BLOCK))
    return np.concatenate([part.astype(float) @ columns for part in parts])


def interval(value: float, resampled: np.ndarray) -> Estimate:
    """Percentile interval of ``LEVEL`` around an observed value; undefined where the resamples do not spread."""
    if not np.isfinite(value):
        return undefined("the value is not defined")
    if not len(resampled) or not np.isfinite(resampled).all():
        return undefined("not defined in all resamples", float(value))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    if high - low <= 1e-9 * max(1.0, abs(value)):
        return undefined("no spread to tell an interval from", float(value))
    return Estimate(float(value), float(min(low, value)), float(max(high, value)))


def outcomes(values: np.ndarray) -> int:
    """Of how many outcomes, each right or wrong, an item's value is the mean; 0 where it is no such mean.

    1 for values of 0 and 1, 3 for means over three seeds; at most ``SEEDS``.
    """
    if values.min() < 0 or values.max() > 1:
        return 0
    whole = (
        number for number in range(1, SEEDS + 1) if np.abs(values * number - np.rint(values * number)).max() < 1e-6
    )
    return next(whole, 0)


def exact(right: float, n: float) -> tuple[float, float]:
    """Limits of a share by Clopper and Pearson (1934); both numbers may be effective ones, and so not whole.

    No sample size or share has a coverage below ``LEVEL``, which Wilson's interval has not: 90 % at a share of
    0.05 and n = 2.
    """
    tail, wrong = (1 - LEVEL) / 2, n - right
    low = float(special.betaincinv(right, wrong + 1, tail)) if right > 1e-9 else 0.0
    high = float(special.betaincinv(right + 1, wrong, 1 - tail)) if wrong > 1e-9 else 1.0
    return min(low, right / n), max(high, right / n)


def proportion(values: np.ndarray) -> Estimate:
    """Mean of 0/1 values with its exact interval (``exact``)."""
    return Estimate(float(values.mean()), *exact(float(values.sum()), len(values)))


def bootstrap(values: np.ndarray, clusters: np.ndarray) -> Estimate:
    """Mean of values of any size with the interval of the cluster bootstrap, stretched to Student's t (``stretch``).

    Undefined with one cluster, and where the values are equal: neither tells how far another sample might lie.
    """
    if lack := lacking(values):
        return undefined(lack)
    value, factor = float(values.mean()), stretch(len(np.unique(clusters)))
    if not factor:
        return undefined("one cluster", value)
    if np.ptp(values) <= 1e-12 * max(1.0, abs(value)):
        return undefined("all values are equal", value)
    return interval(value, value + factor * (resampled_means(values[:, None], clusters)[:, 0] - value))


def stretch(count: int) -> float:
    """Factor by which an interval of the bootstrap over ``count`` clusters is too narrow; 0 where it says nothing.

    The bootstrap takes the variance of the sample for that of the population, and the normal distribution for
    Student's (Hesterberg, 2015, section 3.2: 1.58 for 5 clusters, 1.10 for 20).
    """
    return float(special.stdtrit(count - 1, (1 + LEVEL) / 2) * np.sqrt(count / (count - 1)) / Z) if count > 1 else 0.0


def mean(values: np.ndarray, clusters: np.ndarray) -> Estimate:
    """Mean with its interval: exact for outcomes that are right or wrong, else by ``bootstrap``.

    Clustered outcomes, and means of outcomes over seeds, count as their effective number (``_effective``).
    """
    if lack := lacking(values):
        return undefined(lack)
    if not (draws := outcomes(values)):
        return bootstrap(values, clusters)
    share = float(values.mean())
    n = _effective(share * (1 - share), values, clusters, draws)
    return Estimate(share, *exact(share * n, n))


def _effective(variance: float, values: np.ndarray, clusters: np.ndarray, draws: int) -> float:
    """Number of independent outcomes of this ``variance`` whose mean is as uncertain as that of ``values``.

    By the variance between clusters, with Student's t for their number (Korn and Graubard, 1998), weighted by size
    (Kish, 1965). At least that number, which it is too where the variance cannot be told; at most the number of
    outcomes, ``draws`` an item.
    """
    sums, sizes = _by_cluster(values[:, None], *_indexed(clusters))
    count, least = len(sizes), sizes.sum() ** 2 / np.square(sizes).sum()
    spread = _variance(sums[:, 0], sizes)
    if count == draws * len(values) or not spread > 0:
        return float(least)
    if least <= 1 + 1e-9:
        return float(least)
    n = variance / spread * (Z / special.stdtrit(least - 1, (1 + LEVEL) / 2)) ** 2
    return float(np.clip(n, least, draws * len(values)))


def _variance(sums: np.ndarray, sizes: np.ndarray) -> float:
    """Variance of the mean from the sums (clusters,) and sizes of clusters, linearised; 0 for one cluster."""
    count, n = len(sizes), sizes.sum()
    rest = sums - sizes * sums.sum() / n
    return float(np.square(rest).sum() / n**2 * count / max(count - 1, 1))


def above_chance(part: Part) -> bool:
    """Whether the interval of dense's mean over all its items lies wholly above chance."""
    return mean(part.all_dense, part.all_clusters).low > part.chance


def supported(part: Part) -> Estimate:
    """A compressed model's mean, with the support of what dense answers to further items.

    The regression estimator of double sampling (Cochran, 1977, section 12.6): the mean over the pairs, plus ``slope``
    times what dense's mean over all its items exceeds its mean over the pairs. For equal answers that vary it is
    dense's mean over all, for unrelated ones the mean over the pairs. Of outcomes, the interval is exact for the
    effective number of outcomes; of other values it is that of the bootstrap. Without further items it is the plain
    ``mean``.
    """
    if not len(part.rest):
        return mean(part.compressed, part.clusters)
    if lack := lacking(part.compressed, part.dense) or lacking(part.rest):
        return undefined(lack)
    draws = outcomes(np.concatenate([part.compressed, part.all_dense]))
    if not draws:
        observed, resampled = resample([part], imaginary=False)
        factor, value = stretch(len(np.unique(part.clusters))), float(observed[0, 0])
        return interval(value, value + factor * (resampled[:, 0, 0] - value)) if factor else undefined("one cluster")
    index, count = _indexed(part.all_clusters)
    sums = _sums(part, np.unique(part.all_clusters))
    beta, (share, dense) = slope(part), _means(sums.sum(axis=0), slope(part))
    share = float(np.clip(share, 0, 1))
    rest = part.compressed - beta * part.dense
    effects = np.concatenate([(rest - rest.mean()) / len(rest), np.zeros(len(part.rest))])
    effects += beta * (part.all_dense - dense) / len(index)
    spread = float(np.square(np.bincount(index, effects)).sum() * count / max(count - 1, 1))
    plain = _effective(share * (1 - share), part.compressed, part.clusters, draws)
    n = max(plain, min(share * (1 - share) / spread, draws * len(index))) if spread > 0 else plain
    return Estimate(share, *exact(share * n, n))


def slope(part: Part) -> float:
    """The regression coefficient of the compressed model's values on dense's; 0 where dense's do not vary.

    What dense answers to further items then tells nothing of the compressed model, which may have lost all of it.
    """
    centred = part.dense - part.dense.mean()
    square = float(centred @ centred)
    return float(centred @ part.compressed) / square if square > 1e-12 else 0.0


def resample(parts: list[Part], *, imaginary: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Means of each part's compressed and dense values: observed (parts, 2), resampled (RESAMPLES, parts, 2).

    Items are resampled in pairs, and parts that share clusters together, the others independently. Where values are
    outcomes, equal answers would resample to themselves: the noise of four imaginary clusters is added, one of
    ``ANSWERS`` each, whose weights are Gamma-distributed with mean ``HALF``, as those of a Jeffreys prior are in the
    Bayesian bootstrap. Their mean is not added, since it would draw every task towards one half. Not where
    ``imaginary`` is false, for values that are no outcomes even where they look it.
    """
    observed, resampled = np.zeros((len(parts), 2)), np.zeros((RESAMPLES, len(parts), 2))
    for stratum in _strata(parts):
        names = np.unique(np.concatenate([parts[index].all_clusters for index in stratum]))
        # Seeded by the clusters' names: independent between strata, the same from one call to the next.
        seed = zlib.crc32(str(names[0]).encode())
        columns = [_sums(parts[index], names) for index in stratum]
        drawn = np.split(_resampled(np.concatenate(columns, axis=1), seed), len(stratum), axis=1)
        for index, own, of_part in zip(stratum, columns, drawn, strict=True):
            beta = slope(parts[index])
            observed[index] = _means(own.sum(axis=0), beta)
            # Some draws contain no item of a part with few of the clusters: the other draws replace them.
            holding = of_part[of_part[:, 2] > 0]
            means = _means(holding if len(holding) == RESAMPLES else _replaced(of_part, holding), beta)
            if imaginary and outcomes(np.concatenate([parts[index].compressed, parts[index].dense])):
                means += _imagined(parts[index], beta, _noise(seed))
            resampled[:, index] = means
    return observed, resampled


def _sums(part: Part, names: np.ndarray) -> np.ndarray:
    """By cluster of ``names``: the sums of compressed and dense, the number of pairs, dense's sum and number alone."""
    place, count = np.searchsorted(names, part.all_clusters), len(names)
    both, pairs = _by_cluster(np.column_stack([part.compressed, part.dense]), place[: len(part.dense)], count)
    alone, items = _by_cluster(part.rest[:, None], place[len(part.dense) :], count)
    return np.column_stack([both, pairs, alone, items])


def _means(sums: np.ndarray, beta: float) -> np.ndarray:
    """Compressed's and dense's means, shape (..., 2), from sums as of ``_sums``: as ``supported`` estimates them."""
    compressed, dense, pairs, alone, items = np.moveaxis(sums, -1, 0)
    all_dense = (dense + alone) / (pairs + items)
    return np.stack([compressed / pairs + beta * (all_dense - dense / pairs), all_dense], axis=-1)


def _replaced(drawn: np.ndarray, holding: np.ndarray) -> np.ndarray:
    replaced = drawn.copy()
    replaced[drawn[:, 2] == 0] = np.resize(holding, ((drawn[:, 2] == 0).sum(), drawn.shape[1]))
    return replaced


def _imagined(part: Part, beta: float, noise: np.ndarray) -> np.ndarray:
    """What the imaginary answers add to each resample, shape (RESAMPLES, 2): one cluster each beside the observed."""
    dense = noise @ (ANSWERS[:, 1] - part.all_dense.mean()) / len(np.unique(part.all_clusters))
    rest = ANSWERS[:, 0] - part.compressed.mean() - beta * (ANSWERS[:, 1] - part.dense.mean())
    return np.column_stack([noise @ rest / len(np.unique(part.clusters)) + beta * dense, dense])


@lru_cache(maxsize=64)  # of 320 kB each
def _noise(seed: int) -> np.ndarray:
    """Weights of the imaginary clusters of each resample, less their mean: shape (RESAMPLES, 4)."""
    return np.random.default_rng(seed).gamma(HALF, size=(RESAMPLES, len(ANSWERS))) - HALF


def _factors(parts: list[Part]) -> np.ndarray:
    """By which to stretch the resamples of each part: 1 for outcomes, whose imaginary answers do it."""
    pairs = (np.concatenate([part.compressed, part.dense]) for part in parts)
    counts = (len(np.unique(part.clusters)) for part in parts)
    return np.array([1.0 if outcomes(pair) else stretch(n) for pair, n in zip(pairs, counts, strict=True)])


def _unusable(parts: list[Part]) -> str:
    """Why these parts have no resamples, in words; empty where they have."""
    if not parts or not all(len(part.dense) for part in parts):
        return "no task to compare"
    lacks = (lacking(part.compressed, part.dense) for part in parts)
    return next((lack for lack in lacks if lack), "")


def retention(parts: list[Part]) -> Estimate:
    """Chance-corrected retention over tasks: the sum of (s - c)/(1 - c), compressed divided by dense.

    1 means nothing lost, 0 means at chance. Undefined where no part is given, and where dense
    lies no more than ``CLEAR`` standard errors above chance: a ratio to what may be zero has no
    useful interval. Chance correction deviates from UniComp's plain ratio, which credits what
    guessing retains.
    """
    estimate = contrast([(1.0, parts)])
    if np.isnan(estimate.low):
        return estimate
    above = sum((float(part.all_dense.mean()) - part.chance) / (1 - part.chance) for part in parts)
    worst = -sum(part.chance / (1 - part.chance) for part in parts) / above  # no answer right
    return Estimate(estimate.value, max(estimate.low, min(worst, estimate.value)), estimate.high)


def contrast(groups: list[tuple[float, list[Part]]]) -> Estimate:
    """Weighted sum of the retentions of groups of tasks; undefined where one of them is.

    Weights of 1, -1, -1, 1 give the interaction of capability and format. All groups are
    resampled together, so that the same items in two formats stay paired.
    """
    for _, parts in groups:
        if reason := _unusable(parts):
            return undefined(reason)
    every = [part for _, parts in groups for part in parts]
    observed, resampled = resample(every)
    factors = _factors(every)
    resampled = observed + factors[:, None] * (resampled - observed)
    value, draws, start = 0.0, np.zeros(RESAMPLES), 0
    for weight, parts in groups:
        chance = np.array([part.chance for part in parts])[:, None]
        members = slice(start, start := start + len(parts))
        total = ((observed[members] - chance) / (1 - chance)).sum(axis=0)
        drawn = ((resampled[:, members] - chance) / (1 - chance)).sum(axis=1)
        if total[1] <= CLEAR * drawn[:, 1].std():
            return undefined("dense is not clearly above chance")
        value += weight * total[0] / total[1]
        # The few resamples with dense at chance would flip the ratio's sign: its denominator is held positive.
        draws += weight * drawn[:, 0] / np.maximum(drawn[:, 1], 0.05 * total[1])
    return interval(value, draws) if factors.all() else undefined("a task with one cluster", value)


def growth(groups: list[tuple[float, list[Part]]]) -> Estimate:
    """Weighted sum of the log ratios, compressed divided by dense, of groups of tasks.

    For bits per byte, the log ratio of a task's means is the log of the factor by which the code of its
    reference answers grew: a continuous counterpart of retention that needs no score above chance. A
    group's value is the mean over its tasks, so that a task with long codes does not dominate. Without an interval
    where a task has one cluster.
    """
    for _, parts in groups:
        if reason := _unusable(parts):
            return undefined(reason)
    every = [part for _, parts in groups for part in parts]
    observed, resampled = resample(every, imaginary=False)
    if not (observed > 0).all():
        return undefined("a task whose mean is not above zero")
    factors = np.array([stretch(len(np.unique(part.clusters))) for part in every])
    logs = np.log(observed[:, 0] / observed[:, 1])
    drawn = logs + factors * (np.log(resampled[..., 0] / resampled[..., 1]) - logs)
    weights = np.concatenate([np.full(len(parts), weight / len(parts)) for weight, parts in groups])
    value = float(weights @ logs)
    return interval(value, drawn @ weights) if factors.all() else undefined("a task with one cluster", value)


def _strata(parts: list[Part]) -> list[list[int]]:
    """Indices of parts, grouped so that no two groups share a cluster."""
    strata: list[tuple[set[str], list[int]]] = []
    for index, part in enumerate(parts):
        names = set(part.all_clusters)
        touching = [stratum for stratum in strata if stratum[0] & names]
        strata = [stratum for stratum in strata if not stratum[0] & names]
        merged = [*(member for stratum in touching for member in stratum[1]), index]
        strata.append((names.union(*(stratum[0] for stratum in touching)), merged))
    return [members for _, members in strata]


def _indexed(clusters: np.ndarray) -> tuple[np.ndarray, int]:
    """The number of each item's cluster, from 0, and how many there are."""
    names, index = np.unique(clusters, return_inverse=True)
    return index, len(names)


def _by_cluster(values: np.ndarray, index: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums of values (items, columns) and numbers of items in each of ``count`` clusters, by each item's ``index``."""
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, index, values)
    return sums, np.bincount(index, minlength=count)


def difference(compressed: np.ndarray, dense: np.ndarray, clusters: np.ndarray) -> Estimate:
    """Paired mean difference, compressed minus dense.

    Of outcomes that are right or wrong, by Newcombe's hybrid (1998, method 10; Zou and Donner, 2008, call it
    MOVER) of the exact limits of both shares, with the effective number of outcomes; else by ``bootstrap``.
    """
    if lack := lacking(compressed, dense):
        return undefined(lack)
    if not (draws := outcomes(np.concatenate([compressed, dense]))):
        return bootstrap(compressed - dense, clusters)
    # Shares of the items that both have right, that are lost, gained, and that none has right.
    both, lost, gained = (float((a * b).mean()) for a, b in _pairs(compressed, dense))
    change = gained - lost
    n = _effective(lost + gained - change**2, compressed - dense, clusters, draws)
    (low, high), (low_dense, high_dense) = (exact(share * n, n) for share in (both + gained, both + lost))
    phi = _association(both, lost, gained, n)
    down, up = both + gained - low, high_dense - both - lost
    rise, fall = high - both - gained, both + lost - low_dense
    return Estimate(
        change,
        max(-1.0, change - float(np.sqrt(down**2 - 2 * phi * down * up + up**2))),
        min(1.0, change + float(np.sqrt(rise**2 - 2 * phi * rise * fall + fall**2))),
    )


def _pairs(compressed: np.ndarray, dense: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    return (compressed, dense), (1 - compressed, dense), (compressed, 1 - dense)


def _association(both: float, lost: float, gained: float, n: float) -> float:
    """Newcombe's phi of the shares of a two by two table of ``n`` pairs, with his continuity correction."""
    none = max(1 - both - lost - gained, 0.0)
    margins = (both + lost) * (gained + none) * (both + gained) * (lost + none)
    product = both * none - lost * gained
    if margins < 1e-12:
        return 0.0
    return float((max(product - 0.5 / n, 0.0) if product > 0 else product) / np.sqrt(margins))


def middle(values: np.ndarray) -> Estimate:
    """Median of n repeats with their range, which holds the true median with probability 1 - 2^(1 - n).

    That is 96.9 % for six. For five it is 93.8 %, and for two 50 %: of fewer than ``REPEATS`` no interval is given.
    """
    if lack := lacking(values):
        return undefined(lack)
    low, value, high = (float(np.quantile(values, share)) for share in (0, 0.5, 1))
    if low == high:
        return undefined("measured once" if len(values) == 1 else "all repeats are equal", value)
    return undefined(FEW_REPEATS, value) if len(values) < REPEATS else Estimate(value, low, high)


def mcnemar(lost: int, gained: int) -> float:
    """Exact two-sided p-value that answers are lost and gained equally often (McNemar, 1947).

    ``lost`` counts items that dense has right and the compressed model wrong, ``gained`` the reverse.
    """
    return min(1.0, 2 * float(special.bdtr(min(lost, gained), lost + gained, 0.5)))


def mcnemar_mid(lost: int, gained: int) -> float:
    """McNemar's mid-p-value, which counts half of what is as unlikely as what was seen (Fagerland et al., 2013).

    The exact test rejects too rarely, since counts are whole; this one keeps its level and finds more.
    """
    if not lost + gained:
        return 1.0
    half = float(stats.binom.pmf(lost, lost + gained, 0.5)) * (0.5 if lost == gained else 1.0)  # of both tails, or one
    return mcnemar(lost, gained) - half


def holm(p: np.ndarray) -> np.ndarray:
    """p-values adjusted for the number of tests in a table (Holm, 1979); NaN stays NaN and does not count."""
    adjusted = np.full(len(p), np.nan)
    order = [index for index in np.argsort(p) if not np.isnan(p[index])]
    steps = np.arange(len(order), 0, -1) * p[order]
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def detectable(compressed: np.ndarray, dense: np.ndarray, clusters: np.ndarray) -> float:
    """Minimum detectable effect: the true difference that these items would show in 80 % of samples.

    At the two-sided level of 5 %, from the standard error of the paired difference. One changed
    item is added, so that the effect is not zero for models that answer alike. NaN where an item has no value.
    """
    if lacking(compressed, dense):
        return float("nan")
    changes = compressed - dense
    sums, sizes = _by_cluster(changes[:, None], *_indexed(clusters))
    error = np.sqrt(_variance(sums[:, 0], sizes))
    floor = np.sqrt((np.square(changes).sum() + 1) / (len(changes) + 1) / len(changes))
    return float((stats.norm.ppf(1 - (1 - LEVEL) / 2) + stats.norm.ppf(POWER)) * max(error, floor))


def rank_correlation(x: np.ndarray, y: np.ndarray) -> Estimate:
    """Spearman's rank correlation of two scores of the same variants, with an interval over variants.

    The interval shows how far the correlation depends on the choice of variants, not the noise of their scores. It
    is that of the bootstrap, widened where Bonett and Wright's (2000), which follows from the number of variants,
    is wider; a perfect order counts there as one with two neighbours exchanged, since a few variants are in one
    order by chance. Variants that lack one of the scores are left out. Undefined for fewer than four.
    """
    known = np.isfinite(x) & np.isfinite(y)
    x, y, n = x[known], y[known], int(known.sum())
    if n < 4:
        return undefined("fewer than four variants")
    value = float(_pearson_of_rows(stats.rankdata(x)[None], stats.rankdata(y)[None])[0])
    if not np.isfinite(value):
        return undefined("all variants have the same score")
    drawn = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    resampled = _pearson_of_rows(stats.rankdata(x[drawn], axis=1), stats.rankdata(y[drawn], axis=1))
    low, high = np.quantile(resampled[np.isfinite(resampled)], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    nearest = 1 - 12 / (n * (n**2 - 1))
    centre = np.arctanh(np.clip(value, -nearest, nearest))
    half = Z * np.sqrt((1 + np.tanh(centre) ** 2 / 2) / (n - 3))
    return Estimate(
        value, float(min(low, value, np.tanh(centre - half))), float(max(high, value, np.tanh(centre + half)))
    )


def _pearson_of_rows(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlations: np.ndarray = (x * y).sum(axis=1) / np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return correlations


def spread(values: np.ndarray) -> Estimate:
    """Standard deviation of a few values, such as the scores of calibration seeds, with its chi-square interval.

    Equal values have the deviation 0 and no interval: the formula gives [0, 0], and two seeds may agree by chance.
    """
    if lacking(values) or len(values) < 2:
        return undefined(lacking(values) or "one seed")
    if np.ptp(values) <= 1e-12 * max(1.0, abs(float(values[0]))):
        return undefined("all seeds have the same score", 0.0)
    sd, degrees = float(values.std(ddof=1)), len(values) - 1
    quantiles = (float(stats.chi2.ppf(level, degrees)) for level in ((1 + LEVEL) / 2, (1 - LEVEL) / 2))
    low, high = (sd * float(np.sqrt(degrees / quantile)) for quantile in quantiles)
    return Estimate(sd, low, high)
