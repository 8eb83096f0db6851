import runpy
from dataclasses import astuple

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats import contingency_tables, multitest
from statsmodels.stats import proportion as statsmodels_proportion

from unicomp_lib import paths
from unicomp_lib.evaluate import statistics
from unicomp_lib.evaluate.statistics import Part

bench = runpy.run_path(str(paths.project() / "bench" / "coverage.py"))


@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (0, 12), (0, 100), (7, 20), (150, 200), (40, 40)])
def test_the_interval_of_a_share_is_exact(right, n):
    values = np.repeat([1.0, 0.0], [right, n - right])
    theirs = stats.binomtest(right, n).proportion_ci(0.95, method="exact")
    beta = statsmodels_proportion.proportion_confint(right, n, method="beta")
    for ours in (statistics.proportion(values), statistics.mean(values, np.arange(n))):
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
        assert (ours.low, ours.high) == pytest.approx(beta)
        assert ours.low <= ours.value <= ours.high


def test_bootstrap_of_a_mean_agrees_with_scipy():
    values = np.random.default_rng(0).gamma(2, size=80)
    ours = statistics.bootstrap(values, np.arange(80))
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=5000, random_state=0)
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.03)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.03)


def test_equal_answers_in_few_clusters_are_no_certainty():
    estimate = statistics.mean(np.zeros(48), np.repeat(np.arange(6), 8))
    assert (estimate.value, estimate.low) == (0, 0)
    assert estimate.high == pytest.approx(stats.binomtest(0, 6).proportion_ci(0.95, method="exact").high)


def test_items_of_one_cluster_count_as_few_and_unrelated_ones_as_many():
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(40), 5)
    width = {}
    for name, share in {"alike": np.repeat(rng.integers(2, size=40), 5), "unrelated": np.full(200, 0.5)}.items():
        estimate = statistics.mean((rng.random(200) < share).astype(float), clusters)
        width[name] = estimate.high - estimate.low
    few, many = (2 * stats.binomtest(n // 2, n).proportion_ci(0.95).high - 1 for n in (40, 200))
    assert width["alike"] == pytest.approx(few, rel=0.05)
    assert many - 1e-9 <= width["unrelated"] < 0.7 * few
    one = statistics.mean(np.tile([0.0, 1.0], 10), np.zeros(20))  # a cluster alone counts as one
    assert one.high - one.low > 0.9
    large = np.repeat(np.arange(6), [100, 1, 1, 1, 1, 1])  # as does one beside which the others hardly count
    estimate = statistics.mean((np.arange(105) % 2).astype(float), large)
    assert estimate.high - estimate.low > 0.85


def newcombe(both, lost, gained, none):
    """Newcombe's method 10 of counts, written out with the exact limits of scipy."""
    n = both + lost + gained + none
    ours, theirs = both + gained, both + lost
    (low, high), (low_dense, high_dense) = (
        stats.binomtest(right, n).proportion_ci(0.95, method="exact") for right in (ours, theirs)
    )
    product = both * none - lost * gained
    product = max(product - n / 2, 0) if product > 0 else product
    margins = np.sqrt(float(theirs * (n - theirs) * ours * (n - ours)))
    phi = product / margins if margins else 0
    down, up, rise, fall = ours / n - low, high_dense - theirs / n, high - ours / n, theirs / n - low_dense
    change = (ours - theirs) / n
    return (
        change - np.sqrt(down**2 - 2 * phi * down * up + up**2),
        change + np.sqrt(rise**2 - 2 * phi * rise * fall + fall**2),
    )


@pytest.mark.parametrize(
    "counts", [(0, 20, 0, 0), (20, 0, 0, 0), (0, 0, 0, 20), (0, 1, 0, 0), (12, 5, 1, 2), (40, 10, 3, 47), (0, 3, 3, 0)]
)
def test_a_difference_of_answers_is_newcombes(counts):
    compressed = np.repeat([1.0, 0.0, 1.0, 0.0], counts)
    dense = np.repeat([1.0, 1.0, 0.0, 0.0], counts)
    estimate = statistics.difference(compressed, dense, np.arange(sum(counts)))
    low, high = newcombe(*counts)
    assert (estimate.low, estimate.high) == pytest.approx((max(low, -1), min(high, 1)))
    assert estimate.low <= estimate.value <= estimate.high
    assert estimate.high - estimate.low > 0.1


def test_newcombes_own_example_is_met_but_for_the_exact_limits():
    # Table II of Newcombe (1998): 36 both, 12 and 2, 0; by his score limits 0.0569 to 0.3404.
    estimate = statistics.difference(
        np.repeat([1.0, 1.0, 0.0, 0.0], [36, 12, 2, 0]), np.repeat([1.0, 0.0, 1.0, 0.0], [36, 12, 2, 0]), np.arange(50)
    )
    assert estimate.value == pytest.approx(0.2)
    assert (estimate.low, estimate.high) == (pytest.approx(0.0569, abs=0.02), pytest.approx(0.3404, abs=0.02))


def test_what_has_nothing_to_go_by_has_no_interval_and_says_why():
    ones, names = np.ones(20), np.arange(20).astype(str)
    half = Part(np.full(6, 3.0), np.full(6, 2.0), names[:6], 0)
    one = Part(np.array([2.0]), np.array([1.0]), names[:1], 0)
    bad = np.r_[np.nan, ones[1:]]
    for estimate, value, reason in (
        (statistics.bootstrap(np.array([0.37]), names[:1]), 0.37, "one cluster"),
        (statistics.bootstrap(np.arange(4.0), np.zeros(4)), 1.5, "one cluster"),
        (statistics.bootstrap(ones, names), 1, "all values are equal"),
        (statistics.growth([(1.0, [one])]), np.log(2), "a task with one cluster"),
        (statistics.growth([(1.0, [half])]), np.log(1.5), "no spread to tell an interval from"),
        (statistics.growth([(1.0, [])]), np.nan, "no task to compare"),
        (statistics.mean(bad, names), np.nan, "1 of 20 items has no value"),
        (statistics.difference(ones, np.r_[np.inf, np.inf, ones[2:]], names), np.nan, "2 of 20 items have no value"),
        (statistics.retention([Part(bad, ones, names, 0.25)]), np.nan, "1 of 20 items has no value"),
        (statistics.mean(ones * np.nan, names), np.nan, "no item has a value"),
        (statistics.retention([Part(ones[:2], ones[:2], names[:2], 0.5)]), np.nan, "dense is not clearly above chance"),
        (statistics.spread(np.array([0.5, 0.5])), 0, "all seeds have the same score"),
        (statistics.middle(np.array([2.0])), 2, "measured once"),
        (statistics.middle(np.full(7, 2.0)), 2, "all repeats are equal"),
        (statistics.middle(np.array([2.0, 4.0])), 3, statistics.FEW_REPEATS),
        (statistics.middle(np.arange(5.0)), 2, statistics.FEW_REPEATS),
    ):
        assert estimate.value == pytest.approx(value, nan_ok=True)
        assert np.isnan([estimate.low, estimate.high]).all()
        assert estimate.reason == reason


def test_the_range_of_repeats_stands_about_their_median():
    assert astuple(statistics.middle(np.array([3.0, 1.0, 2.0, 9.0, 4.0, 4.0]))) == (3.5, 1, 9, "")


def test_the_range_is_an_interval_from_the_number_of_repeats_on_that_holds_the_median_often_enough():
    hits = {n: 1 - 2 * stats.binom.pmf(0, n, 0.5) for n in range(2, 9)}  # not when all lie on one side of it
    enough = {n for n, share in hits.items() if share >= statistics.LEVEL}
    repeats = np.random.default_rng(0).gamma(4, size=(1000, 8))
    assert enough == {n for n in hits if np.isfinite(statistics.middle(repeats[0, :n]).low)}
    least = [statistics.middle(row[: min(enough)]) for row in repeats]
    held = np.mean([estimate.low <= stats.gamma(4).median() <= estimate.high for estimate in least])
    assert held == pytest.approx(hits[min(enough)], abs=0.015)


@pytest.mark.parametrize(
    ("values", "number"),
    [([0, 1], 1), ([0, 0.5], 2), ([1 / 3, 1], 3), ([0.1, 0.2], 10), ([0.37], 0), ([0, 2], 0), ([-1, 1], 0)],
)
def test_means_of_outcomes_over_seeds_are_known_as_such(values, number):
    assert statistics.outcomes(np.array(values, dtype=float)) == number


def test_several_seeds_tell_no_less_than_one_and_no_more_than_all_their_answers():
    rng = np.random.default_rng(3)
    seeds = (rng.random((3, 60)) < 0.7).astype(float)  # unrelated from seed to seed
    one, three = (statistics.mean(values, np.arange(60)) for values in (seeds[0], seeds.mean(axis=0)))
    assert three.high - three.low < 0.7 * (one.high - one.low)
    apart = np.full(20, 0.5)  # of two seeds always one is right
    assert statistics.mean(apart, np.arange(20)).high > 0.7
    change = statistics.difference(apart, np.ones(20), np.arange(20))
    assert change.high - change.low > 0.2


def test_draws_are_kept_up_to_a_number_of_bytes(monkeypatch):
    monkeypatch.setattr(statistics, "CACHE_BYTES", 2**20)
    statistics._kept.clear()
    for count in range(10, 34):
        statistics.resampled_means(np.arange(count, dtype=float)[:, None], np.arange(count))
        assert sum(kept.nbytes for kept in statistics._kept.values()) <= 2**20
    assert len(statistics._kept) > 2
    assert statistics._draws(33, 0) is statistics._draws(33, 0)
    assert statistics._draws(120, 0).shape == (10_000, 120)  # alone more than may be kept
    assert sum(kept.nbytes for kept in statistics._kept.values()) <= 2**20


# A few cells of the tables in docs/reading_the_numbers.md; bench/coverage.py makes all of them.
@pytest.mark.parametrize("n", [1, 2, 5, 20])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("kind", ["share", "difference", "difference, dense all right", "share, clustered"])
def test_no_interval_of_answers_claims_too_much(kind, share, n):
    drawn = [bench["OUTCOMES"][kind](np.random.default_rng(seed), n, share) for seed in range(100)]
    assert np.mean([estimate.low - 1e-9 <= truth <= estimate.high + 1e-9 for estimate, truth in drawn]) >= 0.92
    assert min(estimate.high - estimate.low for estimate, _ in drawn) > 0.05


@pytest.mark.parametrize("n", [5, 20])
@pytest.mark.parametrize("kind", ["mean", "difference", "growth, five tasks", "rank correlation", "kappa"])
def test_no_interval_of_values_claims_too_much(kind, n):
    drawn = [bench["VALUES"][kind](np.random.default_rng(seed), n) for seed in range(100)]
    held = [estimate.low <= truth <= estimate.high for estimate, truth in drawn if not np.isnan(estimate.low)]
    assert np.mean(held) >= 0.86  # of the skewed values the mean of five is 0.90


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


def further(rng, n, rest):
    """A part of ``n`` pairs, and dense's answers to ``rest`` further items."""
    compressed, dense = answers(rng, n + rest)
    names = np.arange(n + rest).astype(str)
    return Part(compressed[:n], dense[:n], names[:n], 0.25, dense[n:], names[n:])


@pytest.mark.parametrize("estimate", ["retention", "score", "growth"])
def test_intervals_with_further_items_of_dense_cover(estimate):
    def draw(rng):
        part = further(rng, 60, 240)
        if estimate == "retention":
            return statistics.retention([part])
        if estimate == "score":
            return statistics.supported(part)
        noise = np.exp(rng.normal(0.2, 0.3, 60))
        of_rest, of_pairs = rng.gamma(4, size=240), rng.gamma(4, size=60)
        continuous = Part(of_pairs * noise, of_pairs, part.clusters, 0, of_rest, part.rest_clusters)
        return statistics.growth([(1.0, [continuous])])

    right = 0.7 * 0.8 + 0.3 * 0.25
    truth = {"retention": (right - 0.25) / 0.45, "score": right, "growth": 0.2 + 0.3**2 / 2}[estimate]
    assert 0.93 <= coverage(draw, truth, rounds=400) <= (0.99 if estimate == "score" else 0.975)


def test_further_items_of_dense_narrow_the_interval():
    compressed, dense = answers(np.random.default_rng(3), 1000, retained=0.95, guessed=0.05)
    names = np.arange(1000)
    part = Part(compressed[:100], dense[:100], names[:100], 0.25, dense[100:], names[100:])
    alone = Part(part.compressed, part.dense, part.clusters, 0.25)
    wide, narrow = (estimate.high - estimate.low for estimate in map(statistics.supported, (alone, part)))
    assert narrow < 0.7 * wide
    wide, narrow = (
        estimate.high - estimate.low for estimate in (statistics.retention([each]) for each in (alone, part))
    )
    assert narrow < wide
    assert statistics.supported(alone) == statistics.mean(part.compressed, part.clusters)


def test_further_items_are_resampled_with_the_clusters_that_they_share():
    # Dense's values follow their clusters; the differences do not vary. With the clusters of the further items drawn
    # apart from those of the pairs, the interval of the score would be too narrow.
    rng = np.random.default_rng(0)
    own = np.repeat(rng.normal(size=50), 2)
    names = np.repeat(np.arange(50), 2)
    part = Part(own[::2] - 1, own[::2], names[::2], 0, own[1::2], names[1::2])
    _, resampled = statistics.resample([part])
    assert resampled[:, 0, 1].std() == pytest.approx(own.std() / np.sqrt(50), rel=0.05)
    np.testing.assert_allclose(resampled[:, 0, 0], resampled[:, 0, 1] - 1)


def test_a_score_with_further_items_is_the_regression_estimate():
    part = further(np.random.default_rng(1), 80, 320)
    fit = stats.linregress(part.dense, part.compressed)
    assert statistics.supported(part).value == pytest.approx(fit.intercept + fit.slope * part.all_dense.mean())
    same = Part(part.dense, part.dense, part.clusters, 0.25, part.rest, part.rest_clusters)
    assert statistics.supported(same).value == pytest.approx(part.all_dense.mean())
    assert statistics.retention([same]).value == pytest.approx(1)


def test_dense_answers_that_do_not_vary_lend_no_support():
    # A model that declines none of 7 items, of 20 of which dense declines five others: it has not declined a quarter.
    declined = np.repeat([0.0, 1.0], [8, 5])
    for value, rest in ((0.0, declined), (1.0, 1 - declined)):
        same = np.full(7, value)
        part = Part(same, same, np.arange(7), 0, rest, np.arange(7, 20))
        assert statistics.supported(part) == statistics.mean(same, np.arange(7))
    observed, _ = statistics.resample([Part(same * 0, same, np.arange(7), 0, rest, np.arange(7, 20))])
    assert observed[0].tolist() == [0, pytest.approx(0.75)]


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
    same_again = statistics.contrast(mirrored)  # exactly nothing, which no sample could tell
    assert (same_again.value, same_again.reason) == (0, "no spread to tell an interval from")


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
    assert same.value == 1
    assert 0.9 < same.low < 1 < same.high < 1.1
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
    assert estimate.low == 0
    assert 0.02 < estimate.high < 0.15
    never = statistics.retention([Part(np.zeros(100), dense, np.arange(100).astype(str), 0.25)])
    assert never.low == pytest.approx(never.value)  # no answer right is the worst there can be


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
    few, many = (Part(np.full(n, 0.43), np.full(n, 0.86), np.arange(n).astype(str), chance=0.25) for n in (3, 12))
    _, resampled = statistics.resample([few, many])
    np.testing.assert_allclose(resampled[:, 0], np.tile([0.43, 0.86], (len(resampled), 1)))


def test_a_difference_is_paired():
    rng = np.random.default_rng(2)
    dense = rng.normal(scale=10, size=200)
    estimate = statistics.difference(dense + 0.5 + rng.normal(scale=0.1, size=200), dense, np.arange(200))
    assert estimate.low > 0.4
    assert estimate.high < 0.6


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (1, 0), (5, 1), (12, 30), (7, 7)])
def test_mid_p_counts_half_of_what_was_seen(lost, gained):
    n = lost + gained
    chances = {change: stats.binom.pmf(change, n, 0.5) for change in range(n + 1)}
    further = sum(p for change, p in chances.items() if abs(2 * change - n) > abs(lost - gained))
    as_far = sum(p for change, p in chances.items() if abs(2 * change - n) == abs(lost - gained))
    assert statistics.mcnemar_mid(lost, gained) == pytest.approx(further + 0.5 * as_far if n else 1)


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


@pytest.mark.parametrize("count", [1, 9, 10, 11, 777])
def test_sums_of_resamples_are_the_draws_times_the_values(count):
    values = np.random.default_rng(count).normal(size=(count, 2))
    drawn = statistics._draws(count, 3)
    assert (drawn.sum(axis=1) == count).all()
    np.testing.assert_allclose(statistics._resampled(values, 3), drawn @ values, atol=1e-9)


def test_the_rank_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    x = np.round(rng.normal(size=18), 1)
    y = np.round(x + rng.normal(size=18), 1)
    estimate = statistics.rank_correlation(x, y)
    assert estimate.value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert estimate.low < estimate.value < estimate.high
    assert 0.98 < statistics.rank_correlation(x, x).low < 1 == statistics.rank_correlation(x, x).value
    few = statistics.rank_correlation(np.arange(4.0), np.arange(4.0))
    assert (few.value, few.high) == (1, 1)
    assert few.low < 0  # one order in 24 is this one
    assert statistics.rank_correlation(np.r_[x, np.nan], np.r_[y, 1.0]) == estimate
    assert np.isnan(statistics.rank_correlation(x, np.ones(18)).value)
    assert np.isnan(statistics.rank_correlation(x[:3], y[:3]).value)
