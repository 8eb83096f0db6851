"""From paired items to lines of a table and a sentence: is B worse than A, where, and how sure is that?"""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from scipy import special

from unicomp_lib.compare.pair import Pair
from unicomp_lib.evaluate import statistics
from unicomp_lib.evaluate.statistics import Estimate, Part

ALL, MEAN, REFERENCES = "all items", "mean of tasks", "reference answers"
BITS = "bits_per_byte"
EXACT, STUDENT = "McNemar", "Student's t"
WORSE, BETTER, OPEN = "worse", "better", "no difference found"
NAN = float("nan")
PER_CENT = 50  # a score of so many, where the other side has shares, is one of a hundred


@dataclass(frozen=True)
class Line:
    """One task, or all. ``a``, ``b`` are scores and ``difference`` is b - a, each with its interval.

    ``lost`` items are worse by B than by A, ``gained`` ones better. ``p`` is the tested p-value, by ``test``: exact
    McNemar of independent right and wrong answers, else Student's t of the paired differences of clusters; ``holm``
    is ``p`` adjusted for all ``tests`` that are made with it. ``alone`` is the true difference that so many items would
    show in 80 % of samples if this were the only test. ``points``: values are shares of which more is better, shown in
    points. ``noise`` is the difference of a rerun of A from A, and ``rerun_flips`` how many items it changed, of
    ``rerun_n``.
    """

    task: str
    metric: str
    n: int
    left_out: int
    a: Estimate
    b: Estimate
    difference: Estimate
    lost: int
    gained: int
    exact: float
    mid: float
    p: float
    test: str
    alone: float
    points: bool
    higher: bool
    holm: float = NAN
    tests: int = 1
    noise: Estimate | None = None
    rerun_flips: int = 0
    rerun_n: int = 0

    @property
    def detectable(self) -> float:
        """The true difference that so many items would show in 80 % of samples, at the level that holds for this test.

        That is 5 % divided by the number of tests, which is what Holm's adjustment asks of the smallest p.
        """
        tail = (1 - statistics.LEVEL) / 2
        needed, single = (-special.ndtri(each) + special.ndtri(statistics.POWER) for each in (tail / self.tests, tail))
        return float(self.alone * needed / single)

    @property
    def verdict(self) -> str:
        """What may be said of B at the level of 5 %: a difference no larger than that of a rerun of A is none."""
        change = self.difference.value if self.higher else -self.difference.value
        floor = abs(self.noise.value) if self.noise is not None else 0.0
        if not self.holm <= 1 - statistics.LEVEL or abs(change) <= floor:
            return OPEN
        return WORSE if change < 0 else BETTER


def lines(pairs: list[Pair]) -> list[Line]:
    """A line for each task, adjusted by Holm for their number."""
    return adjusted([_line(pair.items, pair) for pair in pairs])


def adjusted(of_lines: list[Line]) -> list[Line]:
    """The same lines with their p-values adjusted by Holm for all tests among them.

    A sentence that names whatever was found makes all tests that it could name: of each task, of all items and of the
    reference answers. Adjusted together, it is wrong of two equal models in at most 5 % of samples.
    """
    tests = sum(bool(np.isfinite(line.p)) for line in of_lines)
    holm = statistics.holm(np.array([line.p for line in of_lines]))
    return [replace(line, holm=float(p), tests=max(tests, 1)) for line, p in zip(of_lines, holm, strict=True)]


def whole(pairs: list[Pair], of_tasks: list[Line]) -> tuple[list[Line], str]:
    """Over all items of the tasks whose scores are shares, and the mean of these tasks; what is left out, in words.

    No line where there is one such task or none. Accuracy and bits per byte have no common mean.
    """
    shares = _shares(pairs, of_tasks)
    others = [line.task for line in of_tasks if not line.points]
    said = f"{', '.join(others)} left out of all items, since their values are no shares" if others and shares else ""
    every = all_items(pairs, of_tasks)
    return ([every, _mean_of_tasks(shares, every)] if every is not None else []), said if every is not None else ""


def all_items(pairs: list[Pair], of_tasks: list[Line]) -> Line | None:
    """Over all items of the tasks whose scores are shares; None where there is one such task or none."""
    shares = _shares(pairs, of_tasks)
    if len(shares) < 2:
        return None
    metrics = ", ".join(dict.fromkeys(pair.metric for pair in shares))
    every = replace(shares[0], task=ALL, metric=metrics, left_out=sum(pair.left_out for pair in shares))
    (line,) = adjusted([_line(pl.concat(pair.items for pair in shares), every)])
    return line


def _shares(pairs: list[Pair], of_tasks: list[Line]) -> list[Pair]:
    return [pair for pair, line in zip(pairs, of_tasks, strict=True) if line.points]


def _line(items: pl.DataFrame, pair: Pair) -> Line:
    a, b, clusters = (items[name].to_numpy() for name in ("a", "b", "cluster"))
    _check_scale(a, b, pair)
    change = b - a if pair.higher else a - b
    lost, gained = int((change < 0).sum()), int((change > 0).sum())
    independent = items["cluster"].n_unique() == len(items)
    outcomes = bool(np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all())
    exact, mid = (statistics.mcnemar(lost, gained), statistics.mcnemar_mid(lost, gained)) if outcomes else (NAN, NAN)
    tested = outcomes and independent
    line = Line(
        pair.task, pair.metric, len(items), pair.left_out, statistics.mean(a, clusters), statistics.mean(b, clusters),
        statistics.difference(b, a, clusters), lost, gained,
        exact if tested else NAN, mid if tested else NAN, exact if tested else student(b - a, clusters),
        EXACT if tested else STUDENT, detectable(a, b, clusters),
        points=pair.higher and bool(min(a.min(), b.min()) >= 0 and max(a.max(), b.max()) <= 1), higher=pair.higher,
    )  # fmt: skip
    return _with_rerun(line, items)


def _check_scale(a: np.ndarray, b: np.ndarray, pair: Pair) -> None:
    """Refuse shares beside per cent."""
    less, more = sorted((float(a.max()), float(b.max())))
    if pair.higher and min(a.min(), b.min()) >= 0 and 0 < less <= 1 and more >= PER_CENT:
        raise ValueError(
            f"{pair.task}: {pair.metric} is at most {less:g} on one side and up to {more:g} on the other, as shares "
            "and per cent are; give both on one scale"
        )


def _with_rerun(line: Line, items: pl.DataFrame) -> Line:
    known = items.filter(pl.col("c").is_not_null())
    if known.is_empty():
        return line
    a, c, clusters = (known[name].to_numpy() for name in ("a", "c", "cluster"))
    return replace(
        line, noise=statistics.difference(c, a, clusters), rerun_flips=int((a != c).sum()), rerun_n=len(known)
    )


def _mean_of_tasks(pairs: list[Pair], every: Line) -> Line:
    """Each task counting the same, as leader boards have it: by bootstrap, all tasks resampled together.

    Stretched as in ``statistics.contrast``, and without an interval where a task's values are no outcomes and it has
    one cluster.
    """
    arrays = ([pair.items[name].to_numpy() for name in ("b", "a", "cluster")] for pair in pairs)
    parts = [Part(b, a, clusters, chance=0.0) for b, a, clusters in arrays]
    observed, resampled = statistics.resample(parts)
    factors = statistics._factors(parts)
    mean, drawn = observed.mean(axis=0), (observed + factors[:, None] * (resampled - observed)).mean(axis=1)
    b, a, difference = (
        statistics.interval(value, draws) if factors.all() else statistics.undefined("a task with one cluster", value)
        for value, draws in (
            (float(mean[0]), drawn[:, 0]), (float(mean[1]), drawn[:, 1]),
            (float(mean[0] - mean[1]), drawn[:, 0] - drawn[:, 1]),
        )
    )  # fmt: skip
    n = sum(len(pair.items) for pair in pairs)
    return Line(
        MEAN, every.metric, n, every.left_out, a, b, difference, 0, 0, NAN, NAN, NAN, "", NAN, points=True, higher=True
    )


def student(differences: np.ndarray, clusters: np.ndarray) -> float:
    """Two-sided p-value that the mean of paired differences is 0, by Student's t over clusters.

    1 where no item differs; NaN where the standard error is 0 otherwise, or with one cluster.
    """
    if not np.any(differences):
        return 1.0
    error, count = _error(differences, clusters)
    return float(2 * special.stdtr(count - 1, -abs(differences.mean()) / error)) if error > 1e-12 else NAN


def detectable(a: np.ndarray, b: np.ndarray, clusters: np.ndarray) -> float:
    """The true difference that so many items would show in 80 % of samples, in one test at the level of 5 %.

    NaN where their spread is not known.

    Of right and wrong answers as ``statistics.detectable`` has it, which adds one changed item; a change has no such
    unit for other values.
    """
    if len(np.unique(clusters)) < 2:
        return NAN
    if statistics.outcomes(np.concatenate([a, b])):
        return statistics.detectable(b, a, clusters)
    error, _ = _error(b - a, clusters)
    return float((statistics.Z + special.ndtri(statistics.POWER)) * error) if error > 1e-12 else NAN


def _error(differences: np.ndarray, clusters: np.ndarray) -> tuple[float, int]:
    """Standard error of the mean over clusters, and their number; 0 for one cluster.

    The mean is a ratio estimator, and its variance that of the sums of clusters, linearised (Korn and Graubard, 1999,
    section 2.4).
    """
    names, index = np.unique(clusters, return_inverse=True)
    sums, sizes = np.bincount(index, differences), np.bincount(index)
    rest, count = sums - sizes * differences.mean(), len(names)
    variance = float(np.square(rest).sum()) / len(differences) ** 2 * count / max(count - 1, 1)
    return float(np.sqrt(variance)), count


def likelihood(pairs: list[Pair]) -> Line:
    """Over all items whose reference answer has a likelihood: bits per byte, which show damage where answers do not.

    A model near chance has no right answers to lose, but can find them less likely.
    """
    every = replace(pairs[0], task=REFERENCES, left_out=sum(pair.left_out for pair in pairs))
    (line,) = adjusted([_line(pl.concat(pair.items for pair in pairs), every)])
    return line


def together(
    of_tasks: list[Line], over_all: list[Line], likely: Line | None = None
) -> tuple[list[Line], list[Line], Line | None]:
    """The lines of one page, ``adjusted`` for all tests among them."""
    every = adjusted([*of_tasks, *over_all, *([likely] if likely is not None else [])])
    tasks, rest = every[: len(of_tasks)], every[len(of_tasks) :]
    return tasks, rest[: len(over_all)], rest[-1] if likely is not None else None


def sentence(a: str, b: str, of_tasks: list[Line], over_all: list[Line], likely: Line | None = None) -> str:
    """The answer in one plain sentence, which begins with damage where any was found.

    The lines are those of ``together``; ``likely`` is that of ``likelihood``.
    """
    scores, verdicts = _of_scores(a, b, of_tasks, over_all)
    if likely is None or likely.verdict == OPEN:
        return f"{scores[0].upper()}{scores[1:]}." if not verdicts else f"{scores}."
    sign = "less" if likely.verdict == WORSE else "more"
    change = f"{signed(likely.difference.value, likely)} bits per byte {bracket(likely.difference, likely)}"
    found = f"finds the reference answers {sign} likely, {change}"
    link = "and" if likely.verdict in verdicts else "but"
    if not verdicts or (likely.verdict == WORSE and WORSE not in verdicts):
        return f"{b} is {likely.verdict} than {a}: it {found}; {link} {scores}."
    return f"{scores}; {link} {b} {found}."


def _of_scores(a: str, b: str, of_tasks: list[Line], over_all: list[Line]) -> tuple[str, set[str]]:
    """What is said of the scores, damage first, and the verdicts that were found."""
    summary = over_all[0] if over_all else None
    if len(of_tasks) == 1:
        return _of_one(a, b, of_tasks[0]), {of_tasks[0].verdict} - {OPEN}
    found = {verdict: [line for line in of_tasks if line.verdict == verdict] for verdict in (WORSE, BETTER)}
    said = [
        f"{verdict} than {a} on {len(rows)} of {len(of_tasks)} tasks "
        f"({'; '.join(f'{line.task} {changed(line)}' for line in rows)})"
        for verdict, rows in found.items()
        if rows
    ]
    verdicts = {verdict for verdict, rows in found.items() if rows}
    tail = f"; in all, {changed(summary)}" if summary is not None else ""
    if summary is None or summary.verdict in {OPEN, *verdicts}:
        nothing = f"no difference between {a} and {b} was found on any of {len(of_tasks)} tasks"
        shows = f", where {shown(summary)}" if summary is not None and not said else ""
        return f"{f'{b} is ' + ' and '.join(said) if said else nothing}{tail}{shows}", verdicts
    in_all = f"{summary.verdict} than {a} in all: {changed(summary)}"
    if not said:
        return f"{b} is {in_all}, though on none of {len(of_tasks)} tasks alone", {summary.verdict}
    ordered = [in_all, *said] if summary.verdict == WORSE else [*said, in_all]
    return f"{b} is {'; but '.join(ordered)}", verdicts | {summary.verdict}


def _of_one(a: str, b: str, line: Line) -> str:
    if line.verdict == OPEN:
        return f"no difference between {a} and {b} was found on {line.task}: {changed(line)}, where {shown(line)}"
    return f"{b} is {line.verdict} than {a} on {line.task}: {changed(line)}"


def changed(line: Line) -> str:
    """A difference with its interval, such as ``−3.1 points [−4.4, −1.8]``."""
    unit = " points" if line.points else f" ({line.metric})"
    return f"{signed(line.difference.value, line)}{unit} {bracket(line.difference, line)}"


def shown(line: Line) -> str:
    """Which true difference so many items would have shown."""
    if not line.detectable <= 1 and (line.points or np.isnan(line.detectable)):
        return "so few items would have shown no difference"
    size = f"{number(line.detectable, line)}{' points' if line.points else ''}"
    return f"a true difference of {size} would have shown in four of five samples"


def number(value: float, line: Line) -> str:
    """A value as the line shows it: shares in points with one decimal, others with three significant digits."""
    if not np.isfinite(value):
        return "–"
    text = f"{100 * value:z.1f}" if line.points else f"{value:z#.3g}".rstrip(".")
    return text.replace("-", "−")


def signed(value: float, line: Line) -> str:
    """The same with its sign."""
    if not np.isfinite(value):
        return "–"
    text = f"{100 * value:+z.1f}" if line.points else f"{value:+z#.3g}".rstrip(".")
    return text.replace("-", "−")


def bracket(estimate: Estimate, line: Line) -> str:
    """An interval in brackets, or why there is none."""
    if not np.isfinite(estimate.low):
        return f"[no interval: {estimate.reason or 'undefined'}]"
    return f"[{signed(estimate.low, line)}, {signed(estimate.high, line)}]"
