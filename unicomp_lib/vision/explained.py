"""Interpretability of a network: one row per unit, with its null and the change of its explanations."""

import polars as pl
from torch import nn

from unicomp_lib.vision import exemplars, mis, similarity
from unicomp_lib.vision.images import Images

VERSION = "2"

SHOWN = 9


def explain(
    model: nn.Module, dense: nn.Module, images: Images, *, alpha: float, measure: str = similarity.OFFLINE,
    tasks: int = mis.TASKS, explanations: int = mis.EXPLANATIONS,
) -> pl.DataFrame:  # fmt: skip
    """Rows of layer, channel, constant, mis, hard, margin, null, overlap, top and bottom, one per unit.

    ``null`` is the MIS of the same number of units with shuffled activations. ``overlap`` is the share of the
    ``tasks`` images that most activate the same unit of the dense network that are among this one's; ``top``
    and ``bottom`` are the indices of the most extreme images. Constant units have no scores. ``measure`` names
    the measure of how alike images look, see ``similarity``.
    """
    per_side = tasks * (explanations + 1)
    if 2 * per_side > len(images):
        raise ValueError(
            f"{tasks} tasks of {explanations} explanations and a query need {2 * per_side} images, but there are "
            f"{len(images)}; give more images, or fewer tasks or explanations"
        )
    features = similarity.features(images, measure)
    own, constant = exemplars.extremes(model, images, per_side)
    of_dense, _ = exemplars.extremes(dense, images, tasks)
    scores = mis.score(own.places["top"], own.places["bottom"], features, alpha=alpha, tasks=tasks)
    null = mis.null(len(constant), per_side, features, alpha=alpha, tasks=tasks)
    same = own.places["top"][:, :tasks, None] == of_dense.places["top"][:, None, :]
    units = exemplars.units(model)
    rows = pl.DataFrame(
        {
            "layer": [layer for layer, _ in units],
            "channel": [channel for _, channel in units],
            "constant": constant.tolist(),
            "mis": scores.mis.tolist(),
            "hard": scores.hard.tolist(),
            "margin": scores.margin.tolist(),
            "null": null.mis.tolist(),
            "overlap": same.any(2).float().mean(1).tolist(),
            **{side: own.places[side][:, :SHOWN].tolist() for side in ("top", "bottom")},
        }
    )
    empty = [pl.when("constant").then(None).otherwise(pl.col(name)).alias(name) for name in SCORED]
    return rows.with_columns(empty).with_columns(
        pl.col(*SCORED, "null").cast(pl.Float32),
        pl.col("channel").cast(pl.Int16),
        pl.col("top", "bottom").cast(pl.List(pl.Int32)),
    )


SCORED = ("mis", "hard", "margin", "overlap")
