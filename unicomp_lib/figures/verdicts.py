"""Verdicts on claims as numbers, as tables and as a picture."""

import math
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from unicomp_lib.figures import palette, style
from unicomp_lib.figures.claims import Comparison, Outcome, Verdict

VERSION = "3"

# Colour, marker and fill of each outcome.
LOOKS = {
    Outcome.HELD: (palette.BLUE, "o", "full"),
    Outcome.CONTRADICTED: ("#D55E00", "X", "full"),
    Outcome.UNDECIDED: ("#555555", "o", "none"),
}
EDGE = 6.0  # half-widths of an interval, beyond which a mark stands at the edge of the picture


def numbers(verdict: Verdict) -> str:
    """The numbers of the comparison that decides, and how many there are; empty where there is none."""
    if (decisive := verdict.decisive) is None:
        return ""
    how = "over" if decisive.logarithmic else "minus"
    what = f"{decisive.of} {how} {decisive.other}" if decisive.other else decisive.of
    told = estimate(decisive, verdict.claim.rule.score.unit)
    if (count := len(verdict.comparisons)) == 1:
        return f"{what}: {told}"
    return f"the {'clearest' if verdict.claim.rule.some else 'least clear'} of {count} comparisons: {what}, {told}"


def estimate(comparison: Comparison, unit: str) -> str:
    """A value with its interval, to a tenth of its width or finer, and its unit; a ratio of two variants in times."""
    if not math.isfinite(comparison.value):
        return "no value"
    ratio = bool(comparison.other) and comparison.logarithmic
    unit = "times" if ratio else unit
    shares = unit in ("%", "points")
    value, low, high = (
        (100 if shares else 1) * number for number in (comparison.value, comparison.low, comparison.high)
    )
    size = (high - low) / 10 if high > low else abs(value) / 10 or 1.0
    fewest = 2 if not shares and abs(value) < 1 else 0
    decimals = min(4, max(fewest, -math.floor(math.log10(size))))
    sign = "+" if (comparison.other and not ratio) or unit == "points" else ""
    text = f"{value:{sign}z.{decimals}f}"
    if high > low:
        text += f" [{low:{sign}z.{decimals}f}, {high:{sign}z.{decimals}f}]"
    return f"{text} {'points' if shares and sign else unit}".strip()


def table(verdicts: list[Verdict]) -> pl.DataFrame:
    """One row a claim and model: what is claimed by whom, the outcome and why, and the comparison that decides."""
    rows = [
        {
            "claim": verdict.claim.name, "sentence": verdict.claim.sentence, "source": verdict.claim.source,
            "model": verdict.model, "outcome": str(verdict.outcome), "reason": verdict.reason,
            **_columns(verdict, verdict.decisive), "comparisons": len(verdict.comparisons),
            "p": _defined(verdict.p), "p_holm": _defined(verdict.p_holm), "numbers": numbers(verdict),
        }
        for verdict in verdicts
    ]  # fmt: skip
    return pl.DataFrame(rows, infer_schema_length=None)


def comparisons(verdicts: list[Verdict]) -> pl.DataFrame:
    """One row for each comparison behind the claims."""
    rows = [
        {"claim": verdict.claim.name, "model": verdict.model, **_columns(verdict, each)}
        for verdict in verdicts
        for each in verdict.comparisons
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def _columns(verdict: Verdict, comparison: Comparison | None) -> dict[str, Any]:
    names = ("of", "other", "seeds", "interval")
    floats = ("value", "low", "high", "least", "most", "z")
    score = verdict.claim.rule.score
    given = {name: getattr(comparison, name, None) for name in names}
    given |= {name: _defined(getattr(comparison, name, math.nan)) for name in floats}
    low, high = map(_defined, comparison.region) if comparison else (None, None)
    about = {name: getattr(score, name) for name in ("dimension", "metric", "capability", "format")}
    about |= {"metric": "rank_correlation"} if verdict.claim.rule.correlated_with else {}
    return about | given | {"above": low, "below": high}


def _defined(number: float) -> float | None:
    return number if math.isfinite(number) else None


def picture(verdicts: list[Verdict], width: float) -> Figure:
    """A row a claim, by source: its sentence, and the interval against its bound, to the right on the claim's side.

    The unit is the half-width of the interval towards the bound, so that one that does not reach the line does not hold
    the bound. Of claims about several variants, the comparison that decides is shown. In a column, the interval is
    below the sentence instead of beside it; where that would be higher than a page, the claim's name stands for its
    sentence, and a line below says so.
    """
    layout = _layout(verdicts, width)
    rows = list(_rows(verdicts, layout))
    height = _height(verdicts, layout)
    figure, axes = plt.subplots(figsize=(width, height))
    figure.set_layout_engine("none")
    axes.set_position((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))  # inches
    axes.set_axis_off()
    y = 0.0
    for size, text, verdict in rows:
        if verdict is None:
            axes.text(0.03, y + size - 0.02, text, fontsize=layout.font + 1, weight="bold", va="bottom")
        else:
            axes.text(0.03, y, text, fontsize=layout.font, va="top", linespacing=1.1)
            top = y + layout.line * (text.count("\n") + 1) if layout.below else y
            _mark(axes, top + (layout.below or layout.line) / 2, verdict, layout)
        y += size
    for place, text in ((-EDGE, "against"), (0, "bound"), (EDGE, "for")):
        axes.text(_place(place, layout), y, text, fontsize=LEAST, ha="center", va="top", color="#555555")
    if layout.name:
        axes.text(0.03, y + layout.line * 1.3, NOTE, fontsize=layout.small, va="top", color="#333333")
    _legend(figure, verdicts, layout)
    return figure


class Layout(NamedTuple):
    """How rows are laid out: ``font`` and ``small`` in points, all places and distances in inches.

    ``line``: of a line; ``below``: of an interval below a sentence; ``apart``: between rows; ``left``, ``right`` and
    ``numbers``: places of an interval and of its numbers; ``letters`` and ``short``: of a line of a sentence, and of
    one beside an interval; ``foot``: lines below the rows; ``across``: columns of the legend; ``name``: where claims
    are called by name, letters of numbers on one line with their bound.
    """

    font: float
    small: float
    line: float
    below: float
    apart: float
    left: float
    right: float
    numbers: float
    letters: int
    short: int
    foot: float
    across: int
    name: int = 0


LEAST = 6.0  # points, of letters in a column (``style.NARROW``)
PAGE = Layout(6.5, 5.7, 0.115, 0.0, 0.06, 3.75, 5.1, 5.2, 76, 42, 3, 4)
COLUMN = Layout(LEAST, LEAST, 0.105, 0.17, 0.06, 0.25, 1.75, 1.85, 77, 34, 4.5, 2)
NAMED = Layout(LEAST, LEAST, 0.105, 0.0, 0.045, 1.26, 2.04, 2.105, 26, 28, 6, 2, name=30)
NOTE = "Claims by name; the table and the figure for a page have their sentences."


def _layout(verdicts: list[Verdict], width: float) -> Layout:
    if not style.in_column(width):
        return PAGE
    if _height(verdicts, COLUMN) <= style.TALL:
        return COLUMN
    room = style.TALL - _height(verdicts, NAMED._replace(apart=0.0))
    return NAMED._replace(apart=max(0.0, min(NAMED.apart, room / len(verdicts))))


def _height(verdicts: list[Verdict], layout: Layout) -> float:
    """Inches of all rows, and of the lines below them."""
    return sum(size for size, *_ in _rows(verdicts, layout)) + layout.line * layout.foot


def _rows(verdicts: list[Verdict], layout: Layout) -> Iterator[tuple[float, str, Verdict | None]]:
    """Height, text and verdict of each row; a heading has no verdict."""
    several = len({verdict.model for verdict in verdicts if verdict.claim.rule.score.dimension != "vision"}) > 1
    for source in dict.fromkeys(verdict.claim.source for verdict in verdicts):
        yield 1.9 * layout.line, f"{source[0].upper()}{source[1:]}", None
        for verdict in verdicts:
            if verdict.claim.source == source:
                text = verdict.claim.name if layout.name else verdict.claim.sentence
                lines = textwrap.wrap(f"{verdict.model}: {text}" if several else text, layout.letters)
                told = len(_told(verdict, layout)) * layout.line
                below = max(layout.below, told) if layout.below else 0.0
                height = len(lines) * layout.line + below if below else max(len(lines) * layout.line, told)
                yield height + layout.apart, "\n".join(lines), verdict


def _told(verdict: Verdict, layout: Layout) -> list[str]:
    """The lines beside an interval: the numbers with their bound, or the outcome, and the whole reason."""
    decisive, unit = verdict.decisive, verdict.claim.rule.score.unit
    first = [f"{verdict.outcome}:"] if decisive is None else [estimate(decisive, unit), _bound(decisive, unit)]
    if len("".join(first)) <= layout.name or not layout.name:
        first = ["".join(first)]
    lines = [line.strip().replace("-", "−") for line in first]
    return lines + textwrap.wrap(verdict.reason, layout.short)


def _place(halves: float, layout: Layout) -> float:
    """Where a distance to the bound, in half-widths, stands: inches from the left."""
    return layout.left + (layout.right - layout.left) * (max(-EDGE, min(EDGE, halves)) + EDGE) / (2 * EDGE)


def _mark(axes: Axes, y: float, verdict: Verdict, layout: Layout) -> None:
    """The line of the bound, the interval, its mark, and the numbers beside it, the first of them level with it."""
    decisive = verdict.decisive
    axes.plot([layout.left, layout.right], [y, y], color="#DDDDDD", linewidth=0.6, zorder=0)
    axes.plot([_place(0, layout)] * 2, [y - 0.05, y + 0.05], color="black", linewidth=0.9)
    for number, line in enumerate(_told(verdict, layout)):
        below = y + number * layout.line
        axes.text(layout.numbers, below, line, fontsize=layout.small, color="#333333", va="center")
    if decisive is None or math.isnan(decisive.halves):
        return
    colour, marker, fill = LOOKS[verdict.outcome]
    halves = decisive.halves
    if abs(halves) < EDGE:
        far = _far(decisive)
        ends = (halves - 1, halves + far) if halves > 0 else (halves - far, halves + 1)
        axes.plot([_place(end, layout) for end in ends], [y, y], color=colour, linewidth=1.1)
    shape = marker if abs(halves) < EDGE else ">" if halves > 0 else "<"
    mark: dict[str, Any] = {"color": colour, "marker": shape, "fillstyle": fill, "markersize": 4.2}
    axes.plot([_place(halves, layout)], [y], linestyle="", **mark)


def _far(comparison: Comparison) -> float:
    """The half-width away from the bound that ``halves`` is of, in units of that towards it."""
    low, high = map(comparison.scaled, comparison.region)
    value, first, last = map(comparison.scaled, (comparison.value, comparison.low, comparison.high))
    nearer_low = abs(value - low) < abs(high - value)
    inside = low < value < high
    below, above = value - first, last - value
    near, far = (below, above) if nearer_low == inside else (above, below)
    return far / near if near > 0 else 0.0


def _bound(comparison: Comparison, unit: str) -> str:
    shares = unit in ("%", "points") and not (comparison.other and comparison.logarithmic)
    low, high = ((100 if shares else 1) * number for number in comparison.region)
    if math.isinf(high):
        return f" > {low:g}"
    return f" < {high:g}" if math.isinf(low) else f" in [{low:g}, {high:g}]"


def _legend(figure: Figure, verdicts: list[Verdict], layout: Layout) -> None:
    marks: list[dict[str, Any]] = [
        {"color": colour, "marker": marker, "fillstyle": fill} for colour, marker, fill in LOOKS.values()
    ]
    counts = [sum(verdict.outcome == outcome for verdict in verdicts) for outcome in LOOKS]
    names = [f"{outcome} ({count})" for outcome, count in zip(LOOKS, counts, strict=True)]
    marks.append({"color": "black", "marker": ">"})
    names.append(f"further than {EDGE:g} half-widths")
    figure.legend(
        [Line2D([], [], linestyle="", markersize=4.2, **mark) for mark in marks], names, loc="lower left",
        ncols=layout.across, fontsize=layout.font, frameon=False, handletextpad=0.2, columnspacing=1, borderaxespad=0,
        borderpad=0.3,
    )  # fmt: skip
