"""Figures of the vision study. Networks are named by the column ``label``."""

from typing import Any, Literal, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Transform, offset_copy

from unicomp_lib.figures import marks, palette, panels, strips, style
from unicomp_lib.figures.palette import DARK, GREY, NETWORKS
from unicomp_lib.vision.images import Images

VERSION = "7"

SHIFTS = {"unstructured": -4.0, "filters": 0.0, "connections": 4.0}  # points, so that marks of a rate do not overlap
LEAST = 1e-4  # share of what is pruned that the axis of rates has room for
KEY = ["model", "variant"]
NAMED = 8  # controls that have room for their names beside their marks
METRICS = ("acc", "difference", "mis", "mis_difference", "null", "overlap", "constant", "macs", "speed_ratio")


class BeforeAfter(NamedTuple):
    """Units of dense with the same units of a pruned network, whose ``label`` is given."""

    units: pl.DataFrame
    label: str


def networks(scores: pl.DataFrame) -> pl.DataFrame:
    """One row per network: its facts, accuracy, MIS, overlap and costs, with their intervals.

    Values are means over seeds where the table has them, else of the first seed. Networks of several models are told
    apart by their label.
    """
    rows = scores.filter(pl.col("variant") != "all", pl.col("task") != "all")
    of_network = rows.filter((pl.col("capability") != "interpretability") | (pl.col("task") == "units"))
    facts = of_network.select("method", *KEY, "label", "rate", "schedule", "control")
    table = facts.unique(KEY, keep="first", maintain_order=True)
    # Means over seeds, whose seed is null, where there are such; else the first seed.
    once = of_network.sort("seed", nulls_last=False, maintain_order=True)
    once = once.unique([*KEY, "metric"], keep="first", maintain_order=True)
    for metric in METRICS:
        source = once.filter(pl.col("metric") == metric)
        names = {"value": metric, "low": f"{metric}_low", "high": f"{metric}_high"}
        table = table.join(
            source.select(*KEY, *(pl.col(name).alias(new) for name, new in names.items())),
            on=KEY, how="left", maintain_order="left",
        )  # fmt: skip
    chance = scores.filter(pl.col("metric") == "acc")["chance"]
    labels = list(panels.row_labels(table).values())
    labelled = table.with_columns(pl.Series("label", labels, dtype=pl.String))
    return labelled.with_columns(pl.lit(chance[0] if len(chance) else None, dtype=pl.Float64).alias("chance"))


def summary(table: pl.DataFrame, width: float = style.PAGE) -> Figure:
    """Accuracy and MIS by pruning rate, MIS against accuracy, and the share of exemplars kept."""
    table = table.with_columns(pl.col(*METRICS).fill_nan(None))
    figure, axes = plt.subplots(2, 2, figsize=(width, 4.6 if style.in_column(width) else 5.8))
    (by_rate, mis_by_rate), (plane, survival) = axes
    if table.is_empty():
        plane.text(0.5, 0.5, "no network was scored", ha="center", va="center", transform=plane.transAxes)
    for panel, metric in ((by_rate, "acc"), (mis_by_rate, "mis"), (survival, "overlap")):
        _rates(panel, table, metric)
    for panel, metric, network, colour, line, name in (
        (by_rate, "acc", "dense", "black", "-", ""), (by_rate, "chance", "dense", GREY, ":", "guessing"),
        (mis_by_rate, "mis", "dense", "black", "-", ""),
        (mis_by_rate, "null", "dense", GREY, "-.", "shuffled activations"),
        (mis_by_rate, "mis", "untrained", GREY, "-", ""),
        (survival, "overlap", "untrained", GREY, "-", ""),
    ):  # fmt: skip
        for value in table.filter(pl.col("variant") == network)[metric].drop_nulls():
            panel.axhline(value, color=colour, linestyle=line, linewidth=1, zorder=0, label=name or None)
    several = table["model"].n_unique() > 1
    best = float(table["acc"].max() or 0)  # type: ignore[arg-type]
    few = (table["control"] != "").sum() <= NAMED
    for row in table.iter_rows(named=True):
        _point(plane, row, row["acc"], "mis", across="acc")
        if several or (few and row["control"]):  # the legend names dense and random weights
            _annotate(plane, row, best=best, name=row["label"] if several else "")
    by_rate.set(title="Accuracy", ylabel="accuracy on held-out images", ylim=(0, None))
    mis_by_rate.set(title="Interpretability", ylabel="mean MIS of the units")
    plane.set(title="MIS against accuracy", xlabel="accuracy on held-out images", ylabel="mean MIS of the units")
    survival.set(title="Surviving explanations", ylabel="share of exemplars kept", ylim=(0, 1))
    plane.margins(0.12)
    plane.set_xlim(right=1.15 * plane.get_xlim()[1])  # names stand to the right of their marks
    _legend(figure)
    return figure


def _annotate(axes: Axes, row: dict[str, Any], *, best: float, name: str) -> None:
    """Name a network beside its mark: a control that is as accurate as the pruned networks to the left of them."""
    if row["acc"] is None or row["mis"] is None:
        return
    x, side = (-4, "right") if row["control"] and row["acc"] > best / 2 else (4, "left")
    axes.annotate(
        name or row["control"], (row["acc"], row["mis"]), (x, -8), textcoords="offset points", ha=side, fontsize=6.5
    )


def _rates(axes: Axes, table: pl.DataFrame, metric: str) -> None:
    """A metric by pruning rate, on an axis on which each halving of what is kept is as long."""
    pruned = table.filter(pl.col("rate") > 0, pl.col("control") == "")
    models = pruned["model"].unique(maintain_order=True).to_list()
    rates = pruned["rate"].unique().sort().to_list()
    axes.set_xscale("function", functions=(_halvings, _rate))
    for (model, method, schedule), line in pruned.group_by(["model", "method", "schedule"], maintain_order=True):
        axes.plot(
            line["rate"], line[metric], color=palette.look(str(method))[0], linewidth=0.8 + models.index(model),
            linestyle="--" if schedule == "iterative" else "-", transform=_aside(axes, str(method)),
        )  # fmt: skip
    for row in pruned.iter_rows(named=True):
        _point(axes, row, row["rate"], metric, aside=True)
    if rates:
        axes.set_xlim(_rate(_halvings(rates[0]) - 0.7), _rate(_halvings(rates[-1]) + 0.7))
    axes.set_xticks(rates, [f"{100 * rate:g}" for rate in rates], minor=False)
    axes.set_xlabel("pruning rate, %")


def _halvings(rate: Any) -> Any:
    return -np.log2(np.maximum(1 - np.asarray(rate, dtype=float), LEAST))


def _rate(halvings: Any) -> Any:
    return 1 - 2.0 ** -np.asarray(halvings, dtype=float)


def _aside(axes: Axes, method: str) -> Transform:
    """Where a method's marks stand: beside their rate by some points, so that no other rate is drawn."""
    return offset_copy(axes.transData, axes.get_figure(root=True), x=SHIFTS.get(method, 0.0), units="points")


def _point(axes: Axes, row: dict[str, Any], x: float, metric: str, *, across: str = "", aside: bool = False) -> None:
    if row[metric] is None or x is None:
        return
    colour, marker = palette.look(str(row["method"]) if row["rate"] != 0 else "dense")
    fill = "none" if row["schedule"] == "iterative" else "full"
    moved: dict[str, Any] = {"transform": _aside(axes, row["method"])} if aside else {}
    axes.errorbar(
        [x], [row[metric]], yerr=_error(row, metric), xerr=_error(row, across) if across else None, capsize=1.5,
        elinewidth=0.7, color=colour, marker=marker, fillstyle=fill, markersize=marks.size(), linestyle="", **moved,
    )  # fmt: skip
    if aside:  # what is moved does not count for the limits of the axes
        low, high = (row[f"{metric}_{end}"] for end in ("low", "high"))
        axes.update_datalim([(x, y) for y in (row[metric], low, high) if y is not None and np.isfinite(y)])
        axes.autoscale_view(scalex=False)


def _error(row: dict[str, Any], metric: str) -> list[list[float]]:
    ends = {"value": row[metric], "low": row[f"{metric}_low"], "high": row[f"{metric}_high"]}
    return panels.errors(pl.DataFrame([ends], schema=dict.fromkeys(ends, pl.Float64)))


def _legend(figure: Figure) -> None:
    size = marks.size()
    lines: dict[str, Literal["-"]] = {"dense": "-", "untrained": "-"}  # that are drawn across panels
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle=lines.get(method, ""), linewidth=1, markersize=size)
        for method, (_, colour, marker) in NETWORKS.items()
    ]
    names = [name for name, _, _ in NETWORKS.values()]
    fills: tuple[tuple[Literal["full", "none"], str], ...] = (("full", "one-shot"), ("none", "iterative"))
    for fill, schedule in fills:
        handles.append(Line2D([], [], color=DARK, marker="o", fillstyle=fill, linestyle="", markersize=size))
        names.append(schedule)
    marks.legend(figure, handles, names)


def distributions(rows: pl.DataFrame, width: float = style.PAGE) -> Figure:
    """Distribution of the MIS over the units of every network, and of the null for dense.

    ``rows`` has one row per unit, with the ``label`` of its network.
    """
    key = KEY if "model" in rows.columns else ["variant"]
    order = rows.unique(key, keep="first", maintain_order=True)
    height = (0.22 if style.in_column(width) else 0.3) * (len(order) + 1) + 0.8
    figure, axes = plt.subplots(figsize=(width, height))
    labels = []
    for height, network in enumerate(order.iter_rows(named=True)):
        of_network = rows.filter(*(pl.col(name) == network[name] for name in key))
        alive = of_network.filter(~pl.col("constant"))["mis"].to_numpy()
        _violin(axes, alive, height, palette.look(network["method"])[0])
        share = of_network["constant"].sum() / len(of_network)
        labels.append(f"{network['label']} ({100 * share:.0f} % constant)" if share >= 0.005 else network["label"])
    null = rows.filter(pl.col("variant") == "dense")["null"].to_numpy()
    _violin(axes, null, len(order), GREY)
    axes.set_yticks(range(len(order) + 1), [*labels, "null"])
    axes.axvline(0.5, color=GREY, linestyle=":", linewidth=1, label="chance")
    axes.set(xlim=(0, 1), xlabel="MIS per unit (mark: median, bar: middle half)", ylim=(len(order) + 0.6, -0.6))
    marks.legend(figure)
    return figure


def _violin(axes: Axes, values: np.ndarray, height: int, colour: str) -> None:
    if len(values) < 2:
        return
    parts = axes.violinplot([values], [height], orientation="horizontal", showextrema=False, widths=0.85)
    for body in parts["bodies"]:  # type: ignore[attr-defined]
        body.set(facecolor=colour, alpha=0.35)
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    axes.plot([low, high], [height, height], color=colour, linewidth=1.5)
    axes.plot([middle], [height], "o", color=colour, markersize=0.8 * marks.size())


def before_after(rows: pl.DataFrame, variant: str) -> BeforeAfter:
    """The same units in dense and in ``variant``, from clear to unclear units in dense.

    ``rows`` has one row per unit, with the ``label`` of its network; of several trainings, the first is shown. Raises
    a ``ValueError`` for an unknown ``variant``.
    """
    if "seed" in rows.columns:
        rows = rows.filter(pl.col("seed") == rows.filter(variant="dense")["seed"].min())
    wanted = ["layer", "channel", "mis", "overlap", "top"]
    if variant not in rows["variant"].to_list():
        known = ", ".join(rows["variant"].unique(maintain_order=True).to_list())
        raise ValueError(f"shown {variant!r} is not among the networks; allowed are {known}")
    dense, pruned = (
        rows.filter(pl.col("variant") == kind, ~pl.col("constant")).select(wanted) for kind in ("dense", variant)
    )
    both = dense.join(pruned, on=["layer", "channel"], suffix="_after", maintain_order="left").sort(
        "mis", descending=True
    )
    ranks = [round(share * (len(both) - 1)) for share in (0.02, 0.2, 0.5, 0.8, 0.98)]
    return BeforeAfter(both[ranks], str(rows.filter(pl.col("variant") == variant)["label"][0]))


def exemplars(pairs: BeforeAfter, images: Images, width: float = style.PAGE) -> Figure:
    """The images that activate each unit most in dense and in the pruned network, a row each."""
    count = len(pairs.units)
    if style.in_column(width):
        figure, axes = plt.subplots(2 * count, 1, figsize=(width, 0.62 * 2 * count), squeeze=False)
    else:
        figure, axes = plt.subplots(count, 2, figsize=(width, 0.75 * count + 0.3), squeeze=False)
    for (before, after), row in zip(axes.reshape(count, 2), pairs.units.iter_rows(named=True), strict=True):
        strips.draw(
            before, row["top"], images, f"{row['layer']}, channel {row['channel']}: dense, MIS {row['mis']:.2f}"
        )
        survival = f"MIS {row['mis_after']:.2f}, {100 * row['overlap_after']:.0f} % of exemplars kept"
        strips.draw(after, row["top_after"], images, f"{pairs.label}: {survival}")
    return figure


def of_exemplars(pairs: BeforeAfter) -> pl.DataFrame:
    """The table behind ``exemplars``."""
    return pairs.units.select("layer", "channel", "mis", "mis_after", pl.col("overlap_after").alias("overlap"))
