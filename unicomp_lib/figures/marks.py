"""How the marks of variants look, and the legends that say what they mean."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from unicomp_lib.figures import palette, style

VERSION = "3"

# Fill of the first variant of a method, of the second, and so on.
FILLS: tuple[Any, ...] = ("full", "none", "top", "bottom", "right")
TWO = "left"  # fill of a variant made by two methods, of which the left half shows the first
THIN = ("P", "X", "*")  # markers whose halves, or whose inside, are too small to be told apart
JOINED = " + "  # between the labels of a base and of what is done to it, as ``study.variants`` composes them
# What marks and lines mean besides their method; drawn with these labels, they get into the legend.
SEED, UNDECIDED = "single seed", "undecided (interval over 100 points wide)"
COMBINED = "two methods, the first left"


def based(table: pl.DataFrame) -> pl.DataFrame:
    """The table with a column ``base_method``: of a variant made from another one's checkpoint, the other's method.

    The column is empty for variants made from dense.
    """
    if "base_method" in table.columns:
        return table
    key = ["model", "variant", "method", "label"]
    known = table.unique(key, maintain_order=True).select(key) if set(key) <= set(table.columns) else None
    if known is None:
        return table.with_columns(base_method=pl.lit(""))
    rows = [row | {"label": row["label"] or ""} for row in known.iter_rows(named=True)]
    found = [_base(row, rows) for row in rows]
    methods = known.select("model", "variant").with_columns(base_method=pl.Series(found, dtype=pl.String))
    return table.join(
        methods.unique(["model", "variant"], maintain_order=True), on=["model", "variant"], how="left",
        maintain_order="left", nulls_equal=True,
    ).with_columns(pl.col("base_method").fill_null(""))  # fmt: skip


def _base(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """Method of the variant with the longest label that this one's begins with."""
    bases = [
        other for other in rows
        if other["model"] == row["model"] and other["label"] and row["label"].startswith(other["label"] + JOINED)
    ]  # fmt: skip
    return str(max(bases, key=lambda base: len(base["label"]))["method"]) if bases else ""


def of(row: Mapping[str, Any], fill: Any = "full") -> dict[str, Any]:
    """Colour, marker and fill of a row's variant, for ``plot`` and ``errorbar``."""
    colour, marker = palette.look(row["method"])
    look = {"color": colour, "marker": marker, "markersize": size(), "linestyle": "", "fillstyle": fill}
    if marker == "*":
        look |= {"markersize": 1.7 * size(), "markeredgewidth": 0.8}  # a thick edge would fill an open star
    return _of_two(row, look, fill) if row.get("base_method") else look


def _of_two(row: Mapping[str, Any], look: dict[str, Any], fill: Any) -> dict[str, Any]:
    """The look of a variant made by two methods: the shape of the first, in the colours of both.

    Where the halves of that shape cannot be told apart, it is the shape of the second. An outline has the colour of
    the method whose shape it is not, so that it is no outline of either method alone.
    """
    (base, shape), (colour, other) = palette.look(row["base_method"]), palette.look(row["method"])
    first = _has_halves(shape) or not _has_halves(other)
    two = look | {"marker": shape if first else other}
    if fill != "full":
        outline = colour if first else base
        return two | {"color": outline}
    halves = {"fillstyle": TWO, "markerfacecolor": base, "markerfacecoloralt": colour, "markeredgecolor": "none"}
    return two | halves | {"markersize": 1.3 * size()}  # an edge would hide the halves, and is a part of the size


def _has_halves(marker: str) -> bool:
    return marker in Line2D.filled_markers and marker not in THIN


def bar(row: Mapping[str, Any], fill: Any = "full", **more: Any) -> dict[str, Any]:
    """The same for ``errorbar``, with a label in legends where two methods made the variant."""
    combined = {"label": COMBINED} if fill == "full" and row.get("base_method") else {}
    return of(row, fill) | combined | more


def among(row: Mapping[str, Any], table: pl.DataFrame) -> dict[str, Any]:
    """The same where marks have no names: variants of one method, or of the same two, differ in fill, then in size."""
    same = table.filter(
        pl.col("method") == row["method"],
        *([pl.col("base_method") == row["base_method"]] if "base_method" in table.columns else []),
    )
    order = same.select("model", "variant").unique(maintain_order=True).rows()
    rank = order.index((row["model"], row["variant"]))
    fills = _fills(of(row)["marker"])
    look = of(row, fills[rank % len(fills)])
    return look | {"markersize": look["markersize"] * (1 + 0.4 * (rank // len(fills)))}


def _fills(marker: str) -> tuple[Any, ...]:
    """The fills that can be told apart in a marker: a letter has no halves, and a cross has none."""
    if marker.startswith("$"):
        return FILLS[:2]
    return FILLS if marker in Line2D.filled_markers else FILLS[:1]


def size() -> float:
    """Size of a mark in points."""
    return float(mpl.rcParams["lines.markersize"])


def legend(figure: Figure, handles: Sequence[Any] = (), names: Sequence[str] = ()) -> None:
    """A legend below the axes of these marks, and of all that the axes draw with a label; none of nothing."""
    extra = {name: handle for axes in figure.axes for handle, name in explained(axes)}
    everything = [*handles, *extra.values()]
    labels = [*names, *extra]
    if not labels:
        return
    letters = style.points("font.size") * 0.6
    across = int(figure.get_figwidth() * 72 // (letters * (max(map(len, labels)) + 6)))
    figure.legend(everything, labels, loc="outside lower center", ncols=max(1, min(4, len(labels), across)))


def explained(axes: Axes) -> list[tuple[Any, str]]:
    """A grey mark or line, and the label, for each kind that the axes draw with one."""
    found = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    return [(_shown(handle, name), name) for name, handle in found.items()]


def _shown(handle: Any, name: str) -> Any:
    grey: dict[str, Any] = {"color": palette.DARK, "marker": "o", "linestyle": ""}
    if name == SEED:
        return Line2D([], [], **grey | {"markersize": size() * 0.6}, alpha=0.6)
    if name == UNDECIDED:
        return Line2D([], [], **grey, markersize=size(), fillstyle="none")
    if name == COMBINED:
        half: dict[str, Any] = {
            "fillstyle": TWO,
            "markerfacecolor": "#BBBBBB",
            "markerfacecoloralt": palette.DARK,
            "markeredgecolor": "none",
        }
        return Line2D([], [], **grey, markersize=1.3 * size(), **half)
    return Patch(color=handle.get_facecolor()) if isinstance(handle, Patch) else handle
