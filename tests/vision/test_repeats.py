import numpy as np
import polars as pl
import pytest
from scipy.stats import t

from unicomp_lib import tables
from unicomp_lib.vision import repeats, summary

ABOUT = {"model": "googlenet", "calibration": ""}


def images(accuracy, seed, variant="dense", *, size=1.0):
    """Rows of images that are right where ``accuracy`` is 1, and of a network's sizes."""
    n = len(accuracy)
    right = {"metric": ["acc"] * n, "doc_id": range(n), "value": accuracy, "primary": [True] * n, "chance": [0.25] * n}
    measured = ("macs", "parameters", "sparsity", "epochs", "latency", "latency_dense")
    names = [name for name in measured for _ in range(2)]
    sizes = {"metric": names, "doc_id": [0, 1] * 6, "value": [size] * 12, "primary": [False] * 12}
    rows = pl.concat([pl.DataFrame(right), pl.DataFrame(sizes)], how="diagonal_relaxed")
    rows = rows.with_columns(
        doc_hash=pl.col("doc_id").cast(pl.String), cluster=pl.col("doc_id").cast(pl.String), task=pl.lit("squares"),
        dimension=pl.lit("vision"), capability=pl.lit("accuracy"), format=pl.lit("top-1"),
    )  # fmt: skip
    rows = rows.with_columns(
        pl.lit(None, dtype=kind).alias(name) for name, kind in tables.ITEMS.items() if name not in rows.columns
    )
    rows = rows.select(pl.col(name).cast(kind) for name, kind in tables.ITEMS.items())
    return tables.label(rows, {**ABOUT, "variant": variant, "method": variant.split("-")[0], "seed": seed})


def units(mis, seed, variant="dense"):
    rows = pl.DataFrame(
        {
            "layer": ["a", "a", "b", "b"], "channel": [0, 1, 0, 1], "constant": [False, False, False, True],
            "mis": [*mis, None], "hard": [*mis, None], "margin": [*mis, None], "null": [0.5] * 4,
            "overlap": [1.0, 1.0, 1.0, None],
        },
        schema_overrides=dict.fromkeys(("mis", "hard", "margin", "overlap"), pl.Float64),
    )  # fmt: skip
    return tables.label(rows, {**ABOUT, "variant": variant, "method": variant.split("-")[0], "seed": seed})


@pytest.fixture(scope="module")
def scored():
    rng = np.random.default_rng(0)
    dense = [(rng.random(80) < share).astype(float) for share in (0.8, 0.7, 0.75)]
    pruned = [(rng.random(80) < share).astype(float) for share in (0.6, 0.55, 0.5)]
    pictures = [images(right, seed) for seed, right in enumerate(dense)]
    pictures += [images(right, seed, "filters-50", size=0.5) for seed, right in enumerate(pruned)]
    explained = [units([0.6 + 0.1 * seed, 0.7, 0.8], seed) for seed in range(3)]
    explained += [units([0.5, 0.6, 0.6 + 0.1 * seed], seed, "filters-50") for seed in range(3)]
    return dense, pruned, summary.score(pl.concat(pictures), pl.concat(explained), {})


def row(scores, metric, seed, variant="filters-50", task=None):
    kept = scores.filter(variant=variant, metric=metric).filter(pl.col("seed").eq_missing(seed))
    return kept.filter(task=task).row(0, named=True) if task else kept.row(0, named=True)


def test_each_training_is_compared_with_its_own_dense_network(scored):
    dense, pruned, scores = scored
    for seed in range(3):
        found = row(scores, "difference", seed)["value"]
        assert found == pytest.approx(pruned[seed].mean() - dense[seed].mean())
        expected = np.mean([0.5 - (0.6 + 0.1 * seed), 0.6 - 0.7, 0.6 + 0.1 * seed - 0.8])
        assert row(scores, "mis_difference", seed)["value"] == pytest.approx(expected)


def test_a_mean_has_the_spread_of_its_trainings_in_its_interval(scored):
    dense, pruned, scores = scored
    mean = row(scores, "acc", None)
    by_training = [part.mean() for part in pruned]
    assert mean["value"] == pytest.approx(np.mean(by_training))
    half = t.ppf(0.975, 2) * np.std(by_training, ddof=1) / np.sqrt(3)
    assert mean["value"] - mean["low"] > half
    assert mean["high"] - mean["value"] > half
    assert mean["high"] - mean["value"] < half + row(scores, "acc", 0)["high"] - row(scores, "acc", 0)["value"]
    assert row(scores, "difference", None)["value"] == pytest.approx(np.mean(pruned) - np.mean(dense))
    assert row(scores, "sparsity", None)["value"] == 0.5
    assert row(scores, "sparsity", None)["low"] is None
    tests = scores.filter(variant="filters-50", metric="mcnemar_p")["seed"]
    assert tests.to_list() == [0, 1, 2]  # means over trainings are not right or wrong


def test_no_relation_counts_a_network_once_a_training(scored):
    (relation,) = scored[2].filter(metric="mis_by_acc").iter_rows(named=True)
    assert (relation["variant"], relation["n"]) == ("all", 2)


def test_the_interval_is_the_quadrature_of_both_and_stays_within_a_share():
    columns = dict.fromkeys(repeats.ROW, "x") | {"metric": "acc", "reason": None}
    means = pl.DataFrame([columns | {"value": 0.9, "low": 0.86, "high": 0.93}], schema_overrides={"reason": pl.String})
    each = pl.DataFrame([columns | {"seed": seed, "value": value} for seed, value in enumerate((0.89, 0.9, 0.91))])
    half = t.ppf(0.975, 2) * 0.01 / np.sqrt(3)
    found = repeats.widened(means, each).row(0, named=True)
    assert found["low"] == pytest.approx(0.9 - np.hypot(0.04, half))
    assert found["high"] == pytest.approx(0.9 + np.hypot(0.03, half))
    wide = each.with_columns(value=pl.Series([0.7, 0.9, 1.0]))
    assert repeats.widened(means, wide)["high"][0] == 1
    missing = each.with_columns(value=pl.Series([0.7, 0.9, None]))
    found = repeats.widened(means, missing).row(0, named=True)
    assert (found["low"], found["high"], found["reason"]) == (None, None, "2 of 3 trainings have this score")


def test_intervals_hold_what_other_trainings_and_other_images_would_show():
    rng, inside = np.random.default_rng(1), 0
    for _ in range(300):
        chances = 0.7 + rng.normal(0, 0.02, (3, 1)) + rng.normal(0, 0.1, (1, 150))
        right = (rng.random((3, 150)) < chances).astype(float)
        columns = dict.fromkeys(repeats.ROW, "x") | {"metric": "difference", "reason": None}
        of_images, value = right.mean(0), right.mean()
        error = 1.96 * of_images.std(ddof=1) / np.sqrt(150)
        means = pl.DataFrame(
            [columns | {"value": value, "low": value - error, "high": value + error}],
            schema_overrides={"reason": pl.String},
        )
        each = pl.DataFrame([columns | {"seed": seed, "value": part.mean()} for seed, part in enumerate(right)])
        found = repeats.widened(means, each).row(0, named=True)
        inside += found["low"] <= 0.7 <= found["high"]
    assert 0.94 <= inside / 300 <= 1


def test_an_image_without_a_value_in_one_training_has_none_in_the_mean():
    both = pl.concat([images([1.0, 0.0], 0), images([None, 1.0], 1)])
    mean = repeats.mean_images(both).filter(metric="acc")
    assert mean["value"].to_list() == [None, 0.5]
    assert mean["seed"].to_list() == [0, 0]
