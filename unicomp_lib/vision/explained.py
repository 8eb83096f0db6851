"""Interpretability of a network: one row per unit, with its null and the change of its explanations."""

import polars as pl
import torch
from torch import nn

from unicomp_lib.vision import exemplars, mis, similarity
from unicomp_lib.vision.images import Images

VERSION = "3"

SHOWN = 9


def explain(
    model: nn.Module, dense: nn.Module, images: Images, *, alpha: float, measure: str = similarity.OFFLINE,
    tasks: int = mis.TASKS, explanations: int = mis.EXPLANATIONS,
) -> pl.DataFrame:  # fmt: skip
    """Rows of layer, channel, constant, mis, hard, margin, null, overlap, top and bottom, one per unit.

    ``null`` is the MIS of the same number of units with shuffled activations. ``overlap`` is the share of the
    ``tasks`` images that most activate the same unit of the dense network that are among this one's; ``top``
    and ``bottom`` are the indices of the most extreme images. Constant units have no scores, and neither have those
    with an activation that is not finite, or of a network with such scores: of these ``constant`` is null too, and
    a line says how many. ``measure`` names the measure of how alike images look, see ``similarity``.
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
    return _without_lost(rows, own.finite, of_dense.finite).with_columns(
        pl.col(*SCORED, "null").cast(pl.Float32),
        pl.col("channel").cast(pl.Int16),
        pl.col("top", "bottom").cast(pl.List(pl.Int32)),
    )


def _without_lost(rows: pl.DataFrame, finite: torch.Tensor, of_dense: torch.Tensor) -> pl.DataFrame:
    """The rows with null for what a unit does not have: the scores of a constant one, and all of one not ``finite``."""
    if not finite.all():
        first = rows["layer"][int((~finite).nonzero()[0])]
        print(f"{int((~finite).sum())} of {len(rows)} units, the first of {first}, are not finite: no score is given")
    known = rows.with_columns(finite=pl.Series(finite.tolist()), reference=pl.Series(of_dense.tolist()))
    bad = ~pl.col("finite")
    lost = dict.fromkeys(("constant", "top", "bottom"), bad) | dict.fromkeys(SCORED, bad | pl.col("constant"))
    lost["overlap"] |= ~pl.col("reference")
    empty = [pl.when(where).then(None).otherwise(pl.col(name)).alias(name) for name, where in lost.items()]
    return known.with_columns(empty).drop("finite", "reference")


SCORED = ("mis", "hard", "margin", "overlap")
