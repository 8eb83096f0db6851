"""Palette, names and panels that the paper's figures share."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from unicomp_lib import files

VERSION = "6"

# Palettes of Okabe and Ito and of Tol, distinguishable with every common colour vision together with
# the markers: name, colour and marker of a method.
METHODS = {
    "dense": ("Dense", "#000000", "*"),
    "magnitude": ("Magnitude", "#E69F00", "v"),
    "wanda": ("Wanda", "#0072B2", "o"),
    "sparsegpt": ("SparseGPT", "#CC79A7", "D"),
    "rtn": ("RTN", "#56B4E9", "^"),
    "gptq": ("GPTQ", "#D55E00", "P"),
    "awq": ("AWQ", "#882255", "p"),
    "smoothquant": ("SmoothQuant", "#44AA99", "h"),
    "quanto": ("quanto", "#009E73", "s"),
    "minitron": ("Minitron", "#332288", ">"),
    "lrc": ("Low-Rank Clone", "#999933", "<"),
}
OTHER = "#666666", "X"
FILLS: tuple[Any, ...] = ("full", "none", "left", "bottom", "right", "top")


def name(variant: str) -> str:
    """A variant's name in figures: ``wanda-2-4`` is Wanda 2:4, ``wanda-50+rtn-int4`` Wanda 50 % + RTN int4."""
    return " + ".join(_one_name(part) for part in variant.split("+"))


def _one_name(variant: str) -> str:
    method, _, setting = variant.partition("-")
    setting = re.sub(r"^(\d+)-(\d+)", r"\1:\2", setting)
    setting = re.sub(r"^(\d{1,2})(?![:\d])", r"\1 %", setting)
    return f"{METHODS.get(method, (method,))[0]} {setting.replace('-', ' ')}".strip()


def errors(frame: pl.DataFrame) -> list[list[float]]:
    """``xerr`` or ``yerr`` of matplotlib from columns value, low, high; no interval gives zero."""
    low = (frame["value"] - frame["low"]).fill_nan(0).clip(lower_bound=0)
    high = (frame["high"] - frame["value"]).fill_nan(0).clip(lower_bound=0)
    return [low.to_list(), high.to_list()]


def pooled(scores: pl.DataFrame, metric: str, capability: str | None = None) -> pl.DataFrame:
    """Rows of one metric pooled over seeds, in the order of the profile."""
    found = scores.filter(pl.col("metric") == metric, pl.col("seed").is_null())
    return found if capability is None else found.filter(pl.col("capability") == capability)


def without_siblings(scores: pl.DataFrame) -> pl.DataFrame:
    """Without variants such as ``wanda-50-reasoning``, which have a figure of their own, and ``dense-again``."""
    sibling = pl.col("variant").str.ends_with(pl.concat_str(pl.lit("-"), "calibration"))
    return scores.filter(~sibling | (pl.col("calibration") == ""), pl.col("variant") != "dense-again")


def variants(axes: Axes, scores: pl.DataFrame, metric: str, *, label: str, reference: float) -> None:
    """One line a variant: its value with interval, single seeds as faint marks, a line at ``reference``."""
    found = pooled(scores, metric)
    places = {key: place for place, key in enumerate(found.select("model", "variant").iter_rows())}
    several = found["model"].n_unique() > 1
    axes.axvline(reference, color="#999999", linewidth=1)
    for row in scores.filter(pl.col("metric") == metric, pl.col("seed").is_not_null()).iter_rows(named=True):
        place = places[row["model"], row["variant"]]
        axes.plot([row["value"]], [place], **_mark(row["method"]) | {"alpha": 0.3, "markersize": 3})
    for place, one in enumerate(found.iter_slices(1)):
        axes.errorbar(one["value"].to_list(), [place], xerr=errors(one), capsize=2, **_mark(one["method"][0]))
    labels = [f"{model}, {name(variant)}" if several else name(variant) for model, variant in places]
    axes.set_yticks(range(len(places)), labels)
    axes.set_ylim(len(places) - 0.5, -0.5)
    axes.set_xlabel(label)


def scatter(axes: Axes, table: pl.DataFrame, x: str, *, apart: bool = True) -> None:
    """Value with interval against column ``x``; ``apart``: variants of about the same x stand side by side."""
    near = 0.045 * float(table[x].max())  # type: ignore[arg-type]
    close = ((pl.col(x) / near).round() if apart else pl.int_range(pl.len())).alias("place")
    for _, together in table.with_columns(close).group_by("place", maintain_order=True):
        width = min(near, 2 * near / len(together))  # all of them within about their true place
        for rank, row in enumerate(together.iter_slices(1)):
            place = row[x][0] + (rank - (len(together) - 1) / 2) * width
            mark = _mark(row["method"][0]) | _fill(row["variant"][0], table)
            axes.errorbar([place], row["value"].to_list(), yerr=errors(row), capsize=2, **mark)


def plane(axes: Axes, x: pl.DataFrame, y: pl.DataFrame) -> pl.DataFrame:
    """One score against another, a mark a variant with both intervals; returns the variants that have both."""
    other = y.select("model", "variant", *(pl.col(name).alias(f"{name}_y") for name in ("value", "low", "high")))
    both = x.join(other, on=["model", "variant"], maintain_order="left").filter(
        pl.col("value").is_not_nan(), pl.col("value_y").is_not_nan()
    )
    axes.axhline(1, color="#999999", linewidth=1)
    axes.axvline(1, color="#999999", linewidth=1)
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


PARTS = ("|", "x", "+")


def parts(axes: Axes, table: pl.DataFrame, track: str, score: str, *, label: str, reference: float) -> None:
    """One track of ``tracks.tracks``: each variant's score with its interval, in grey the parts it is the mean of."""
    order = table.select("model", "variant").unique(maintain_order=True).rows()
    table = table.filter(pl.col("track") == track)
    names = table.filter(pl.col("part") != score)["part"].unique(maintain_order=True).to_list()
    axes.axvline(reference, color="#999999", linewidth=1)
    for row in table.iter_slices(1):
        place, part = order.index((row["model"][0], row["variant"][0])), row["part"][0]
        if part == score:
            axes.errorbar(row["value"].to_list(), [place], xerr=errors(row), capsize=2, **_mark(row["method"][0]))
        else:
            marker = PARTS[names.index(part) % len(PARTS)]
            axes.plot(row["value"].to_list(), [place], marker, color="#777777", markersize=5, linestyle="")
    axes.set_yticks(range(len(order)), [name(variant) for _, variant in order])
    axes.set(ylim=(len(order) - 0.5, -0.5), title=track.capitalize(), xlabel=label, xscale="log")
    plain_log(axes.xaxis)
    handles = [Line2D([], [], color="#777777", marker=marker, linestyle="") for marker in PARTS[: len(names)]]
    labels = [part.removesuffix("_ratio").replace("_", " ") for part in names]
    axes.legend(handles, labels, fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)


def legend(figure: Figure, table: pl.DataFrame) -> None:
    """Variants by colour and marker, below the axes; a method's later variants are hollow or half full."""
    variants = table.select("method", "variant").unique(maintain_order=True).iter_rows()
    marks = {name(variant): Line2D([], [], **_mark(method) | _fill(variant, table)) for method, variant in variants}
    figure.legend(list(marks.values()), list(marks), loc="outside lower center", ncols=4)


def _fill(variant: str, table: pl.DataFrame) -> dict[str, str]:
    (method,) = table.filter(pl.col("variant") == variant)["method"].unique()
    order = table.filter(pl.col("method") == method)["variant"].unique(maintain_order=True).to_list()
    return {"fillstyle": FILLS[order.index(variant) % len(FILLS)]}


def heatmap(
    axes: Axes, table: pl.DataFrame, *, scale: float, decimals: int, cmap: str, bounds: tuple[float, float], title: str
) -> None:
    """Variants by capabilities: value times ``scale`` with its interval; grey where it is undefined."""
    table = table.with_columns(pl.col("value", "low", "high") * scale)
    rows = table.select("model", "variant").unique(maintain_order=True)
    columns = table["capability"].unique(maintain_order=True).to_list()
    values = table.pivot(on="capability", index=["model", "variant"], values="value").select(columns).to_numpy()
    texts = [
        f"{value:.{decimals}f}\n[{low:.{decimals}f}, {high:.{decimals}f}]"
        for value, low, high in table.select("value", "low", "high").iter_rows()
    ]
    labels = table.with_columns(pl.Series("text", texts)).pivot(
        on="capability", index=["model", "variant"], values="text"
    )
    axes.set_facecolor("#D9D9D9")
    axes.grid(visible=False)
    sns.heatmap(
        values, ax=axes, annot=labels.select(columns).to_numpy(), fmt="", annot_kws={"size": 6.5}, cmap=cmap,
        vmin=bounds[0], vmax=bounds[1], linewidths=0.5, cbar_kws={"shrink": 0.8},
        xticklabels=[column.replace(" ", "\n") for column in columns],
        yticklabels=[name(variant) for variant in rows["variant"]],
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

    ``better`` is ``lower`` or ``higher``. A table without rows is said so in the panel.
    """
    if table.is_empty():
        axes.text(0.5, 0.5, "no variant has\na sibling", ha="center", va="center", transform=axes.transAxes)
    groups = table["capability"].unique(maintain_order=True).to_list()
    kept = table["variant"].unique(maintain_order=True).to_list()
    for row in table.iter_slices(1):
        shift = (kept.index(row["variant"][0]) - (len(kept) - 1) / 2) * 0.22
        place = groups.index(row["capability"][0]) + shift
        axes.errorbar(row["value"].to_list(), [place], xerr=errors(row), capsize=2, **_mark(row["method"][0]))
    edge = 1.08 * max(map(abs, axes.get_xlim()))
    axes.axvspan(*((-edge, 0) if better == "lower" else (0, edge)), color="#009E73", alpha=0.08, linewidth=0)
    axes.axvline(0, color="#999999", linewidth=1)
    axes.set(xlim=(-edge, edge), xlabel=label, ylim=(max(len(groups), 1) - 0.5, -0.5))
    axes.set_yticks(range(len(groups)), [group.replace(" ", "\n") for group in groups])


def formats(axes: Axes, table: pl.DataFrame, *, title: str, label: str) -> None:
    """Values with intervals by variant, the formats of one variant side by side; the negative side is shaded."""
    kinds = table["format"].unique(maintain_order=True).to_list()
    order = table.select("model", "variant").unique(maintain_order=True).rows()
    for row in table.iter_slices(1):
        shift = (kinds.index(row["format"][0]) - (len(kinds) - 1) / 2) * 0.3
        place = order.index((row["model"][0], row["variant"][0])) + shift
        mark = _mark(row["method"][0]) | {"fillstyle": FILLS[kinds.index(row["format"][0])], "markersize": 4}
        axes.errorbar(row["value"].to_list(), [place], xerr=errors(row), capsize=1.5, elinewidth=0.8, **mark)
    edge = 1.08 * max(map(abs, axes.get_xlim()))
    axes.axvspan(-100, 0, color="#009E73", alpha=0.08, linewidth=0)  # wider than any axes it may share
    axes.axvline(0, color="#999999", linewidth=1)
    axes.set(xlim=(-edge, edge), xlabel=label, title=title, ylim=(len(order) - 0.5, -0.5))
    axes.set_yticks(range(len(order)), [name(variant) for _, variant in order])


def format_legend(figure: Figure, table: pl.DataFrame) -> None:
    """Formats by how their marks are filled, below the axes."""
    kinds = table["format"].unique(maintain_order=True).to_list()
    marks = [
        Line2D([], [], color="#444444", marker="o", linestyle="", fillstyle=FILLS[place]) for place in range(len(kinds))
    ]
    labels = {"cloze": "ranked options", "generate": "generated answers"}
    figure.legend(
        marks, [labels.get(kind, kind) for kind in kinds], loc="outside lower center", ncols=max(len(kinds), 1)
    )


def method_legend(figure: Figure, table: pl.DataFrame) -> None:
    """Methods by colour and marker, below the axes."""
    found = table["method"].unique(maintain_order=True).to_list()
    marks = [Line2D([], [], **_mark(method)) for method in found]
    figure.legend(marks, [METHODS[method][0] for method in found], loc="outside lower center", ncols=4)


def plain_log(axis: Axis) -> None:
    """Numbers such as 2 and 50 on a log axis, not powers of ten."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _mark(method: str) -> dict[str, Any]:
    _, colour, marker = METHODS.get(method, (method, *OTHER))
    return {"color": colour, "marker": marker, "markersize": 5, "linestyle": ""}


def save(figure: Figure, table: pl.DataFrame, folder: Path, stem: str) -> None:
    """Write the figure as PNG and SVG, and the table behind it as CSV, each whole or not at all."""
    for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
        files.write_whole(
            folder / f"{stem}{suffix}",
            lambda part, metadata=metadata: figure.savefig(part, metadata=metadata),  # type: ignore[misc]
        )
    write_table(table, folder, stem)


def write_table(table: pl.DataFrame, folder: Path, stem: str) -> None:
    """Write a table as CSV, whole or not at all."""
    files.write_whole(folder / f"{stem}.csv", table.write_csv)


def beside(axes: Axes, measured: pl.DataFrame, published: pl.DataFrame, *, label: str) -> pl.DataFrame:
    """Measured scores with their intervals above the published ones, hollow; returns both as one table.

    One line a variant and what it is measured ``of`` where the published figures differ in that.
    """
    kinds = published["of"].n_unique() > 1
    order = published.select("variant", "of").unique(maintain_order=True).rows() if kinds else None
    order = order or [(variant, "") for variant in published["variant"].unique(maintain_order=True)]
    axes.axvline(1, color="#999999", linewidth=1)
    rows = []
    for place, (variant, of) in enumerate(order):
        method = variant.partition("-")[0]
        for table, shift, fill in ((measured, -0.15, "full"), (published, 0.15, "none")):
            found = table.filter(pl.col("variant") == variant)
            found = found.filter(pl.col("of") == of) if kinds else found
            for one in found.iter_slices(1):
                row, spread = one.row(0, named=True), errors(one) if "low" in one.columns else None
                axes.errorbar(
                    [row["value"]], [place + shift], xerr=spread, capsize=2, **_mark(method) | {"fillstyle": fill}
                )
                rows.append(
                    {
                        "variant": variant, "of": row["of"], "metric": row["metric"], "model": row["model"],
                        "value": row["value"], "low": row.get("low"), "high": row.get("high"),
                        "source": row.get("source", "measured"),
                    }
                )  # fmt: skip
    axes.set_yticks(range(len(order)), [f"{name(variant)}, {of}" if of else name(variant) for variant, of in order])
    axes.set(ylim=(len(order) - 0.5, -0.5), xlabel=label)
    return pl.DataFrame(rows, schema_overrides={"low": pl.Float64, "high": pl.Float64})


def beside_legend(figure: Figure) -> None:
    """Measured and published by how their marks are filled, below the axes."""
    marks = [Line2D([], [], color="#444444", marker="o", linestyle="", fillstyle=fill) for fill in ("full", "none")]
    figure.legend(marks, ["measured here", "published, other models"], loc="outside lower center", ncols=2)


def languages(axes: Axes, table: pl.DataFrame, reference: pl.DataFrame, *, title: str) -> None:
    """A variant's scores with intervals by language, the interval of a ``reference`` as a band."""
    for row in reference.iter_rows(named=True):
        axes.axvspan(row["low"], row["high"], color="#BBBBBB", alpha=0.6, linewidth=0)
    codes = table["task"].to_list()
    for place, one in enumerate(table.iter_slices(1)):
        axes.errorbar(
            one["value"].to_list(), [place], xerr=errors(one), capsize=1.5, elinewidth=0.8, **_mark(one["method"][0])
        )
    axes.axvline(1, color="#999999", linewidth=1)
    axes.set_yticks(range(len(codes)), codes)
    axes.set(ylim=(len(codes) - 0.5, -0.5))
    axes.set_title(title, fontsize=8)
    axes.tick_params(labelsize=7)
