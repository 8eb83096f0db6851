"""Two calibrations of one method, compared on the same items."""

import polars as pl

from unicomp_lib import tables
from unicomp_lib.evaluate import statistics

VERSION = "4"

ITEM = ["task", "doc_hash", "doc_id", "metric"]


def effect(items: pl.DataFrame, metric: str, variants: tables.Variants) -> pl.DataFrame:
    """Mean difference of a metric, a variant's less its sibling's, by capability: columns ``tables.SCORES``.

    ``variants`` are the facts of each variant, of which one with a ``sibling`` is compared with that, on the same
    items, each item's value being its mean over the calibration seeds. ``metric`` is one of the items', or
    ``primary`` for that of each task; in the result it ends in ``_by_calibration``. Intervals are the paired
    those of ``statistics.difference``. A task in which an item has no value is left out, and named as the
    ``reason``. No row where no variant has a sibling among the items. Raises a ``ValueError`` where
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
        for (capability,), frame in paired.group_by("capability", maintain_order=True):
            whole = pl.col("value", "other").is_not_null().all()
            part = frame.filter(pl.all_horizontal(whole).over("task"))
            lost = frame.join(part, on="task", how="anti", maintain_order="left")["task"].unique(maintain_order=True)
            reason = f"without {', '.join(lost)}: not all items have a value" if len(lost) else None
            columns = (part[column].to_numpy() for column in ("value", "other", "cluster"))
            change = statistics.difference(*columns) if len(part) else statistics.UNDEFINED
            rows.append(
                cell
                | {"seed": None, "capability": capability, "task": "all", "format": "all", "chance": None}
                | {"metric": f"{metric}_by_calibration", "n": len(part)}
                | {
                    "value": change.value,
                    "low": change.low,
                    "high": change.high,
                    "reason": reason or change.reason or None,
                }
            )
    return tables.scores(rows, variants)


def _pooled(items: pl.DataFrame, model: str, variant: str) -> pl.DataFrame:
    rows = items.filter(model=model, variant=variant)
    value = pl.col("value").fill_nan(None)
    mean = pl.when(value.is_not_null().all()).then(value.mean()).alias("value")
    return rows.group_by(*ITEM, "capability", "cluster", maintain_order=True).agg(mean)
