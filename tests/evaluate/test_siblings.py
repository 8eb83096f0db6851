import numpy as np
import polars as pl
import pytest

from unicomp_lib import tables
from unicomp_lib.evaluate import siblings, statistics

FACTS = {"ours": {"label": "Wanda, ours", "sibling": "wanda-50"}, "wanda-50": {"label": "Wanda 50 %"}}


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


@pytest.mark.parametrize(("metric", "hashed"), [("acc", True), ("primary", True), ("acc", False)])
def test_the_effect_is_paired_and_seeds_are_averaged_first(metric, hashed):
    rng = np.random.default_rng(0)
    general, first, second = rng.random(40), rng.random(40), rng.random(40)
    items = pl.concat(
        [
            rows("wanda-50", "general", general),
            rows("ours", "reasoning", first),
            rows("ours", "reasoning", second, seed=1).sample(fraction=1, shuffle=True, seed=3),
            rows("wanda-50-reasoning", "reasoning", general),  # a name makes no sibling
        ]
    )
    if not hashed:  # as for blocks of text
        items = items.with_columns(doc_hash=pl.lit(None, dtype=pl.String))
    found = siblings.effect(items, metric, FACTS)
    assert found.schema == pl.Schema(tables.SCORES)
    assert found["variant"].to_list() == ["ours"] * 2
    assert found["label"].to_list() == ["Wanda, ours"] * 2
    assert found["sibling"].to_list() == ["wanda-50"] * 2
    assert set(found["metric"]) == {f"{metric}_by_calibration"}
    row = found.row(0, named=True)
    change = ((first + second) / 2 - general)[:20]
    expected = statistics.bootstrap(change, np.arange(20).astype(str))
    assert row["capability"] == "reasoning"
    assert (row["value"], row["low"], row["high"]) == pytest.approx((expected.value, expected.low, expected.high))
    assert row["n"] == 20


def test_without_siblings_there_is_no_row():
    general, other = rows("wanda-50", "general", [0.1, 0.2]), rows("ours", "reasoning", [0.1, 0.2])
    assert siblings.effect(general, "acc", FACTS).is_empty()
    assert siblings.effect(other, "acc", FACTS).is_empty()  # its sibling was not evaluated
    assert siblings.effect(pl.concat([general, other]), "acc", {}).is_empty()
    assert len(siblings.effect(pl.concat([general, other]), "acc", FACTS)) == 2


def test_other_items_are_one_clear_sentence():
    items = pl.concat([rows("wanda-50", "general", [0.1, 0.2]), rows("ours", "reasoning", [0.1, 0.2, 0.3])])
    with pytest.raises(ValueError, match="ours and wanda-50 were not evaluated on the same items"):
        siblings.effect(items, "acc", FACTS)
