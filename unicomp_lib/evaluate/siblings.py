"""Two calibrations of one method, compared on the same items."""

import polars as pl

from unicomp_lib import tables
from unicomp_lib.evaluate import statistics

VERSION = "1"

ITEM = ["task", "doc_hash", "doc_id", "metric"]
EFFECT = {
    **{name: tables.SCORES[name] for name in ("model", "method", "variant", "calibration")},
    "against": pl.String, "capability": pl.String, "metric": pl.String,
    "value": pl.Float64, "low": pl.Float64, "high": pl.Float64, "n": pl.Int64,
}  # fmt: skip


def effect(items: pl.DataFrame, metrics: tuple[str, ...]) -> pl.DataFrame:
    """Mean difference of each metric, a variant's less its sibling's, by capability: columns ``EFFECT``.

    A variant named ``<sibling>-<calibration>``, such as ``wanda-50-reasoning``, is compared with
    ``<sibling>`` on the same items, each item's value being its mean over the calibration seeds.
    Intervals are the paired cluster bootstrap's. A ``ValueError`` says so when no variant has a sibling.
    """
    rows = []
    named = items.select("model", "method", "variant", "calibration").unique(maintain_order=True)
    for model, method, variant, calibration in named.iter_rows():
        sibling = variant.removesuffix(f"-{calibration}")
        if sibling == variant or named.filter(model=model, variant=sibling).is_empty():
            continue
        ours, theirs = (_of(items, model, name, metrics) for name in (variant, sibling))
        paired = ours.join(theirs.select(*ITEM, other="value"), on=ITEM, maintain_order="left")
        for (capability, metric), part in paired.group_by("capability", "metric", maintain_order=True):
            found = statistics.difference(
                part["value"].to_numpy(), part["other"].to_numpy(), part["cluster"].to_numpy()
            )
            rows.append(
                (model, method, variant, calibration, sibling, capability, metric,
                 found.value, found.low, found.high, len(part))
            )  # fmt: skip
    if not rows:
        raise ValueError(
            "no variant has a sibling of another calibration; name one such as wanda-50-reasoning beside wanda-50"
        )
    return pl.DataFrame(rows, schema=EFFECT, orient="row")


def _of(items: pl.DataFrame, model: str, variant: str, metrics: tuple[str, ...]) -> pl.DataFrame:
    found = items.filter(pl.col("metric").is_in(metrics), model=model, variant=variant)
    return found.group_by(*ITEM, "capability", "cluster", maintain_order=True).agg(pl.col("value").mean())
