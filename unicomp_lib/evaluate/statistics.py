"""Intervals for means, differences and retentions, by a paired bootstrap over clusters of items."""

from dataclasses import dataclass

import numpy as np

VERSION = "2"

RESAMPLES = 2000
LEVEL = 0.95
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
    of a resample is the sum over its clusters by their items (a ratio estimator).
    """
    _, place = np.unique(clusters, return_inverse=True)
    count = int(place.max()) + 1
    sums, sizes = _by_cluster(values, place, count)
    # Multinomial weights draw the same distribution as indices, in one matrix product.
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    means: np.ndarray = (draws @ sums) / (draws @ sizes)[:, None]
    return means


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
    # At p = 0 and 1 the bounds are p itself, but for rounding.
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


def retention(parts: list[Part]) -> Estimate:
    """Chance-corrected retention over tasks: sum of (s - c)/(1 - c), compressed by dense.

    Items are resampled in pairs, and tasks that share clusters together, the others
    independently. 1 means nothing lost, 0 means at chance. Undefined where no part is given, and
    where dense lies less than ``CLEAR`` standard errors above chance: a ratio to what may be
    nothing has no useful interval. Chance correction deviates from UniComp's plain ratio, which
    counts what guessing keeps.
    """
    if not parts:
        return UNDEFINED
    observed, resampled = np.zeros(2), np.zeros((RESAMPLES, 2))
    for seed, stratum in enumerate(_strata(parts)):
        names = np.unique(np.concatenate([part.clusters for part in stratum]))
        rng = np.random.default_rng(seed)
        draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES)
        for part in stratum:
            pair = np.stack([part.compressed, part.dense], axis=1)
            sums, sizes = _by_cluster(pair, np.searchsorted(names, part.clusters), len(names))
            means = (draws @ sums) / np.maximum(draws @ sizes, 1)[:, None]
            right = int(part.compressed.sum())
            if right in (0, len(pair)):
                # Equal answers resample to themselves: Jeffreys' posterior stands in for certainty.
                means[:, 0] = rng.beta(right + 0.5, len(pair) - right + 0.5, size=RESAMPLES)
            observed += (pair.mean(axis=0) - part.chance) / (1 - part.chance)
            resampled += (means - part.chance) / (1 - part.chance)
    if observed[1] < CLEAR * resampled[:, 1].std():
        return UNDEFINED
    # The few resamples in which dense is at chance would flip the ratio's sign: held at a small positive.
    return interval(observed[0] / observed[1], resampled[:, 0] / np.maximum(resampled[:, 1], 0.05 * observed[1]))


def _strata(parts: list[Part]) -> list[list[Part]]:
    """Parts grouped so that no two groups share a cluster."""
    strata: list[tuple[set[str], list[Part]]] = []
    for part in parts:
        names = set(part.clusters)
        touching = [stratum for stratum in strata if stratum[0] & names]
        strata = [stratum for stratum in strata if not stratum[0] & names]
        merged = [*(each for stratum in touching for each in stratum[1]), part]
        strata.append((names.union(*(stratum[0] for stratum in touching)), merged))
    return [members for _, members in strata]


def _by_cluster(values: np.ndarray, place: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums of values (items, columns) and numbers of items in each of ``count`` clusters."""
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, place, values)
    return sums, np.bincount(place, minlength=count)


def difference(compressed: np.ndarray, dense: np.ndarray, clusters: np.ndarray) -> Estimate:
    """Paired mean difference, compressed minus dense."""
    return bootstrap(compressed - dense, clusters)
