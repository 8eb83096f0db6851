"""Axes shared by the study's figures. A variant is named by the column ``label`` of its rows, and by its model too
where there are several. What is undefined, null or NaN, is left out and said; a table without rows draws a sentence.
"""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import offset_copy

from unicomp_lib.figures import palette

VERSION = "10"

FILLS: tuple[Any, ...] = ("full", "none", "left", "bottom", "right", "top")
UNDECIDED = 0.5  # half-width of a retention's interval above which nothing is settled
PART_MARKERS = ("|", "x", "+")
# Parts of the efficiency tracks whose metric does not read well.
PART_NAMES = {
    "decode_batch": "batched decode", "flops": "FLOPs",
    "cost_cpu_seconds": "CPU time", "cost_peak_memory": "peak memory",
}  # fmt: skip


def errors(frame: pl.DataFrame) -> list[list[float]]:
    """``xerr`` or ``yerr`` for matplotlib from columns value, low, high; zero where there is no interval."""
    below, above = frame["value"] - frame["low"], frame["high"] - frame["value"]
    return [_finite(side.cast(pl.Float64)).fill_null(0).clip(lower_bound=0).to_list() for side in (below, above)]


def _finite(values: pl.Series) -> pl.Series:
    """The values with null for those that are no finite number."""
    return pl.select(pl.when(values.is_finite()).then(values)).to_series()


def known(table: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """The rows whose columns hold finite numbers."""
    return table.filter(*(pl.col(name).cast(pl.Float64).is_finite().fill_null(value=False) for name in columns))


def _note(axes: Axes, text: str) -> None:
    """A sentence in an empty panel."""
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color="#555555", fontsize=7)


def _left_out(axes: Axes, table: pl.DataFrame, shown: pl.DataFrame) -> None:
    """Name in a corner the variants of a table that are not shown, or say how many they are."""
    labels = row_labels(table)
    missing = [labels[key] for key in labels if key not in row_labels(shown)]
    if not missing:
        return
    names = ", ".join(missing) if len(missing) < 4 else f"{len(missing)} variants"
    text = textwrap.fill(f"undefined: {names}", 40)
    axes.text(0.02, 0.02, text, transform=axes.transAxes, fontsize=6, color="#555555")


def pooled(scores: pl.DataFrame, metric: str, capability: str | None = None) -> pl.DataFrame:
    """Rows of one metric pooled over seeds, in the order of the profile."""
    rows = scores.filter(pl.col("metric") == metric, pl.col("seed").is_null())
    return rows if capability is None else rows.filter(pl.col("capability") == capability)


def without_siblings(scores: pl.DataFrame) -> pl.DataFrame:
    """Scores without controls and without variants that have a sibling, which another figure compares."""
    return scores.filter(pl.col("sibling") == "", pl.col("control") == "")


def row_labels(table: pl.DataFrame) -> dict[tuple[str, str], str]:
    """Label of each (model, variant) in the table's order, preceded by its model if there are several.

    A variant without a label goes by its name, and one whose label another has too by both.
    """
    several = table["model"].n_unique() > 1
    rows = table.unique(["model", "variant"], maintain_order=True)
    own = rows["label"] if "label" in rows.columns else rows["variant"]
    named = [
        (model, variant, f"{model}, {label or variant}" if several else str(label or variant))
        for model, variant, label in zip(rows["model"], rows["variant"], own, strict=True)
    ]
    names = [name for *_, name in named]
    return {
        (model, variant): name if names.count(name) == 1 else f"{name} ({variant})" for model, variant, name in named
    }


def variants(axes: Axes, scores: pl.DataFrame, metric: str, *, label: str, reference: float) -> None:
    """One row per variant: value with interval, single seeds as faint marks, and a line at ``reference``.

    A hollow mark is undecided (``undecided``).
    """
    rows = scores.filter(pl.col("metric") == metric)
    pooled_rows = pooled(scores, metric)
    labels = row_labels(pl.concat([pooled_rows, rows]))
    heights = {key: height for height, key in enumerate(labels)}
    axes.axvline(reference, color=palette.GREY, linewidth=1)
    if not labels:
        _note(axes, "not measured")
    for row in known(rows.filter(pl.col("seed").is_not_null()), "value").iter_rows(named=True):
        height = heights[row["model"], row["variant"]]
        axes.plot([row["value"]], [height], **_mark(row["method"]) | {"alpha": 0.3, "markersize": 3})
    for one in pooled_rows.iter_slices(1):
        height = heights[one["model"][0], one["variant"][0]]
        if known(one, "value").is_empty():
            _undefined(axes, height)
            continue
        fill = {"fillstyle": "none"} if one.select(undecided())[0, 0] else {}
        axes.errorbar(one["value"].to_list(), [height], xerr=errors(one), capsize=2, **_mark(one["method"][0]) | fill)
    _rows_axis(axes, list(labels.values()))
    axes.set_xlabel(label)


def undecided() -> pl.Expr:
    """Whether a row is a retention whose interval is wider than ``UNDECIDED`` on each side: it settles nothing."""
    wide = pl.col("high") - pl.col("low") > 2 * UNDECIDED
    return (pl.col("metric").str.contains("retention") & wide & pl.col("high").is_finite()).fill_null(value=False)


def _undefined(axes: Axes, height: float) -> None:
    """Say in a row that its value is not defined; why, is in the table beside the figure."""
    axes.text(
        0.02, height, "undefined", transform=axes.get_yaxis_transform(), va="center", fontsize=5.5, color="#777777"
    )


def _rows_axis(axes: Axes, labels: list[str]) -> None:
    """Label the rows of a figure, from top to bottom."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(max(len(labels), 1) - 0.5, -0.5)


def scatter(axes: Axes, table: pl.DataFrame, x: str) -> None:
    """Value with interval against column ``x``; bars of about the same x stand side by side, the marks at their x."""
    shown = known(table, x, "value")
    _left_out(axes, table, shown)
    if shown.is_empty():
        _note(axes, "nothing to show: no variant has both values")
        return
    near = 0.02 * float(shown[x].abs().max()) or 1.0  # type: ignore[arg-type]
    neighbours = (pl.col(x) / near).round().alias("neighbours")
    for _, together in shown.with_columns(neighbours).group_by("neighbours", maintain_order=True):
        for rank, row in enumerate(together.iter_slices(1)):
            mark = _mark(row["method"][0]) | _fill(row, table)
            axes.plot(row[x].to_list(), row["value"].to_list(), **mark)
            aside = offset_copy(
                axes.transData, axes.get_figure(root=True), x=2.5 * (rank - (len(together) - 1) / 2), units="points"
            )
            axes.errorbar(
                row[x].to_list(), row["value"].to_list(), yerr=errors(row), color=mark["color"], linestyle="",
                elinewidth=0.9, transform=aside, zorder=1,
            )  # fmt: skip
            # Shifted bars do not count for the limits of the axes.
            axes.update_datalim(
                [(row[x][0], end) for name in ("low", "high") if np.isfinite(end := _number(row, name))]
            )
    axes.autoscale_view()


def _number(row: pl.DataFrame, name: str) -> float:
    return float("nan") if row[name][0] is None else float(row[name][0])


def plane(axes: Axes, x: pl.DataFrame, y: pl.DataFrame) -> pl.DataFrame:
    """One score against another, one mark per variant with both intervals; returns the variants that have both."""
    other = y.select("model", "variant", *(pl.col(name).alias(f"{name}_y") for name in ("value", "low", "high")))
    joined = x.join(other, on=["model", "variant"], how="left", maintain_order="left")
    both = known(joined, "value", "value_y")
    _left_out(axes, joined, both)
    if both.is_empty():
        _note(axes, "nothing to show: no variant has both values")
    axes.axhline(1, color=palette.GREY, linewidth=1)
    axes.axvline(1, color=palette.GREY, linewidth=1)
    for row in both.iter_slices(1):
        up = errors(row.select(pl.col("^.*_y$").name.map(lambda name: name.removesuffix("_y"))))
        mark = _mark(row["method"][0]) | _fill(row, both)
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
    if table.is_empty():
        _note(axes, "not measured")
    axes.axvline(reference, color=palette.GREY, linewidth=1)
    for row in known(table, "value").iter_slices(1):
        height, part = order.index((row["model"][0], row["variant"][0])), row["part"][0]
        if part == score:
            axes.errorbar(row["value"].to_list(), [height], xerr=errors(row), capsize=2, **_mark(row["method"][0]))
        else:
            marker = PART_MARKERS[names.index(part) % len(PART_MARKERS)]
            axes.plot(row["value"].to_list(), [height], marker, color="#777777", markersize=5, linestyle="")
    _rows_axis(axes, list(labels.values()))
    axes.set(title=track.capitalize(), xlabel=label, xscale="log")
    plain_log(axes.xaxis)
    handles = [
        Line2D([], [], color="#777777", marker=marker, linestyle="")
        for marker in (PART_MARKERS[i % len(PART_MARKERS)] for i in range(len(names)))
    ]
    part_names = [_part_name(part.removesuffix("_ratio")) for part in names]
    if names:
        axes.legend(handles, part_names, fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)


def _part_name(part: str) -> str:
    return PART_NAMES.get(part, part.replace("_", " "))


def legend(figure: Figure, table: pl.DataFrame) -> None:
    """Legend of the variants by colour and marker, below the axes; a method's later variants are not filled."""
    labels = row_labels(table)
    rows = table.unique(["model", "variant"], maintain_order=True)
    marks = [Line2D([], [], **_mark(row["method"][0]) | _fill(row, table)) for row in rows.iter_slices(1)]
    _legend(figure, marks, list(labels.values()))


def _legend(figure: Figure, marks: list[Line2D], names: list[str]) -> None:
    """A legend below the axes, of as many columns as its names leave room for; none of nothing."""
    if names:
        longest = max(map(len, names))
        figure.legend(marks, names, loc="outside lower center", ncols=max(1, min(4, len(names), 100 // (longest + 5))))


def _fill(row: pl.DataFrame, table: pl.DataFrame) -> dict[str, Any]:
    """How the mark of a row's variant differs from those of the method's other variants and models."""
    order = table.filter(pl.col("method") == row["method"][0]).select("model", "variant").unique(maintain_order=True)
    rank = order.rows().index((row["model"][0], row["variant"][0]))
    return {"fillstyle": FILLS[rank % len(FILLS)], "markersize": 5 + 2 * (rank // len(FILLS))}


def heatmap(
    axes: Axes, table: pl.DataFrame, *, scale: float, decimals: int, cmap: str, bounds: tuple[float, float], title: str
) -> None:
    """Variants by capability: value times ``scale`` with its interval; grey, with the reason, where it is undefined.

    A question mark stands before what is undecided (``undecided``).
    """
    axes.set_title(title)
    axes.grid(visible=False)
    if table.is_empty():
        _note(axes, "nothing was measured")
        axes.set(xticks=[], yticks=[])
        return
    table = table.with_columns(undecided().alias("open"), pl.col("value", "low", "high").cast(pl.Float64) * scale)
    columns = table["capability"].unique(maintain_order=True).to_list()

    def wide(name: str) -> np.ndarray:
        pivoted = table.pivot(on="capability", index=["model", "variant"], values=name, aggregate_function="first")
        return pivoted.select(columns).to_numpy()

    table = table.with_columns(text=pl.Series([_cell(row, decimals) for row in table.iter_rows(named=True)]))
    values, texts = wide("value").astype(float), wide("text")
    axes.set_facecolor("#D9D9D9")
    sns.heatmap(
        values, ax=axes, annot=texts, fmt="", annot_kws={"size": 6.5}, cmap=cmap,
        vmin=bounds[0], vmax=bounds[1], linewidths=0.5, cbar_kws={"shrink": 0.8},
        xticklabels=[column.replace(" ", "\n") for column in columns],
        yticklabels=list(row_labels(table).values()),
    )  # fmt: skip
    for row, column in zip(*np.nonzero(~np.isfinite(values)), strict=True):
        text = texts[row, column] or "not\nmeasured"
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=5.5, color="#555555")
    axes.tick_params(axis="y", rotation=0)
    axes.tick_params(axis="x", rotation=0, labelsize=6.5)


def _cell(row: dict[str, Any], decimals: int) -> str:
    """A field's value and interval, or why it has none."""
    value, low, high = (np.nan if row[name] is None else row[name] for name in ("value", "low", "high"))
    if not np.isfinite(value):
        return textwrap.fill(row.get("reason") or "undefined", 14, max_lines=3)
    interval = f"[{low:z.{decimals}f}, {high:z.{decimals}f}]" if np.isfinite(low) else "no interval"
    return f"{'? ' if row['open'] else ''}{value:z.{decimals}f}\n{interval}".replace("-", "−")


def effects(axes: Axes, table: pl.DataFrame, *, label: str, better: str) -> None:
    """Differences with their intervals by capability, methods side by side; the ``better`` side is shaded.

    ``better`` is ``lower`` or ``higher``. Several models have lines of their own. If the table has no rows, the panel
    says so.
    """
    if table.is_empty():
        axes.text(0.5, 0.5, "no variant has\na sibling", ha="center", va="center", transform=axes.transAxes)
    of_model = [pl.col("model")] if "model" in table.columns and table["model"].n_unique() > 1 else []
    groups = table.select("capability", *of_model).unique(maintain_order=True).rows()
    order = table["variant"].unique(maintain_order=True).to_list()
    for row in known(table, "value").iter_slices(1):
        shift = (order.index(row["variant"][0]) - (len(order) - 1) / 2) * min(0.22, 0.8 / len(order))
        height = groups.index(row.select("capability", *of_model).row(0)) + shift
        axes.errorbar(row["value"].to_list(), [height], xerr=errors(row), capsize=2, **_mark(row["method"][0]))
    edge = 1.08 * max(map(abs, axes.get_xlim()))
    axes.axvspan(*((-edge, 0) if better == "lower" else (0, edge)), color=palette.GREEN, alpha=0.08, linewidth=0)
    axes.axvline(0, color=palette.GREY, linewidth=1)
    axes.set(xlim=(-edge, edge), xlabel=label, ylim=(max(len(groups), 1) - 0.5, -0.5))
    axes.set_yticks(range(len(groups)), [",\n".join([group.replace(" ", "\n"), *model]) for group, *model in groups])


def formats(axes: Axes, table: pl.DataFrame, *, title: str, label: str) -> None:
    """Values with intervals by variant, the formats of one variant side by side; the negative side is shaded."""
    kinds = table["format"].unique(maintain_order=True).to_list()
    labels = row_labels(table)
    order = list(labels)
    if not order:
        _note(axes, "no set of items was asked\nin two formats")
    for row in table.iter_slices(1):
        shift = (kinds.index(row["format"][0]) - (len(kinds) - 1) / 2) * 0.3
        height = order.index((row["model"][0], row["variant"][0])) + shift
        if known(row, "value").is_empty():
            _undefined(axes, height)
            continue
        mark = _mark(row["method"][0]) | {
            "fillstyle": FILLS[kinds.index(row["format"][0]) % len(FILLS)],
            "markersize": 4,
        }
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
    _fill_legend(figure, [FILLS[i % len(FILLS)] for i in range(len(kinds))], [names.get(kind, kind) for kind in kinds])


def _fill_legend(figure: Figure, fills: Sequence[Any], names: list[str]) -> None:
    marks = [Line2D([], [], color=palette.DARK, marker="o", linestyle="", fillstyle=fill) for fill in fills]
    _legend(figure, marks, names)


def method_legend(figure: Figure, table: pl.DataFrame) -> None:
    """Legend of the methods by colour and marker, below the axes."""
    methods = table["method"].unique(maintain_order=True).to_list()
    marks = [Line2D([], [], **_mark(method)) for method in methods]
    _legend(figure, marks, list(map(palette.method_name, methods)))


def plain_log(axis: Axis) -> None:
    """Label a log axis with plain numbers such as 2 and 50 instead of powers of ten."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _mark(method: str) -> dict[str, Any]:
    colour, marker = palette.look(method)
    return {"color": colour, "marker": marker, "markersize": 5, "linestyle": ""}


def measured_and_published(axes: Axes, measured: pl.DataFrame, published: pl.DataFrame, *, label: str) -> pl.DataFrame:
    """Measured scores with their intervals above the published ones, which are hollow; returns both as one table.

    One row per label, and per value of the column ``of`` if the published results were measured on several things.
    """
    several = published["of"].n_unique() > 1
    same = ["label", "of"] if several else ["label"]
    lines = published.select("method", *same).unique(maintain_order=True)
    models = measured["model"].unique(maintain_order=True).to_list()
    axes.axvline(1, color=palette.GREY, linewidth=1)
    if lines.is_empty():
        _note(axes, "nothing was published")
    rows: list[dict[str, Any]] = []
    for height, line in enumerate(lines.iter_rows(named=True)):
        for table, side, fill in ((measured, -1, "full"), (published, 1, "none")):
            for score in table.filter(*(pl.col(column) == line[column] for column in same)).iter_slices(1):
                row, spread = score.row(0, named=True), errors(score) if "low" in score.columns else None
                rank = models.index(row["model"]) if side < 0 else 0
                place = height + side * (0.15 + 0.25 * rank / len(models) if side < 0 else 0.15)
                if not known(score, "value").is_empty():
                    axes.errorbar(
                        [row["value"]], [place], xerr=spread, capsize=2,
                        **_mark(line["method"]) | {"fillstyle": fill},
                    )  # fmt: skip
                    if side < 0 and len(models) > 1:
                        text: dict[str, Any] = {"textcoords": "offset points", "fontsize": 5, "va": "bottom"}
                        axes.annotate(row["model"], (row["value"], place), (3, 1), **text)
                rows.append(
                    {
                        "method": line["method"], "label": row["label"], "of": row["of"], "metric": row["metric"],
                        "model": row["model"], "value": row["value"], "low": row.get("low"), "high": row.get("high"),
                        "source": row.get("source", "measured"),
                    }
                )  # fmt: skip
    _rows_axis(axes, [", ".join(line[column] for column in same) for line in lines.iter_rows(named=True)])
    axes.set_xlabel(label)
    texts = ("method", "label", "of", "metric", "model")
    numbers = dict.fromkeys(("value", "low", "high"), pl.Float64)
    return pl.DataFrame(rows, schema=dict.fromkeys(texts, pl.String) | numbers | {"source": pl.String})


def measured_and_published_legend(figure: Figure) -> None:
    """Legend of measured and published scores, which differ in the fill of their marks, below the axes."""
    _fill_legend(figure, ("full", "none"), ["measured here", "published, other models"])


def languages(axes: Axes, table: pl.DataFrame, reference: pl.DataFrame, *, title: str) -> None:
    """A variant's scores with intervals by language, and the interval of a ``reference`` as a band."""
    for row in known(reference, "low", "high").iter_rows(named=True):
        axes.axvspan(row["low"], row["high"], color="#BBBBBB", alpha=0.6, linewidth=0)
    if table.is_empty():
        _note(axes, "not measured")
    for height, one in enumerate(table.iter_slices(1)):
        if known(one, "value").is_empty():
            _undefined(axes, height)
            continue
        axes.errorbar(
            one["value"].to_list(), [height], xerr=errors(one), capsize=1.5, elinewidth=0.8, **_mark(one["method"][0])
        )
    axes.axvline(1, color=palette.GREY, linewidth=1)
    several = table["model"].n_unique() > 1
    _rows_axis(axes, [f"{model}, {task}" if several else task for model, task in table.select("model", "task").rows()])
    axes.set_title(title, fontsize=8)
    axes.tick_params(labelsize=7)
