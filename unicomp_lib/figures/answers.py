"""The length of generated answers, how they end, and their scores, side by side."""

from collections.abc import Sequence
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from unicomp_lib.figures import marks, palette, panels, style

VERSION = "3"

NOTHING = (
    "no answer of {0} was generated, or the scores are older than the comparison of lengths; "
    "make them again: nox -s reproduce -- --only scores/{1}"
)

# Title, axis, whether it is a share, and the scores that stand side by side, each with the answers it is of.
PANELS = (
    ("Length", "tokens more than dense", False,
     (("length_change", "all answers"), ("length_change_without_loops", "where neither loops"))),
    ("At the limit", "share of answers, %", True, (("length_cut_off", "cut off"), ("length_looped", "in a loop"))),
    ("Score", "mean score, %", True, (("length_score_ended", "ended"), ("length_score_cut", "at the limit"))),
)  # fmt: skip
# What is said in place of a mark where a variant has no answer of a kind.
WITHOUT = {
    "length_change_without_loops": "all loop", "length_score_ended": "none ended",
    "length_score_cut": "none at the limit",
}  # fmt: skip


def of(scores: pl.DataFrame, capability: str) -> pl.DataFrame:
    """The rows on length of a table of scores, of variants without siblings and controls; none in an old table."""
    names = [name for *_, pair in PANELS for name, _ in pair]
    rows = panels.without_siblings(scores).filter(pl.col("metric").is_in(names), pl.col("seed").is_null())
    return rows.filter(pl.col("capability") == capability)


def figure(table: pl.DataFrame, width: float) -> Figure:
    """A figure ``width`` inches wide of these variants, with the panels that ``draw`` draws."""
    count = len(panels.row_labels(table))
    drawn, axes = style.grid(
        len(PANELS), width, page=len(PANELS), column=2, height=style.lines(count, width) * 1.3 + 1.2, sharey=True
    )
    draw(axes, table)
    return drawn


def draw(axes: Sequence[Axes], table: pl.DataFrame) -> None:
    """Three panels, a row for each variant: length relative to dense, shares at the limit, scores; 95 % intervals."""
    labels = panels.row_labels(table)
    for panel, (name, unit, share, pair) in zip(axes, PANELS, strict=True):
        for place, (metric, _) in enumerate(pair):
            known = table.filter(pl.col("metric") == metric, pl.col("value").is_finite())
            numbers = pl.col("value", "low", "high").fill_null(float("nan")) * (100 if share else 1)
            for row in known.with_columns(numbers).iter_slices(1):
                height = list(labels).index((row["model"][0], row["variant"][0])) + (place - 0.5) * 0.36
                panel.errorbar(
                    row["value"].to_list(), [height], xerr=panels.errors(row), capsize=1.5, elinewidth=0.8,
                    **marks.bar(row.row(0, named=True), panels.FILLS[place]),
                )  # fmt: skip
        panel.set(xlabel=unit, title=name)
        if share:
            panel.set_xlim(-4, 104)
        if share and not _has_answers(table, pair):
            middle: dict[str, Any] = {"ha": "center", "va": "center", "backgroundcolor": "white"}
            panel.text(50, (len(labels) - 1) / 2, "no answer has\na score", **middle)
        else:
            _say_without(panel, table, pair)
        if not share:
            panel.axvline(0, color=palette.GREY, linewidth=1, zorder=0)
            low, high = panel.get_xlim()
            panel.set_xlim(min(low, -1), max(high, 1))  # no fraction of a token fills the axis
        _legend(panel, [what for _, what in pair])
    axes[0].set_yticks(range(len(labels)), list(labels.values()))
    axes[0].set_ylim(len(labels) - 0.5, -0.5)


def _has_answers(table: pl.DataFrame, pair: Sequence[tuple[str, str]]) -> bool:
    """Whether any variant has an answer of one of the kinds of a panel."""
    return not table.filter(pl.col("metric").is_in([metric for metric, _ in pair]), pl.col("n") > 0).is_empty()


def _say_without(axes: Axes, table: pl.DataFrame, pair: Sequence[tuple[str, str]]) -> None:
    """Say in the row of a variant without answers of a kind that there are none, where its mark would be."""
    order = list(panels.row_labels(table))
    for place, (metric, _) in enumerate(pair):
        none = table.filter(pl.col("metric") == metric, pl.col("n") == 0)
        for key in none.select("model", "variant").iter_rows():
            panels.say(axes, order.index(key) + (place - 0.5) * 0.36, WITHOUT.get(metric, "none"))


def _legend(axes: Axes, names: list[str]) -> None:
    """Legend of the fills, below the axes."""
    handles = [
        Line2D([], [], color=palette.DARK, marker="o", linestyle="", markersize=0.8 * marks.size(), fillstyle=fill)
        for fill in panels.FILLS[: len(names)]
    ]
    below = axes.transAxes + ScaledTranslation(0, -0.42, axes.figure.dpi_scale_trans)
    place: dict[str, Any] = {"bbox_to_anchor": (0.5, 0), "bbox_transform": below}
    axes.legend(
        handles,
        names,
        fontsize=min(7, style.points("legend.fontsize")),
        frameon=False,
        loc="upper center",
        **place,
    )
