"""Machine Interpretability Score: do a unit's extreme images tell which of two others activates it more?

Zimmermann, Klein and Brendel (2024), as arXiv 2409.19727 uses it.
"""

from dataclasses import dataclass

import torch

VERSION = "2"

TASKS = 20  # N, tasks per unit
EXPLANATIONS = 9  # K, images per side of a task
PAIRS = 8192  # images up to which the similarity of every pair is computed once: 256 MiB


@dataclass(frozen=True)
class Scores:
    """Scores of every unit, (units,) each."""

    mis: torch.Tensor
    hard: torch.Tensor  # share of tasks decided correctly, ties count half
    margin: torch.Tensor  # mean Delta


def score(
    top: torch.Tensor,
    bottom: torch.Tensor,
    features: torch.Tensor,
    *,
    alpha: float,
    tasks: int = TASKS,
    seed: int = 0,
) -> Scores:
    """MIS of units from their extreme images.

    ``top`` and ``bottom`` (units, tasks * (K + 1)) are the indices in ``features`` (images, dimensions; rows of
    length one) of the most and least activating images, most extreme first. They are cut into K + 1 bins of
    ``tasks`` images; every task gets one of each bin, the query from the most extreme, the explanations E
    from the others. With the mean cosine sim(q, E),

        D(q) = sim(q, E+) - sim(q, E-),  Delta = D(q+) - D(q-),  MIS = mean over tasks of sigmoid(alpha * Delta).

    A ``ValueError`` where the number of images is not a multiple of the number of tasks.
    """
    if top.shape != bottom.shape or top.shape[1] % tasks or top.shape[1] < 2 * tasks:
        raise ValueError(
            f"{top.shape[1]} top and {bottom.shape[1]} bottom images do not make {tasks} tasks of one query and "
            "at least one explanation; give tasks * (K + 1) of each"
        )
    generator = torch.Generator().manual_seed(seed)
    margins_of, known = (_margins_of_pairs, features @ features.T) if len(features) <= PAIRS else (_margins, features)
    parts = [
        margins_of(_shuffled(high, tasks, generator), _shuffled(low, tasks, generator), known)
        for high, low in zip(top.split(64), bottom.split(64), strict=True)
    ]
    margins = torch.cat(parts)
    hard = (margins > 0).float() + 0.5 * (margins == 0).float()
    return Scores((alpha * margins).sigmoid().mean(1), hard.mean(1), margins.mean(1))


def null(units: int, per_side: int, features: torch.Tensor, *, alpha: float, tasks: int = TASKS) -> Scores:
    """MIS of ``units`` units whose activations are shuffled over the images: 0.5 up to chance.

    Extremes of shuffled activations are images drawn at random, ``per_side`` on each side, none twice.
    """
    generator = torch.Generator().manual_seed(1)
    drawn = torch.stack([torch.randperm(len(features), generator=generator)[: 2 * per_side] for _ in range(units)])
    return score(drawn[:, :per_side], drawn[:, per_side:], features, alpha=alpha, tasks=tasks)


def _shuffled(indices: torch.Tensor, tasks: int, generator: torch.Generator) -> torch.Tensor:
    """(units, images) to (units, tasks, K + 1): within each bin, images are dealt to the tasks at random."""
    bins = indices.reshape(len(indices), -1, tasks)
    order = torch.rand(bins.shape, generator=generator).argsort(dim=2)
    return bins.gather(2, order).transpose(1, 2)


def _margins(top: torch.Tensor, bottom: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Delta of every task: (units, tasks) from indices (units, tasks, K + 1), the query first."""
    high, low = features[top], features[bottom]
    # s is linear in E: the difference of the two means compares a query with both at once.
    difference = high[:, :, 1:].mean(2) - low[:, :, 1:].mean(2)
    return ((high[:, :, 0] - low[:, :, 0]) * difference).sum(2)


def _margins_of_pairs(top: torch.Tensor, bottom: torch.Tensor, similar: torch.Tensor) -> torch.Tensor:
    """``_margins`` from the similarity of every pair of images, (images, images)."""
    queries, shown = (top[:, :, :1], bottom[:, :, :1]), (top[:, :, 1:], bottom[:, :, 1:])
    high, low = (similar[query, shown[0]] - similar[query, shown[1]] for query in queries)
    return (high - low).mean(2)
