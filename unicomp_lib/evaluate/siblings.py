"""Two calibrations of one method, compared on the same items."""

import polars as pl

from unicomp_lib import tables
from unicomp_lib.evaluate import statistics

VERSION = "3"

ITEM = ["task", "doc_hash", "doc_id", "metric"]


def effect(items: pl.DataFrame, metric: str, variants: tables.Variants) -> pl.DataFrame:
    """Mean difference of a metric, a variant's less its sibling's, by capability: columns ``tables.SCORES``.

    ``variants`` are the facts of each variant, of which one with a ``sibling`` is compared with that, on the same
    items, each item's value being its mean over the calibration seeds. ``metric`` is one of the items', or
    ``primary`` for that of each task; in the result it ends in ``_by_calibration``. Intervals are the paired
    cluster bootstrap's. No row where no variant has a sibling among the items. Raises a ``ValueError`` where
    the two were not evaluated on the same items.
    """
    primary = pl.col("primary") if metric == "primary" else pl.col("metric") == metric
    items = items.filter(primary)
    rows = []
    cells = items.select("model", "method", "variant", "calibration", "dimension").unique(maintain_order=True)
    for cell in cells.iter_rows(named=True):
        sibling = variants.get(cell["variant"], {}).get("sibling", "")
        if not sibling or cells.filter(model=cell["model"], variant=sibling).is_empty():
            continue
        ours, theirs = (_pooled(items, cell["model"], variant) for variant in (cell["variant"], sibling))
        # Blocks of text have no hash: nulls are equal.
        paired = ours.join(theirs.select(*ITEM, other="value"), on=ITEM, maintain_order="left", nulls_equal=True)
        if not len(paired) == len(ours) == len(theirs):
            raise ValueError(f"{cell['variant']} and {sibling} were not evaluated on the same items; run both again")
        for (capability,), part in paired.group_by("capability", maintain_order=True):
            change = statistics.difference(*(part[column].to_numpy() for column in ("value", "other", "cluster")))
            rows.append(
                cell
                | {"seed": None, "capability": capability, "task": "all", "format": "all", "chance": None}
                | {"metric": f"{metric}_by_calibration", "n": len(part)}
                | {"value": change.value, "low": change.low, "high": change.high}
            )
    return tables.scores(rows, variants)


def _pooled(items: pl.DataFrame, model: str, variant: str) -> pl.DataFrame:
    rows = items.filter(model=model, variant=variant)
    return rows.group_by(*ITEM, "capability", "cluster", maintain_order=True).agg(pl.col("value").mean())
