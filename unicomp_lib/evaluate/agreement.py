"""How well a judge agrees with labels: accuracy and Cohen's kappa, with intervals."""

import numpy as np

from unicomp_lib.evaluate import statistics
from unicomp_lib.evaluate.statistics import Estimate

VERSION = "3"

FEWEST = 5  # below, an interval of those samples that have a kappa does not cover


def accuracy(judge: np.ndarray, human: np.ndarray) -> Estimate:
    """Share of verdicts (0 or 1) on which the judge and the labels agree, with the interval of a proportion."""
    return statistics.proportion((judge == human).astype(float))


def kappa(judge: np.ndarray, human: np.ndarray, clusters: np.ndarray | None = None) -> Estimate:
    """Cohen's kappa of 0/1 verdicts (Cohen, 1960), with an interval over answers or their ``clusters``.

    1 is full agreement, 0 the agreement that two judges with these rates reach by chance. Undefined where both give
    one and the same verdict throughout. The interval is the bootstrap's, widened where that of Jeffreys' posterior of
    the table of verdicts is wider, so that a few answers, or full agreement, claim no certainty: 39 answers judged
    alike and one judged alike the other way have a kappa of 1, with a lower end that says how little that is. Fewer
    than ``FEWEST`` answers or clusters have none.
    """
    cells = np.stack([(judge == j) & (human == h) for j in (0, 1) for h in (0, 1)], axis=1).astype(float)
    value = float(_kappa(cells.mean(axis=0)))
    if np.isfinite(value) and len(np.unique(clusters) if clusters is not None else cells) < FEWEST:
        return statistics.undefined(f"fewer than {FEWEST} answers", value)
    posterior = _kappa(np.random.default_rng(0).dirichlet(cells.sum(axis=0) + 0.5, size=statistics.RESAMPLES))
    jeffreys = statistics.interval(value, posterior)
    resampled = _kappa(statistics.resampled_means(cells, np.arange(len(cells)) if clusters is None else clusters))
    drawn = statistics.interval(value, resampled[np.isfinite(resampled)])
    if np.isnan(drawn.low):
        return jeffreys
    return Estimate(value, min(drawn.low, jeffreys.low), max(drawn.high, jeffreys.high))


def _kappa(shares: np.ndarray) -> np.ndarray:
    """Kappa of shares (..., 4) in the order judge 0 human 0, 0 1, 1 0, 1 1."""
    table = shares.reshape(*shares.shape[:-1], 2, 2)
    observed = table[..., 0, 0] + table[..., 1, 1]
    expected = (table.sum(axis=-1) * table.sum(axis=-2)).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        coefficient: np.ndarray = np.where(expected < 1 - 1e-12, (observed - expected) / (1 - expected), np.nan)
    return coefficient
