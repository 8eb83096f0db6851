"""Pictures inside the notebooks of the vision study. They are part of no step's key: see ``study.code``."""

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
from matplotlib.figure import Figure

from unicomp_lib.evaluate import statistics
from unicomp_lib.figures import strips, style
from unicomp_lib.figures.palette import BLUE, GREY
from unicomp_lib.vision.images import Images
from unicomp_lib.vision.masks import Masks


def learning(history: list[dict[str, float]]) -> Figure:
    """Loss and accuracy on the training images by epoch."""
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE, 2.4))
    for panel, name, label in ((axes[0], "loss", "nats per image"), (axes[1], "accuracy", "accuracy")):
        panel.plot([row["epoch"] for row in history], [row[name] for row in history], "o-", color=BLUE, markersize=3)
        panel.set(title=name.capitalize(), xlabel="epoch", ylabel=label)
    if not history:
        axes[0].text(0.5, 0.5, "not trained: random weights", ha="center", va="center", transform=axes[0].transAxes)
    return figure


def left(masks: Masks) -> Figure:
    """Share of the weights that the masks leave in each convolution."""
    figure, axes = plt.subplots(figsize=(style.PAGE, 2.4))
    shares = [mask.float().mean().item() for mask in masks.values()]
    axes.bar(range(len(shares)), shares, color=BLUE)
    axes.set(
        xlabel="convolution, in order of depth", ylabel="share of weights left", ylim=(0, 1.02), title="Weights left"
    )
    return figure


def classes(items: pl.DataFrame, images: Images) -> Figure:
    """Accuracy by class with its interval over clusters of images."""
    right = items.filter(pl.col("metric") == "acc").sort("doc_id")
    figure, axes = plt.subplots(figsize=(style.COLUMN + 1, 0.28 * len(images.classes) + 0.8))
    for label in range(len(images.classes)):
        of_class = right.filter(pl.Series((images.labels == label).numpy())).drop_nulls("value")
        if of_class.is_empty():
            continue
        accuracy = statistics.mean(of_class["value"].to_numpy(), of_class["cluster"].to_numpy())
        spread = [[accuracy.value - accuracy.low], [accuracy.high - accuracy.value]]
        axes.errorbar([accuracy.value], [label], xerr=spread, fmt="o", color=BLUE, capsize=2, markersize=4)
    axes.axvline(right["chance"][0], color=GREY, linewidth=1, linestyle=":")
    axes.set_yticks(range(len(images.classes)), images.classes)
    axes.set(xlim=(-0.02, 1.02), xlabel="accuracy (bar: 95 % interval)", title="Accuracy by class")
    axes.invert_yaxis()
    return figure


def units(rows: pl.DataFrame) -> Figure:
    """Distribution of the MIS and of its null over units, and their means by layer."""
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
    """Most and least activating images of four units, from the clearest to the least clear."""
    alive = rows.filter(~pl.col("constant")).sort("mis", descending=True)
    ranks = [0, len(alive) // 3, 2 * len(alive) // 3, len(alive) - 1] if len(alive) else []
    figure, axes = plt.subplots(max(len(ranks), 1), 2, figsize=(style.PAGE, 1.0 * max(len(ranks), 1)), squeeze=False)
    for (most, least), rank in zip(axes, ranks, strict=False):
        row = alive.row(rank, named=True)
        strips.draw(
            most, row["top"], images, f"{row['layer']}, channel {row['channel']}, MIS {row['mis']:.2f}: most active"
        )
        strips.draw(least, row["bottom"], images, "least active")
    return figure
