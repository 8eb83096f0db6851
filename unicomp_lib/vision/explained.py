"""Interpretability of a network: a row for each unit, with its null and what became of its explanations."""

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
    """Rows of layer, channel, constant, mis, hard, margin, null, overlap, top and bottom, one a unit.

    ``null`` is the MIS of the same number of units with shuffled activations. ``overlap`` is the share of the
    ``tasks`` most exciting images of the dense network's same unit that are among this one's; ``top`` and
    ``bottom`` are the most extreme images' places. Constant units have no scores. ``measure`` names what says
    how alike images look, see ``similarity``.
    """
    each = tasks * (explanations + 1)
    if 2 * each > len(images):
        raise ValueError(
            f"{tasks} tasks of {explanations} explanations and a query take {2 * each} images, and there are "
            f"{len(images)}; give more images, or fewer tasks or explanations"
        )
    features = similarity.features(images, measure)
    found, constant = exemplars.extremes(model, images, each)
    reference, _ = exemplars.extremes(dense, images, tasks)
    scores = mis.score(found.places["top"], found.places["bottom"], features, alpha=alpha, tasks=tasks)
    null = mis.null(len(constant), each, features, alpha=alpha, tasks=tasks)
    same = found.places["top"][:, :tasks, None] == reference.places["top"][:, None, :]
    places = exemplars.units(model)
    rows = pl.DataFrame(
        {
            "layer": [layer for layer, _ in places],
            "channel": [channel for _, channel in places],
            "constant": constant.tolist(),
            "mis": scores.mis.tolist(),
            "hard": scores.hard.tolist(),
            "margin": scores.margin.tolist(),
            "null": null.mis.tolist(),
            "overlap": same.any(2).float().mean(1).tolist(),
            **{side: found.places[side][:, :SHOWN].tolist() for side in ("top", "bottom")},
        }
    )
    empty = [pl.when("constant").then(None).otherwise(pl.col(name)).alias(name) for name in SCORED]
    return rows.with_columns(empty).with_columns(
        pl.col(*SCORED, "null").cast(pl.Float32),
        pl.col("channel").cast(pl.Int16),
        pl.col("top", "bottom").cast(pl.List(pl.Int32)),
    )


SCORED = ("mis", "hard", "margin", "overlap")
