"""Axes that set what others have published beside what was measured here, a row a task."""

from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from unicomp_lib.figures import palette, panels

VERSION = "1"

PUBLISHED, OURS = ("value", "low", "high"), ("our_value", "our_low", "our_high")
SCHEMA = dict.fromkeys(PUBLISHED, pl.Float64)
HOLLOW: dict[str, Any] = {"fillstyle": "none"}


def rows(table: pl.DataFrame) -> list[tuple[str, str]]:
    """The (capability, name) of each row of the figure, from top to bottom: a published task and its metric."""
    return table.select("capability", _name()).unique(maintain_order=True).rows()


def _name() -> pl.Expr:
    return pl.concat_str("task", "metric", separator=", ").alias("name")


def draw(axes: Axes, table: pl.DataFrame, lines: list[tuple[str, str]], *, title: str) -> None:
    """Published values, hollow, above ours, filled, with their 95 % intervals where there are any.

    ``table`` is ``published_scores.beside`` of one model and variant, ``lines`` the rows of all panels. A capability's
    rows lie on a band.
    """
    places = {line: place for place, line in enumerate(lines)}
    for row in table.with_columns(_name()).iter_rows(named=True):
        place = places[row["capability"], row["name"]]
        _, colour, marker = palette.METHODS.get(row["method"], ("", palette.DARK, "o"))
        mark: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4, "linestyle": "", "capsize": 1.5}
        for names, side, fill in ((PUBLISHED, -0.18, HOLLOW), (OURS, 0.18, {})):
            one = pl.DataFrame([dict(zip(PUBLISHED, (row[name] for name in names), strict=True))], schema=SCHEMA)
            if not panels.known(one, "value").is_empty():
                spread = None if panels.known(one, "low", "high").is_empty() else panels.errors(one)
                axes.errorbar(one["value"].to_list(), [place + side], xerr=spread, elinewidth=0.8, **mark, **fill)
    _bands(axes, [capability for capability, _ in lines])
    axes.set_yticks(range(len(lines)), [name for _, name in lines], fontsize=5.5)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="x", labelsize=6)
    axes.set_title(title, fontsize=7)


def _bands(axes: Axes, capabilities: list[str]) -> None:
    """Every second capability on grey."""
    order = list(dict.fromkeys(capabilities))
    for capability in order[1::2]:
        first, number = capabilities.index(capability), capabilities.count(capability)
        axes.axhspan(first - 0.5, first + number - 0.5, color="#F0F0F0", linewidth=0, zorder=0)


def name_bands(axes: Axes, lines: list[tuple[str, str]]) -> None:
    """Write each capability along its band, to the right of the last panel."""
    every = [capability for capability, _ in lines]
    for capability in dict.fromkeys(every):
        middle = every.index(capability) + (every.count(capability) - 1) / 2
        axes.text(1.03, middle, capability, transform=axes.get_yaxis_transform(), rotation=270, fontsize=6, va="center")


def legend(figure: Figure) -> None:
    """What is hollow and what is filled, below the axes."""
    marks = [
        Line2D([], [], color=palette.DARK, marker="o", linestyle="", markersize=4, **fill) for fill in (HOLLOW, {})
    ]
    names = ["published", "measured here"]
    figure.legend(marks, names, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, fontsize=7, frameon=False)
