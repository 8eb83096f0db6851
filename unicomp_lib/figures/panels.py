"""Axes shared by the study's figures. A variant is named by the column ``label`` of its rows, and by its model too
where there are several. What is undefined, null or NaN, is left out and said; a table without rows draws a sentence.
"""

import itertools
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import ScaledTranslation, offset_copy

from unicomp_lib.figures import language_names, marks, palette, style

VERSION = "14"

FILLS = marks.FILLS
DENSE, MIDDLE = "dense", "geometric mean"  # what a line and a mark mean, in legends
BASELINE = "baseline: dense in transformers"  # of speeds, whatever the engine of the row
UNDECIDED = 0.5  # half-width of a retention's interval above which nothing is settled
SPANNED = 0.5  # share of the colours that an interval may span before its field has none
PART_MARKERS = ("|", "x", "+")
# Parts of the efficiency tracks whose metric does not read well.
PART_NAMES = {
    "decode_batch": "batched decode", "flops": "FLOPs",
    "cost_cpu_seconds": "CPU time", "cost_peak_memory": "peak memory",
    "cost_seconds": "wall time", "cost_device_memory": "device memory",
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
    rows = marks.based(scores).filter(pl.col("metric") == metric, pl.col("seed").is_null())
    return rows if capability is None else rows.filter(pl.col("capability") == capability)


def without_siblings(scores: pl.DataFrame) -> pl.DataFrame:
    """Scores without controls and without variants that have a sibling, which another figure compares."""
    return marks.based(scores).filter(pl.col("sibling") == "", pl.col("control") == "")


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


def variants(
    axes: Axes,
    scores: pl.DataFrame,
    metric: str,
    *,
    label: str,
    reference: float,
    line: str = DENSE,
    dashes: str = "-",
    beside: pl.DataFrame | None = None,
) -> None:
    """One row per variant: value with interval, single seeds as faint marks below, and a line at ``reference``.

    A hollow mark is undecided (``undecided``). ``line`` says in a legend what the line is; lines of
    different meanings in one figure need different ``dashes``. Panels that share their rows are given the same table
    ``beside``: each of its variants has a row in all of them, measured or not.
    """
    rows = marks.based(scores).filter(pl.col("metric") == metric)
    pooled_rows = pooled(rows, metric)
    labels = row_labels(pl.concat([pooled_rows, rows]) if beside is None else beside)
    heights = {key: height for height, key in enumerate(labels)}
    axes.axvline(reference, color=palette.GREY, linewidth=1, linestyle=dashes, label=line)
    if not labels:
        _note(axes, "not measured")
    for key in labels.keys() - row_labels(rows).keys():
        say(axes, heights[key], "not measured")
    for one in pooled_rows.iter_slices(1):
        height = heights[one["model"][0], one["variant"][0]]
        if known(one, "value").is_empty():
            say(axes, height, "undefined")
            continue
        look = _mark(one, **_UNDECIDED if one.select(undecided())[0, 0] else {})
        axes.errorbar(one["value"].to_list(), [height], xerr=errors(one), capsize=2, **look)
    for row in _single_seeds(rows, pooled_rows).iter_rows(named=True):
        look = marks.of(row) | {"markersize": 0.6 * marks.size(), "markeredgewidth": 0, "alpha": 0.6, "zorder": 3}
        axes.plot([row["value"]], [heights[row["model"], row["variant"]] + 0.34], **look, label=marks.SEED)
    _rows_axis(axes, list(labels.values()))
    axes.set_xlabel(label)


_UNDECIDED = {"fill": "none", "label": marks.UNDECIDED}


def _single_seeds(rows: pl.DataFrame, pooled_rows: pl.DataFrame) -> pl.DataFrame:
    """Values of single seeds, without those of the only seed of a variant, which its pooled row shows."""
    means = pooled_rows.select("model", "variant", pl.col("value").alias("mean"))
    single = known(rows.filter(pl.col("seed").is_not_null()), "value")
    return single.join(means, on=["model", "variant"], how="left", maintain_order="left").filter(
        (pl.col("value") != pl.col("mean")).fill_null(value=True)
    )


def undecided() -> pl.Expr:
    """Whether a row is a retention whose interval is wider than ``UNDECIDED`` on each side: it settles nothing."""
    wide = pl.col("high") - pl.col("low") > 2 * UNDECIDED
    return (pl.col("metric").str.contains("retention") & wide & pl.col("high").is_finite()).fill_null(value=False)


def say(axes: Axes, height: float, text: str) -> None:
    """Say in a row that there is no value; why, is in the table beside the figure."""
    axes.text(0.02, height, text, transform=axes.get_yaxis_transform(), va="center", fontsize=5.5, color="#777777")


def _rows_axis(axes: Axes, labels: list[str]) -> None:
    """Label the rows of a figure, from top to bottom."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(max(len(labels), 1) - 0.5, -0.5)


def scatter(axes: Axes, table: pl.DataFrame, x: str) -> None:
    """Value with interval against column ``x``; bars of about the same x stand side by side, the marks at their x.

    Columns ``<x>_low`` and ``<x>_high``, where there are any, are the interval of ``x``.
    """
    shown = known(table, x, "value")
    _left_out(axes, table, shown)
    if shown.is_empty():
        _note(axes, "nothing to show: no variant has both values")
        return
    near = 0.02 * float(shown[x].abs().max()) or 1.0  # type: ignore[arg-type]
    neighbours = (pl.col(x) / near).round().alias("neighbours")
    across = {f"{x}_low", f"{x}_high"} <= set(table.columns)
    for _, together in shown.with_columns(neighbours).group_by("neighbours", maintain_order=True):
        for rank, row in enumerate(together.iter_slices(1)):
            mark = marks.among(row.row(0, named=True), table)
            axes.plot(row[x].to_list(), row["value"].to_list(), **mark)
            bar = {"color": mark["color"], "linestyle": "", "elinewidth": 0.9, "zorder": 1}
            # With an interval of x, shifted bars would cross beside the mark.
            shift = 0 if across else 2.5 * (rank - (len(together) - 1) / 2)
            aside = offset_copy(axes.transData, axes.get_figure(root=True), x=shift, units="points")
            axes.errorbar(row[x].to_list(), row["value"].to_list(), yerr=errors(row), transform=aside, **bar)
            # Shifted bars do not count for the limits of the axes.
            axes.update_datalim(
                [(row[x][0], end) for name in ("low", "high") if np.isfinite(end := _number(row, name))]
            )
            if across:
                wide = row.select(value=x, low=f"{x}_low", high=f"{x}_high")
                axes.errorbar(row[x].to_list(), row["value"].to_list(), xerr=errors(wide), **bar)
    axes.autoscale_view()


def _number(row: pl.DataFrame, name: str) -> float:
    return float("nan") if row[name][0] is None else float(row[name][0])


def of_both(x: pl.DataFrame, y: pl.DataFrame) -> pl.DataFrame:
    """The variants that have both scores, those of ``y`` in columns ``value_y``, ``low_y`` and ``high_y``."""
    return known(_joined(x, y), "value", "value_y")


def _joined(x: pl.DataFrame, y: pl.DataFrame) -> pl.DataFrame:
    other = y.select("model", "variant", *(pl.col(name).alias(f"{name}_y") for name in ("value", "low", "high")))
    return x.join(other, on=["model", "variant"], how="left", maintain_order="left")


def plane(axes: Axes, x: pl.DataFrame, y: pl.DataFrame) -> pl.DataFrame:
    """One score against another, one mark per variant with both intervals; returns the variants that have both."""
    both = of_both(x, y)
    _left_out(axes, _joined(x, y), both)
    if both.is_empty():
        _note(axes, "nothing to show: no variant has both values")
    axes.axhline(1, color=palette.GREY, linewidth=1)
    axes.axvline(1, color=palette.GREY, linewidth=1, label=DENSE)
    for row in both.iter_slices(1):
        up = errors(row.select(pl.col("^.*_y$").name.map(lambda name: name.removesuffix("_y"))))
        mark = marks.among(row.row(0, named=True), both)
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
    """One track of ``tracks.tracks``: each variant's score with its interval, and its parts in grey below it."""
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
            axes.errorbar(row["value"].to_list(), [height], xerr=errors(row), capsize=2, **_mark(row))
        else:
            marker = PART_MARKERS[names.index(part) % len(PART_MARKERS)]
            axes.plot(row["value"].to_list(), [height + 0.3], color="#777777", **_part(marker))
    _rows_axis(axes, list(labels.values()))
    axes.set(title=track.capitalize(), xlabel=label, xscale="log")
    plain_log(axes.xaxis)
    handles = [Line2D([], [], color="#777777", **_part(PART_MARKERS[i % len(PART_MARKERS)])) for i in range(len(names))]
    part_names = [_part_name(part.removesuffix("_ratio")) for part in names]
    if names:
        handles.insert(0, Line2D([], [], color=palette.DARK, **_part("o")))
        below = axes.transAxes + ScaledTranslation(0, -0.36, axes.figure.dpi_scale_trans)
        place: dict[str, Any] = {"bbox_to_anchor": (0.5, 0), "bbox_transform": below, "loc": "upper center"}
        axes.legend(handles, [MIDDLE, *part_names], fontsize=6, frameon=False, **place)


def _part(marker: str) -> dict[str, Any]:
    return {"marker": marker, "markersize": 0.8 * marks.size(), "linestyle": ""}


def _part_name(part: str) -> str:
    return PART_NAMES.get(part, part.replace("_", " "))


def legend(figure: Figure, table: pl.DataFrame) -> None:
    """Legend of the variants by their marks, below the axes; a method's later variants differ in fill."""
    labels = row_labels(table)
    rows = table.unique(["model", "variant"], maintain_order=True)
    handles = [Line2D([], [], **marks.among(row, table)) for row in rows.iter_rows(named=True)]
    marks.legend(figure, handles, list(labels.values()))


def heatmap(
    axes: Axes, table: pl.DataFrame, *, scale: float, decimals: int, cmap: str, bounds: tuple[float, float], title: str,
    intervals: bool = True, size: float = 6.5, rows: dict[tuple[str, str], str] | None = None,
) -> ScalarMappable | None:  # fmt: skip
    """Variants by capability: value times ``scale`` with its interval; grey, with the reason, where it is undefined.

    What is undecided (``undecided``, or an interval over more than half of the colours) has a question mark and stripes
    in place of a colour. ``rows`` are the variants to show, those of the table by default. Returns the colours that are
    shown; none where there is no value.
    """
    axes.set_title(title)
    axes.grid(visible=False)
    if table.is_empty():
        _note(axes, "nothing was measured")
        axes.set(xticks=[], yticks=[])
        return None
    rows = rows or row_labels(table)
    columns = table["capability"].unique(maintain_order=True).to_list()
    colours = ScalarMappable(Normalize(*bounds), colormaps[cmap])
    cells = {(row["model"], row["variant"], row["capability"]): row for row in scaled(table, scale, bounds)}
    for down, key in enumerate(rows):
        for right, column in enumerate(columns):
            _field(axes, (right, down), cells.get((*key, column)), colours, (decimals, intervals, size))
    axes.set_xticks(range(len(columns)), [column.replace(" ", "\n") for column in columns], fontsize=size)
    axes.set_yticks(range(len(rows)), list(rows.values()))
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    shown = [row["value"] for row in cells.values() if np.isfinite(row["value"]) and not row["open"]]
    colours.set_array(shown)
    return colours if shown else None


def scaled(table: pl.DataFrame, scale: float, bounds: tuple[float, float]) -> list[dict[str, Any]]:
    """Rows with value and interval times ``scale``, NaN where there is none, and whether they are undecided.

    A colour tells values apart that an interval over more than half of the colours does not, unless all of it lies
    beyond one of their ends.
    """
    numbers = pl.col("value", "low", "high").cast(pl.Float64).fill_null(float("nan")) * scale
    width = pl.col("high") - pl.col("low")
    certain = (pl.col("low") >= bounds[1]) | (pl.col("high") <= bounds[0])  # the colour at the end, whatever the value
    wide = width.is_finite() & (width > SPANNED * (bounds[1] - bounds[0])) & ~certain
    marked = table.with_columns(undecided().alias("open")).with_columns(numbers)
    return marked.with_columns(pl.col("open") | wide).to_dicts()


def _field(
    axes: Axes, place: tuple[int, int], row: dict[str, Any] | None, colours: ScalarMappable,
    look: tuple[int, bool, float],
) -> None:  # fmt: skip
    """One field of a heat map, with its text."""
    decimals, intervals, size = look
    defined = row is not None and np.isfinite(row["value"])
    settled = row is not None and defined and not row["open"]
    fill = colours.to_rgba(row["value"]) if row is not None and settled else "white" if defined else "#D9D9D9"
    stripes = {"hatch": "////", "edgecolor": "#D9D9D9"} if defined and not settled else {"edgecolor": "white"}
    corner = (place[0] - 0.5, place[1] - 0.5)
    axes.add_patch(Rectangle(corner, 1, 1, facecolor=fill, linewidth=0.5, **stripes))  # type: ignore[arg-type]
    bright = float(np.dot(fill[:3], (0.299, 0.587, 0.114))) if not isinstance(fill, str) else 1.0
    colour = "#555555" if not defined else "#222222" if bright > 0.5 else "white"
    text = cell_text(row, decimals, intervals=intervals) if row is not None else "not\nmeasured"
    small = size if defined else min(size, 5.5)
    tight = 1.0 if small < 5.2 else 1.1
    axes.text(*place, text, ha="center", va="center", fontsize=small, color=colour, linespacing=tight)


def cell_text(row: dict[str, Any], decimals: int, *, intervals: bool = True) -> str:
    """A field's value and interval, or why it has none."""
    value, low, high = row["value"], row["low"], row["high"]
    if not np.isfinite(value):
        return textwrap.fill(row.get("reason") or "undefined", 14, max_lines=3) if intervals else "–"
    interval = f"[{low:z.{decimals}f}, {high:z.{decimals}f}]" if np.isfinite(low) else "no interval"
    shown = f"{'? ' if row['open'] else ''}{value:z.{decimals}f}"
    return (f"{shown}\n{interval}" if intervals else shown).replace("-", "−")


def heat_key(rows: Sequence[dict[str, Any]], widest: str) -> list[Patch]:
    """What the fields without a colour mean that heat maps of these rows (``scaled``) have, as patches with labels.

    ``widest`` says how wide an interval may be to have a colour.
    """
    striped: dict[str, Any] = {"facecolor": "white", "edgecolor": "#AAAAAA", "hatch": "////", "linewidth": 0.5}
    why = f"undecided: interval over {widest} wide, half of the colours"
    kinds = [
        (any(row["open"] for row in rows), Patch(**striped, label=why)),
        (not all(np.isfinite(row["value"]) for row in rows), Patch(facecolor="#D9D9D9", label="undefined")),
    ]
    return [patch for there, patch in kinds if there]


def effects(axes: Axes, table: pl.DataFrame, *, label: str, better: str, side: str = "better") -> None:
    """Differences with their intervals by capability, methods side by side; the ``better`` side is shaded.

    ``better`` is ``lower`` or ``higher``, and ``side`` says in a legend what that side means. Several models have
    lines of their own. If the table has no rows, the panel says so.
    """
    if table.is_empty():
        axes.text(0.5, 0.5, "no variant has\na sibling", ha="center", va="center", transform=axes.transAxes)
    of_model = [pl.col("model")] if "model" in table.columns and table["model"].n_unique() > 1 else []
    groups = table.select("capability", *of_model).unique(maintain_order=True).rows()
    order = table["variant"].unique(maintain_order=True).to_list()
    for row in known(table, "value").iter_slices(1):
        shift = (order.index(row["variant"][0]) - (len(order) - 1) / 2) * min(0.22, 0.8 / len(order))
        height = groups.index(row.select("capability", *of_model).row(0)) + shift
        axes.errorbar(row["value"].to_list(), [height], xerr=errors(row), capsize=2, **_mark(row))
    edge = 1.08 * max(map(abs, axes.get_xlim()))
    shade: dict[str, Any] = {"color": palette.GREEN, "alpha": 0.12, "linewidth": 0, "label": side}
    axes.axvspan(*((-edge, 0) if better == "lower" else (0, edge)), **shade)
    axes.axvline(0, color=palette.GREY, linewidth=1)
    axes.locator_params(axis="x", nbins=5)
    axes.set(xlim=(-edge, edge), xlabel=label, ylim=(max(len(groups), 1) - 0.5, -0.5))
    axes.set_yticks(range(len(groups)), [",\n".join([group.replace(" ", "\n"), *model]) for group, *model in groups])


def formats(axes: Axes, table: pl.DataFrame, *, title: str, label: str, side: str = "") -> None:
    """Values with intervals by variant, the formats of one variant side by side.

    ``side`` says in a legend what the negative values mean, which are then shaded.
    """
    kinds = table["format"].unique(maintain_order=True).to_list()
    labels = row_labels(table)
    order = list(labels)
    if not order:
        _note(axes, "no set of items was asked\nin two formats")
    for row in table.iter_slices(1):
        shift = (kinds.index(row["format"][0]) - (len(kinds) - 1) / 2) * 0.3
        height = order.index((row["model"][0], row["variant"][0])) + shift
        if known(row, "value").is_empty():
            say(axes, height, "undefined")
            continue
        mark = _mark(row, fill=FILLS[kinds.index(row["format"][0]) % len(FILLS)])
        axes.errorbar(row["value"].to_list(), [height], xerr=errors(row), capsize=1.5, elinewidth=0.8, **mark)
    edge = 1.08 * max(map(abs, axes.get_xlim()))
    if side:  # wider than any axes it may share
        axes.axvspan(-100, 0, color=palette.GREEN, alpha=0.12, linewidth=0, label=side)
    axes.axvline(0, color=palette.GREY, linewidth=1)
    axes.set(xlim=(-edge, edge), xlabel=label, title=title)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))  # few: labels with a sign are wide
    _rows_axis(axes, list(labels.values()))


def format_legend(figure: Figure, table: pl.DataFrame) -> None:
    """Legend of the formats, which differ in the fill of their marks, below the axes."""
    kinds = table["format"].unique(maintain_order=True).to_list()
    names = {"cloze": "ranked options", "generate": "generated answers"}
    _fill_legend(figure, [FILLS[i % len(FILLS)] for i in range(len(kinds))], [names.get(kind, kind) for kind in kinds])


def _fill_legend(figure: Figure, fills: Sequence[Any], names: list[str]) -> None:
    look: dict[str, Any] = {"color": palette.DARK, "marker": "o", "linestyle": "", "markersize": marks.size()}
    marks.legend(figure, [Line2D([], [], fillstyle=fill, **look) for fill in fills], names)


def method_legend(figure: Figure, table: pl.DataFrame) -> None:
    """Legend of the methods by colour and marker, below the axes."""
    methods = table["method"].unique(maintain_order=True).to_list()
    handles = [Line2D([], [], **marks.of({"method": method})) for method in methods]
    marks.legend(figure, handles, list(map(palette.method_name, methods)))


def plain_log(axis: Axis) -> None:
    """Label a log axis with plain numbers such as 2 and 50 instead of powers of ten, as many as it has room for."""
    low, high = axis.get_view_interval()
    decades = max(np.log10(high / low), 0.1) if 0 < low < high else 1.0
    place, figure = axis.axes.get_position(), axis.axes.get_figure(root=True)
    assert figure is not None
    is_x = axis is axis.axes.xaxis
    inches = place.width * figure.get_figwidth() if is_x else place.height * figure.get_figheight()
    locator: Locator = LogLocator(subs=(1, 2, 5) if inches / decades > 0.9 else (1,))
    if sum(low <= tick <= high for tick in locator.tick_values(low, high)) < 2:
        locator = MaxNLocator(nbins=3, steps=(1, 2, 5, 10))
    axis.set_major_locator(locator)
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _mark(row: pl.DataFrame, *, fill: Any = "full", **more: Any) -> dict[str, Any]:
    """How the variant of a frame of one row is drawn, with its interval."""
    return marks.bar(row.row(0, named=True), fill, **more)


def measured_and_published(axes: Axes, measured: pl.DataFrame, published: pl.DataFrame, *, label: str) -> pl.DataFrame:
    """Measured scores with their intervals above the published ones, which are hollow; returns ``side_by_side``.

    One row per label, and per value of the column ``of`` if the published results were measured on several things.
    """
    same = _same(published)
    table = side_by_side(measured, published)
    lines = published.select("method", *same).unique(maintain_order=True)
    models = measured["model"].unique(maintain_order=True).to_list()
    axes.axvline(1, color=palette.GREY, linewidth=1, label=DENSE)
    if lines.is_empty():
        _note(axes, "nothing was published")
    for height, line in enumerate(lines.iter_rows(named=True)):
        of_line = table.filter(*(pl.col(column) == line[column] for column in same))
        for row in known(of_line, "value").iter_slices(1):
            model, ours = row["model"][0], row["source"][0] == MEASURED
            rank = models.index(model) / len(models) if ours else 0
            place = height + (-0.15 - 0.25 * rank if ours else 0.15)
            look = marks.of(line, "full" if ours else "none")
            spread = None if known(row, "low", "high").is_empty() else errors(row)
            axes.errorbar(row["value"].to_list(), [place], xerr=spread, capsize=2, **look)
            if ours and len(models) > 1:
                text: dict[str, Any] = {"textcoords": "offset points", "fontsize": 5, "va": "bottom"}
                axes.annotate(model, (row["value"][0], place), (3, 1), **text)
    _rows_axis(axes, [", ".join(line[column] for column in same) for line in lines.iter_rows(named=True)])
    axes.set_xlabel(label)
    return table


MEASURED = "measured"


def _same(published: pl.DataFrame) -> list[str]:
    """The columns in which a measured and a published score must be equal to stand side by side."""
    return ["label", "of"] if published["of"].n_unique() > 1 else ["label"]


def side_by_side(measured: pl.DataFrame, published: pl.DataFrame) -> pl.DataFrame:
    """Measured scores and the published ones of the same label as one table, which says where each is from."""
    same = _same(published)
    rows: list[dict[str, Any]] = []
    for line in published.select("method", *same).unique(maintain_order=True).iter_rows(named=True):
        for table in (measured, published):
            for row in table.filter(*(pl.col(column) == line[column] for column in same)).iter_rows(named=True):
                about = {"method": line["method"], "source": row.get("source", MEASURED)}
                rows.append(about | {name: row.get(name) for name in PUBLISHED if name not in about})
    return pl.DataFrame(rows, schema=PUBLISHED)


PUBLISHED = {
    **dict.fromkeys(("method", "label", "of", "metric", "model"), pl.String),
    **dict.fromkeys(("value", "low", "high"), pl.Float64), "source": pl.String,
}  # fmt: skip


def measured_and_published_legend(figure: Figure) -> None:
    """Legend of measured and published scores, which differ in the fill of their marks, below the axes."""
    _fill_legend(figure, ("full", "none"), ["measured here", "published, other models"])


def language_grid(count: int, lines: int, width: float) -> tuple[Figure, list[Axes]]:
    """A figure ``width`` inches wide with ``count`` axes for ``languages``, of at most ``lines`` languages each."""
    row, rest = (0.093, 0.38) if style.in_column(width) else (0.15, 0.62)  # a line, and the title and ticks around them
    figure, axes = style.grid(count, width, page=4, column=2, height=row * lines + rest, sharey=True)
    if not style.in_column(width):
        figure.get_layout_engine().set(w_pad=0.08)  # type: ignore[union-attr, call-arg]
    return figure, axes


def languages(axes: Axes, table: pl.DataFrame, reference: pl.DataFrame, *, title: str) -> None:
    """A variant's scores with intervals by language, and the interval of a ``reference`` in English as a band."""
    for row in known(reference, "low", "high").iter_rows(named=True):
        band: dict[str, Any] = {"color": "#BBBBBB", "alpha": 0.6, "linewidth": 0}
        axes.axvspan(row["low"], row["high"], **band, label="knowledge, asked in English")
    if table.is_empty():
        _note(axes, "not measured")
    for height, one in enumerate(table.iter_slices(1)):
        if known(one, "value").is_empty():
            say(axes, height, "undefined")
            continue
        axes.errorbar(one["value"].to_list(), [height], xerr=errors(one), capsize=1.5, elinewidth=0.8, **_mark(one))
    axes.axvline(1, color=palette.GREY, linewidth=1, label=DENSE)
    several = table["model"].n_unique() > 1
    names = [(model, language_names.name(task)) for model, task in table.select("model", "task").rows()]
    _rows_axis(axes, [f"{model}, {name}" if several else name for model, name in names])
    axes.xaxis.set_major_locator(MaxNLocator(nbins=3, steps=[1, 2, 5, 10]))
    axes.set_title(title, fontsize=0.92 * style.points("axes.titlesize"))


def name_points(axes: Axes, points: Sequence[tuple[float, float, float]], names: Sequence[str], *, size: float) -> None:
    """Write each name above or below its bar, where no other name stands.

    ``points`` are (x, low, high) of the bars, in data coordinates; ``size`` of the letters is in points.
    """
    axes.autoscale_view()
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # the places in points are known only in the finished layout
    taken: list[tuple[float, float, float]] = []
    for (x, low, high), name in zip(points, names, strict=True):
        reach = 0.32 * size * len(name)
        for step, (end, side) in itertools.product(range(6), ((high, 1), (low, -1))):
            gap = side * (3 + (size + 1) * step)
            across, up = axes.transData.transform((x, end)) * 72 / axes.figure.dpi
            up += gap + side * size / 2
            if all(abs(across - other) > reach + width or abs(up - height) > size for other, height, width in taken):
                break
        taken.append((across, up, reach))
        text: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "center", "fontsize": size}
        axes.annotate(name, (x, end), (0, gap + side * size / 2), **text)
