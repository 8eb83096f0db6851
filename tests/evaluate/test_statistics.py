import numpy as np
import pytest
from scipy import stats

from unicomp_lib.evaluate import statistics
from unicomp_lib.evaluate.statistics import Part


@pytest.mark.parametrize(("right", "n"), [(0, 12), (0, 100), (7, 20), (150, 200), (40, 40)])
def test_proportion_is_wilsons_interval(right, n):
    found = statistics.proportion(np.repeat([1.0, 0.0], [right, n - right]))
    assert found.low <= found.value <= found.high
    low, high = stats.binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))


def test_bootstrap_of_a_mean_agrees_with_scipy():
    values = np.random.default_rng(0).gamma(2, size=80)
    ours = statistics.bootstrap(values, np.arange(80))
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=5000, random_state=0)
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.03)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.03)


def test_equal_answers_in_few_clusters_are_no_certainty():
    found = statistics.mean(np.zeros(48), np.repeat(np.arange(6), 8))
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(stats.binomtest(0, 6).proportion_ci(0.95, method="wilson").high)


def coverage(draw, truth, rounds=300):
    hits = 0
    for seed in range(rounds):
        found = draw(np.random.default_rng(seed))
        hits += found.low <= truth <= found.high
    return hits / rounds


def test_clustered_interval_covers_where_the_naive_one_does_not():
    def draw(rng, clustered=True):
        centres = rng.normal(size=60)
        values = np.repeat(centres, 5) + rng.normal(scale=0.3, size=300)
        return statistics.bootstrap(values, np.repeat(np.arange(60), 5) if clustered else np.arange(300))

    assert 0.90 <= coverage(draw, 0.0) <= 0.98
    assert coverage(lambda rng: draw(rng, clustered=False), 0.0) < 0.80


def test_retention_interval_covers_the_true_retention():
    # Dense is right on 70 %, the compressed keeps each right answer with 80 %, chance 25 % on the rest.
    def draw(rng):
        dense = (rng.random(300) < 0.7).astype(float)
        kept = np.where(dense == 1, rng.random(300) < 0.8, rng.random(300) < 0.25).astype(float)
        return statistics.retention([Part(kept, dense, np.arange(300).astype(str), 0.25)])

    compressed = 0.7 * 0.8 + 0.3 * 0.25
    truth = (compressed - 0.25) / (0.7 - 0.25)
    assert 0.91 <= coverage(draw, truth) <= 0.985


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
    assert statistics.retention([Part(dense, dense, clusters, 0.0)]).value == 1


def test_no_right_answer_at_all_is_no_certainty():
    dense = np.repeat([1.0, 0.0], [40, 60])
    found = statistics.retention([Part(np.zeros(100), dense, np.arange(100).astype(str), 0.0)])
    assert found.value == 0
    assert 0.02 < found.high < 0.15


def test_tasks_that_share_clusters_are_resampled_together():
    rng = np.random.default_rng(1)
    dense = (rng.random(40) < 0.8).astype(float)
    kept = dense * (rng.random(40) < 0.6)
    names = np.arange(40).astype(str)
    one = statistics.retention([Part(kept, dense, names, 0.0)])
    copies = statistics.retention([Part(kept, dense, names, 0.0)] * 4)
    # Four copies of one task hold no more information than one.
    assert (copies.low, copies.high) == (pytest.approx(one.low), pytest.approx(one.high))
    apart = [Part(kept, dense, np.char.add(str(each), names), 0.0) for each in "abcd"]
    several = statistics.retention(apart)
    assert several.high - several.low < 0.7 * (one.high - one.low)


def test_a_difference_is_paired():
    rng = np.random.default_rng(2)
    dense = rng.normal(scale=10, size=200)
    found = statistics.difference(dense + 0.5 + rng.normal(scale=0.1, size=200), dense, np.arange(200))
    assert found.low > 0.4
    assert found.high < 0.6
