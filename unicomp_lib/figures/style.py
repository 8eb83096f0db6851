"""Sizes, fonts and grid shared by all figures of the study."""

from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

COLUMN = 3.5  # inches, width of one column of a paper
PAGE = 7.2  # inches, width of both columns
TALL = 660 / 72  # inches, the most that a figure in a column may be high: a page with a caption is 792 points
# What differs in a column: letters of 6 points and more, thin lines, and the width of the column to the point.
NARROW = {
    "font.size": 6.5, "axes.titlesize": 7, "axes.labelsize": 6.5, "xtick.labelsize": 6, "ytick.labelsize": 6,
    "legend.fontsize": 6, "figure.titlesize": 7, "lines.markersize": 4, "lines.linewidth": 0.9,
    "axes.linewidth": 0.7, "grid.linewidth": 0.5, "axes.titlepad": 3, "axes.labelpad": 2, "xtick.major.pad": 2,
    "ytick.major.pad": 2, "figure.constrained_layout.w_pad": 0.02, "figure.constrained_layout.h_pad": 0.03,
    "savefig.bbox": "standard",
    # Publishers want fonts embedded, and a drawing that looks the same without any.
    "svg.fonttype": "path", "pdf.fonttype": 42,
}  # fmt: skip


def use() -> None:
    """Set fonts, sizes and grid for all figures of the study."""
    sns.set_theme(context="paper", style="whitegrid", font_scale=0.9)
    mpl.rcParams.update(
        {
            "figure.dpi": 120, "savefig.dpi": 300, "savefig.bbox": "tight", "figure.constrained_layout.use": True,
            "lines.markersize": 5,
            # Text stays text, and equal input gives identical bytes.
            "svg.fonttype": "none", "svg.hashsalt": "unicomp", "axes.titlelocation": "left",
        }
    )  # fmt: skip


def narrow() -> AbstractContextManager[None]:
    """Fonts and lines for a figure as wide as a column, within the block."""
    return mpl.rc_context(NARROW)  # type: ignore[arg-type]


def in_column(width: float) -> bool:
    """Whether a figure of this width in inches stands in one column of a paper."""
    return width <= COLUMN


def grid(
    count: int, width: float, *, height: float, page: int, column: int, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure ``width`` inches wide with ``count`` axes, and these axes in reading order.

    ``page`` of them stand side by side on a page and ``column`` in a column of a paper; each row is ``height`` inches
    high. ``options`` are those of ``plt.subplots``.
    """
    across = max(1, min(column if in_column(width) else page, count))
    rows = max(1, -(-count // across))
    figure, axes = plt.subplots(rows, across, figsize=(width, height * rows), squeeze=False, **options)
    for unused in axes.flat[max(count, 1) :]:
        unused.set_axis_off()
    return figure, list(axes.flat[: max(count, 1)])


def lines(count: int, width: float) -> float:
    """Height in inches of so many lines of a figure that names one variant a line."""
    return (0.15 if in_column(width) else 0.2) * count


def points(name: str) -> float:
    """Size in points of one of matplotlib's settings of letters, which may be a word such as medium."""
    return float(FontProperties(size=mpl.rcParams[name]).get_size_in_points())  # type: ignore[index]
