import numpy as np
import polars as pl
import pytest
from scipy.stats import binomtest, pearsonr
from scipy.stats.contingency import association

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
    wilson = binomtest(16, 32).proportion_ci(0.95, method="wilson")
    assert (success.value, success.low, success.high) == pytest.approx((0.5, wilson.low, wilson.high))
    values = dict(totals.totals(rows(disclosed=[1, 0, 0, 0] * 5, addressed=[1, 1, 0, 0] * 5)))
    assert values["disclosed_of_addressed"].value == pytest.approx(0.5)


def test_no_address_of_few_given_away_is_no_certainty():
    share = dict(totals.totals(rows(disclosed=[0] * 20, addressed=[1, 1, 1, 0] * 5)))["disclosed_of_addressed"]
    assert (share.value, share.low) == (0, 0)
    assert share.high == pytest.approx(binomtest(0, 15).proportion_ci(0.95, method="wilson").high)


def test_a_share_of_nothing_is_undefined():
    (share,) = dict(totals.totals(rows(kept=[0.0] * 5, broken=[0.0] * 5))).values()
    assert np.isnan(share.value)


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
