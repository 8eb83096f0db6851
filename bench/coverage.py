"""How often the study's 95 % intervals hold the truth, by simulation: the tables of docs/reading_the_numbers.md.

Each sample is drawn from a population whose truth is known. A cell is the share of samples whose interval holds it;
samples without an interval are counted apart.
"""

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np

from unicomp_lib.evaluate import agreement, statistics
from unicomp_lib.evaluate.statistics import Estimate, Part

SIZES = (1, 2, 5, 20, 50)
SHARES = (0.0, 0.05, 0.5, 1.0)
CHANCE, KEPT, GAINED = 0.25, 0.8, 0.1
MEMBERS, ALIKE = 4, 0.3  # items a cluster, and the correlation of two of them

Drawn = tuple[Estimate, float]  # a sample's interval and the truth
Draw = Callable[..., Drawn]


def answers(rng: np.random.Generator, share: np.ndarray, kept: float, gained: float) -> tuple[np.ndarray, np.ndarray]:
    """Right and wrong answers of dense, right with ``share``, and of a model that keeps and gains some of them."""
    dense = rng.random(len(share)) < share
    return np.where(dense, rng.random(len(share)) < kept, rng.random(len(share)) < gained).astype(float), dense * 1.0


def clustered(rng: np.random.Generator, n: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Each item's probability, which its cluster shares, and its cluster."""
    spread = 1 / ALIKE - 1
    own = np.full(n, share) if share in (0, 1) else rng.beta(share * spread, (1 - share) * spread, size=n)
    return np.repeat(own, MEMBERS), np.repeat(np.arange(n), MEMBERS).astype(str)


def share(rng: np.random.Generator, n: int, share: float) -> Drawn:
    """The share of right answers."""
    return statistics.mean((rng.random(n) < share) * 1.0, np.arange(n)), share


def share_clustered(rng: np.random.Generator, n: int, share: float) -> Drawn:
    """The same of n clusters."""
    own, clusters = clustered(rng, n, share)
    return statistics.mean((rng.random(len(own)) < own) * 1.0, clusters), share


def share_of_seeds(rng: np.random.Generator, n: int, share: float) -> Drawn:
    """The same of means over three seeds, which are right on much the same items."""
    own, _ = clustered(rng, n, share)
    seeds = (rng.random((3, n)) < own[::MEMBERS]) * 1.0
    return statistics.mean(seeds.mean(axis=0), np.arange(n)), share


def difference(rng: np.random.Generator, n: int, share: float) -> Drawn:
    """Paired difference; dense is right with ``share``."""
    pair = answers(rng, np.full(n, share), KEPT, GAINED)
    return statistics.difference(*pair, np.arange(n)), share * KEPT + (1 - share) * GAINED - share


def difference_kept(rng: np.random.Generator, n: int, share: float) -> Drawn:
    """Paired difference; dense is right throughout, and the other keeps ``share``."""
    return statistics.difference(*answers(rng, np.ones(n), share, 0), np.arange(n)), share - 1


def difference_clustered(rng: np.random.Generator, n: int, share: float) -> Drawn:
    """Paired difference of n clusters; dense is right with ``share``."""
    own, clusters = clustered(rng, n, share)
    truth = share * KEPT + (1 - share) * GAINED - share
    return statistics.difference(*answers(rng, own, KEPT, GAINED), clusters), truth


def retention(rng: np.random.Generator, n: int, share: float, tasks: int = 1) -> Drawn:
    """Retention over ``tasks`` of n items; dense is right on 90 %, the other keeps ``share`` and guesses the rest."""
    kept = share + (1 - share) * CHANCE
    names = (np.char.add(f"{task} ", np.arange(n).astype(str)) for task in range(tasks))
    parts = [Part(*answers(rng, np.full(n, 0.9), kept, CHANCE), of_task, CHANCE) for of_task in names]
    return statistics.retention(parts), (0.9 * kept + 0.1 * CHANCE - CHANCE) / (0.9 - CHANCE)


def retention_of_tasks(rng: np.random.Generator, n: int, share: float) -> Drawn:
    """The same over five tasks of n items each."""
    return retention(rng, n, share, tasks=5)


def retention_further(rng: np.random.Generator, n: int, share: float) -> Drawn:
    """The same of one task, where dense has four times as many items."""
    kept = share + (1 - share) * CHANCE
    compressed, dense = answers(rng, np.full(4 * n, 0.9), kept, CHANCE)
    names = np.arange(4 * n)
    part = Part(compressed[:n], dense[:n], names[:n], CHANCE, dense[n:], names[n:])
    return statistics.retention([part]), (0.9 * kept + 0.1 * CHANCE - CHANCE) / (0.9 - CHANCE)


def mean(rng: np.random.Generator, n: int) -> Drawn:
    """Mean of skewed values, such as bits per byte."""
    return statistics.bootstrap(rng.gamma(4, size=n), np.arange(n)), 4.0


def mean_clustered(rng: np.random.Generator, n: int) -> Drawn:
    """The same of n clusters."""
    own, clusters = np.repeat(rng.gamma(4, size=n), MEMBERS), np.repeat(np.arange(n), MEMBERS)
    return statistics.bootstrap(own + rng.normal(size=len(own)), clusters), 4.0


def difference_of_values(rng: np.random.Generator, n: int) -> Drawn:
    """Paired difference of such values."""
    dense = rng.gamma(4, size=n)
    return statistics.difference(dense * 1.1 + rng.normal(scale=0.3, size=n), dense, np.arange(n)), 0.4


def growth(rng: np.random.Generator, n: int, tasks: int = 1) -> Drawn:
    """Log growth of such values over ``tasks``."""
    parts = []
    for task in range(tasks):
        dense, names = rng.gamma(4, size=n), np.char.add(f"{task} ", np.arange(n).astype(str))
        parts.append(Part(dense * np.exp(rng.normal(0.2, 0.3, n)), dense, names, 0))
    return statistics.growth([(1.0, parts)]), 0.2 + 0.3**2 / 2


def growth_of_tasks(rng: np.random.Generator, n: int) -> Drawn:
    """The same over five tasks of n items each."""
    return growth(rng, n, tasks=5)


def kappa(rng: np.random.Generator, n: int) -> Drawn:
    """Cohen's kappa of a judge who is right on nine verdicts in ten, a third of which are 1."""
    human = rng.random(n) < 1 / 3
    judge = np.where(rng.random(n) < 0.9, human, ~human)
    chance = 1 / 3 * (0.9 / 3 + 0.2 / 3) + 2 / 3 * (0.9 * 2 / 3 + 0.1 / 3)
    return agreement.kappa(judge * 1, human * 1), (0.9 - chance) / (1 - chance)


def rank_correlation(rng: np.random.Generator, n: int) -> Drawn:
    """Spearman's correlation of n variants whose scores have a normal correlation of 0.7."""
    x = rng.normal(size=n)
    y = 0.7 * x + np.sqrt(1 - 0.7**2) * rng.normal(size=n)
    return statistics.rank_correlation(x, y), 6 / np.pi * np.arcsin(0.35)


def spread(rng: np.random.Generator, n: int) -> Drawn:
    """Standard deviation over n seeds."""
    return statistics.spread(rng.normal(size=n)), 1.0


def median(rng: np.random.Generator, n: int) -> Drawn:
    """Median of n repeats, with their range."""
    return statistics.middle(rng.gamma(4, size=n)), 3.672060748850897


OUTCOMES: dict[str, Draw] = {
    "share": share,
    "share, clustered": share_clustered,
    "share, three seeds": share_of_seeds,
    "difference": difference,
    "difference, dense all right": difference_kept,
    "difference, clustered": difference_clustered,
    "retention": retention,
    "retention, five tasks": retention_of_tasks,
    "retention, dense on four times the items": retention_further,
}
VALUES: dict[str, Draw] = {
    "mean": mean,
    "mean, clustered": mean_clustered,
    "difference": difference_of_values,
    "growth": growth,
    "growth, five tasks": growth_of_tasks,
    "kappa": kappa,
    "rank correlation": rank_correlation,
    "spread over seeds": spread,
    "median of repeats": median,
}


def coverage(draw: Callable[[np.random.Generator], Drawn], rounds: int) -> tuple[float, float]:
    """Share of ``rounds`` samples whose interval holds the truth, of those with an interval, and the share of these."""
    hits = defined = 0
    for seed in range(rounds):
        estimate, truth = draw(np.random.default_rng(seed))
        defined += bool(np.isfinite(estimate.low))
        hits += estimate.low - 1e-9 <= truth <= estimate.high + 1e-9
    return (hits / defined if defined else float("nan")), defined / rounds


def cell(covered: float, defined: float) -> str:
    """A coverage in per cent; in brackets how many samples have an interval, where not nearly all do."""
    if not defined:
        return "–"
    return f"{100 * covered:.1f}" + (f" ({100 * defined:.0f})" if defined < 0.995 else "")


def main() -> None:
    """Parse the command line and print both tables."""
    parser = argparse.ArgumentParser(prog="nox -s bench -- coverage", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000, help="samples a cell (%(default)s)")
    rounds = parser.parse_args().rounds
    print("\n| share | of | " + " | ".join(f"n = {n}" for n in SIZES) + " |\n|---|---|" + "---|" * len(SIZES))
    for name, of_outcomes in OUTCOMES.items():
        for true in SHARES:
            cells = [cell(*coverage(partial(of_outcomes, n=n, share=true), rounds)) for n in SIZES]
            print(f"| {name} | {true:g} | " + " | ".join(cells) + " |", flush=True)
    print("\n| | " + " | ".join(f"n = {n}" for n in SIZES) + " |\n|---|" + "---|" * len(SIZES))
    for name, of_values in VALUES.items():
        cells = [cell(*coverage(partial(of_values, n=n), rounds)) for n in SIZES]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
