"""Quantiles over all tokens of a text of what compression changes at each: how bad the worst tokens are."""

import json
from collections.abc import Iterator

import numpy as np
import polars as pl

from unicomp_lib.evaluate import statistics
from unicomp_lib.evaluate.statistics import Estimate

VERSION = "2"

SHARES = {"median": 0.5, "99": 0.99}
LEAST = 5  # blocks, below which the bootstrap over them says little of a quantile


def quantiles(rows: pl.DataFrame) -> Iterator[tuple[str, Estimate]]:
    """Names and values of the quantiles of one metric, whose block rows hold its tokens in ``output``.

    Of absolute values: ``<metric>_median`` and ``<metric>_99`` with the interval of the bootstrap over blocks, and
    ``<metric>_max``, which has none, since more text would hold a larger one. ``output`` may be a list of several
    seeds' tokens, which count together. Nothing for rows without tokens, as those of earlier runs.
    """
    metric, kept = rows["metric"][0], rows["output"].to_list()
    by_block = [texts if isinstance(texts, list) else [texts] for texts in kept]
    if any(text is None for texts in by_block for text in texts):
        return
    blocks = [np.sort(np.abs(np.concatenate([json.loads(text) for text in texts]))) for texts in by_block]
    for name, share in SHARES.items():
        observed = float(_weighted(blocks, np.ones((1, len(blocks))), share)[0])
        if len(blocks) < LEAST:
            yield f"{metric}_{name}", statistics.undefined(f"fewer than {LEAST} blocks", observed)
            continue
        resampled = _weighted(blocks, statistics.draws(len(blocks)), share)
        yield f"{metric}_{name}", statistics.interval(observed, resampled)
    worst = float(np.concatenate(blocks).max())
    yield f"{metric}_max", statistics.undefined("the largest of these tokens", worst)


def _weighted(blocks: list[np.ndarray], weights: np.ndarray, share: float) -> np.ndarray:
    """The smallest value up to which ``share`` of the weight lies, for each row of ``weights`` (rows, blocks).

    Each value of the sorted ``blocks`` has the weight of its block. By bisection over all values in order.
    """
    values = np.sort(np.concatenate(blocks))
    enough = share * (weights @ np.array([len(block) for block in blocks])) - 1e-9
    low, high = np.zeros(len(weights), dtype=int), np.full(len(weights), len(values) - 1)
    while (low < high).any():
        middle = (low + high) // 2
        reached = np.stack([np.searchsorted(block, values[middle], side="right") for block in blocks], axis=1)
        inside = (weights * reached).sum(axis=1) >= enough
        low, high = np.where(inside, low, middle + 1), np.where(inside, middle, high)
    found: np.ndarray = values[low]
    return found
