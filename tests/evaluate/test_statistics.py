from dataclasses import astuple

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats import contingency_tables, multitest

from unicomp_lib.evaluate import statistics
from unicomp_lib.evaluate.statistics import Part


@pytest.mark.parametrize(("right", "n"), [(0, 12), (0, 100), (7, 20), (150, 200), (40, 40)])
def test_proportion_is_wilsons_interval(right, n):
    estimate = statistics.proportion(np.repeat([1.0, 0.0], [right, n - right]))
    assert estimate.low <= estimate.value <= estimate.high
    low, high = stats.binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert (estimate.low, estimate.high) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))


def test_bootstrap_of_a_mean_agrees_with_scipy():
    values = np.random.default_rng(0).gamma(2, size=80)
    ours = statistics.bootstrap(values, np.arange(80))
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=5000, random_state=0)
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.03)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.03)


def test_equal_answers_in_few_clusters_are_no_certainty():
    estimate = statistics.mean(np.zeros(48), np.repeat(np.arange(6), 8))
    assert (estimate.value, estimate.low) == (0, 0)
    assert estimate.high == pytest.approx(stats.binomtest(0, 6).proportion_ci(0.95, method="wilson").high)


def coverage(draw, truth, rounds=1000):
    hits = 0
    for seed in range(rounds):
        estimate = draw(np.random.default_rng(seed))
        hits += estimate.low <= truth <= estimate.high
    return hits / rounds


def test_clustered_interval_covers_where_the_naive_one_does_not():
    def draw(rng, clustered=True):
        centres = rng.normal(size=60)
        values = np.repeat(centres, 5) + rng.normal(scale=0.3, size=300)
        return statistics.bootstrap(values, np.repeat(np.arange(60), 5) if clustered else np.arange(300))

    assert 0.93 <= coverage(draw, 0.0) <= 0.97
    assert coverage(lambda rng: draw(rng, clustered=False), 0.0, rounds=300) < 0.80


def test_interval_of_a_paired_difference_covers():
    def draw(rng):
        dense = rng.gamma(2, size=80)
        return statistics.difference(dense * 1.1 + rng.normal(scale=0.3, size=80), dense, np.arange(80))

    assert 0.93 <= coverage(draw, 0.2) <= 0.97


def answers(rng, n, right=0.7, retained=0.8, guessed=0.25):
    """Right and wrong answers of dense, and of a model that keeps a share of them and guesses the rest."""
    dense = (rng.random(n) < right).astype(float)
    return np.where(dense == 1, rng.random(n) < retained, rng.random(n) < guessed).astype(float), dense


@pytest.mark.slow
def test_retention_interval_covers_the_true_retention():
    # Dense is right on 70 %, the compressed keeps each right answer with 80 %, chance 25 % on the rest.
    def draw(rng):
        compressed, dense = answers(rng, 300)
        return statistics.retention([Part(compressed, dense, np.arange(300).astype(str), 0.25)])

    truth = (0.7 * 0.8 + 0.3 * 0.25 - 0.25) / (0.7 - 0.25)
    assert 0.93 <= coverage(draw, truth) <= 0.97


@pytest.mark.slow
def test_interaction_interval_covers_and_the_same_items_are_paired():
    def groups(rng, shared):
        weighted = []
        for sign, retained, ability in ((1, 0.9, "a"), (-1, 0.7, "b"), (-1, 0.8, "a"), (1, 0.6, "b")):
            compressed, dense = answers(rng, 200, right=0.8, retained=retained)
            names = np.char.add(ability if shared else f"{ability}{sign}", np.arange(200).astype(str))
            weighted.append((float(sign), [Part(compressed, dense, names, 0.25)]))
        return weighted

    truth = sum(
        sign * (0.8 * retained + 0.2 * 0.25 - 0.25) / 0.55
        for sign, retained in ((1, 0.9), (-1, 0.7), (-1, 0.8), (1, 0.6))
    )
    assert truth == pytest.approx(0.0)
    assert 0.93 <= coverage(lambda rng: statistics.contrast(groups(rng, shared=True)), truth, rounds=500) <= 0.975
    same = groups(np.random.default_rng(0), shared=True)
    mirrored = [(1.0, same[0][1]), (-1.0, same[0][1])]
    assert statistics.contrast(mirrored) == statistics.Estimate(0.0, 0.0, 0.0)


def test_growth_is_the_log_ratio_and_its_interval_covers():
    def draw(rng):
        dense = rng.gamma(4, size=100)
        return statistics.growth(
            [(1.0, [Part(dense * np.exp(rng.normal(0.2, 0.3, 100)), dense, np.arange(100).astype(str), 0)])]
        )

    truth = 0.2 + 0.3**2 / 2  # of the ratio of means
    assert 0.93 <= coverage(draw, truth) <= 0.97
    part = Part(np.full(9, 3.0), np.full(9, 2.0), np.arange(9).astype(str), 0)
    assert statistics.growth([(1.0, [part])]).value == pytest.approx(np.log(1.5))
    assert np.isnan(statistics.growth([(1.0, [part]), (-1.0, [])]).value)


def test_retention_is_one_for_the_same_answers_and_zero_at_chance():
    dense = np.repeat([1.0, 0.0], [60, 40])
    clusters = np.arange(100).astype(str)
    same = statistics.retention([Part(dense, dense, clusters, 0.25)])
    assert (same.value, same.low, same.high) == (1, 1, 1)
    chance = np.tile([1.0, 0.0, 0.0, 0.0], 25)
    assert statistics.retention([Part(chance, dense, clusters, 0.25)]).value == 0
    assert np.isnan(statistics.retention([]).value)


def test_a_dense_score_barely_above_chance_gives_no_retention():
    dense = np.repeat([1.0, 0.0], [33, 67])
    clusters = np.arange(100).astype(str)
    assert np.isnan(statistics.retention([Part(dense, dense, clusters, 0.25)]).value)
    never = np.zeros(100)
    with np.errstate(all="raise"):
        assert np.isnan(statistics.retention([Part(never, never, clusters, 0.0)]).value)
    assert statistics.retention([Part(dense, dense, clusters, 0.0)]).value == 1


def test_no_right_answer_at_all_is_no_certainty():
    dense = np.repeat([1.0, 0.0], [40, 60])
    estimate = statistics.retention([Part(np.zeros(100), dense, np.arange(100).astype(str), 0.0)])
    assert estimate.value == 0
    assert 0.02 < estimate.high < 0.15


def test_tasks_that_share_clusters_are_resampled_together():
    rng = np.random.default_rng(1)
    dense = (rng.random(40) < 0.8).astype(float)
    compressed = dense * (rng.random(40) < 0.6)
    names = np.arange(40).astype(str)
    one = statistics.retention([Part(compressed, dense, names, 0.0)])
    copies = statistics.retention([Part(compressed, dense, names, 0.0)] * 4)
    # Four copies of one task hold no more information than one.
    assert (copies.low, copies.high) == (pytest.approx(one.low), pytest.approx(one.high))
    apart = [Part(compressed, dense, np.char.add(str(task), names), 0.0) for task in "abcd"]
    several = statistics.retention(apart)
    assert several.high - several.low < 0.7 * (one.high - one.low)


def test_draws_without_an_item_of_a_small_task_do_not_count_as_its_score():
    few, many = (Part(np.full(n, 0.4), np.full(n, 0.8), np.arange(n).astype(str), chance=0.25) for n in (3, 12))
    assert astuple(statistics.growth([(1.0, [few, many])])) == pytest.approx((np.log(0.5),) * 3)
    assert astuple(statistics.retention([few, many])) == pytest.approx((3 / 11,) * 3)


def test_a_difference_is_paired():
    rng = np.random.default_rng(2)
    dense = rng.normal(scale=10, size=200)
    estimate = statistics.difference(dense + 0.5 + rng.normal(scale=0.1, size=200), dense, np.arange(200))
    assert estimate.low > 0.4
    assert estimate.high < 0.6


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (1, 0), (5, 1), (12, 30), (7, 7)])
def test_mcnemar_is_that_of_statsmodels(lost, gained):
    theirs = contingency_tables.mcnemar([[50, lost], [gained, 20]], exact=True).pvalue
    assert statistics.mcnemar(lost, gained) == pytest.approx(1.0 if lost + gained == 0 else theirs)


def test_holm_is_that_of_statsmodels_and_leaves_what_is_undefined():
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.005, 1.0, 0.04])
    known = ~np.isnan(p)
    adjusted = statistics.holm(p)
    assert adjusted[known] == pytest.approx(multitest.multipletests(p[known], method="holm")[1])
    assert np.isnan(adjusted[1])


def test_an_effect_as_large_as_the_detectable_one_is_found_in_four_of_five_samples():
    def sample(rng, effect):
        dense = (rng.random(400) < 0.6).astype(float)
        # Answers flip both ways; the effect adds to those lost.
        lost, gained = (0.1 + effect / 2) / 0.6, (0.1 - effect / 2) / 0.4
        return np.where(dense == 1, rng.random(400) >= lost, rng.random(400) < gained).astype(float), dense

    names = np.arange(400)
    effect = np.mean([statistics.detectable(*sample(np.random.default_rng(seed), 0.06), names) for seed in range(20)])
    assert 0.04 < effect < 0.09
    detected = 0
    for seed in range(400):
        compressed, dense = sample(np.random.default_rng(1000 + seed), effect)
        detected += statistics.difference(compressed, dense, names).high < 0
    assert 0.75 <= detected / 400 <= 0.86


def test_the_detectable_effect_of_models_that_answer_alike_is_not_zero():
    alike = np.ones(50)
    assert statistics.detectable(alike, alike, np.arange(50)) > 0.03


def test_spread_over_seeds_has_the_chi_square_interval():
    draws = [statistics.spread(np.random.default_rng(seed).normal(scale=2, size=3)) for seed in range(1000)]
    assert 0.93 <= np.mean([estimate.low <= 2 <= estimate.high for estimate in draws]) <= 0.97
    assert np.isnan(statistics.spread(np.array([1.0])).value)


def test_ten_thousand_resamples_of_a_wide_table_share_their_draws():
    rng = np.random.default_rng(0)
    names = np.arange(150)
    dense, compressed = rng.normal(size=(2, 150, 1))
    apart = statistics.resampled_means(compressed, names) - statistics.resampled_means(dense, names)
    assert apart.shape == (10_000, 1)
    np.testing.assert_allclose(apart, statistics.resampled_means(compressed - dense, names), atol=1e-5)


def test_the_rank_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    x = np.round(rng.normal(size=18), 1)
    y = np.round(x + rng.normal(size=18), 1)
    estimate = statistics.rank_correlation(x, y)
    assert estimate.value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert estimate.low < estimate.value < estimate.high
    assert statistics.rank_correlation(x, x).low == pytest.approx(1)
    assert np.isnan(statistics.rank_correlation(x[:3], y[:3]).value)
