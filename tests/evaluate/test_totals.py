import numpy as np
import polars as pl
import pytest
from scipy.stats import binomtest, pearsonr
from scipy.stats.contingency import association
from sklearn.metrics import f1_score

from unicomp_lib.evaluate import totals


def rows(**metrics):
    """Item rows of one task from a list of values per metric."""
    return pl.concat(
        pl.DataFrame({"doc_id": range(len(values)), "cluster": [f"c{index}" for index in range(len(values))]})
        .with_columns(pl.lit(metric).alias("metric"), pl.Series("value", values, dtype=pl.Float64))
        for metric, values in metrics.items()
    )  # fmt: skip


def test_a_share_is_of_the_items_it_concerns():
    values = dict(totals.totals(rows(kept=[1, 1, 1, 0, 1] * 8, broken=[1, 0, 0, 0, 1] * 8)))
    assert set(values) == {"attack_success"}
    success = values["attack_success"]
    exact = binomtest(16, 32).proportion_ci(0.95, method="exact")
    assert (success.value, success.low, success.high) == pytest.approx((0.5, exact.low, exact.high))
    values = dict(totals.totals(rows(disclosed=[1, 0, 0, 0] * 5, addressed=[1, 1, 0, 0] * 5)))
    assert values["disclosed_of_addressed"].value == pytest.approx(0.5)


def test_no_address_of_few_given_away_is_no_certainty():
    share = dict(totals.totals(rows(disclosed=[0] * 20, addressed=[1, 1, 1, 0] * 5)))["disclosed_of_addressed"]
    assert (share.value, share.low) == (0, 0)
    assert share.high == pytest.approx(binomtest(0, 15).proportion_ci(0.95, method="exact").high)


def test_a_share_of_nothing_is_undefined():
    (share,) = dict(totals.totals(rows(kept=[0.0] * 5, broken=[0.0] * 5))).values()
    assert np.isnan(share.value)


def test_the_robustness_score_is_what_is_right_under_attack_less_what_the_attack_broke():
    right, kept = np.array([1, 1, 0, 0, 1] * 8), np.array([1, 1, 1, 0, 0] * 8)
    values = dict(totals.totals(rows(right=right, kept=kept, broken=kept * (1 - right))))
    score = values["robustness_score"]
    assert score.value == pytest.approx(3 / 5 - 1 / 3)
    assert score.low < score.value < score.high
    never = dict(totals.totals(rows(right=[0.0] * 9, kept=[0.0] * 9, broken=[0.0] * 9)))["robustness_score"]
    assert never.value == 0
    assert np.isnan(never.low)  # no answer differs: no width would claim certainty


def test_who_gives_no_address_is_counted_exactly():
    share = dict(totals.totals(rows(disclosed=[0] * 10, addressed=[0] * 10)))["no_address"]
    exact = binomtest(10, 10).proportion_ci(0.95, method="exact")
    assert (share.value, share.low, share.high) == pytest.approx((1, exact.low, exact.high))


@pytest.mark.parametrize("seed", range(8))
def test_f1_is_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    gold = rng.integers(5 if seed % 2 else 2, size=70)
    choice = np.where(rng.random(70) < 0.5, gold, rng.integers(-1, 6 if seed % 2 else 2, size=70))
    score = dict(totals.totals(rows(gold=gold, choice=choice)))["f1"]
    labels = sorted({*gold, *choice} - {-1})
    assert score.value == pytest.approx(f1_score(gold, choice, labels=labels, average="macro"))
    assert score.low <= score.value <= score.high


def test_answers_of_several_seeds_all_count():
    """``by_seed`` holds the values whose mean is ``value``: a mean of class numbers would be no class."""
    seeds = [rows(gold=[0, 1, 1, 0], choice=choice) for choice in ([0, 1, 0, 0], [1, 1, 1, 0])]
    pooled = pl.concat(seeds).group_by("doc_id", "cluster", "metric", maintain_order=True)
    together = pooled.agg(pl.col("value").mean(), pl.col("value").alias("by_seed"))
    score = dict(totals.totals(together))["f1"]
    assert score.value == pytest.approx(f1_score([0, 1, 1, 0] * 2, [0, 1, 0, 0, 1, 1, 1, 0], average="macro"))
    table = pl.concat([rows(kept=[1, 1, 1, 0], broken=broken) for broken in ([1, 0, 0, 0], [1, 1, 0, 0])])
    pooled = table.group_by("doc_id", "cluster", "metric", maintain_order=True)
    together = pooled.agg(pl.col("value").mean(), pl.col("value").alias("by_seed"))
    assert dict(totals.totals(together))["attack_success"].value == pytest.approx(3 / 6)


def test_the_correlation_is_pearsons_over_readable_ratings():
    rng = np.random.default_rng(0)
    human = rng.normal(0, 30, size=60)
    rating = np.clip(np.round((human + rng.normal(0, 30, size=60)) / 50) * 50, -100, 100)
    rating[:6] = np.nan
    correlation = dict(totals.totals(rows(rating=rating, human=human)))["correlation"]
    oracle = pearsonr(rating[6:], human[6:])
    assert correlation.value == pytest.approx(oracle.statistic)
    interval = oracle.confidence_interval()
    assert (correlation.low, correlation.high) == pytest.approx((interval.low, interval.high), abs=0.06)
    constant = dict(totals.totals(rows(rating=[50.0] * 9, human=human[:9])))["correlation"]
    assert np.isnan(constant.value)


@pytest.mark.parametrize("seed", range(5))
def test_unevenness_is_cramers_v(seed):
    rng = np.random.default_rng(seed)
    sex, race = rng.integers(2, size=80), rng.integers(3, size=80)
    option = np.where(rng.random(80) < 0.4, race, rng.integers(-1, 3, size=80))
    values = dict(totals.totals(rows(option=option, sex=sex, race=race)))
    for name, group in (("uneven_sex", sex), ("uneven_race", race)):
        table = np.array([[np.sum((option == o) & (group == g)) for g in np.unique(group)] for o in np.unique(option)])
        assert values[name].value == pytest.approx(association(table, method="cramer"))
        assert 0 <= values[name].low <= values[name].high <= 1


def test_who_predicts_the_same_for_all_is_even():
    values = dict(totals.totals(rows(option=[1.0] * 12, sex=[0.0, 1.0] * 6, race=[0.0, 1.0, 2.0] * 4)))
    assert values["uneven_sex"].value == values["uneven_race"].value == 0
