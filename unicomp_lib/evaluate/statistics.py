"""Intervals for means, differences and retentions, by a paired bootstrap over clusters of items; significance tests."""

import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

VERSION = "4"

RESAMPLES = 10_000
LEVEL = 0.95
POWER = 0.8
CLEAR = 2.5


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; ``low`` and ``high`` are NaN where no interval is defined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Part:
    """One task of a retention: both models' values of the same items, in the same order."""

    compressed: np.ndarray
    dense: np.ndarray
    clusters: np.ndarray
    chance: float


UNDEFINED = Estimate(float("nan"), float("nan"), float("nan"))


def resampled_means(values: np.ndarray, clusters: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Means of bootstrap resamples: shape (RESAMPLES, columns) for values (items, columns).

    Whole clusters are drawn with replacement, since items of one cluster (one question in two
    languages, say) are not independent. All columns share the draws, which pairs them. The mean
    of a resample is the sum over its clusters divided by their number of items (a ratio estimator).
    """
    _, index = np.unique(clusters, return_inverse=True)
    count = int(index.max()) + 1
    sums, sizes = _by_cluster(values, index, count)
    weights = _weights(count, seed)
    means: np.ndarray = (weights @ sums) / (weights @ sizes)[:, None]
    return means


@lru_cache(maxsize=256)
def _drawn(count: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return drawn.astype(np.uint8)  # a byte per count: the draws of a whole table stay in memory


def _weights(count: int, seed: int) -> np.ndarray:
    """How often each of ``count`` clusters is drawn in each resample: shape (RESAMPLES, count).

    Multinomial weights draw the same distribution as indices, and turn means into a matrix
    product. The draws are cached, since all the cells of a table have the same clusters.
    """
    return _drawn(count, seed).astype(np.float32)


def interval(value: float, resampled: np.ndarray) -> Estimate:
    """Percentile interval of ``LEVEL`` around an observed value."""
    if not np.isfinite(value) or not np.isfinite(resampled).all():
        return UNDEFINED
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Estimate(float(value), float(low), float(high))


def proportion(values: np.ndarray) -> Estimate:
    """Mean of 0/1 values with Wilson's score interval, which holds for small n and near 0 or 1."""
    n, p, z = len(values), float(values.mean()), 1.959963984540054
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    # At p = 0 and 1 the bounds are p itself, up to rounding.
    return Estimate(p, min(p, max(0.0, float(centre - half))), max(p, min(1.0, float(centre + half))))


def bootstrap(values: np.ndarray, clusters: np.ndarray) -> Estimate:
    """Mean with the interval of the cluster bootstrap."""
    return interval(float(values.mean()), resampled_means(values[:, None], clusters)[:, 0])


def mean(values: np.ndarray, clusters: np.ndarray) -> Estimate:
    """Mean with its interval: Wilson's for unclustered 0/1 values, else the cluster bootstrap.

    Where all clustered 0/1 values are equal, the bootstrap would give an interval of no width; it
    is then Wilson's with as many items as there are clusters, which errs on the wide side.
    """
    binary, count = np.isin(values, (0, 1)).all(), len(np.unique(clusters))
    if binary and (count == len(values) or values.min() == values.max()):
        return proportion(values[:count])
    return bootstrap(values, clusters)


def above_chance(values: np.ndarray, clusters: np.ndarray, chance: float) -> bool:
    """Whether the interval of the mean lies wholly above chance."""
    return mean(values, clusters).low > chance


def resample(parts: list[Part]) -> tuple[np.ndarray, np.ndarray]:
    """Means of each part's compressed and dense values: observed (parts, 2), resampled (RESAMPLES, parts, 2).

    Items are resampled in pairs, and parts that share clusters together, the others independently.
    """
    observed, resampled = np.zeros((len(parts), 2)), np.zeros((RESAMPLES, len(parts), 2))
    for stratum in _strata(parts):
        names = np.unique(np.concatenate([parts[index].clusters for index in stratum]))
        # Seeded by the clusters' names: independent between strata, the same from one call to the next.
        seed = zlib.crc32(str(names[0]).encode())
        weights = _weights(len(names), seed)
        for index in stratum:
            part = parts[index]
            pair = np.stack([part.compressed, part.dense], axis=1)
            sums, sizes = _by_cluster(pair, np.searchsorted(names, part.clusters), len(names))
            observed[index] = pair.mean(axis=0)
            drawn = weights @ sizes
            means = (weights @ sums) / np.maximum(drawn, 1)[:, None]
            # Some draws contain no item of a part with few of the clusters: the other draws replace them.
            means[drawn == 0] = np.resize(means[drawn > 0], ((drawn == 0).sum(), 2))
            resampled[:, index] = means
            right = int(part.compressed.sum())
            if right in (0, len(pair)) and np.isin(part.compressed, (0, 1)).all():
                # Equal answers resample to themselves: Jeffreys' posterior replaces certainty.
                jeffreys = np.random.default_rng(seed).beta(right + 0.5, len(pair) - right + 0.5, size=RESAMPLES)
                resampled[:, index, 0] = jeffreys
    return observed, resampled


def retention(parts: list[Part]) -> Estimate:
    """Chance-corrected retention over tasks: the sum of (s - c)/(1 - c), compressed divided by dense.

    1 means nothing lost, 0 means at chance. Undefined where no part is given, and where dense
    lies no more than ``CLEAR`` standard errors above chance: a ratio to what may be zero has no
    useful interval. Chance correction deviates from UniComp's plain ratio, which credits what
    guessing retains.
    """
    return contrast([(1.0, parts)])


def contrast(groups: list[tuple[float, list[Part]]]) -> Estimate:
    """Weighted sum of the retentions of groups of tasks; undefined where one of them is.

    Weights of 1, -1, -1, 1 give the interaction of capability and format. All groups are
    resampled together, so that the same items in two formats stay paired.
    """
    if not all(parts for _, parts in groups):
        return UNDEFINED
    observed, resampled = resample([part for _, parts in groups for part in parts])
    value, draws, start = 0.0, np.zeros(RESAMPLES), 0
    for weight, parts in groups:
        chance = np.array([part.chance for part in parts])[:, None]
        members = slice(start, start := start + len(parts))
        total = ((observed[members] - chance) / (1 - chance)).sum(axis=0)
        drawn = ((resampled[:, members] - chance) / (1 - chance)).sum(axis=1)
        if total[1] <= CLEAR * drawn[:, 1].std():
            return UNDEFINED
        value += weight * total[0] / total[1]
        # The few resamples with dense at chance would flip the ratio's sign: its denominator is held positive.
        draws += weight * drawn[:, 0] / np.maximum(drawn[:, 1], 0.05 * total[1])
    return interval(value, draws)


def growth(groups: list[tuple[float, list[Part]]]) -> Estimate:
    """Weighted sum of the log ratios, compressed divided by dense, of groups of tasks.

    For bits per byte, the log ratio of a task's means is the log of the factor by which the code of its
    reference answers grew: a continuous counterpart of retention that needs no score above chance. A
    group's value is the mean over its tasks, so that a task with long codes does not dominate.
    """
    if not all(parts for _, parts in groups):
        return UNDEFINED
    observed, resampled = resample([part for _, parts in groups for part in parts])
    value, draws, start = 0.0, np.zeros(RESAMPLES), 0
    for weight, parts in groups:
        members = slice(start, start := start + len(parts))
        value += weight * np.log(observed[members, 0] / observed[members, 1]).mean()
        draws += weight * np.log(resampled[:, members, 0] / resampled[:, members, 1]).mean(axis=1)
    return interval(value, draws)


def _strata(parts: list[Part]) -> list[list[int]]:
    """Indices of parts, grouped so that no two groups share a cluster."""
    strata: list[tuple[set[str], list[int]]] = []
    for index, part in enumerate(parts):
        names = set(part.clusters)
        touching = [stratum for stratum in strata if stratum[0] & names]
        strata = [stratum for stratum in strata if not stratum[0] & names]
        merged = [*(member for stratum in touching for member in stratum[1]), index]
        strata.append((names.union(*(stratum[0] for stratum in touching)), merged))
    return [members for _, members in strata]


def _by_cluster(values: np.ndarray, index: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums of values (items, columns) and numbers of items in each of ``count`` clusters, by each item's ``index``."""
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, index, values)
    return sums, np.bincount(index, minlength=count)


def difference(compressed: np.ndarray, dense: np.ndarray, clusters: np.ndarray) -> Estimate:
    """Paired mean difference, compressed minus dense."""
    return bootstrap(compressed - dense, clusters)


def mcnemar(lost: int, gained: int) -> float:
    """Exact two-sided p-value that answers are lost and gained equally often (McNemar, 1947).

    ``lost`` counts items that dense has right and the compressed model wrong, ``gained`` the reverse.
    """
    return float(stats.binomtest(lost, lost + gained).pvalue) if lost + gained else 1.0


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
    item is added, so that the effect is not zero for models that answer alike.
    """
    changes = compressed - dense
    error = resampled_means(changes[:, None], clusters)[:, 0].std()
    floor = np.sqrt((np.square(changes).sum() + 1) / (len(changes) + 1) / len(changes))
    return float((stats.norm.ppf(1 - (1 - LEVEL) / 2) + stats.norm.ppf(POWER)) * max(error, floor))


def rank_correlation(x: np.ndarray, y: np.ndarray) -> Estimate:
    """Spearman's rank correlation of two scores of the same variants, with the bootstrap interval over variants.

    The interval shows how far the correlation depends on the choice of variants, not the noise of their scores.
    Undefined for fewer than four variants.
    """
    if len(x) < 4:
        return UNDEFINED
    drawn = np.random.default_rng(0).integers(len(x), size=(RESAMPLES, len(x)))
    resampled = _pearson_of_rows(stats.rankdata(x[drawn], axis=1), stats.rankdata(y[drawn], axis=1))
    value = _pearson_of_rows(stats.rankdata(x)[None], stats.rankdata(y)[None])[0]
    return interval(float(value), resampled[np.isfinite(resampled)])


def _pearson_of_rows(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlations: np.ndarray = (x * y).sum(axis=1) / np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return correlations


def spread(values: np.ndarray) -> Estimate:
    """Standard deviation of a few values, such as the scores of calibration seeds, with its chi-square interval."""
    if len(values) < 2:
        return UNDEFINED
    sd, degrees = float(values.std(ddof=1)), len(values) - 1
    quantiles = (float(stats.chi2.ppf(level, degrees)) for level in ((1 + LEVEL) / 2, (1 - LEVEL) / 2))
    low, high = (sd * float(np.sqrt(degrees / quantile)) for quantile in quantiles)
    return Estimate(sd, low, high)
