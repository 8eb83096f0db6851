"""Pictures of the vision study: inside its notebooks, and its figures."""

from typing import Any, Literal, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from unicomp_lib.evaluate import statistics
from unicomp_lib.figures import style
from unicomp_lib.vision.images import Images
from unicomp_lib.vision.masks import Masks

VERSION = "1"

BLUE, GREY = "#0072B2", "#999999"
# Name, colour and marker, of the same palettes as the study's other methods.
METHODS = {
    "unstructured": ("Unstructured", "#0072B2", "o"),
    "filters": ("Filters", "#D55E00", "s"),
    "connections": ("Connections", "#009E73", "D"),
    "dense": ("Dense", "#000000", "*"),
    "untrained": ("Random weights", "#666666", "X"),
}
SHIFTS = {"unstructured": -0.012, "filters": 0.0, "connections": 0.012}
SCHEDULES = ("", "iterative")


class BeforeAfter(NamedTuple):
    """A figure and the table behind it."""

    figure: Figure
    table: pl.DataFrame


def learning(history: list[dict[str, float]]) -> Figure:
    """Loss and accuracy on the training images, by epoch."""
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 2.4))
    for place, name, label in ((axes[0], "loss", "nats an image"), (axes[1], "accuracy", "share right")):
        place.plot([row["epoch"] for row in history], [row[name] for row in history], "o-", color=BLUE, markersize=3)
        place.set(title=name.capitalize(), xlabel="epoch", ylabel=label)
    if not history:
        axes[0].text(0.5, 0.5, "not trained: random weights", ha="center", va="center", transform=axes[0].transAxes)
    return figure


def left(masks: Masks) -> Figure:
    """Share of the weights that the masks leave in each convolution."""
    figure, axes = plt.subplots(figsize=(style.PAGE, 2.4))
    shares = [mask.float().mean().item() for mask in masks.values()]
    axes.bar(range(len(shares)), shares, color=BLUE)
    axes.set(xlabel="convolution, in order of depth", ylabel="share left", ylim=(0, 1.02), title="What is left")
    return figure


def classes(items: pl.DataFrame, images: Images) -> Figure:
    """Accuracy by class, with its interval over groups of images."""
    right = items.filter(pl.col("metric") == "acc").sort("doc_id")
    figure, axes = plt.subplots(figsize=(style.COLUMN + 1, 0.28 * len(images.classes) + 0.8))
    for place in range(len(images.classes)):
        of_class = right.filter(pl.Series((images.labels == place).numpy()))
        if of_class.is_empty():
            continue
        found = statistics.mean(of_class["value"].to_numpy(), of_class["cluster"].to_numpy())
        spread = [[found.value - found.low], [found.high - found.value]]
        axes.errorbar([found.value], [place], xerr=spread, fmt="o", color=BLUE, capsize=2, markersize=4)
    axes.axvline(right["chance"][0], color=GREY, linewidth=1, linestyle=":")
    axes.set_yticks(range(len(images.classes)), images.classes)
    axes.set(xlim=(-0.02, 1.02), xlabel="share right, bar: 95 % interval", title="Accuracy by class")
    axes.invert_yaxis()
    return figure


def units(rows: pl.DataFrame) -> Figure:
    """Distribution of the MIS beside its null, and its mean by layer."""
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 2.6))
    bins = np.linspace(0, 1, 41).tolist()
    alive = rows.filter(~pl.col("constant"))
    axes[0].hist(alive["null"], bins=bins, color=GREY, label="null")
    axes[0].hist(alive["mis"], bins=bins, histtype="step", color=BLUE, label="this network")
    axes[0].set(title=f"{len(alive)} of {len(rows)} units", xlabel="MIS", ylabel="units")
    axes[0].legend(loc="upper left")
    by_layer = alive.group_by("layer", maintain_order=True).agg(pl.col("mis").mean(), pl.col("null").mean())
    axes[1].plot(by_layer["mis"], "o-", color=BLUE, markersize=3, linewidth=0.8)
    axes[1].plot(by_layer["null"], color=GREY, linewidth=1)
    axes[1].set(title="By layer", xlabel="convolution, in order of depth", ylabel="mean MIS", ylim=(0.4, 1))
    return figure


def examples(rows: pl.DataFrame, images: Images) -> Figure:
    """Most and least exciting images of units from the clearest to the least clear."""
    alive = rows.filter(~pl.col("constant")).sort("mis", descending=True)
    places = [0, len(alive) // 3, 2 * len(alive) // 3, len(alive) - 1] if len(alive) else []
    figure, axes = plt.subplots(max(len(places), 1), 2, figsize=(style.PAGE, 1.0 * max(len(places), 1)), squeeze=False)
    for (most, least), place in zip(axes, places, strict=False):
        row = alive.row(place, named=True)
        _strip(most, row["top"], images, f"{row['layer']}, channel {row['channel']}, MIS {row['mis']:.2f}: most")
        _strip(least, row["bottom"], images, "least")
    return figure


def _strip(axes: Axes, places: list[int], images: Images, title: str) -> None:
    pixels = images.pixels(torch.tensor(places))
    axes.imshow(torch.cat(list(pixels.permute(0, 2, 3, 1)), dim=1).numpy())
    axes.set_title(title, fontsize=7)
    axes.axis("off")


def networks(scores: pl.DataFrame) -> pl.DataFrame:
    """One row a network: rate, schedule, and accuracy, MIS, overlap and costs, each with its interval."""
    pooled = scores.filter(pl.col("variant") != "all", pl.col("task") != "all", pl.col("seed").is_not_null())
    pooled = pooled.unique(["variant", "seed", "metric", "task"], maintain_order=True)
    of_network = pooled.filter((pl.col("capability") != "interpretability") | (pl.col("task") == "units"))
    table = (
        of_network.select("method", "variant")
        .unique(maintain_order=True)
        .with_columns(
            pl.col("variant").str.extract(r"-(\d+)").cast(pl.Float64).truediv(100).alias("rate"),
            pl.col("variant").str.extract(r"-\d+-(.+)$").fill_null("").alias("schedule"),
        )
    )
    once = of_network.unique(["variant", "metric"], keep="first", maintain_order=True)
    seeds = scores.filter(pl.col("metric") == "acc", pl.col("seed").is_null())
    for metric in ("acc", "difference", "mis", "mis_difference", "null", "overlap", "constant", "macs", "speed_ratio"):
        source = seeds if metric == "acc" else once.filter(pl.col("metric") == metric)
        names = {"value": metric, "low": f"{metric}_low", "high": f"{metric}_high"}
        table = table.join(
            source.select("variant", *(pl.col(name).alias(new) for name, new in names.items())),
            on="variant", how="left", maintain_order="left",
        )  # fmt: skip
    chance = scores.filter(pl.col("metric") == "acc")["chance"]
    return table.with_columns(pl.lit(chance[0] if len(chance) else None).alias("chance"))


def summary(table: pl.DataFrame) -> Figure:
    """Accuracy and MIS by rate, one against the other, and what survives of the explanations."""
    figure, axes = plt.subplots(2, 2, figsize=(style.PAGE, 5.8))
    (by_rate, mis_by_rate), (plane, survival) = axes
    dense, untrained = (_of(table, name) for name in ("dense", "untrained"))
    for place, metric in ((by_rate, "acc"), (mis_by_rate, "mis"), (survival, "overlap")):
        _rates(place, table, metric)
    for place, metric, name, colour, line in (
        (by_rate, "acc", dense, "black", "-"), (by_rate, "chance", dense, GREY, ":"),
        (mis_by_rate, "mis", dense, "black", "-"), (mis_by_rate, "null", dense, GREY, ":"),
        (mis_by_rate, "mis", untrained, GREY, "-"), (survival, "overlap", untrained, GREY, ":"),
    ):  # fmt: skip
        if name is not None:
            place.axhline(name[metric], color=colour, linestyle=line, linewidth=1, zorder=0)
    for row in table.iter_rows(named=True):
        _point(plane, row, row["acc"], "mis", across="acc")
        if row["schedule"] not in SCHEDULES or row["method"] in ("untrained", "dense"):
            label = row["schedule"] if row["schedule"] else METHODS[row["method"]][0].lower()
            plane.annotate(
                label.replace("-", " "), (row["acc"], row["mis"]), (4, -8), textcoords="offset points", fontsize=6.5
            )
    by_rate.set(title="Accuracy", ylabel="share of held-out images right", ylim=(0, None))
    mis_by_rate.set(title="Interpretability", ylabel="mean MIS of the units")
    plane.set(title="One against the other", xlabel="share of held-out images right", ylabel="mean MIS of the units")
    survival.set(title="Explanations that survive", ylabel="share of exemplars kept", ylim=(0, 1))
    plane.margins(0.12)
    plane.set_xlim(right=1.15 * plane.get_xlim()[1])  # names stand to the right of their marks
    _legend(figure)
    return figure


def _of(table: pl.DataFrame, variant: str) -> dict[str, float] | None:
    found = table.filter(pl.col("variant") == variant)
    return None if found.is_empty() else found.row(0, named=True)


def _rates(axes: Axes, table: pl.DataFrame, metric: str) -> None:
    pruned = table.filter(pl.col("rate").is_not_null(), pl.col("schedule").is_in(SCHEDULES))
    for (method, schedule), line in pruned.group_by(["method", "schedule"], maintain_order=True):
        shifted = line["rate"] + SHIFTS[str(method)]
        axes.plot(
            shifted, line[metric], color=METHODS[str(method)][1], linewidth=0.8, linestyle="--" if schedule else "-"
        )
    for row in pruned.iter_rows(named=True):
        _point(axes, row, row["rate"] + SHIFTS[row["method"]], metric)
    axes.set(xlabel="share pruned", xticks=pruned["rate"].unique().sort().to_list())


def _point(axes: Axes, row: dict[str, Any], x: float, metric: str, *, across: str = "") -> None:
    if row[metric] is None or x is None:
        return
    _, colour, marker = METHODS[str(row["method"])]
    fill = "none" if row["schedule"] == "iterative" else "full"
    axes.errorbar(
        [x], [row[metric]], yerr=_error(row, metric), xerr=_error(row, across) if across else None, capsize=1.5,
        elinewidth=0.7, color=colour, marker=marker, fillstyle=fill, markersize=5, linestyle="",
    )  # fmt: skip


def _error(row: dict[str, Any], metric: str) -> list[list[float]]:
    return [[max(row[metric] - row[f"{metric}_low"], 0)], [max(row[f"{metric}_high"] - row[metric], 0)]]


def _legend(figure: Figure) -> None:
    marks = [
        Line2D([], [], color=colour, marker=marker, linestyle="", markersize=5)
        for name, (_, colour, marker) in METHODS.items()
    ]
    names = [name for name, _, _ in METHODS.values()]
    fills: tuple[tuple[Literal["full", "none"], Literal["-", "--"], str], ...]
    fills = (("full", "-", "one-shot"), ("none", "--", "iterative"))
    for fill, line, schedule in fills:
        marks.append(Line2D([], [], color="#444444", marker="o", fillstyle=fill, linestyle=line, markersize=5))
        names.append(schedule)
    figure.legend(marks, names, loc="outside lower center", ncols=4)


def name(variant: str) -> str:
    """A network's name in figures: ``filters-90-iterative`` is Filters 90 % iterative."""
    method, _, setting = variant.partition("-")
    rate, _, rest = setting.partition("-")
    shown = METHODS[method][0] if method in METHODS else method
    return f"{shown} {rate} % {rest.replace('-', ' ')}".strip() if rate else shown


def distributions(rows: pl.DataFrame) -> Figure:
    """Distribution of the MIS over the units of every network, beside the null of dense."""
    order = rows.select("method", "variant").unique(maintain_order=True).rows()
    figure, axes = plt.subplots(figsize=(style.PAGE * 0.8, 0.3 * (len(order) + 1) + 0.8))
    labels = []
    for place, (method, variant) in enumerate(order):
        of_network = rows.filter(pl.col("variant") == variant)
        alive = of_network.filter(~pl.col("constant"))["mis"].to_numpy()
        _violin(axes, alive, place, METHODS[method][1])
        share = of_network["constant"].sum() / len(of_network)
        labels.append(f"{name(variant)} ({100 * share:.0f} % constant)" if share >= 0.005 else name(variant))
    null = rows.filter(pl.col("variant") == "dense")["null"].to_numpy()
    _violin(axes, null, len(order), GREY)
    axes.set_yticks(range(len(order) + 1), [*labels, "null"])
    axes.axvline(0.5, color=GREY, linestyle=":", linewidth=1)
    axes.set(xlim=(0, 1), xlabel="MIS of a unit; mark: median, bar: middle half", ylim=(len(order) + 0.6, -0.6))
    return figure


def _violin(axes: Axes, values: np.ndarray, place: int, colour: str) -> None:
    if len(values) < 2:
        return
    parts = axes.violinplot([values], [place], orientation="horizontal", showextrema=False, widths=0.85)
    for body in parts["bodies"]:  # type: ignore[attr-defined]
        body.set(facecolor=colour, alpha=0.35)
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    axes.plot([low, high], [place, place], color=colour, linewidth=1.5)
    axes.plot([middle], [place], "o", color=colour, markersize=4)


def before_after(rows: pl.DataFrame, images: Images, variant: str) -> BeforeAfter:
    """What excites the same units in dense and in ``variant``: clear, middling and unclear before."""
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
    places = [round(share * (len(both) - 1)) for share in (0.02, 0.2, 0.5, 0.8, 0.98)]
    table = both[places]
    figure, axes = plt.subplots(len(places), 2, figsize=(style.PAGE, 0.75 * len(places) + 0.3), squeeze=False)
    for (before, after), row in zip(axes, table.iter_rows(named=True), strict=True):
        _strip(before, row["top"], images, f"{row['layer']}, channel {row['channel']}: dense, MIS {row['mis']:.2f}")
        kept = f"MIS {row['mis_after']:.2f}, {100 * row['overlap_after']:.0f} % of exemplars kept"
        _strip(after, row["top_after"], images, f"{name(variant)}: {kept}")
    shown = table.select("layer", "channel", "mis", "mis_after", pl.col("overlap_after").alias("overlap"))
    return BeforeAfter(figure, shown)
