"""What is said of two models: nothing where only chance is at work, and damage where there is some."""

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy import stats

from unicomp_lib import results
from unicomp_lib.compare import measure
from unicomp_lib.compare.pair import Pair
from unicomp_lib.compare.side import Side, higher_is_better
from unicomp_lib.evaluate import statistics

TASKS = {"piqa": (400, 0.65), "arc": (200, 0.4), "siqa": (300, 0.45), "boolq": (250, 0.6), "gsm8k": (150, 0.1)}


def paired(task, a, b, c=None, clusters=None, *, higher=True):
    """A pair of these values."""
    names = clusters if clusters is not None else [f"{task}{index}" for index in range(len(a))]
    items = pl.DataFrame(
        {
            "doc_id": [str(index) for index in range(len(a))], "cluster": names, "question": "", "target": "",
            "a": np.asarray(a, dtype=float), "b": np.asarray(b, dtype=float),
            "c": np.asarray(c, dtype=float) if c is not None else None, "answer_a": "", "answer_b": "",
        },
        schema_overrides={"c": pl.Float64},
    )  # fmt: skip
    return Pair(task, "acc", items, higher, 0, 0)


def drawn(chance, unsure, *, lost=None):
    """Answers of A, of B and of a rerun of A, which differ on a share ``unsure`` of the items, there by chance alone.

    B also loses a share ``lost`` of what A has right, if given.
    """
    pairs = []
    for task, (number, rate) in TASKS.items():
        sure = chance.random(number) > unsure
        certain = chance.random(number) < rate
        a, b, c = (np.where(sure, certain, chance.random(number) < rate) for _ in range(3))
        if lost is not None:
            b = b & (chance.random(number) > lost)
        pairs.append(paired(task, a, b, c))
    return pairs


def judged(pairs):
    of_tasks = measure.lines(pairs)
    over_all, _ = measure.whole(pairs, of_tasks)
    return measure.together(of_tasks, over_all)[:2]


@pytest.mark.parametrize("unsure", [0.05, 0.3, 1.0])
def test_of_a_rerun_the_sentence_finds_nothing_in_95_of_100_repeats(unsure):
    """Of all that it could name: each task, all items together and the reference answers."""
    chance, said = np.random.default_rng(7), []
    for _ in range(100):
        pairs = [replace(pair, items=pair.items.with_columns(c=None)) for pair in drawn(chance, unsure)]
        of_tasks = measure.lines(pairs)
        bits = chance.gamma(4, 0.5, 40)
        likely = measure.likelihood([paired("bits", *(bits + chance.normal(0, 0.1, (2, 40))), higher=False)])
        every = measure.all_items(pairs, of_tasks)  # the mean of tasks has no test
        of_tasks, over_all, likely = measure.together(of_tasks, [every], likely)
        said.append(measure.sentence("A", "B", of_tasks, over_all, likely))
    found = [text for text in said if not text.startswith("No difference between A and B was found on any of 5 tasks")]
    assert len(found) <= 5, found


def test_all_tests_of_a_page_are_adjusted_together():
    pairs = [paired(name, [1] * 6 + [0] * 20, [0] * 26) for name in ("t", "u")]
    before = np.linspace(1, 2, 12)
    likely = measure.likelihood([paired("bits", before, before + np.resize([0.3, 0.1, 0.2], 12), higher=False)])
    alone = [*measure.lines(pairs), measure.all_items(pairs, measure.lines(pairs)), likely]
    of_tasks, (every,), likely = measure.together(alone[:2], [alone[2]], alone[3])
    assert [line.p for line in (*of_tasks, every)] == pytest.approx([2 / 2**6] * 2 + [2 / 2**12])
    assert [line.holm for line in (*of_tasks, every)] == pytest.approx([4 / 2**6] * 2 + [6 / 2**12])
    assert likely.holm == pytest.approx(4 * likely.p)
    # The level of 5 % is shared by four tests, so that a difference must be larger to be found.
    z = stats.norm.ppf(1 - 0.05 / 8) + stats.norm.ppf(0.8)
    assert every.detectable == pytest.approx(z / (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * every.alone)


def test_damage_is_found_on_the_tasks_that_have_it_and_in_all():
    of_tasks, over_all = judged(drawn(np.random.default_rng(3), 0.05, lost=0.25))
    worse = [line.task for line in of_tasks if line.verdict == measure.WORSE]
    assert {"piqa", "siqa", "boolq"} <= set(worse)
    assert over_all[0].verdict == measure.WORSE
    assert over_all[0].difference.high < 0
    said = measure.sentence("dense", "wanda", of_tasks, over_all)
    assert said.startswith(f"wanda is worse than dense on {len(worse)} of 5 tasks (piqa −")
    assert "; in all, −" in said


def test_the_published_damage_of_pruning_is_found():
    """Of a network pruned by 90 %, on the committed rows of its images."""
    folder = results.folder("embedded") / "items"
    dense, pruned = (
        pl.read_parquet(folder / f"googlenet.{name}.vision.parquet").filter(pl.col("primary"))
        for name in ("dense", "unstructured-90-as-pruned")
    )
    rows = dense.select("doc_id", "cluster", a="value").join(pruned.select("doc_id", b="value"), on="doc_id")
    (line,) = measure.lines([paired("emoji", rows["a"], rows["b"], clusters=rows["cluster"])])
    assert line.verdict == measure.WORSE
    assert line.test == measure.STUDENT  # the vendors' pictures of one emoji are a cluster


def test_all_items_count_each_item_and_the_mean_each_task():
    pairs = [paired("t", [1] * 90, [1] * 45 + [0] * 45), paired("u", [1] * 10, [1] * 10)]
    _, (every, mean) = judged(pairs)
    assert (every.n, every.lost, every.difference.value) == (100, 45, pytest.approx(-0.45))
    assert mean.difference.value == pytest.approx(-0.25)
    assert mean.difference.low < -0.25 < mean.difference.high


def test_the_mean_of_tasks_of_a_few_other_values_has_students_t():
    """For two tasks of five items: the interval of independent means, stretched as that of each task alone."""
    chance = np.random.default_rng(2)
    pairs = [paired(name, *chance.uniform(0.2, 0.8, (2, 5))) for name in ("t", "u")]
    of_tasks, (_, mean) = judged(pairs)
    width = mean.difference.high - mean.difference.low
    alone = [line.difference.high - line.difference.low for line in of_tasks]
    assert width == pytest.approx(np.hypot(*alone) / 2, rel=0.1)
    together = [paired(name, *chance.uniform(0.2, 0.8, (2, 5)), clusters=["same"] * 5) for name in ("t", "u")]
    _, (_, mean) = judged(together)
    assert np.isnan(mean.difference.low)
    assert mean.difference.reason == "a task with one cluster"


def test_values_that_are_no_shares_are_left_out_of_all_items():
    chance = np.random.default_rng(0)
    bits = paired("bits", chance.normal(2, 1, 50), chance.normal(3, 1, 50), higher=False)
    pairs = [bits, paired("t", [1, 0] * 20, [1, 1] * 20), paired("u", [1, 0] * 20, [0, 1] * 20)]
    of_tasks = measure.lines(pairs)
    over_all, said = measure.whole(pairs, of_tasks)
    assert over_all[0].n == 80
    assert said == "bits left out of all items, since their values are no shares"
    assert (of_tasks[0].test, of_tasks[0].verdict) == (measure.STUDENT, measure.WORSE)  # more bits are worse
    assert of_tasks[0].lost > of_tasks[0].gained
    error = (bits.items["b"] - bits.items["a"]).std() / np.sqrt(50)
    assert of_tasks[0].alone == pytest.approx((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * error)
    level = 0.05 / 3  # of three tasks
    assert of_tasks[0].detectable == pytest.approx((stats.norm.ppf(1 - level / 2) + stats.norm.ppf(0.8)) * error)
    assert measure.number(of_tasks[0].a.value, of_tasks[0]) == f"{of_tasks[0].a.value:.3g}"


def test_few_bits_are_not_points():
    bits = paired("bits", [0.5, 0.6, 0.7, 0.8], [0.6, 0.7, 0.8, 0.95], higher=False)
    (line,) = measure.lines([bits])
    assert not line.points
    assert measure.changed(line).startswith("+0.112 (acc) [")


def test_students_t_is_scipys_where_items_are_independent_and_that_of_clusters_where_not():
    chance = np.random.default_rng(1)
    a, b = chance.normal(size=40), chance.normal(0.3, size=40)
    alone = measure.student(b - a, np.arange(40))
    assert alone == pytest.approx(stats.ttest_rel(b, a).pvalue)
    clusters = np.repeat(np.arange(10), 4)
    means = (b - a).reshape(10, 4).mean(axis=1)
    assert measure.student(b - a, clusters) == pytest.approx(stats.ttest_1samp(means, 0).pvalue)
    assert measure.student(np.zeros(5), np.arange(5)) == 1
    assert np.isnan(measure.student(np.ones(5), np.arange(5)))
    assert np.isnan(measure.student(b - a, np.zeros(40)))


def test_clustered_answers_are_not_tested_as_if_they_were_independent():
    """Each answer four times: the exact test of 40 answers would find what ten cannot show."""
    chance = np.random.default_rng(5)
    once = chance.random(10) < 0.7, chance.random(10) < 0.35
    a, b = (np.repeat(values, 4) for values in once)
    alone, together = (
        measure.lines([paired("t", a, b, clusters=clusters)])[0] for clusters in (None, np.repeat(np.arange(10), 4))
    )
    assert alone.test == measure.EXACT
    assert (together.test, np.isnan(together.exact)) == (measure.STUDENT, True)
    assert together.p > alone.p
    assert together.difference.high - together.difference.low > alone.difference.high - alone.difference.low


def test_holm_adjusts_for_the_number_of_tasks():
    pairs = [paired(f"t{index}", [1] * 6 + [0] * 20, [0] * 6 + [0] * 20) for index in range(3)]
    lines = measure.lines(pairs)
    assert [line.exact for line in lines] == pytest.approx([2 / 2**6] * 3)
    assert [line.holm for line in lines] == pytest.approx([6 / 2**6] * 3)
    assert {line.verdict for line in lines} == {measure.OPEN}
    assert measure.lines(pairs[:1])[0].verdict == measure.WORSE


def test_a_difference_no_larger_than_that_of_a_rerun_is_none():
    a = np.array([1] * 60 + [0] * 40, dtype=float)
    b, c = a.copy(), a.copy()
    b[:12] = 0
    (alone,) = measure.lines([paired("t", a, b, c)])
    assert alone.verdict == measure.WORSE
    c[:14] = 0
    (noisy,) = measure.lines([paired("t", a, b, c)])
    assert (noisy.verdict, noisy.rerun_flips, noisy.rerun_n) == (measure.OPEN, 14, 100)


def test_sentences():
    same = paired("t", [1, 0] * 50, [1, 0] * 50), paired("u", [1, 0] * 50, [1, 0] * 50)
    of_tasks, over_all = judged([*same])
    single = statistics.detectable(*(np.array([1.0, 0.0] * 100),) * 2, np.arange(200))
    levels = [stats.norm.ppf(1 - 0.025 / tests) + stats.norm.ppf(0.8) for tests in (3, 1)]
    size = measure.number(single * levels[0] / levels[1], over_all[0])
    said = measure.sentence("A", "B", of_tasks, over_all)
    assert said.startswith("No difference between A and B was found on any of 2 tasks; in all, +0.0 points [−")
    assert said.endswith(f"], where a true difference of {size} points would have shown in four of five samples.")
    small = [paired(name, [1] * 4 + [0, 1] * 20, [0] * 4 + [0, 1] * 20) for name in ("t", "u")]
    said = measure.sentence("A", "B", *judged(small))
    assert re.fullmatch(r"B is worse than A in all: −9\.1 points \[.*\], though on none of 2 tasks alone\.", said)
    (line,) = measure.lines([paired("t", [1] * 50, [0] * 20 + [1] * 30)])
    assert measure.sentence("A", "B", [line], []).startswith("B is worse than A on t: −40.0 points [−5")
    (line,) = measure.lines([paired("t", [1], [0])])
    assert measure.sentence("A", "B", [line], []).endswith("where so few items would have shown no difference.")
    both = [paired("t", [1] * 50, [0] * 20 + [1] * 30), paired("u", [0] * 50, [1] * 20 + [0] * 30)]
    said = measure.sentence("A", "B", *judged(both))
    assert "B is worse than A on 1 of 2 tasks (t −40.0 points" in said
    assert " and better than A on 1 of 2 tasks (u +40.0 points" in said


def test_damage_that_no_answer_shows_is_said_of_the_reference_answers():
    chance = np.random.default_rng(0)
    scores = [paired(task, [1, 0] * 30, [1, 0] * 30) for task in ("t", "u")]
    before = chance.normal(2, 0.5, 60)
    bits = [paired(task, before, before + chance.normal(0.2, 0.2, 60), higher=False) for task in ("t", "u")]
    likely = measure.likelihood(bits)
    assert (likely.task, likely.n, likely.verdict, likely.points) == (measure.REFERENCES, 120, measure.WORSE, False)
    said = measure.sentence("A", "B", *judged(scores), likely)
    assert re.search(
        r"^B is worse than A: it finds the reference answers less likely, \+0\.2\d+ bits per byte \[[^]]+\]; but no "
        r"difference between A and B was found on any of 2 tasks; in all, .* samples\.$",
        said,
    )
    same = measure.likelihood([replace(pair, items=pair.items.with_columns(b="a")) for pair in bits])
    assert measure.sentence("A", "B", *judged(scores), same) == measure.sentence("A", "B", *judged(scores))


def test_damage_comes_before_what_is_better():
    before = np.random.default_rng(0).normal(2, 0.5, 60)
    likely = measure.likelihood([paired("bits", before, before + np.resize([0.3, 0.1], 60), higher=False)])
    better = paired("t", [0] * 30 + [1] * 20, [1] * 50), paired("u", [1, 0] * 30, [1, 0] * 30)
    said = measure.sentence("A", "B", *judged([*better]), likely)
    assert re.match(r"B is worse than A: it finds .*\]; but B is better than A on 1 of 2 tasks \(t \+60", said)
    worse = paired("t", [1] * 50, [0] * 30 + [1] * 20), paired("u", [1, 0] * 30, [1, 0] * 30)
    said = measure.sentence("A", "B", *judged([*worse]), likely)
    assert re.match(
        r"B is worse than A on 1 of 2 tasks \(t −60.*; in all, .*; and B finds the reference answers le", said
    )
    # One task is better, and all others together are worse.
    rest = [paired(f"r{index}", [1] * 6 + [0, 1] * 20, [0] * 6 + [0, 1] * 20) for index in range(12)]
    said = measure.sentence("A", "B", *judged([paired("t", [0] * 20, [1] * 20), *rest]))
    assert re.match(r"B is worse than A in all: −.*\]; but better than A on 1 of 13 tasks \(t \+100", said)


def test_shares_and_per_cent_are_not_compared():
    with pytest.raises(ValueError, match="acc is at most 1 on one side and up to 100 on the other, as shares and per"):
        measure.lines([paired("t", [0, 1, 1, 0], [0, 100, 100, 0])])
    (line,) = measure.lines([paired("t", [0, 12, 70, 0], [0, 80, 100, 0])])
    assert not line.points


def test_one_cluster_shows_no_difference_however_large():
    (line,) = measure.lines([paired("t", [0, 1, 1, 0], [0, 0, 1, 0], clusters=["same"] * 4)])
    assert np.isnan(line.detectable)


def test_logs_that_contradict_each_other_on_the_direction_are_refused():
    said = {"A": True, "B": False}
    sides = [Side(name, "log", pl.DataFrame(), higher={("t", "acc"): higher}) for name, higher in said.items()]
    with pytest.raises(ValueError, match="t: one log says that more acc is better and another that less is"):
        higher_is_better("acc", *sides, task="t")
    assert higher_is_better("acc", sides[0], task="t")
