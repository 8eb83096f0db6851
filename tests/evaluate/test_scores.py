import numpy as np
import polars as pl
import pytest

from unicomp_lib import tables
from unicomp_lib.evaluate import scores


def cell(variant, seed=0):
    return {"model": "m", "method": variant.split("-")[0], "variant": variant, "calibration": "", "seed": seed}


def rows(values, variant, seed=0, chance=0.25, metric="acc_norm", task="t"):
    frame = pl.DataFrame(
        {
            "dimension": "performance", "capability": "knowledge", "task": task, "format": "cloze", "chance": chance,
            "doc_id": range(len(values)), "doc_hash": [str(i) for i in range(len(values))], "prompt_hash": "",
            "cluster": [str(i) for i in range(len(values))], "metric": metric, "primary": metric == "acc_norm",
            "value": [float(value) for value in values], "output": "", "judge": "",
        }
    )  # fmt: skip
    return tables.label(frame.cast(tables.ITEMS), cell(variant, seed))


def one(found, **where):
    (row,) = found.filter(*(pl.col(key).eq_missing(value) for key, value in where.items())).iter_rows(named=True)
    return row


DENSE = [1] * 80 + [0] * 20


def test_scores_retention_and_flips_are_those_of_the_items():
    kept = [1] * 55 + [0] * 35 + [1] * 10  # loses 25, gains 10
    found = scores.score(pl.concat([rows(DENSE, "dense"), rows(kept, "wanda-50")]))
    assert found.schema == pl.Schema(tables.SCORES)
    mine = {"variant": "wanda-50", "seed": 0}
    assert one(found, metric="acc_norm", **mine)["value"] == 0.65
    retention = one(found, metric="retention", capability="knowledge", **mine)
    assert retention["value"] == pytest.approx((0.65 - 0.25) / (0.8 - 0.25))
    assert retention["low"] < retention["value"] < retention["high"]
    assert one(found, metric="flips_lost", **mine)["value"] == 0.25
    assert one(found, metric="flips_gained", **mine)["value"] == 0.10


def test_a_dense_score_at_chance_gives_no_retention():
    guess = [1, 0, 0, 0] * 25
    found = scores.score(pl.concat([rows(guess, "dense"), rows(guess, "wanda-50")]))
    retention = one(found, metric="retention", capability="knowledge", variant="wanda-50", seed=0)
    assert np.isnan(retention["value"])
    assert retention["n"] == 0


def test_seeds_are_pooled_item_by_item():
    first, second = [1] * 40 + [0] * 60, [1] * 60 + [0] * 40
    table = pl.concat([rows(DENSE, "dense"), rows(first, "wanda-50", 0), rows(second, "wanda-50", 1)])
    found = scores.score(table)
    assert one(found, metric="acc_norm", variant="wanda-50", seed=None)["value"] == pytest.approx(0.5)
    assert one(found, metric="acc_norm", variant="wanda-50", seed=None)["n"] == 100


def test_other_items_than_those_of_dense_are_refused():
    with pytest.raises(ValueError, match="evaluate both on the same tasks"):
        scores.score(pl.concat([rows(DENSE, "dense"), rows(DENSE[:50], "wanda-50")]))
    with pytest.raises(ValueError, match="has no dense cell"):
        scores.score(rows(DENSE, "wanda-50"))


def measured(parts, dimension):
    """Item rows of several values a metric, as the fidelity and efficiency notebooks write them."""
    rows = [
        {"doc_id": place, "metric": name, "value": value}
        for name, values in parts.items()
        for place, value in enumerate(values)
    ]
    return tables.label(tables.measurements(pl.DataFrame(rows), dimension=dimension, task="t"), cell("wanda-50"))


def test_perplexity_is_the_exponential_of_the_mean_loss():
    parts = {"nll": [1.0, 2.0, 3.0, 2.0], "nll_dense": [0.5, 1.5, 2.5, 1.5], "kl": [0.1] * 4, "agreement": [1.0] * 4}
    found = scores.fidelity(measured(parts, "fidelity"))
    assert one(found, metric="perplexity", seed=0)["value"] == pytest.approx(np.exp(2.0))
    agreement = one(found, metric="agreement", seed=0)
    assert (agreement["value"], agreement["low"], agreement["high"]) == (1, 1, 1)
    ratio = one(found, metric="perplexity_ratio", seed=0)
    assert (ratio["value"], ratio["low"]) == (pytest.approx(np.exp(0.5)), pytest.approx(np.exp(0.5)))


def test_efficiency_ratios_are_taken_repeat_by_repeat():
    parts = {"decode": [10.0, 20.0, 30.0], "decode_dense": [5.0, 20.0, 10.0], "bytes_on_disk": [50.0]}
    found = scores.efficiency(measured(parts, "efficiency"))
    ratio = one(found, metric="decode_ratio", seed=0)
    assert (ratio["value"], ratio["low"], ratio["high"]) == (2.0, 1.0, 3.0)
    size = one(found, metric="bytes_on_disk", seed=0)
    assert size["value"] == 50
    assert np.isnan(size["low"])
