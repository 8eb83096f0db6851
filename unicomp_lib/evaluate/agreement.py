"""How well a judge agrees with labels: accuracy and Cohen's kappa, with intervals."""

import numpy as np

from unicomp_lib.evaluate import statistics
from unicomp_lib.evaluate.statistics import Estimate

VERSION = "2"


def accuracy(judge: np.ndarray, human: np.ndarray) -> Estimate:
    """Share of verdicts (0 or 1) on which the judge and the labels agree, with the interval of a proportion."""
    return statistics.proportion((judge == human).astype(float))


def kappa(judge: np.ndarray, human: np.ndarray, clusters: np.ndarray | None = None) -> Estimate:
    """Cohen's kappa of 0/1 verdicts (Cohen, 1960), with a bootstrap interval over answers or their ``clusters``.

    1 is full agreement, 0 the agreement that two judges with these rates reach by chance. Undefined where both give
    one and the same verdict throughout; without an interval where more than 1 in 100 resamples are such. Where the
    two agree on everything, all resamples do: the lower end is then that of Jeffreys' prior on the table of verdicts.
    """
    cells = np.stack([(judge == j) & (human == h) for j in (0, 1) for h in (0, 1)], axis=1).astype(float)
    value = float(_kappa(cells.mean(axis=0)))
    resampled = _kappa(statistics.resampled_means(cells, np.arange(len(cells)) if clusters is None else clusters))
    defined = resampled[np.isfinite(resampled)]
    if not np.isfinite(value) or len(defined) < 0.99 * len(resampled):
        return Estimate(value, float("nan"), float("nan"))
    if defined.min() == defined.max():
        defined = _kappa(np.random.default_rng(0).dirichlet(cells.sum(axis=0) + 0.5, size=statistics.RESAMPLES))
        return Estimate(value, float(np.quantile(defined, 1 - statistics.LEVEL)), value)
    return statistics.interval(value, defined)


def _kappa(shares: np.ndarray) -> np.ndarray:
    """Kappa of shares (..., 4) in the order judge 0 human 0, 0 1, 1 0, 1 1."""
    table = shares.reshape(*shares.shape[:-1], 2, 2)
    observed = table[..., 0, 0] + table[..., 1, 1]
    expected = (table.sum(axis=-1) * table.sum(axis=-2)).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        coefficient: np.ndarray = np.where(expected < 1 - 1e-12, (observed - expected) / (1 - expected), np.nan)
    return coefficient
