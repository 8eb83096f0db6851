"""How well a judge agrees with people: accuracy and Cohen's kappa, with intervals."""

import numpy as np

from unicomp_lib.evaluate import statistics
from unicomp_lib.evaluate.statistics import Estimate

VERSION = "1"


def accuracy(judge: np.ndarray, human: np.ndarray) -> Estimate:
    """Share of verdicts (0 or 1) on which the judge and a person agree, with Wilson's interval."""
    return statistics.proportion((judge == human).astype(float))


def kappa(judge: np.ndarray, human: np.ndarray) -> Estimate:
    """Cohen's kappa of 0/1 verdicts (Cohen, 1960), with a bootstrap interval over answers.

    1 is full agreement, 0 the agreement that two judges with these rates reach by chance. Undefined
    where both give one and the same verdict throughout, in the sample or in a resample.
    """
    cells = np.stack([(judge == j) & (human == h) for j in (0, 1) for h in (0, 1)], axis=1).astype(float)
    resampled = statistics.resampled_means(cells, np.arange(len(cells)))
    return statistics.interval(float(_kappa(cells.mean(axis=0))), _kappa(resampled))


def _kappa(shares: np.ndarray) -> np.ndarray:
    """Kappa of shares (..., 4) in the order judge 0 human 0, 0 1, 1 0, 1 1."""
    table = shares.reshape(*shares.shape[:-1], 2, 2)
    observed = table[..., 0, 0] + table[..., 1, 1]
    expected = (table.sum(axis=-1) * table.sum(axis=-2)).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        coefficient: np.ndarray = np.where(expected < 1, (observed - expected) / (1 - expected), np.nan)
    return coefficient
