import numpy as np
import polars as pl
import pytest

from unicomp_lib import tables
from unicomp_lib.evaluate import siblings, statistics


def rows(variant, calibration, values, seed=0):
    count = len(values)
    return pl.DataFrame(
        {
            "model": ["m"] * count, "method": ["wanda"] * count, "variant": [variant] * count,
            "calibration": [calibration] * count, "seed": [seed] * count, "dimension": ["performance"] * count,
            "capability": ["reasoning"] * (count // 2) + ["knowledge"] * (count - count // 2),
            "task": ["t"] * count, "doc_id": range(count), "doc_hash": [str(n) for n in range(count)],
            "cluster": [str(n) for n in range(count)], "metric": ["acc"] * count, "value": values,
            "primary": [True] * count,
        }
    )  # fmt: skip


@pytest.mark.parametrize("metric", ["acc", "primary"])
def test_the_effect_is_paired_and_seeds_are_averaged_first(metric):
    rng = np.random.default_rng(0)
    general, first, second = rng.random(40), rng.random(40), rng.random(40)
    items = pl.concat(
        [
            rows("wanda-50", "general", general),
            rows("wanda-50-reasoning", "reasoning", first),
            rows("wanda-50-reasoning", "reasoning", second, seed=1).sample(fraction=1, shuffle=True, seed=3),
            rows("wanda-2-4", "general", general),
        ]
    )
    found = siblings.effect(items, metric)
    assert found.schema == pl.Schema(tables.SCORES)
    assert found["variant"].to_list() == ["wanda-50-reasoning"] * 2
    assert set(found["metric"]) == {f"{metric}_by_calibration"}
    row = found.row(0, named=True)
    change = ((first + second) / 2 - general)[:20]
    expected = statistics.bootstrap(change, np.arange(20).astype(str))
    assert row["capability"] == "reasoning"
    assert (row["value"], row["low"], row["high"]) == pytest.approx((expected.value, expected.low, expected.high))
    assert row["n"] == 20


def test_without_siblings_there_is_no_row():
    assert siblings.effect(rows("wanda-50", "general", [0.1, 0.2]), "acc").is_empty()
