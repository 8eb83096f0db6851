"""What lm-eval logs for one item under the name of a metric, which is not always that metric.

A perplexity is one number of all items. Of each item, lm-eval logs what that is computed from (``process_results`` in
its ``api/task.py``), under the same name: the log-likelihood of the continuation as ``perplexity``, and the
log-likelihood of a document with its length as the metrics of ``PAIRS``. Its ``higher_is_better`` is that of the
aggregate. The other metrics that it registers (``api/metrics.py``) are a score for each item, in which that direction
holds, or parts of one, such as target and prediction, which are no number.
"""

import math
from typing import Any

PERPLEXITY, LOG_LIKELIHOOD = "perplexity", "log_likelihood"  # in nats; of the first less is better, of the second more
# What a pair (log-likelihood in nats, number of words or bytes) is called here, and the factor to its unit.
PAIRS = {
    "word_perplexity": (f"{LOG_LIKELIHOOD}_per_word", 1.0),
    "byte_perplexity": (f"{LOG_LIKELIHOOD}_per_byte", 1.0),
    "bits_per_byte": ("bits_per_byte", -1 / math.log(2)),
}  # fmt: skip


def meaning(metric: str, value: Any) -> tuple[str, float] | None:
    """What ``value`` is called and its number, NaN where the item has none; None for what is no number.

    No perplexity is below 1 and no log-likelihood above 0, so that their sign tells them apart.
    """
    if value is None:
        return {PERPLEXITY: LOG_LIKELIHOOD}.get(metric, PAIRS.get(metric, (metric,))[0]), math.nan
    if isinstance(value, bool | int | float):
        return LOG_LIKELIHOOD if metric == PERPLEXITY and not value > 0 else metric, float(value)
    if metric in PAIRS and _is_pair(value):
        name, factor = PAIRS[metric]
        return name, factor * float(value[0]) / value[1] if value[1] else math.nan
    return None


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) == 2
        and all(isinstance(part, int | float) and not isinstance(part, bool) for part in value) and value[1] >= 0
    )  # fmt: skip


def check(rows: list[dict[str, Any]], where: str) -> None:
    """Refuse perplexities (``logged`` of a row) of which some are below 1: they are no perplexities, nor the others."""
    values = [row["value"] for row in rows if row["logged"] == PERPLEXITY]
    if any(value > 0 for value in values) and any(value <= 0 for value in values):
        raise ValueError(f"{where}: perplexity is above 0 for some items and not for others; give a log of one version")


def notes(task: str, rows: list[dict[str, Any]]) -> list[str]:
    """Sentences on what is compared in place of what was ``logged``, one number or a ``pair``."""
    said = []
    if any(row["logged"] == PERPLEXITY and row["metric"].startswith(LOG_LIKELIHOOD) for row in rows):
        said.append(f"{task}: lm-eval logs an item's log-likelihood as perplexity; it is compared as {LOG_LIKELIHOOD}")
    if pairs := dict.fromkeys(row["metric"] for row in rows if row["pair"]):
        said.append(
            f"{task}: lm-eval logs a document's log-likelihood and its length; compared is {' or '.join(pairs)}, each "
            "document counting the same"
        )
    return said
