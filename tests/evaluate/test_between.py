"""Differences of scores over the same items: those of the tables, with intervals that hold the truth and are paired."""

import itertools
import math

import numpy as np
import polars as pl
import pytest

from unicomp_lib import tables
from unicomp_lib.evaluate import between, scoring, siblings, statistics

METRICS = ("retention", "accuracy_retention", "plain_retention", "bits_per_byte_growth", "bits_per_byte_change")


def rows(variant, values, *, task="t_cloze", metric="acc", form="cloze", capability="knowledge", seed=None, **given):
    frame = pl.DataFrame(
        {
            "dimension": "performance", "capability": capability, "task": task, "format": form, "chance": 0.25,
            "doc_id": range(len(values)), "doc_hash": [f"h{n}" for n in range(len(values))],
            "prompt_hash": [f"{form} {n}" for n in range(len(values))],
            "cluster": [f"c{n}" for n in range(len(values))], "metric": metric, "primary": metric == "acc",
            "value": [float(value) for value in values], "output": "", "judge": "", **given,
        }
    )  # fmt: skip
    cell = {"model": "m", "method": variant, "variant": variant, "calibration": "", "seed": seed}
    return tables.label(frame.cast(tables.ITEMS), cell)


def row(variant, metric="retention", *, capability="all", task="all", form="all", dimension="performance"):
    names = ("model", "variant", "metric", "capability", "task", "format", "dimension")
    return dict(zip(names, ("m", variant, metric, capability, task, form, dimension)))


def difference(items, *first, **named):
    first, second = row("a", *first, **named), row("b", *first, **named)
    (found,) = between.Items(items).differences([((1.0, first), (-1.0, second))])
    return found


def answers(chance, number, *, keep=0.8, alike=0.9):
    """Right or wrong of dense, a and b: dense is right on nine of ten, a and b mostly lose the same of these."""
    dense = chance.random(number) < 0.9
    a = chance.random(number)
    b = np.where(chance.random(number) < alike, a, chance.random(number))
    return {"dense": dense, "a": np.where(dense, a < keep, a < 0.1), "b": np.where(dense, b < keep, b < 0.1)}


@pytest.fixture(scope="module")
def study():
    """Two tasks in two formats and a third one; dense has further items of two, and b was calibrated with two seeds."""
    chance = np.random.default_rng(5)
    frames = []
    for task, form, capability, number in (
        ("t_cloze", "cloze", "knowledge", 60), ("t_generate", "generate", "knowledge", 40),
        ("u_cloze", "cloze", "reasoning", 50),
    ):  # fmt: skip
        for seed in (0, 1):
            for variant, values in answers(chance, number).items():
                if seed and variant != "b":
                    continue
                asked = values if variant == "dense" or form == "generate" else values[:-10]
                about = {"task": task, "form": form, "capability": capability, "seed": seed}
                frames.append(rows(variant, asked, **about))
                bits = 2 - 0.5 * asked + chance.normal(0, 0.1, len(asked)) + (variant != "dense") * 0.2
                frames.append(rows(variant, bits, metric="bits_per_byte", **about))
    items = pl.concat(frames)
    return items, scoring.score(items, {}).filter(pl.col("seed").is_null())


def test_every_difference_is_that_of_the_scores(study):
    items, scores = study
    task = ("acc", "bits_per_byte", "difference", "flips_lost", "flips_gained")
    wanted = scores.filter(pl.col("metric").is_in([*METRICS, *task]), pl.col("value").is_not_null())
    pairs = [
        [found.row(0, named=True) for variant in ("a", "b") if len(found := frame.filter(variant=variant))]
        for _, frame in wanted.group_by("metric", "capability", "task", "format", maintain_order=True)
    ]
    pairs = [pair for pair in pairs if len(pair) == 2]
    found = between.Items({"performance": items}).differences([((1.0, a), (-1.0, b)) for a, b in pairs])
    assert {a["metric"] for a, _ in pairs} == {*METRICS, *task}
    assert [paired.why for paired in found] == [""] * len(pairs)
    for (a, b), paired in zip(pairs, found, strict=True):
        estimate = paired.estimate
        assert estimate.value == pytest.approx(a["value"] - b["value"], abs=1e-9), (a, b)
        assert estimate.low < estimate.value < estimate.high
        assert paired.items == a["n"]


def test_it_agrees_with_the_effect_of_a_calibration(study):
    items, _ = study
    facts = {"a": {"sibling": "b"}}
    effects = siblings.effect(items, "bits_per_byte", facts)
    for effect in effects.iter_rows(named=True):
        found = difference({"performance": items}, "bits_per_byte_change", capability=effect["capability"])
        assert (found.estimate.value, found.estimate.low, found.estimate.high) == pytest.approx(
            (effect["value"], effect["low"], effect["high"]), rel=1e-6
        )
        assert found.items == effect["n"]
    shuffled = items.filter(task="t_generate").sample(fraction=1, shuffle=True, seed=1)
    (effect,) = siblings.effect(shuffled, "primary", facts).iter_rows(named=True)
    found = difference({"performance": shuffled}, "difference", task="t_generate", form="generate").estimate
    assert (found.value, found.low, found.high) == pytest.approx((effect["value"], effect["low"], effect["high"]))


@pytest.mark.parametrize("metric", ["nll", "kl", "agreement", "p_change"])
def test_blocks_of_text_are_paired_as_means(metric):
    values = np.random.default_rng(3).random((2, 24))
    frames = [
        rows(variant, of_variant, metric=metric, task="held-out", capability="fidelity", doc_hash=None)
        for variant, of_variant in zip("ab", values)
    ]
    found = difference({"fidelity": pl.concat(frames)}, metric, dimension="fidelity", task="held-out")
    expected = statistics.bootstrap(values[0] - values[1], np.arange(24))
    assert (found.estimate.value, found.items) == (pytest.approx(expected.value), 24)
    assert found.estimate.high - found.estimate.low == pytest.approx(expected.high - expected.low, rel=0.05)
    effect = siblings.effect(pl.concat(frames), metric, {"a": {"sibling": "b"}}).row(0, named=True)
    assert (found.estimate.low, found.estimate.high) == pytest.approx((effect["low"], effect["high"]), rel=1e-9)


def test_perplexities_are_compared_as_exponentials_of_paired_means():
    chance = np.random.default_rng(0)
    block, noise = chance.normal(3, 0.5, 24), chance.normal(0, 0.02, (2, 24))
    losses = {"a": block + 0.3 + noise[0], "b": block + 0.1 + noise[1]}
    about = {"task": "held-out", "capability": "fidelity", "doc_hash": None}
    frames = [rows(variant, values, metric="nll", **about) for variant, values in losses.items()]
    frames += [rows(variant, block, metric="nll_dense", **about) for variant in losses]
    items = {"fidelity": pl.concat(frames)}
    value = np.exp(losses["a"].mean()) - np.exp(losses["b"].mean())
    ratio = np.exp((losses["a"] - block).mean()) - np.exp((losses["b"] - block).mean())
    found = difference(items, "perplexity", dimension="fidelity", task="held-out").estimate
    assert found.value == pytest.approx(value)
    # To first order the difference changes by exp(mean) for each change of the mean: the blocks' own spread stays.
    gradient = np.exp(losses["a"].mean()) * losses["a"] - np.exp(losses["b"].mean()) * losses["b"]
    expected = statistics.bootstrap(gradient, np.arange(24))
    assert found.high - found.low == pytest.approx(expected.high - expected.low, rel=0.15)
    found = difference(items, "perplexity_ratio", dimension="fidelity", task="held-out").estimate
    assert found.value == pytest.approx(ratio)
    assert found.high - found.low < 0.05  # the blocks' own spread is gone


def test_differences_of_growth_and_retention_are_those_of_statistics(study):
    items, _ = study
    cells = between.Items({"performance": items})
    parts = {name: cells._quantity(row(name, "bits_per_byte_growth"))[1].parts for name in ("a", "b")}
    expected = statistics.growth([(1.0, parts["a"]), (-1.0, parts["b"])])
    found = difference({"performance": items}, "bits_per_byte_growth").estimate
    assert found.value == pytest.approx(expected.value)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=0.01)  # stretched before the log
    # Less dense, whose retention is 1: the interval of the retention itself.
    terms = ((1.0, row("a")), (-1.0, row("dense")))
    (paired,) = cells.differences([terms])
    alone = statistics.contrast([(1.0, cells._quantity(row("a"))[1].parts)])
    assert paired.estimate.value == pytest.approx(alone.value - 1)
    assert (paired.estimate.low, paired.estimate.high) == pytest.approx((alone.low - 1, alone.high - 1), abs=0.03)


def test_two_scores_of_one_variant_are_drawn_together(study):
    items, _ = study
    cells = between.Items({"performance": items})
    both = [row("a", "bits_per_byte_growth", capability=name) for name in ("knowledge", "reasoning")]
    groups = [(sign, cells._quantity(each)[1].parts) for sign, each in zip((1.0, -1.0), both)]
    expected = statistics.growth(groups)
    (found,) = cells.differences([((1.0, both[0]), (-1.0, both[1]))])
    assert found.estimate.value == pytest.approx(expected.value)
    assert (found.estimate.low, found.estimate.high) == pytest.approx((expected.low, expected.high), rel=0.01)
    assert found.items == 50 + 40 + 40


def test_the_interval_of_a_difference_of_retentions_holds_the_truth():
    """Equal on average: at least 95 of 100 intervals hold zero, of half the width of independent ones at most."""
    chance = np.random.default_rng(11)
    holds, widths, independent = [], [], []
    for _ in range(120):
        values = answers(chance, 60)
        found = difference({"performance": pl.concat(rows(name, of) for name, of in values.items())}).estimate
        holds.append(found.low <= 0 <= found.high)
        widths.append(found.high - found.low)
        each = [
            statistics.retention([statistics.Part(values[name] * 1.0, values["dense"] * 1.0, np.arange(60), 0.25)])
            for name in ("a", "b")
        ]
        independent.append(math.hypot(*(one.high - one.low for one in each)))
    assert np.mean(holds) > 0.93
    assert np.mean(widths) < 0.5 * np.mean(independent)


def test_a_clear_difference_is_found_and_an_equal_variant_is_not_told_apart():
    chance = np.random.default_rng(2)
    values = answers(chance, 100)
    worse = values | {"b": values["a"] & (chance.random(100) < 0.7)}
    equal = values | {"b": values["a"]}
    for given, clear in ((worse, True), (equal, False)):
        items = {"performance": pl.concat(rows(name, of) for name, of in given.items())}
        for metric in ("retention", "plain_retention"):
            found = difference(items, metric).estimate
            assert (found.low > 0) == clear
            assert found.low < found.value + 1e-12 < found.high + 2e-12
        found = difference(items, "acc", task="t_cloze", form="cloze").estimate
        assert (found.low > 0) == clear


def test_few_answers_that_differ_are_not_overrated():
    """Three answers of 200 that only a has right: p = 0.25 by the exact test, though b is better in no resample."""
    values = {"dense": np.ones(200), "a": np.arange(200) < 180, "b": np.arange(200) < 177}
    found = difference({"performance": pl.concat(rows(name, of) for name, of in values.items())}).estimate
    assert found.low < 0 < found.value


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ({"dimension": "efficiency", "metric": "decode_ratio", "task": "speed"}, "measured apart"),
        ({"dimension": "reliability"}, "no items of reliability"),
        ({"metric": "attack_success", "task": "t_cloze"}, "no items have attack_success"),
        ({"metric": "bias_growth"}, "bias_growth is no mean over items"),
        ({"metric": "mis", "task": "units"}, "no items have mis"),
        ({"capability": "ethics"}, "no task to compare"),
    ],
)
def test_what_cannot_be_paired_says_why(study, named, why):
    items, _ = study
    first, second = (row(variant, **named) for variant in ("a", "b"))
    (found,) = between.Items({"performance": items}).differences([((1.0, first), (-1.0, second))])
    assert found.why == why
    assert math.isnan(found.estimate.value)


def test_items_that_lack_or_differ_are_not_paired(study):
    items, _ = study
    first = pl.col("doc_id") < 20
    half = items.filter((pl.col("variant") == "dense") | (first == (pl.col("variant") == "a")))
    assert difference({"performance": half}).why == "no item is the same"
    unknown = items.with_columns(value=pl.when(pl.col("variant") != "b").then("value"))
    assert "value" in difference({"performance": unknown}, "acc", task="t_cloze", form="cloze").why
    again = items.filter(variant="dense").with_columns(seed=pl.lit(1, dtype=pl.Int64))
    assert difference({"performance": pl.concat([items, again])}).why == "trained several times"


def test_a_task_that_one_of_both_lacks_is_left_out_of_that_one(study):
    items, _ = study
    bad = (pl.col("variant") == "b") & (pl.col("task") == "u_cloze") & (pl.col("doc_id") == 3)
    broken = items.with_columns(value=pl.when(~bad).then("value"))
    scores = scoring.score(broken, {}).filter(pl.col("seed").is_null(), metric="retention", capability="all")
    values = dict(scores.select("variant", "value").iter_rows())
    found = difference({"performance": broken})
    assert found.estimate.value == pytest.approx(values["a"] - values["b"])
    assert found.items == 50 + 40


def test_every_pair_shares_its_draws_with_all_others(study):
    items, _ = study
    cells = between.Items({"performance": items})
    names = ("a", "b", "dense")
    pairs = [((1.0, row(x)), (-1.0, row(y))) for x, y in itertools.permutations(names, 2)]
    together = cells.differences(pairs)
    for pair, paired in zip(pairs, together, strict=True):
        (alone,) = between.Items({"performance": items}).differences([pair])
        assert paired.estimate.value == pytest.approx(alone.estimate.value)
        assert paired.estimate.low == pytest.approx(alone.estimate.low, abs=0.02)
