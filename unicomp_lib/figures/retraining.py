"""Figure of how long pruned networks are retrained, and what that brings back."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from unicomp_lib.figures import marks, networks, palette, panels, style
from unicomp_lib.figures.palette import GREY

VERSION = "2"

LINE = ["model", "method", "rate"]
DASHES = ("-", "--", ":")  # of the rates of a method, from the lowest
RESTORED = "recalibrated"  # not retrained, but for BatchNorm's statistics


def lengths(scores: pl.DataFrame) -> pl.DataFrame:
    """One row per network that is pruned at once by its weights: method, rate, epochs, and its differences from dense.

    Only methods and rates with networks of several lengths; a rate of 0 is dense, trained on.
    """
    epochs = scores.filter(metric="epochs").unique(networks.KEY, keep="first", maintain_order=True)
    table = networks.networks(scores).join(
        epochs.select(*networks.KEY, epochs="value"), on=networks.KEY, maintain_order="left"
    )
    longer = pl.format("epochs {}", pl.col("epochs").cast(pl.Int64))  # what a control of another length is called
    plain = pl.col("control").is_in(["", RESTORED]) | (pl.col("control") == longer)
    table = table.filter(plain, pl.col("schedule") == "one-shot", pl.col("rate").is_not_null())
    several = pl.col("epochs").n_unique().over(LINE) > 1
    columns = [f"{metric}{end}" for metric in ("difference", "mis_difference") for end in ("", "_low", "_high")]
    return table.filter(several).sort(*LINE, "epochs", maintain_order=True).select(
        *LINE, "variant", "label", "epochs", *columns
    )  # fmt: skip


def figure(table: pl.DataFrame, width: float = style.PAGE) -> Figure:
    """Accuracy, twice, and MIS less those of dense, by epochs of retraining, with 95 % intervals."""
    column = style.in_column(width)
    size = (width, 6.6) if column else (width, 3.2)
    drawing, axes = plt.subplots(*((3, 1) if column else (1, 3)), figsize=size)
    for panel, part, metric, title in (
        (axes[0], table, "difference", "Accuracy"),
        (axes[1], table.filter(pl.col("epochs") > 0), "difference", "Accuracy once retrained"),
        (axes[2], table, "mis_difference", "Mean MIS of the units"),
    ):
        panel.axhline(0, color=GREY, linewidth=1, zorder=0)
        _lines(panel, part, metric)
        panel.set(title=title, xlabel="epochs of retraining")
    for panel in axes if column else axes[:1]:
        panel.set_ylabel("difference from dense")
    marks.legend(drawing, *_legend(table))
    return drawing


def _lines(axes: Axes, table: pl.DataFrame, metric: str) -> None:
    """One line a method and rate. Lengths are equally far apart, since each is about twice the one before."""
    known = table["epochs"].unique().sort().to_list()
    groups = list(table.group_by(LINE, maintain_order=True))
    for place, (_, line) in enumerate(groups):
        shift = 0.07 * (place - (len(groups) - 1) / 2)  # so that intervals of the same length do not overlap
        ends = line.select(value=metric, low=f"{metric}_low", high=f"{metric}_high")
        axes.errorbar(
            np.array([known.index(epochs) for epochs in line["epochs"]]) + shift,
            line[metric].fill_null(float("nan")), yerr=panels.errors(ends), linewidth=1,
            elinewidth=0.7, capsize=1.5, markersize=0.8 * marks.size(), **_look(table, line),
        )  # fmt: skip
    axes.set_xticks(range(len(known)), [f"{epochs:g}" for epochs in known])


def _look(table: pl.DataFrame, line: pl.DataFrame) -> dict[str, Any]:
    """Colour and marker of a line's method, and dashes by its rate's place among those of the method."""
    method, rate = line.select("method", "rate").row(0)
    rates = table.filter(pl.col("rate") > 0, method=method)["rate"].unique().sort().to_list()
    colour, marker = palette.look(method if rate else "dense")
    dashes = DASHES[rates.index(rate) % len(DASHES)] if rate else "-"
    return {"color": colour, "marker": marker, "linestyle": dashes}


def _legend(table: pl.DataFrame) -> tuple[list[Line2D], list[str]]:
    handles, names = [], []
    for (_, method, rate), line in table.group_by(LINE, maintain_order=True):
        handles.append(Line2D([], [], linewidth=1, markersize=marks.size(), **_look(table, line)))
        named = f"{palette.method_name(str(method))} {100 * float(rate):.0f} %"
        names.append(named if rate else "Dense, trained on")
    return handles, names
