"""Claims as rules over tables of scores: what is said, who says it, and what these data make of it.

``params/claims.yaml`` lists them. A rule compares scores of variants with a number, with each other, or over variants
by rank correlation. It gives an interval for each comparison, and a claim is *held* only where that lies wholly on the
claim's side, *contradicted* only where it lies wholly on the other, and *undecided* else.

- **Differences.** What a table has as a difference from dense, as retention or as a ratio to dense is paired over
  items. So are two variants that answered the same items, from the item rows (``evaluate.between``). Without these, and
  for scores that are no means over items, two are compared by the limits of both (Zou and Donner, 2008: MOVER) as if
  they were independent, which is too wide for variants that rise and fall together. Each comparison says which it is.
- **Several comparisons.** A claim about *every* one is held if each is, which needs no correction (Berger, 1982); it is
  contradicted by one, which is corrected for their number. A claim about *some* is the other way round.
- **Speeds** are repeated a few times, and the range of six repeats says nothing of small p. Student's t of their
  logarithms does, which takes repeats in one process for independent and normal. That process is one draw, so that what
  differs from one process to the next is not in p. Two variants, which were timed in processes of their own, are
  compared by the ratio of both (Welch's t). Without the repeats of a speed nothing is decided.
- **Many claims.** 95 % intervals alone would decide up to one in twenty claims by chance. A verdict has to stand Holm's
  correction (1979) for all claims of the list, with which the chance of even one false verdict is at most 5 %. For
  this, all other intervals are stretched as those of a normal distribution would be. It does not cover how the bounds
  of this study's own claims were chosen, which was with earlier runs at hand.
- **Seeds.** The score over all calibration seeds decides, and has to be on the same side with every single one.
- **Counts**, such as bytes, are facts: they have no interval and need none. All else without one is undecided.
"""

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, model_validator
from scipy import stats

from unicomp_lib import results, tables
from unicomp_lib.evaluate import between, statistics

VERSION = "4"

# Scores that are counted, not estimated.
COUNTS = (
    "bytes_on_disk", "read", "parameters", "linear_weights", "sparsity", "bits_per_weight", "flops", "cost_tokens",
    "macs", "constant", "cache",
)  # fmt: skip
COUNTED = (*COUNTS, *(f"{name}_ratio" for name in COUNTS))
FIELDS = ("capability", "task", "format")  # what a score may have to name beside its metric
TIMED = "efficiency"  # the dimension of repeats
ITEMS = ("performance", "reliability", "fidelity", "vision", TIMED)  # dimensions whose item rows tell more than scores
AWAY = "its repeats are not among the items"
LEAST = 1e-300  # what is told of a smaller p, which numbers of double precision cannot hold
OWN, COUNT, INDEPENDENT = "of the score", "a count", "independent"  # how an interval was made
Region = tuple[float, float]


class Outcome(StrEnum):
    """What data make of a claim."""

    HELD = "held"
    CONTRADICTED = "contradicted"
    UNDECIDED = "undecided"
    ABSENT = "not in this profile"


class Strict(BaseModel):
    """Refuses keys that it does not know, and converts nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Score(Strict):
    """Rows of a table of scores, one a variant.

    ``unit`` follows its numbers, which are multiplied by 100 for ``%`` and for ``points``. ``called`` is the name of
    what is not a variant's, such as a correlation over all of them.
    """

    dimension: Literal["fidelity", "performance", "reliability", "efficiency", "vision"]
    metric: Annotated[str, Field(min_length=1)]
    capability: str | None = None
    task: str | None = None
    format: str | None = None
    unit: str = ""
    called: str = ""


class Kind(Strict):
    """All variants of these facts that are a method of their own: not dense, no control, and without a sibling."""

    method: Annotated[list[str], Field(min_length=1)] | None = None
    rate: float | None = None
    schedule: Literal["one-shot", "iterative"] | None = None


def _is_number(given: object) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)


def _variants(given: object) -> tuple[str, ...] | Kind:
    if isinstance(given, dict):
        try:
            return Kind.model_validate(given)
        except ValidationError as error:
            raise ValueError(_fault(error, "a kind of variants")) from error
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(
            "give the name of a variant, a list of names, or a kind of variants such as {method: [wanda], rate: 0.5}"
        )
    if len(set(names)) < len(names):
        raise ValueError("a name is given twice; remove one")
    return tuple(names)


def _other(given: object) -> float | tuple[str, ...] | Kind:
    return float(given) if _is_number(given) else _variants(given)  # type: ignore[arg-type]


def _region(given: object) -> Region:
    if not isinstance(given, list) or len(given) != 2 or not all(map(_is_number, given)) or not given[0] < given[1]:
        raise ValueError("give two numbers, the smaller one first, such as [-0.5, 0.5]")
    return float(given[0]), float(given[1])


Variants = Annotated[tuple[str, ...] | Kind, PlainValidator(_variants)]
Other = Annotated[float | tuple[str, ...] | Kind | None, PlainValidator(_other)]


class Rule(Strict):
    """The ``score`` of every variant ``of`` these is ``above`` or ``below`` a number or that of every other variant.

    ``within`` two numbers is between them. ``by`` is what the difference from another variant has to be above or
    below, 0 if it is not given. ``in_order`` compares the first variant with the first, and so on, instead of each with
    each. ``some``: one comparison suffices. ``less``: another score of the same variant, which is subtracted first.
    ``correlated_with``: the rank correlation with another score instead.
    """

    score: Score
    of: Variants
    above: Other = None
    below: Other = None
    within: Annotated[Region | None, PlainValidator(_region)] = None
    by: float = 0.0
    in_order: bool = False
    some: bool = False
    less: Score | None = None
    correlated_with: Score | None = None

    @model_validator(mode="after")
    def _one_rule(self) -> "Rule":
        given = [name for name in ("above", "below", "within") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of above, below and within, not {' and '.join(given) or 'none'}")
        others = self.others
        if others is None and (self.by or self.in_order):
            raise ValueError("by and in_order need variants to compare with, not a number")
        if self.in_order and not (isinstance(self.of, tuple) and isinstance(others, tuple)):
            raise ValueError("in_order needs two lists of names, in of and in above or below")
        if self.in_order and len(self.of) != len(others):  # type: ignore[arg-type]
            raise ValueError("in_order needs as many names in of as in above or below")
        if self.correlated_with and (others is not None or self.some or self.less):
            raise ValueError("a correlation is compared with a number, and is one comparison of two scores")
        return self

    @property
    def others(self) -> tuple[str, ...] | Kind | None:
        """The variants compared with, None where it is a number."""
        other = self.below if self.above is None else self.above
        return None if other is None or isinstance(other, float) else other

    @property
    def region(self) -> Region:
        """Where the estimate has to lie."""
        if self.within is not None:
            return self.within
        bound = self.by if self.others is not None else float(self.below if self.above is None else self.above)  # type: ignore[arg-type]
        return (-math.inf, bound) if self.above is None else (bound, math.inf)


class Claim(Strict):
    """One claim: its ``name``, the ``sentence`` it makes, where it is made, and the rule that stands for it.

    ``readme``: the README says it.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    sentence: Annotated[str, Field(pattern=r"^\S[^\n]*\.$")]
    source: Annotated[str, Field(min_length=1)]
    rule: Rule
    readme: bool = False


@dataclass(frozen=True)
class Comparison:
    """An estimate and the region it has to lie in.

    ``least`` and ``most`` are its extremes over single seeds. Without an interval ``low`` and ``high`` are NaN, for the
    ``reason``; a count is one value. ``terms`` are the rows of the scores it is made of, with their weights, and
    ``interval`` says how its interval was made: a normal one, or that of Student's t with ``freedom`` degrees.
    ``logarithmic``: the distribution is that of its logarithm, and ``other`` is what it is divided by.
    """

    of: str
    other: str
    value: float
    low: float
    high: float
    least: float
    most: float
    region: Region
    seeds: int = 1
    reason: str = ""
    terms: tuple[tuple[float, Mapping[str, Any]], ...] = field(default=(), repr=False)
    interval: str = OWN
    freedom: float = math.inf
    logarithmic: bool = False

    @property
    def halves(self) -> float:
        """Distance to the nearest bound in half-widths: positive inside the region, NaN without an interval."""
        if not all(map(math.isfinite, (self.value, self.low, self.high))):
            return math.nan
        return min(self._distance(1, self.region[0]), self._distance(-1, self.region[1]))

    @property
    def z(self) -> float:
        """The same in standard errors; of Student's t, the standard errors of a normal distribution with the same p."""
        if math.isinf(self.freedom) or not math.isfinite(self.halves):
            return statistics.Z * self.halves
        t = self.halves * float(stats.t.ppf((1 + statistics.LEVEL) / 2, self.freedom))
        return math.copysign(float(stats.norm.isf(max(stats.t.sf(abs(t), self.freedom), LEAST))), t)

    def scaled(self, number: float) -> float:
        """A number of the estimate's unit on the scale on which its distribution is."""
        if not self.logarithmic:
            return number
        return math.log(number) if number > 0 else -math.inf

    def _distance(self, side: int, bound: float) -> float:
        value, low, high = map(self.scaled, (self.value, self.low, self.high))
        distance = side * (value - self.scaled(bound))
        towards_low = (side > 0) == (distance > 0)
        half = value - low if towards_low else high - value
        if half > 0:
            return distance / half
        return math.copysign(math.inf, distance) if distance else 0.0

    @property
    def evidence(self) -> float:
        """z, or 0 where a single seed is on another side than all of them together."""
        return self.z if math.isnan(self.z) or self.seeds_agree else 0.0

    @property
    def seeds_agree(self) -> bool:
        """Whether every single seed lies on the same side as all of them together."""
        low, high = self.region
        if low < self.value < high:
            return low < self.least and self.most < high
        return self.most < low if self.value < low else self.least > high


@dataclass(frozen=True)
class Verdict:
    """What the data of one model make of a claim. ``p_holm`` is p, adjusted for all claims of the list."""

    claim: Claim
    model: str
    outcome: Outcome
    reason: str = ""
    comparisons: tuple[Comparison, ...] = field(default=())
    p: float = math.nan
    p_holm: float = math.nan

    @property
    def decisive(self) -> Comparison | None:
        """The comparison that decides: of every one the least clear, of some the clearest."""
        known = [each for each in self.comparisons if not math.isnan(each.z)]
        choose = max if self.claim.rule.some else min
        return choose(known, key=lambda each: each.evidence, default=None) or next(iter(self.comparisons), None)


def parse(content: object, where: str = "claims.yaml") -> list[Claim]:
    """The claims of a file's ``content``. A ``ValueError`` says in one sentence which entry is wrong and how."""
    if not isinstance(content, list) or not content:
        raise ValueError(f"{where} must be a list of claims, each with name, sentence, source and rule")
    found: list[Claim] = []
    for number, entry in enumerate(content, 1):
        name = entry.get("name") if isinstance(entry, dict) else None
        called = f"claim {name if isinstance(name, str) and name else number} of {where}"
        if not isinstance(entry, dict):
            raise ValueError(f"{called} is {entry!r}; give a mapping with name, sentence, source and rule")
        try:
            found.append(Claim.model_validate(entry))
        except ValidationError as error:
            raise ValueError(_fault(error, called)) from error
        if name in [claim.name for claim in found[:-1]]:
            raise ValueError(f"{called} is there twice; give one of them another name")
    return found


def _fault(error: ValidationError, where: str) -> str:
    """The first fault in one sentence: what was given, and what is allowed."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    *parents, key = path or [""]
    models: dict[str, type[Strict]] = {"rule": Rule, "score": Score, "less": Score, "correlated_with": Score}
    model = models[parents[-1]] if parents else Kind if error.title == "Kind" else Claim
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, model.model_fields, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "correct or remove it"
        return f"{where} has an unknown key {'.'.join(path)!r}; allowed are {', '.join(model.model_fields)}; {hint}"
    if first["type"] == "missing":
        return f"{where} lacks {'.'.join(path)!r}; add it"
    if first["type"] == "value_error":
        return f"{where}: {'.'.join(path)} is wrong: {first['ctx']['error']}"
    return f"{where} gives {'.'.join(path)}={first['input']!r}, which is not allowed ({first['msg']}); correct it"


def item_rows(given: Mapping[str, list[str]], scores: Mapping[str, str]) -> dict[str, pl.DataFrame]:
    """Item rows by dimension: of the files ``given``, else those published beside the table of ``scores``.

    An empty table of scores is that of the last default run. A dimension of which there are no items is left out.
    """
    found = {}
    for dimension in ITEMS:
        table = scores.get(dimension, "")
        beside = _published(Path(table).parent if table else results.folder(results.DEFAULT), dimension)
        if files := [Path(file) for file in given.get(dimension, [])] or beside:
            found[dimension] = pl.concat(tables.read(file).drop("output") for file in files)
    return found


def _published(folder: Path, dimension: str) -> list[Path]:
    judged = folder / f"judged.{dimension}.parquet"
    return [judged] if judged.is_file() else sorted((folder / "items").glob(f"*.{dimension}.parquet"))


class Behind(NamedTuple):
    """What is behind the scores: the items that were answered, and the item rows of the repeats, if they are there."""

    answers: between.Items
    repeats: pl.DataFrame | None


def judge(claims: list[Claim], scores: pl.DataFrame, items: Mapping[str, pl.DataFrame] | None = None) -> list[Verdict]:
    """A verdict for each claim and model of its dimension, in the order of the claims.

    ``scores`` are the tables of all dimensions together, and ``items`` the item rows behind them by dimension, from
    which two scores over the same items are compared. A claim about variants that they do not have is not in this
    profile, which is no error. Raises a ``ValueError`` where a score is not one row a variant.
    """
    answers = between.Items({name: rows for name, rows in (items or {}).items() if name != TIMED})
    behind = Behind(answers, (items or {}).get(TIMED))
    verdicts = [verdict for claim in claims for verdict in _by_model(claim, scores, behind)]
    adjusted = statistics.holm(np.array([verdict.p for verdict in verdicts], dtype=float))
    number = int(np.isfinite(adjusted).sum())
    return [_decided(verdict, float(p), number) for verdict, p in zip(verdicts, adjusted, strict=True)]


def _by_model(claim: Claim, scores: pl.DataFrame, behind: Behind) -> Iterator[Verdict]:
    dimension = claim.rule.score.dimension
    models = scores.filter(dimension=dimension)["model"].unique(maintain_order=True).to_list()
    if not models:
        yield Verdict(claim, "", Outcome.ABSENT, f"{dimension} was not measured")
    for model in models:
        yield _verdict(claim, model, scores.filter(model=model), behind)


def _verdict(claim: Claim, model: str, scores: pl.DataFrame, behind: Behind) -> Verdict:
    """The verdict before Holm's correction: with p, and without an outcome of its own."""
    rule = claim.rule
    of, lacking = _present(rule.of, scores, rule.score.dimension)
    others, also = _present(rule.others, scores, rule.score.dimension) if rule.others is not None else (None, [])
    lacking += also
    pairs = _pairs(rule, of, others)
    if not pairs:
        return Verdict(claim, model, Outcome.ABSENT, f"there is no {_listed(lacking)}" if lacking else "no variant")
    values = _estimates(scores, rule.score, claim.name)
    if rule.less:
        subtracted = _estimates(scores, rule.less, claim.name)
        both = [name for name in values if name in subtracted]
        values = {name: replace(_difference(values[name], subtracted[name]), other="") for name in both}
    comparisons: tuple[Comparison, ...]
    if rule.correlated_with:
        comparisons = (_correlation(rule, of, values, _estimates(scores, rule.correlated_with, claim.name)),)
    else:
        several = _paired([_compared(rule, values, *pair) for pair in pairs], behind.answers)
        comparisons = tuple(_of_repeats(each, rule, behind.repeats) for each in several)
    reason = f"without {_listed(lacking)}" if lacking else ""
    return Verdict(claim, model, Outcome.UNDECIDED, reason, comparisons, _evidence(rule, comparisons)[1])


def _present(variants: tuple[str, ...] | Kind, scores: pl.DataFrame, dimension: str) -> tuple[list[str], list[str]]:
    """The variants that the table of a dimension has, and what it lacks."""
    table = scores.filter(dimension=dimension)
    there = table["variant"].unique(maintain_order=True).to_list()
    if not isinstance(variants, Kind):
        return [name for name in variants if name in there], [name for name in variants if name not in there]
    kind = table.filter(~pl.col("method").is_in(["dense", "untrained", "all"]), control="", sibling="")
    if variants.method is not None:
        kind = kind.filter(pl.col("method").is_in(variants.method))
    for name, value in (("rate", variants.rate), ("schedule", variants.schedule)):
        kind = kind if value is None else kind.filter(pl.col(name) == value)
    found = kind["variant"].unique(maintain_order=True).to_list()
    facts = variants.model_dump(exclude_none=True).items()
    told = ", ".join(f"{name} {_listed(value) if isinstance(value, list) else value}" for name, value in facts)
    return found, [] if found else [f"variant of {told}" if told else "compressed variant"]


def _pairs(rule: Rule, of: list[str], others: list[str] | None) -> list[tuple[str, str]]:
    if others is None:
        return [(name, "") for name in of]
    if rule.in_order:
        given = zip(rule.of, rule.others, strict=True)  # type: ignore[arg-type]
        return [(name, other) for name, other in given if name in of and other in others]
    return [(name, other) for name in of for other in others if name != other]


def _estimates(scores: pl.DataFrame, score: Score, name: str) -> dict[str, Comparison]:
    """A score of each variant, with its extremes over seeds, as a comparison with nothing yet."""
    named = {field: getattr(score, field) for field in FIELDS if getattr(score, field) is not None}
    rows = scores.filter(dimension=score.dimension, metric=score.metric, **named)
    repeated = rows.filter(pl.len().over("variant", "seed") > 1)
    if len(repeated):
        differing = {field: repeated[field].unique().sort().to_list() for field in FIELDS if field not in named}
        told = "; ".join(f"{key}: {_listed(values)}" for key, values in differing.items() if len(values) > 1)
        raise ValueError(
            f"claim {name}: {score.metric} of {score.dimension} has several rows for one variant; choose among {told}"
        )
    by_variant: dict[str, list[dict[str, Any]]] = {}
    for row in rows.iter_rows(named=True):
        by_variant.setdefault(row["variant"], []).append(row)
    return {variant: _estimate(of_variant, score) for variant, of_variant in by_variant.items()}


def _estimate(rows: list[dict[str, Any]], score: Score) -> Comparison:
    single = [row for row in rows if row["seed"] is not None]
    chosen = [row for row in rows if row["seed"] is None] or single
    row = chosen[0]
    value, low, high = (_number(row[key]) for key in ("value", "low", "high"))
    reason = ""
    if score.metric in COUNTED:
        low = high = value
    elif len(chosen) > 1:
        low, high, reason = math.nan, math.nan, "there are several seeds, and no score over them"
    elif score.dimension == TIMED:  # its interval is a range, which is no distribution
        low, high, reason = math.nan, math.nan, row["reason"] or AWAY
    elif not low < high:
        low, high, reason = math.nan, math.nan, row["reason"] or "it has no interval"
    seeds = [number for row in single if math.isfinite(number := _number(row["value"]))] or [value]
    count = score.metric in COUNTED
    return Comparison(
        score.called or row["label"], "", value, low, high, min(seeds), max(seeds), (-math.inf, math.inf),
        max(len(single), 1), reason, () if count or len(chosen) > 1 else ((1.0, row),), COUNT if count else OWN,
    )  # fmt: skip


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _missing(name: str, rule: Rule) -> Comparison:
    told = [rule.score.metric, *(f"{key} {value}" for key in FIELDS if (value := getattr(rule.score, key)))]
    unknown = math.nan
    reason = f"there is no {', '.join(told)}"
    return Comparison(name, "", unknown, unknown, unknown, unknown, unknown, rule.region, reason=reason)


def _compared(rule: Rule, values: dict[str, Comparison], of: str, other: str) -> Comparison:
    """The score of a variant, or its difference from another one's."""
    first = replace(values.get(of) or _missing(of, rule), region=rule.region)
    return _difference(first, values.get(other) or _missing(other, rule)) if other else first


def _difference(first: Comparison, second: Comparison) -> Comparison:
    """The difference of two scores that are taken as independent, with the limits of Zou and Donner (2008)."""
    value = first.value - second.value
    below, above = first.value - first.low, first.high - first.value
    return Comparison(
        first.of, second.of, value,
        value - math.hypot(below, second.high - second.value), value + math.hypot(above, second.value - second.low),
        first.least - second.most, first.most - second.least, first.region, max(first.seeds, second.seeds),
        "; ".join(f"{each.of}: {each.reason}" for each in (first, second) if each.reason),
        (*first.terms, *((-weight, row) for weight, row in second.terms)) if first.terms and second.terms else (),
        COUNT if first.interval == second.interval == COUNT else INDEPENDENT,
    )  # fmt: skip


def _paired(comparisons: list[Comparison], items: between.Items) -> tuple[Comparison, ...]:
    """The comparisons with the intervals of ``evaluate.between`` for those of several scores, where it has them."""
    several = [len(each.terms) > 1 and math.isfinite(each.value) for each in comparisons]
    found = iter(items.differences([each.terms for each, more in zip(comparisons, several) if more]))
    return tuple(_with(each, next(found)) if more else each for each, more in zip(comparisons, several))


def _with(comparison: Comparison, paired: between.Paired) -> Comparison:
    if paired.why:
        return replace(comparison, interval=f"{INDEPENDENT}: {paired.why}")
    value, low, high = paired.estimate.value, paired.estimate.low, paired.estimate.high
    if not math.isclose(value, comparison.value, rel_tol=1e-6, abs_tol=1e-6):
        return replace(comparison, interval=f"{INDEPENDENT}: the items give another value")
    how = "paired" if comparison.other else "together"
    interval = f"{how}, {paired.items} items"
    return replace(comparison, low=low, high=high, reason=paired.estimate.reason, interval=interval)


def _of_repeats(comparison: Comparison, rule: Rule, rows: pl.DataFrame | None) -> Comparison:
    """A comparison of speeds by the repeats behind them, if they are there: of one with a bound, or of two by ratio.

    The estimate is the geometric mean of the repeats. Two variants are compared by Welch's t, as independent.
    """
    if comparison.interval == COUNT or not comparison.terms or rule.score.dimension != TIMED:
        return comparison
    if rule.less or rule.by:
        return replace(comparison, reason="speeds are compared by their ratio, for which less and by have no meaning")
    logs = [_repeats(row, rows) for _, row in comparison.terms]
    if rows is None or not all(len(each) > 1 for each in logs):
        return comparison
    errors = np.array([each.var(ddof=1) / len(each) for each in logs])
    if not errors.sum() > 0:
        return replace(comparison, reason="all repeats are equal")
    freedom = float(errors.sum() ** 2 / sum(error**2 / (len(each) - 1) for error, each in zip(errors, logs)))
    centre = sum(weight * float(each.mean()) for (weight, _), each in zip(comparison.terms, logs))
    half = float(stats.t.ppf((1 + statistics.LEVEL) / 2, freedom) * np.sqrt(errors.sum()))
    value, low, high = map(math.exp, (centre, centre - half, centre + half))
    counts = " and ".join(str(len(each)) for each in logs)
    first, last = (
        bound + 1 if comparison.other else bound for bound in comparison.region
    )  # no difference: a ratio of 1
    return replace(
        comparison, value=value, low=low, high=high, least=value, most=value, region=(first, last), reason="",
        interval=f"Student's t, {counts} repeats{', a ratio' if comparison.other else ''}", freedom=freedom,
        logarithmic=True,
    )  # fmt: skip


def _repeats(row: Mapping[str, Any], rows: pl.DataFrame | None) -> np.ndarray:
    """Logarithms of the repeats behind a score of the efficiency; none where the items do not have them.

    A ratio's are those of the variant over those of dense, which was measured in turn with it. Items of several
    processes, as of several seeds, or whose median is not the score, are not what is behind it.
    """
    if rows is None:
        return np.empty(0)
    of_variant = rows.filter(model=row["model"], variant=row["variant"])
    measured = of_variant["metric"].unique()
    name = next((metric for metric in measured if f"{metric}_ratio" == row["metric"]), row["metric"])
    values = of_variant.filter(metric=name)
    if name != row["metric"]:
        dense = of_variant.filter(metric=f"{name}_dense").select("seed", "doc_id", dense="value")
        values = values.join(dense, on=["seed", "doc_id"], nulls_equal=True)
        values = values.with_columns(pl.col("value") / pl.col("dense"))
    repeats = values["value"].to_numpy()
    if values["seed"].n_unique() != 1 or values["doc_id"].n_unique() < len(values) or not (repeats > 0).all():
        return np.empty(0)
    return np.log(repeats) if math.isclose(np.median(repeats), row["value"], rel_tol=1e-6) else np.empty(0)


def _correlation(rule: Rule, of: list[str], x: dict[str, Comparison], y: dict[str, Comparison]) -> Comparison:
    both = [name for name in of if name in x and name in y]
    estimate = statistics.rank_correlation(
        np.array([x[name].value for name in both]), np.array([y[name].value for name in both])
    )
    known = sum(math.isfinite(x[name].value) and math.isfinite(y[name].value) for name in both)
    value = estimate.value
    return Comparison(
        f"rank correlation over {known} variants", "", value, estimate.low, estimate.high, value, value, rule.region,
        reason=estimate.reason,
    )  # fmt: skip


def _evidence(rule: Rule, comparisons: tuple[Comparison, ...]) -> tuple[int, float]:
    """The side that the comparisons are on, 1 for the claim's, -1 for the other, 0 for neither, and a two-sided p.

    p is 1 for neither, and NaN where all comparisons are of counts.
    """
    evidence = [each.evidence for each in comparisons]
    known = [z for z in evidence if not math.isnan(z)]
    if not known:
        return 0, 1.0
    decisive = max(known) if rule.some else min(known)
    alone = (decisive > 0) == rule.some  # one comparison makes a claim about some true, and one about every one false
    if not decisive or (not alone and len(known) < len(evidence)):
        return 0, 1.0
    side = 1 if decisive > 0 else -1
    if all(map(math.isinf, evidence)):
        return side, math.nan
    p = 2 * float(stats.norm.sf(abs(decisive))) * (len(evidence) if alone else 1)
    return side, min(1.0, max(p, LEAST))


def _decided(verdict: Verdict, p_holm: float, number: int) -> Verdict:
    """The verdict with its outcome, and why there is none, after the correction for a ``number`` of claims."""
    if verdict.outcome == Outcome.ABSENT:
        return verdict
    side, p = _evidence(verdict.claim.rule, verdict.comparisons)
    alpha = 2 * float(stats.norm.sf(statistics.Z))  # so that an interval that touches its bound decides nothing
    if side and (math.isnan(p) or p_holm < alpha):
        return replace(verdict, outcome=Outcome.HELD if side > 0 else Outcome.CONTRADICTED, p_holm=p_holm)
    unknown = [each.reason for each in verdict.comparisons if math.isnan(each.z)]
    if side and p < alpha:
        why = f"not after Holm's correction for {number} claims"
    elif any(abs(each.z) > statistics.Z and not each.seeds_agree for each in verdict.comparisons):
        why = "not with every calibration seed"
    else:
        why = unknown[0] if unknown else ""
    return replace(verdict, reason="; ".join(filter(None, (verdict.reason, why))), p_holm=p_holm)


def _listed(names: list[Any]) -> str:
    return ", ".join(map(str, names))
