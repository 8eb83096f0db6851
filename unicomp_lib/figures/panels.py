"""Axes shared by the study's figures. A variant is named by the column ``label`` of its rows."""

from typing import Any

import numpy as np
import polars as pl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from unicomp_lib.figures import palette

VERSION = "8"

FILLS: tuple[Any, ...] = ("full", "none", "left", "bottom", "right", "top")
PART_MARKERS = ("|", "x", "+")
# Parts of the efficiency tracks whose metric does not read well.
PART_NAMES = {
    "decode_batch": "batched decode", "flops": "FLOPs",
    "cost_cpu_seconds": "CPU time", "cost_peak_memory": "peak memory",
}  # fmt: skip


def errors(frame: pl.DataFrame) -> list[list[float]]:
    """``xerr`` or ``yerr`` for matplotlib from columns value, low, high; zero where there is no interval."""
    low = (frame["value"] - frame["low"]).fill_nan(0).clip(lower_bound=0)
    high = (frame["high"] - frame["value"]).fill_nan(0).clip(lower_bound=0)
    return [low.to_list(), high.to_list()]


def pooled(scores: pl.DataFrame, metric: str, capability: str | None = None) -> pl.DataFrame:
    """Rows of one metric pooled over seeds, in the order of the profile."""
    rows = scores.filter(pl.col("metric") == metric, pl.col("seed").is_null())
    return rows if capability is None else rows.filter(pl.col("capability") == capability)


def without_siblings(scores: pl.DataFrame) -> pl.DataFrame:
    """Scores without controls and without variants that have a sibling, which another figure compares."""
    return scores.filter(pl.col("sibling") == "", pl.col("control") == "")


def row_labels(table: pl.DataFrame) -> dict[tuple[str, str], str]:
    """Label of each (model, variant) in the table's order, preceded by its model if there are several."""
    several = table["model"].n_unique() > 1
    rows = table.select("model", "variant", "label").unique(["model", "variant"], maintain_order=True)
    return {(model, variant): f"{model}, {label}" if several else label for model, variant, label in rows.iter_rows()}


def variants(axes: Axes, scores: pl.DataFrame, metric: str, *, label: str, reference: float) -> None:
    """One row per variant: value with interval, single seeds as faint marks, and a line at ``reference``."""
    pooled_rows = pooled(scores, metric)
    labels = row_labels(pooled_rows)
    heights = {key: height for height, key in enumerate(labels)}
    axes.axvline(reference, color=palette.GREY, linewidth=1)
    for row in scores.filter(pl.col("metric") == metric, pl.col("seed").is_not_null()).iter_rows(named=True):
        height = heights[row["model"], row["variant"]]
        axes.plot([row["value"]], [height], **_mark(row["method"]) | {"alpha": 0.3, "markersize": 3})
    for one in pooled_rows.iter_slices(1):
        height = heights[one["model"][0], one["variant"][0]]
        axes.errorbar(one["value"].to_list(), [height], xerr=errors(one), capsize=2, **_mark(one["method"][0]))
    _rows_axis(axes, list(labels.values()))
    axes.set_xlabel(label)


def _rows_axis(axes: Axes, labels: list[str]) -> None:
    """Label the rows of a figure, from top to bottom."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)


def scatter(axes: Axes, table: pl.DataFrame, x: str, *, apart: bool = True) -> None:
    """Value with interval against column ``x``; ``apart`` draws variants with about the same x side by side."""
    near = 0.045 * float(table[x].max())  # type: ignore[arg-type]
    neighbours = ((pl.col(x) / near).round() if apart else pl.int_range(pl.len())).alias("neighbours")
    for _, together in table.with_columns(neighbours).group_by("neighbours", maintain_order=True):
        width = min(near, 2 * near / len(together))  # all of them close to their true x
        for rank, row in enumerate(together.iter_slices(1)):
            shifted = row[x][0] + (rank - (len(together) - 1) / 2) * width
            mark = _mark(row["method"][0]) | _fill(row["variant"][0], table)
            axes.errorbar([shifted], row["value"].to_list(), yerr=errors(row), capsize=2, **mark)


def plane(axes: Axes, x: pl.DataFrame, y: pl.DataFrame) -> pl.DataFrame:
    """One score against another, one mark per variant with both intervals; returns the variants that have both."""
    other = y.select("model", "variant", *(pl.col(name).alias(f"{name}_y") for name in ("value", "low", "high")))
    both = x.join(other, on=["model", "variant"], maintain_order="left").filter(
        pl.col("value").is_not_nan(), pl.col("value_y").is_not_nan()
    )
    axes.axhline(1, color=palette.GREY, linewidth=1)
    axes.axvline(1, color=palette.GREY, linewidth=1)
    for row in both.iter_slices(1):
        up = errors(row.select(pl.col("^.*_y$").name.map(lambda name: name.removesuffix("_y"))))
        mark = _mark(row["method"][0]) | _fill(row["variant"][0], both)
        axes.errorbar(
            row["value"].to_list(),
            row["value_y"].to_list(),
            xerr=errors(row),
            yerr=up,
            elinewidth=0.7,
            capsize=1.5,
            **mark,
        )
    return both


def parts(axes: Axes, table: pl.DataFrame, track: str, score: str, *, label: str, reference: float) -> None:
    """One track of ``tracks.tracks``: each variant's score with its interval, and its parts in grey."""
    labels = row_labels(table)
    order = list(labels)
    table = table.filter(pl.col("track") == track)
    names = table.filter(pl.col("part") != score)["part"].unique(maintain_order=True).to_list()
    axes.axvline(reference, color=palette.GREY, linewidth=1)
    for row in table.iter_slices(1):
        height, part = order.index((row["model"][0], row["variant"][0])), row["part"][0]
        if part == score:
            axes.errorbar(row["value"].to_list(), [height], xerr=errors(row), capsize=2, **_mark(row["method"][0]))
        else:
            marker = PART_MARKERS[names.index(part) % len(PART_MARKERS)]
            axes.plot(row["value"].to_list(), [height], marker, color="#777777", markersize=5, linestyle="")
    _rows_axis(axes, list(labels.values()))
    axes.set(title=track.capitalize(), xlabel=label, xscale="log")
    plain_log(axes.xaxis)
    handles = [Line2D([], [], color="#777777", marker=marker, linestyle="") for marker in PART_MARKERS[: len(names)]]
    part_names = [_part_name(part.removesuffix("_ratio")) for part in names]
    axes.legend(handles, part_names, fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)


def _part_name(part: str) -> str:
    return PART_NAMES.get(part, part.replace("_", " "))


def legend(figure: Figure, table: pl.DataFrame) -> None:
    """Legend of the variants by colour and marker, below the axes; a method's later variants are not filled."""
    rows = table.select("method", "variant", "label").unique(maintain_order=True).iter_rows()
    marks = {label: Line2D([], [], **_mark(method) | _fill(variant, table)) for method, variant, label in rows}
    figure.legend(list(marks.values()), list(marks), loc="outside lower center", ncols=4)


def _fill(variant: str, table: pl.DataFrame) -> dict[str, str]:
    (method,) = table.filter(pl.col("variant") == variant)["method"].unique()
    order = table.filter(pl.col("method") == method)["variant"].unique(maintain_order=True).to_list()
    return {"fillstyle": FILLS[order.index(variant) % len(FILLS)]}


def heatmap(
    axes: Axes, table: pl.DataFrame, *, scale: float, decimals: int, cmap: str, bounds: tuple[float, float], title: str
) -> None:
    """Variants by capability: value times ``scale`` with its interval, grey where it is undefined."""
    table = table.with_columns(pl.col("value", "low", "high") * scale)
    columns = table["capability"].unique(maintain_order=True).to_list()
    values = table.pivot(on="capability", index=["model", "variant"], values="value").select(columns).to_numpy()
    texts = [
        f"{value:z.{decimals}f}\n[{low:z.{decimals}f}, {high:z.{decimals}f}]".replace("-", "−")
        for value, low, high in table.select("value", "low", "high").iter_rows()
    ]
    annotations = table.with_columns(pl.Series("text", texts)).pivot(
        on="capability", index=["model", "variant"], values="text"
    )
    axes.set_facecolor("#D9D9D9")
    axes.grid(visible=False)
    sns.heatmap(
        values, ax=axes, annot=annotations.select(columns).to_numpy(), fmt="", annot_kws={"size": 6.5}, cmap=cmap,
        vmin=bounds[0], vmax=bounds[1], linewidths=0.5, cbar_kws={"shrink": 0.8},
        xticklabels=[column.replace(" ", "\n") for column in columns],
        yticklabels=list(row_labels(table).values()),
    )  # fmt: skip
    for row, column in zip(*np.nonzero(np.isnan(values)), strict=True):
        axes.text(
            column + 0.5, row + 0.5, "dense near\nchance", ha="center", va="center", fontsize=6.5, color="#555555"
        )
    axes.tick_params(axis="y", rotation=0)
    axes.tick_params(axis="x", rotation=0, labelsize=6.5)
    axes.set_title(title)


def effects(axes: Axes, table: pl.DataFrame, *, label: str, better: str) -> None:
    """Differences with their intervals by capability, methods side by side; the ``better`` side is shaded.

    ``better`` is ``lower`` or ``higher``. If the table has no rows, the panel says so.
    """
    if table.is_empty():
        axes.text(0.5, 0.5, "no variant has\na sibling", ha="center", va="center", transform=axes.transAxes)
    groups = table["capability"].unique(maintain_order=True).to_list()
    order = table["variant"].unique(maintain_order=True).to_list()
    for row in table.iter_slices(1):
        shift = (order.index(row["variant"][0]) - (len(order) - 1) / 2) * 0.22
        height = groups.index(row["capability"][0]) + shift
        axes.errorbar(row["value"].to_list(), [height], xerr=errors(row), capsize=2, **_mark(row["method"][0]))
    edge = 1.08 * max(map(abs, axes.get_xlim()))
    axes.axvspan(*((-edge, 0) if better == "lower" else (0, edge)), color=palette.GREEN, alpha=0.08, linewidth=0)
    axes.axvline(0, color=palette.GREY, linewidth=1)
    axes.set(xlim=(-edge, edge), xlabel=label, ylim=(max(len(groups), 1) - 0.5, -0.5))
    axes.set_yticks(range(len(groups)), [group.replace(" ", "\n") for group in groups])


def formats(axes: Axes, table: pl.DataFrame, *, title: str, label: str) -> None:
    """Values with intervals by variant, the formats of one variant side by side; the negative side is shaded."""
    kinds = table["format"].unique(maintain_order=True).to_list()
    labels = row_labels(table)
    order = list(labels)
    for row in table.iter_slices(1):
        shift = (kinds.index(row["format"][0]) - (len(kinds) - 1) / 2) * 0.3
        height = order.index((row["model"][0], row["variant"][0])) + shift
        mark = _mark(row["method"][0]) | {"fillstyle": FILLS[kinds.index(row["format"][0])], "markersize": 4}
        axes.errorbar(row["value"].to_list(), [height], xerr=errors(row), capsize=1.5, elinewidth=0.8, **mark)
    edge = 1.08 * max(map(abs, axes.get_xlim()))
    axes.axvspan(-100, 0, color=palette.GREEN, alpha=0.08, linewidth=0)  # wider than any axes it may share
    axes.axvline(0, color=palette.GREY, linewidth=1)
    axes.set(xlim=(-edge, edge), xlabel=label, title=title)
    _rows_axis(axes, list(labels.values()))


def format_legend(figure: Figure, table: pl.DataFrame) -> None:
    """Legend of the formats, which differ in the fill of their marks, below the axes."""
    kinds = table["format"].unique(maintain_order=True).to_list()
    names = {"cloze": "ranked options", "generate": "generated answers"}
    _fill_legend(figure, FILLS[: len(kinds)], [names.get(kind, kind) for kind in kinds])


def _fill_legend(figure: Figure, fills: tuple[Any, ...], names: list[str]) -> None:
    marks = [Line2D([], [], color=palette.DARK, marker="o", linestyle="", fillstyle=fill) for fill in fills]
    figure.legend(marks, names, loc="outside lower center", ncols=max(len(names), 1))


def method_legend(figure: Figure, table: pl.DataFrame) -> None:
    """Legend of the methods by colour and marker, below the axes."""
    methods = table["method"].unique(maintain_order=True).to_list()
    marks = [Line2D([], [], **_mark(method)) for method in methods]
    figure.legend(marks, list(map(palette.method_name, methods)), loc="outside lower center", ncols=4)


def plain_log(axis: Axis) -> None:
    """Label a log axis with plain numbers such as 2 and 50 instead of powers of ten."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _mark(method: str) -> dict[str, Any]:
    _, colour, marker = palette.METHODS.get(method, (method, *palette.UNLISTED))
    return {"color": colour, "marker": marker, "markersize": 5, "linestyle": ""}


def measured_and_published(axes: Axes, measured: pl.DataFrame, published: pl.DataFrame, *, label: str) -> pl.DataFrame:
    """Measured scores with their intervals above the published ones, which are hollow; returns both as one table.

    One row per label, and per value of the column ``of`` if the published results were measured on several things.
    """
    several = published["of"].n_unique() > 1
    same = ["label", "of"] if several else ["label"]
    lines = published.select("method", *same).unique(maintain_order=True)
    axes.axvline(1, color=palette.GREY, linewidth=1)
    rows = []
    for height, line in enumerate(lines.iter_rows(named=True)):
        for table, shift, fill in ((measured, -0.15, "full"), (published, 0.15, "none")):
            for score in table.filter(*(pl.col(column) == line[column] for column in same)).iter_slices(1):
                row, spread = score.row(0, named=True), errors(score) if "low" in score.columns else None
                axes.errorbar(
                    [row["value"]], [height + shift], xerr=spread, capsize=2,
                    **_mark(line["method"]) | {"fillstyle": fill},
                )  # fmt: skip
                rows.append(
                    {
                        "method": line["method"], "label": row["label"], "of": row["of"], "metric": row["metric"],
                        "model": row["model"], "value": row["value"], "low": row.get("low"), "high": row.get("high"),
                        "source": row.get("source", "measured"),
                    }
                )  # fmt: skip
    _rows_axis(axes, [", ".join(line[column] for column in same) for line in lines.iter_rows(named=True)])
    axes.set_xlabel(label)
    return pl.DataFrame(rows, schema_overrides={"low": pl.Float64, "high": pl.Float64})


def measured_and_published_legend(figure: Figure) -> None:
    """Legend of measured and published scores, which differ in the fill of their marks, below the axes."""
    _fill_legend(figure, ("full", "none"), ["measured here", "published, other models"])


def languages(axes: Axes, table: pl.DataFrame, reference: pl.DataFrame, *, title: str) -> None:
    """A variant's scores with intervals by language, and the interval of a ``reference`` as a band."""
    for row in reference.iter_rows(named=True):
        axes.axvspan(row["low"], row["high"], color="#BBBBBB", alpha=0.6, linewidth=0)
    for height, one in enumerate(table.iter_slices(1)):
        axes.errorbar(
            one["value"].to_list(), [height], xerr=errors(one), capsize=1.5, elinewidth=0.8, **_mark(one["method"][0])
        )
    axes.axvline(1, color=palette.GREY, linewidth=1)
    _rows_axis(axes, table["task"].to_list())
    axes.set_title(title, fontsize=8)
    axes.tick_params(labelsize=7)
