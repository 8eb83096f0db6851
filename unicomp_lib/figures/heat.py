"""Heat maps of variants by capability, side by side on a page and below each other in a column of a paper."""

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from unicomp_lib.figures import panels, style

VERSION = "3"

LETTER, DIGIT, SIGN = 0.62, 0.64, 0.4  # mean widths of letters, digits and other signs, as shares of their size
ENDS = (0.5, 1.0, 2.5)  # where the colours of increases in bits per byte may end
SIZES = (6.5, 4.8)  # points: the text of a field is at most and at least so large
AROUND = 0.7  # inches of a map in a column above and below its fields


class Heat(NamedTuple):
    """One heat map: its scores, and how they are shown (``panels.heatmap``)."""

    table: pl.DataFrame
    title: str
    label: str  # of the bar of colours, with the unit
    scale: float
    decimals: int
    cmap: str
    bounds: tuple[float, float]

    def rows(self) -> list[dict[str, Any]]:
        """The fields (``panels.scaled``)."""
        return panels.scaled(self.table, self.scale, self.bounds)

    def widest(self) -> str:
        """The widest interval that has a colour, in the unit of the bar."""
        return f"{panels.SPANNED * (self.bounds[1] - self.bounds[0]):g}"


def reaching(table: pl.DataFrame) -> float:
    """The first of ``ENDS`` that all values of a table reach no further than, but for a twentieth; else the last."""
    top = cast(float, panels.known(table, "value")["value"].max() or 0.0)
    return next((end for end in ENDS if top <= 1.05 * end), ENDS[-1])


def draw(maps: Sequence[Heat], width: float, *, note: str = "") -> Figure:
    """A figure ``width`` inches wide of several heat maps of the same variants.

    Columns without any value are left out, and maps that have no other; a sentence below says which and why, and then
    follows ``note``. Text that does not fit its field leaves out the intervals. Maps with equal colours share a bar.
    """
    narrow = style.in_column(width)
    shown, left_out = _with_values(maps)
    rows = panels.row_labels(pl.concat([one.table.select("model", "variant", "label") for one in maps]))
    columns = [max(one.table["capability"].n_unique(), 1) for one in shown] or [1]
    letters = max([len(name) for name in rows.values()], default=4)
    labels = letters * LETTER * style.points("ytick.labelsize") / 72 + 0.15
    field = (width - labels) / (max(columns) if narrow else sum(columns) + 0.3 * len(columns))
    below = 1.0 + 0.14 * len(left_out)
    most = (style.TALL - below + 0.5) / max(len(shown), 1) - AROUND if narrow else float("inf")
    size, intervals = _text(shown, field, most / max(len(rows), 2))
    height = min((0.032 * size + 0.03 if intervals else 0.16) * max(len(rows), 2), most)
    if narrow:
        figure, axes = plt.subplots(
            max(len(shown), 1), 1, squeeze=False, figsize=(width, (height + AROUND) * max(len(shown), 1) + below - 0.5)
        )
    else:
        figure, axes = plt.subplots(
            1, max(len(shown), 1), squeeze=False, figsize=(width, height + below + 0.4), width_ratios=columns
        )
    colours = []
    for place, (panel, one) in enumerate(zip(axes.flat, shown, strict=False)):
        colours.append(
            panels.heatmap(
                panel, one.table, scale=one.scale, decimals=one.decimals, cmap=one.cmap, bounds=one.bounds,
                title=one.title, intervals=intervals, size=size, rows=rows,
            )
        )  # fmt: skip
        words = " ".join(one.table["capability"].unique()).split()
        room = field * 72 / (LETTER * max(map(len, words)))
        if room >= 5.5:
            panel.tick_params(axis="x", labelsize=min(SIZES[0], 0.95 * room))
        else:
            plt.setp(panel.get_xticklabels(), rotation=25, ha="right", rotation_mode="anchor", fontsize=6)
        if place and not narrow:
            panel.set_yticklabels([])
    if not shown:
        panels.heatmap(axes.flat[0], pl.DataFrame(), scale=1, decimals=0, cmap="viridis", bounds=(0, 1), title="")
    _bars(figure, list(axes.flat), shown, colours)
    said = note.replace("\n   ", " ").replace("\n", "; ")  # lines, of which a long one goes on indented
    text = " ".join(filter(None, [*left_out, "" if intervals else "Intervals are in the figure for a page.", said]))
    small = min(6.5, style.points("font.size"))
    lines = textwrap.fill(text, int((width - 0.2) * 72 / (small * 0.56)))
    key = panels.heat_key([row for one in shown for row in one.rows()], _widest(shown))
    if not (key or lines):
        return figure
    figure.legend(
        handles=key, loc="outside lower left", ncols=2, title=lines or None, title_fontsize=small,
        fontsize=small, alignment="left", frameon=False,
    )  # fmt: skip
    return figure


def _with_values(maps: Sequence[Heat]) -> tuple[list[Heat], list[str]]:
    """The maps without columns that have no value, and a sentence for each map on what was left out."""
    shown, sentences = [], []
    for one in maps:
        if one.table.is_empty():
            sentences.append(f"{one.title}: not measured.")
            continue
        known = panels.known(one.table, "value")["capability"].unique().to_list()
        without = one.table.filter(~pl.col("capability").is_in(known))
        if known:
            shown.append(one._replace(table=one.table.filter(pl.col("capability").is_in(known))))
        if without.is_empty():
            continue
        reasons = without["reason"].drop_nulls().unique().to_list() if "reason" in without.columns else []
        why = f" ({reasons[0]})" if len(reasons) == 1 else ""
        names = ", ".join(without["capability"].unique(maintain_order=True)) if known else "everything"
        sentences.append(f"{one.title}: {names} undefined for every variant{why}.")
    return shown, sentences


def _widest(maps: Sequence[Heat]) -> str:
    """The widest interval that has a colour, by map where that differs among those with undecided fields."""
    limits = {one.title: one.widest() for one in maps if any(row["open"] for row in one.rows())}
    if len(set(limits.values())) < 2:
        return next(iter(limits.values()), "")
    return " or ".join(f"{limit} ({title.lower()})" for title, limit in limits.items())


def _text(maps: Sequence[Heat], field: float, high: float) -> tuple[float, bool]:
    """Size in points of the text of fields ``field`` by ``high`` inches, and whether intervals have room in them."""
    texts = [panels.cell_text(row, one.decimals) for one in maps for row in one.rows() if np.isfinite(row["value"])]
    largest, smallest = SIZES
    across = 0.94 * field * 72 / max([_letters(line) for text in texts for line in text.splitlines()], default=1.0)
    if min(across, 72 * high / 2.34) < smallest:  # two lines
        return min(largest, 72 * high / 1.3), False
    return min(largest, across, max(smallest, 72 * high / 2.6)), True


def _letters(line: str) -> float:
    """Width of a line of text, in sizes of its letters."""
    return sum(DIGIT if sign.isdigit() else LETTER if sign.isalpha() or sign == "−" else SIGN for sign in line)


def _bars(figure: Figure, axes: list[Axes], maps: Sequence[Heat], colours: list[ScalarMappable | None]) -> None:
    """A bar below the maps of the same colours; where colours end before the values, it says so."""
    groups: dict[tuple[str, tuple[float, float], str], list[int]] = {}
    for place, (one, found) in enumerate(zip(maps, colours, strict=True)):
        if found is not None:
            groups.setdefault((one.cmap, one.bounds, one.label), []).append(place)
    stacked = len(axes) > 1 and axes[0].get_subplotspec().get_gridspec().ncols == 1  # type: ignore[union-attr]
    for (_, bounds, label), places in groups.items():
        values = [value for place in places for value in colours[place].get_array()]  # type: ignore[union-attr]
        below, above = min(values) < bounds[0], max(values) > bounds[1]
        extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get((below, above), "neither")
        under = axes[places[-1]] if stacked else [axes[place] for place in places]
        bar = figure.colorbar(
            cast(ScalarMappable, colours[places[0]]), ax=under, location="bottom", extend=extend, fraction=0.05,
            aspect=40, pad=0.02, shrink=0.8,
        )  # fmt: skip
        ticks = [tick for tick in MaxNLocator(6).tick_values(*bounds) if bounds[0] <= tick <= bounds[1]]
        names = [f"{tick:g}" for tick in ticks]
        # Colours end where these signs stand: what lies beyond has the colour of the end.
        names[0] = f"≤ {names[0]}" if below else names[0]
        names[-1] = f"≥ {names[-1]}" if above else names[-1]
        bar.set_ticks(ticks, labels=names, fontsize=SIZES[0])
        bar.set_label(label, fontsize=min(7.5, style.points("axes.labelsize")))
