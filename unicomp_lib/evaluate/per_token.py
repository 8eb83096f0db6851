"""Quantiles over all tokens of a text of what compression changes at each: how bad the worst tokens are."""

import json
from collections.abc import Iterator

import numpy as np
import polars as pl

from unicomp_lib.evaluate import statistics
from unicomp_lib.evaluate.statistics import Estimate

VERSION = "1"

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
    blocks = [np.abs(np.concatenate([json.loads(text) for text in texts])) for texts in by_block]
    values, of_block = np.concatenate(blocks), np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])
    order = np.argsort(values, kind="stable")
    values, of_block = values[order], of_block[order]
    for name, share in SHARES.items():
        observed = float(_weighted(values, np.ones((1, len(values))), share)[0])
        if len(blocks) < LEAST:
            yield f"{metric}_{name}", statistics.undefined(f"fewer than {LEAST} blocks", observed)
            continue
        drawn = statistics.draws(len(blocks))
        parts = np.array_split(drawn, max(1, drawn.shape[0] * len(values) // 10**7))  # 80 MB of weights at a time
        resampled = np.concatenate([_weighted(values, part[:, of_block], share) for part in parts])
        yield f"{metric}_{name}", statistics.interval(observed, resampled)
    yield f"{metric}_max", statistics.undefined("the largest of these tokens", float(values[-1]))


def _weighted(values: np.ndarray, weights: np.ndarray, share: float) -> np.ndarray:
    """The smallest of sorted ``values`` up to which ``share`` of the weight lies, for each row of ``weights``."""
    reached = np.cumsum(weights, axis=1, dtype=np.float64)
    places = np.argmax(reached >= share * reached[:, -1:] - 1e-9, axis=1)
    found: np.ndarray = values[places]
    return found
