import json

import numpy as np
import polars as pl
import pytest

from unicomp_lib.evaluate import per_token


def rows(blocks, metric="kl"):
    return pl.DataFrame({"metric": metric, "output": [json.dumps(list(block)) for block in blocks]})


def test_quantiles_are_numpys_over_all_tokens():
    values = np.random.default_rng(0).gamma(0.3, size=(24, 255))
    found = dict(per_token.quantiles(rows(values)))
    assert found["kl_median"].value == pytest.approx(np.quantile(values, 0.5, method="inverted_cdf"))
    assert found["kl_99"].value == pytest.approx(np.quantile(values, 0.99, method="inverted_cdf"))
    assert found["kl_max"].value == values.max()
    assert found["kl_median"].low < found["kl_median"].value < found["kl_median"].high
    assert (np.isnan(found["kl_max"].low), found["kl_max"].reason) == (True, "the largest of these tokens")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99, 1])
def test_a_block_that_is_drawn_several_times_counts_as_often(share):
    rng = np.random.default_rng(2)
    blocks = [np.sort(rng.integers(9, size=size) / 8) for size in (1, 7, 4, 30)]  # with ties
    weights = rng.multinomial(4, np.full(4, 0.25), size=50)
    found = per_token._weighted(blocks, weights, share)
    for row, value in zip(weights, found, strict=True):
        repeated = np.concatenate([np.repeat(block, times) for block, times in zip(blocks, row, strict=True)])
        assert value == np.quantile(repeated, share, method="inverted_cdf")


def test_changes_count_by_their_size():
    found = dict(per_token.quantiles(rows([[-0.9, 0.1, 0.2]] * 6, "p_change")))
    assert (found["p_change_median"].value, found["p_change_max"].value) == (0.2, 0.9)


def test_the_interval_covers_the_quantile_of_blocks_that_differ():
    rng, hits = np.random.default_rng(1), 0
    truth = np.quantile((rng.gamma(4, size=(4000, 1)) * rng.random((4000, 40))), 0.5)
    for _ in range(100):
        blocks = rng.gamma(4, size=(24, 1)) * rng.random((24, 40))
        found = dict(per_token.quantiles(rows(blocks)))["kl_median"]
        hits += found.low <= truth <= found.high
    assert 88 <= hits <= 99


def test_seeds_count_together_and_few_blocks_have_no_interval():
    both = pl.DataFrame({"metric": "kl", "output": [["[1, 2]", "[3, 4]"], ["[5, 6]", "[7, 8]"]]})
    found = dict(per_token.quantiles(both))
    assert (found["kl_median"].value, found["kl_max"].value) == (4, 8)
    assert found["kl_median"].reason == "fewer than 5 blocks"


def test_rows_of_earlier_runs_have_no_tokens():
    assert list(per_token.quantiles(pl.DataFrame({"metric": ["kl"], "output": [None]}))) == []
