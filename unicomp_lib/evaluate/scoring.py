"""From item rows to scores: means, retentions and differences from dense, each with its interval."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from unicomp_lib import tables
from unicomp_lib.evaluate import forms, judged, lengths, per_token, siblings, statistics, strata, task, totals
from unicomp_lib.evaluate.statistics import Estimate, Part

VERSION = "14"

ITEM = ["task", "doc_hash", "doc_id"]
Row = dict[str, Any]

# The two formats of the interaction: the same items with ranked options and with generated answers.
CELL = ("model", "variant", "seed")
RANKED, GENERATED = "cloze", "generate"
HEADLINE = "knowledge"
SERVED = "served"  # the dimension in which every cell is compared with dense by itself
NEAR_CHANCE = "dense is not clearly above chance"


def score(items: pl.DataFrame, variants: tables.Variants) -> pl.DataFrame:
    """Scores of one dimension from the item rows of all its cells: columns ``tables.SCORES``.

    ``variants`` holds the facts about each variant: its label in figures, its sibling and more, as derived from a
    profile by ``study.variants``. Without facts, variants go by their own names and have no siblings.

    Every cell has its own rows, and every variant has rows with ``seed`` null, for which each item's value is
    its mean over the seeds: the interval then reflects only the sampling of items, and ``seed_sd`` that of the
    calibration text. Cells are compared with the dense cell of their model on the same items, and a variant
    with its sibling (``siblings``). Where dense has further items of a task, its score is that of all its items, and a
    variant's has the support of these (``statistics.supported``). Raises a ``ValueError`` if a model has
    no dense cell, though its rows are to be compared with dense's (those of ``served`` are not), or if a cell has items
    that dense has not or others than the first of dense's.

    A value that is null, NaN or infinite is printed, and costs the scores of its metric, task and cell alone: they
    are null, and the column ``reason`` says why. Groups of tasks are scored without such a task, and say so there.
    What compares dense with itself has no interval, since it is no estimate.
    """
    items = _finite(items)
    rows: list[Row] = []
    items = lengths.with_loops(items)
    for (model,), of_model in items.group_by(["model"], maintain_order=True):
        dense = of_model.filter(pl.col("variant") == "dense")
        if dense.is_empty() and not (of_model["dimension"] == SERVED).all():
            raise ValueError(f"model {model} has no dense cell to compare with; add compression 'dense'")
        for cells, frame in _cells(of_model):
            itself = cells[0]["variant"] == "dense"
            reference = frame if dense.is_empty() else dense
            rows += [{**cell, **row} for row in _cell_rows(frame, reference, itself=itself) for cell in cells]
        rows += _seed_spread(of_model.filter(pl.col("primary")), "primary")
    effects = [siblings.effect(items, metric, variants) for metric in ("primary", forms.PROBABILITY, "bits_per_byte")]
    return judged.with_agreement(pl.concat([_with_holm(tables.scores(rows, variants)), *effects]), items)


def _cells(items: pl.DataFrame, *, outputs: bool = False) -> Iterator[tuple[list[Row], pl.DataFrame]]:
    """Labels and rows of each cell, then those of each variant with means over its seeds; one seed is its own mean.

    With ``outputs``, the rows of means hold the list of the seeds' outputs.
    """
    names = [name for name in tables.CELL if name != "seed"]
    group = [*ITEM, "metric", "dimension", "capability", "format", "chance", "cluster", "primary", "prompt_hash"]
    group += [name for name in ("source",) if name in items.columns]
    for shared, of_variant in items.group_by(names, maintain_order=True):
        pooled = {**dict(zip(names, shared, strict=True)), "seed": None}
        cells = [
            ({**pooled, "seed": seed}, frame) for (seed,), frame in of_variant.group_by("seed", maintain_order=True)
        ]
        if len(cells) == 1:
            yield [cells[0][0], pooled], cells[0][1]
            continue
        yield from (([cell], frame) for cell, frame in cells)
        pooling = [_mean(), pl.col("value").alias("by_seed"), pl.col("judge").first()]
        pooling += [pl.col("output")] if outputs else []
        yield [pooled], of_variant.group_by(group, maintain_order=True).agg(pooling)


def _mean() -> pl.Expr:
    """The mean of ``value``, null where one of the values is."""
    return pl.when(pl.col("value").is_not_null().all()).then(pl.col("value").mean()).alias("value")


def _finite(items: pl.DataFrame) -> pl.DataFrame:
    """The items with null for every value that is no number, each metric, task and cell of which is printed."""
    bad = pl.col("value").is_null() | ~pl.col("value").is_finite()
    found = items.filter(bad, ~pl.col("metric").is_in(totals.PARTS))
    for (*cell, name, metric), rows in found.group_by([*CELL, "task", "metric"], maintain_order=True):
        where = f"{', '.join(str(part) for part in cell if part not in ('', None))}: {name}, {metric}"
        shown = ", ".join(f"item {row['doc_id']} is {row['value']}" for row in rows.head(3).iter_rows(named=True))
        more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
        print(f"{where}: {_judge(rows) or f'{shown}{more}'}; no score is given")
    return items.with_columns(value=pl.when(~bad).then("value"))


def _judge(rows: pl.DataFrame) -> str:
    """What stands for the judge of rows without a verdict, which is why they have none; empty where they differ."""
    judges = rows["judge"].unique().to_list() if rows["value"].is_null().all() else []
    return (judges[0] or "") if len(judges) == 1 else ""


def _seed_spread(items: pl.DataFrame, metric: str) -> list[Row]:
    """Standard deviation of a variant's mean over calibration seeds, by capability; no row for a single seed."""
    names = [name for name in tables.CELL if name != "seed"]
    rows = []
    for cell, frame in items.group_by([*names, "capability"], maintain_order=True):
        means = frame.group_by("seed", maintain_order=True).agg(_mean())["value"].to_numpy()
        if len(means) > 1:
            row = _row(frame, f"{metric}_seed_sd", statistics.spread(means), task="all")
            rows.append({**dict(zip(names, cell[:-1], strict=True)), "seed": None, **row, "n": len(means)})
    return rows


def _cell_rows(items: pl.DataFrame, dense: pl.DataFrame, *, itself: bool) -> Iterator[Row]:
    every = _paired(items, dense)
    yield from _own_rows(every)
    for row in _compared_rows(every):
        known = itself and row["metric"] != "dense"
        yield row | {"low": None, "high": None, "reason": "dense itself"} if known else row


def _own_rows(every: pl.DataFrame) -> Iterator[Row]:
    paired = every.filter("asked")
    for (_, metric), frame in every.group_by(["task", "metric"], maintain_order=True):
        if metric in totals.PARTS:
            continue
        estimate = statistics.supported(_part(frame))
        yield _row(frame, metric, replace(estimate, reason=_judge(frame.filter("asked")) or estimate.reason))
    for frame in _by_task(paired):
        for name, total in totals.totals(frame):
            yield {**_row(frame, name, total), "n": frame["doc_id"].n_unique()}
    for frame, name, metric, estimate in strata.scores(paired):
        count = frame.select("task", "doc_id").n_unique()
        yield {**_row(frame, metric, estimate), "task": name, "chance": None, "n": count}
    for capability, metric, estimate, count in lengths.scores(paired):
        about = {"capability": capability, "format": "generate", "n": count}
        yield _row(paired, metric, estimate, task="all") | about


def _compared_rows(every: pl.DataFrame) -> Iterator[Row]:
    for _, frame in every.filter(pl.col("primary")).group_by(["task", "metric"], maintain_order=True):
        yield from _changes(frame)
    for _, frame in every.group_by(["capability"], maintain_order=True):
        yield from _against_dense(frame)
    for _, frame in every.group_by(["capability", "format"], maintain_order=True):
        for row in _against_dense(frame):
            yield {**row, "format": frame["format"][0]}
    for (language, form), frame in _by_language(every):
        for row in _against_dense(frame):
            yield {**row, "task": language, "format": form, "metric": f"{row['metric']}_by_language"}
    for row in _against_dense(every):
        yield {**row, "capability": "all"}
    yield from _interactions(every)


def _against_dense(frame: pl.DataFrame) -> Iterator[Row]:
    """Retention over a group of tasks, and the change in bits per byte of the reference answers.

    ``retention`` is that of the probability of the right options where a task has it, else of right or wrong;
    ``accuracy_retention`` is of right or wrong throughout, and so is UniComp's ``plain_retention``.
    """
    measured, without = _whole(_measured(frame))
    if not measured.is_empty():
        yield _retention(measured, "retention") | without
    primary, without = _whole(frame.filter(pl.col("primary")))
    if not primary.is_empty():
        yield _retention(primary, "accuracy_retention") | without
        yield _row(primary, "plain_retention", _plain(primary), task="all") | without
    continuous, without = _whole(frame.filter(pl.col("metric") == "bits_per_byte"))
    if not continuous.is_empty():
        change = statistics.difference(*_columns(continuous.filter("asked"), "value", "dense", "cluster"))
        yield _row(continuous, "bits_per_byte_change", change, task="all") | without
        growth = statistics.growth([(1.0, list(map(_part, _by_task(continuous))))])
        yield _row(continuous, "bits_per_byte_growth", growth, task="all") | without


def _measured(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows of ``retention``: of each task the probabilities, or the primary metric where it has none."""
    probability = pl.col("metric") == forms.PROBABILITY
    return frame.filter(pl.when(probability.any().over("task")).then(probability).otherwise("primary"))


def _whole(frame: pl.DataFrame) -> tuple[pl.DataFrame, Row]:
    """The tasks in which every item has a value; if there are others too, the reason that names them."""
    known = (pl.col("value").is_not_null() | ~pl.col("asked")) & pl.col("dense").is_not_null()
    whole = frame.filter(known.all().over("task"))
    left_out = frame.join(whole, on="task", how="anti", maintain_order="left")["task"].unique(maintain_order=True)
    if left_out.is_empty():
        return whole, {}
    if whole.is_empty():
        return frame, {}  # undefined, for a reason of its own
    return whole, {"reason": f"without {', '.join(left_out)}: not all items have a value"}


def _interactions(paired: pl.DataFrame) -> Iterator[Row]:
    """Whether knowledge is retained better than another capability in each format, and whether the formats disagree.

    Computed over the item sets that exist in both formats. ``bias_*`` is knowledge minus the other capability, as
    a difference of retentions or of log growths of bits per byte; ``interaction_*`` is the bias with ranked
    options minus the bias with generated answers. A set with the same prompt in both formats, such as NQ-open,
    does not count for growth, because its reference answer has the same likelihood in both.
    """
    both = paired.filter(pl.col("format").is_in((RANKED, GENERATED))).with_columns(_source())
    for metric, formula in (("retention", statistics.contrast), ("growth", statistics.growth)):
        shared = both.filter(pl.col("primary") if metric == "retention" else pl.col("metric") == "bits_per_byte")
        if metric == "growth":
            shared = shared.filter(pl.col("prompt_hash").n_unique().over("source", "doc_hash") > 1)
        shared, without = _whole(shared)
        shared = shared.filter(pl.col("format").n_unique().over("capability", "source") == 2)
        for other in shared["capability"].unique(maintain_order=True):
            if other == HEADLINE:
                continue
            bias = {
                form: [
                    (sign, _usable(shared.filter(capability=capability, format=form), metric))
                    for sign, capability in ((1.0, HEADLINE), (-1.0, other))
                ]
                for form in (RANKED, GENERATED)
            }
            both_ways = bias[RANKED] + [(-sign, parts) for sign, parts in bias[GENERATED]]
            contrasts = {f"{RANKED} - {GENERATED}": (f"interaction_{metric}", both_ways)}
            contrasts |= {form: (f"bias_{metric}", bias[form]) for form in bias}
            for form, (name, groups) in contrasts.items():
                used = sum(len(part.dense) for _, parts in groups for part in parts)
                about = {"capability": f"{HEADLINE} - {other}", "format": form, "n": used} | without
                yield _row(shared, name, formula(groups), task="all") | about


def _usable(frame: pl.DataFrame, metric: str) -> list[Part]:
    parts = [_part(of_task) for of_task in _by_task(frame)]
    return [part for part in parts if metric != "retention" or statistics.above_chance(part)]


def _source() -> pl.Expr:
    return pl.col("task").str.replace("_[a-z]+$", "").alias("source")


def _by_language(frame: pl.DataFrame) -> Iterator[tuple[tuple[Any, ...], pl.DataFrame]]:
    """Multilingual tasks by language, whose code is part of the task's name, and by format.

    Formats are kept apart, since not every language has each of them and they suffer differently.
    """
    code = pl.col("task").str.extract(rf"_([a-z]{{2}})(?:_(?:{'|'.join(task.FORMATS)}))?$")
    named = frame.filter(pl.col("capability") == "multilingual").with_columns(code.alias("language"))
    yield from named.filter(pl.col("language").is_not_null()).group_by(["language", "format"], maintain_order=True)


def _by_task(frame: pl.DataFrame) -> list[pl.DataFrame]:
    return frame.partition_by("task", maintain_order=True)


def _part(frame: pl.DataFrame) -> Part:
    values, dense, clusters = _columns(frame.filter("asked"), "value", "dense", "cluster")
    rest, rest_clusters = _columns(frame.filter(~pl.col("asked")), "dense", "cluster")
    return Part(values, dense, clusters, float(frame["chance"][0] or 0), rest, rest_clusters)


def _paired(items: pl.DataFrame, dense: pl.DataFrame) -> pl.DataFrame:
    """The cell's rows with dense's values as ``dense``, then those of dense alone, whose ``asked`` is false."""
    key = [*ITEM, "metric"]
    # Only a cell whose check raised has such rows.
    unchecked = pl.col("metric") == forms.UNCHECKED
    known = items.filter(unchecked).select(*key, dense=0.0)
    reference = pl.concat([dense.filter(~unchecked).select(*key, dense="value"), known])
    paired = items.join(reference, on=key, how="inner", maintain_order="left")
    alone = dense.filter(~unchecked).join(items, on=key, how="anti", maintain_order="left")
    _check_same(items, dense, paired, alone)
    alone = alone.with_columns(dense="value", value=pl.lit(None, dtype=pl.Float64), asked=pl.lit(value=False))
    rows = pl.concat([paired.with_columns(asked=pl.lit(value=True)), alone], how="diagonal")
    return rows.with_columns(pl.col("cluster").rank("dense"))  # numbers are compared faster than texts


def _check_same(items: pl.DataFrame, dense: pl.DataFrame, paired: pl.DataFrame, alone: pl.DataFrame) -> None:
    """Items must be dense's, or the first of these: the order is random, and what is left out must not depend on it."""
    ends = paired.group_by("task").agg(last=pl.col("doc_id").max())
    after = alone.join(ends, on="task", how="left")
    if len(paired) != len(items) or not (after["doc_id"] > after["last"]).fill_null(value=False).all():
        raise ValueError(
            f"a cell has {len(items)} item rows, dense has {len(dense)}, and {len(paired)} are the same items; "
            "evaluate both on the same tasks and numbers of items, or dense on more items of a task"
        )


def _retention(primary: pl.DataFrame, metric: str) -> Row:
    """Chance-corrected retention over the tasks on which dense is above chance.

    ``n`` counts their items; if dense is clearly above chance on none of them, the value is null and ``n`` is 0.
    """
    parts = _usable(primary, "retention")
    retention = statistics.retention(parts) if parts else statistics.undefined(NEAR_CHANCE)
    used = sum(len(part.dense) for part in parts)
    return {**_row(primary, metric, retention, task="all"), "n": 0 if np.isnan(retention.value) else used}


def _plain(primary: pl.DataFrame) -> Estimate:
    """UniComp's retention, the ratio of plain scores over all tasks, for comparison with its published values."""
    return statistics.retention([replace(_part(frame), chance=0.0) for frame in _by_task(primary)])


def _changes(frame: pl.DataFrame) -> Iterator[Row]:
    """A task compared with dense: difference, share of items lost and gained, McNemar's test, detectable effect."""
    every = statistics.mean(*_columns(frame, "dense", "cluster"))
    yield _row(frame, "dense", every) | {"n": len(frame)}
    frame = frame.filter("asked")
    values, dense, clusters = _columns(frame, "value", "dense", "cluster")
    yield _row(frame, "difference", statistics.difference(values, dense, clusters))
    yield _row(frame, "flips_lost", statistics.mean(np.maximum(dense - values, 0), clusters))
    yield _row(frame, "flips_gained", statistics.mean(np.maximum(values - dense, 0), clusters))
    lack = statistics.lacking(values, dense)
    detectable = statistics.detectable(values, dense, clusters)
    yield _row(frame, "detectable", statistics.undefined(lack, detectable))
    if lack:
        tests = dict.fromkeys(("mcnemar_p", "mcnemar_mid_p"), float("nan"))
    elif np.isin(values, (0, 1)).all():  # not for means over seeds
        lost, gained = int((dense > values).sum()), int((values > dense).sum())
        tests = {"mcnemar_p": statistics.mcnemar(lost, gained), "mcnemar_mid_p": statistics.mcnemar_mid(lost, gained)}
    else:
        tests = {}
    for name, p in tests.items():
        yield _row(frame, name, statistics.undefined(lack, p))


def _with_holm(scores: pl.DataFrame) -> pl.DataFrame:
    """Add Holm's adjustment of McNemar's p-values over all compressed variants and tasks of a model."""
    tested = scores.filter(pl.col("metric") == "mcnemar_p", pl.col("seed").is_null(), pl.col("method") != "dense")
    adjusted = [
        of_model.with_columns(
            pl.lit("mcnemar_p_holm").alias("metric"), value=statistics.holm(of_model["value"].to_numpy())
        ).with_columns(pl.col("value").fill_nan(None))
        for of_model in tested.partition_by("model", maintain_order=True)
    ]
    return pl.concat([scores, *adjusted])


def fidelity(items: pl.DataFrame, variants: tables.Variants) -> pl.DataFrame:
    """Scores of the fidelity rows, with ``perplexity``, the exponential of the mean ``nll``, added.

    Its interval is the exponential of the mean's interval. ``perplexity_ratio`` is relative to the dense model,
    paired over the same blocks. ``kl_median``, ``kl_99``, ``kl_max`` and the same of ``p_change`` are over all tokens
    (``per_token.quantiles``).
    """
    items = _finite(items)
    rows = _seed_spread(items.filter(pl.col("metric") == "nll"), "nll")
    for cells, frame in _cells(items, outputs=True):
        rows += [{**cell, **row} for row in _fidelity_rows(frame) for cell in cells]
    return pl.concat([tables.scores(rows, variants), siblings.effect(items, "nll", variants)])


def _fidelity_rows(frame: pl.DataFrame) -> Iterator[Row]:
    by = {metric: part for (metric,), part in frame.group_by(["metric"], maintain_order=True)}
    for metric in (name for name in tables.TOKEN_METRICS if name in by):
        for name, estimate in per_token.quantiles(by[metric]):
            yield _row(by[metric], name, estimate)
    for metric in ("nll", "kl", "agreement", "p_change"):
        if metric not in by:  # as in rows of earlier runs
            continue
        # Block means that happen to be all 0 or 1 are no outcomes: never the exact interval here.
        yield _row(by[metric], metric, statistics.bootstrap(*_columns(by[metric], "value", "cluster")))
    nll, clusters = _columns(by["nll"], "value", "cluster")
    ratio = statistics.bootstrap(nll - by["nll_dense"]["value"].to_numpy(), clusters)
    yield _row(by["nll"], "perplexity", _exp(statistics.bootstrap(nll, clusters)))
    yield _row(by["nll"], "perplexity_ratio", _exp(ratio))


def efficiency(items: pl.DataFrame, variants: tables.Variants) -> pl.DataFrame:
    """Scores of the efficiency rows: medians over repeats, and ratios to dense in the same run.

    Every metric has rows ``<metric>_dense`` of the dense model, measured in alternation. A ratio is the median of
    the repeats' ratios; its interval is their range, since a bootstrap of a few repeats would claim too much
    precision. With fewer than six repeats there is no interval (``statistics.middle``), and without a value in one of
    them no score.
    """
    items = _finite(items)
    rows: list[Row] = []
    for cells, frame in _cells(items):
        rows += [{**cell, **row} for row in _efficiency_rows(frame) for cell in cells]
    return tables.scores(rows, variants)


def _efficiency_rows(frame: pl.DataFrame) -> Iterator[Row]:
    by = {metric: part for (metric,), part in frame.group_by(["metric"], maintain_order=True)}
    for kind in ("", "_batch"):
        if f"token{kind}" in by:
            yield from _latencies(by, kind)
    if {"decode", "read", "bandwidth_dense"} <= set(by):
        reached = by["decode"]["value"].to_numpy() * by["read"]["value"][0] / _bandwidth(by)
        yield _row(by["decode"], "decode_of_limit", statistics.middle(reached))
    for metric, part in by.items():
        if metric.endswith("_dense") or metric in ("token", "token_batch"):
            continue
        values = part["value"].to_numpy()
        yield _row(part, metric, statistics.middle(values))
        if f"{metric}_dense" in by:
            with np.errstate(divide="ignore", invalid="ignore"):
                ratios = values / by[f"{metric}_dense"]["value"].to_numpy()
            yield _row(part, f"{metric}_ratio", statistics.middle(ratios))


def _bandwidth(by: dict[str, pl.DataFrame]) -> float:
    """Memory bandwidth of the machine: the higher of the processes' measurements, of which an engine's has none."""
    measured = np.array([by[name]["value"][0] for name in ("bandwidth", "bandwidth_dense") if name in by], dtype=float)
    return float(measured.max())


def _latencies(by: dict[str, pl.DataFrame], kind: str) -> Iterator[Row]:
    """Percentiles of the seconds per token, and their ratios to dense; intervals are the range of the repeats."""
    repeats = len(by[f"decode{kind}"])
    tokens, dense = (by[f"token{kind}{role}"]["value"].to_numpy().reshape(repeats, -1) for role in ("", "_dense"))
    for percent in (50, 90, 99):
        ours, theirs = (np.percentile(seconds, percent) for seconds in (tokens, dense))
        by_repeat, dense_by_repeat = (np.percentile(seconds, percent, axis=1) for seconds in (tokens, dense))
        name, frame = f"latency{kind}_p{percent}", by[f"token{kind}"]
        ratio = by_repeat / dense_by_repeat
        yield _row(frame, name, replace(statistics.middle(by_repeat), value=float(ours)))
        yield _row(frame, f"{name}_ratio", replace(statistics.middle(ratio), value=float(ours / theirs)))


def _exp(estimate: Estimate) -> Estimate:
    value, low, high = (float(np.exp(number)) for number in (estimate.value, estimate.low, estimate.high))
    return Estimate(value, low, high, estimate.reason)


def _columns(frame: pl.DataFrame, *names: str) -> tuple[np.ndarray, ...]:
    return tuple(frame[name].to_numpy() for name in names)


def _row(frame: pl.DataFrame, metric: str, estimate: Estimate, task: str | None = None) -> Row:
    first = frame.row(0, named=True)
    return {
        "dimension": first["dimension"],
        "capability": first["capability"],
        "task": task or first["task"],
        "format": first["format"] if task is None else "all",
        "metric": metric,
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "reason": estimate.reason or None,
        "n": int(frame["asked"].sum()) if "asked" in frame.columns else len(frame),
        "chance": first["chance"] if task is None else None,
    }
