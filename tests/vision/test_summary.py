import copy

import numpy as np
import polars as pl
import pytest
import torch

from unicomp_lib import tables
from unicomp_lib.evaluate import statistics
from unicomp_lib.vision import accuracy, efficientnet, explained, masks, summary, training


def cell(variant, method="unstructured"):
    return {"model": "googlenet", "method": method, "variant": variant, "calibration": "", "seed": 0}


@pytest.fixture
def networks(model, held_out, monkeypatch):
    """Dense, and a network that lost half its filters: image rows and unit rows."""
    features = np.random.default_rng(0).normal(size=(len(held_out), 8))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    monkeypatch.setattr(efficientnet, "features", lambda images: torch.tensor(unit).float())
    pruned = copy.deepcopy(model)
    masks.apply(pruned, masks.select(pruned, method="filters", share=0.5))
    training.recalibrate(pruned, held_out)  # or the images' differences fade on their way through the layers
    images, units = [], []
    for name, network in (("dense", model), ("filters-50", pruned)):
        about = cell(name, "dense" if name == "dense" else "filters")
        images.append(tables.label(accuracy.rows(network, model, held_out, task="squares", repeats=2), about))
        rows = explained.explain(network, model, held_out, alpha=6.25, tasks=2, explanations=2)
        units.append(tables.label(rows, about))
    return pl.concat(images), pl.concat(units)


def value(found, variant, metric, task="units"):
    return found.filter(variant=variant, metric=metric, task=task)["value"][0]


def test_units_that_are_constant_have_no_scores_and_dense_keeps_all(networks):
    _, units = networks
    pruned = units.filter(variant="filters-50")
    assert pruned["constant"].sum() == pruned.filter(pl.col("mis").is_null()).height == 3640
    assert units.filter(variant="dense")["overlap"].min() == 1
    assert len(units["top"][0]) == 6


def test_scores_hold_accuracy_sizes_and_interpretability(networks):
    images, units = networks
    found = summary.score(images, units, {"filters-50": {"label": "Filters 50 %", "rate": 0.5, "schedule": "one-shot"}})
    assert found.schema == tables.SCORES
    facts = found.select("variant", *tables.FACTS).unique(maintain_order=True).rows()
    assert facts == [
        ("dense", "dense", "", None, "", ""),
        ("filters-50", "Filters 50 %", "", 0.5, "one-shot", ""),
        ("all", "all", "", None, "", ""),
    ]
    assert value(found, "filters-50", "constant") == 0.5
    assert value(found, "filters-50", "sparsity") == pytest.approx(0.5, abs=0.001)
    assert value(found, "filters-50", "epochs") == 0
    assert value(found, "filters-50", "macs") < 0.35 * value(found, "dense", "macs")
    speed = found.filter(variant="filters-50", metric="speed_ratio").row(0, named=True)
    assert (speed["low"], speed["high"], speed["reason"]) == (None, None, statistics.FEW_REPEATS)  # of two
    alive = units.filter(~pl.col("constant"))
    assert value(found, "filters-50", "mis") == pytest.approx(
        alive.filter(variant="filters-50")["mis"].cast(pl.Float64).mean()
    )
    assert value(found, "dense", "mis_difference") == 0
    right = images.filter(variant="filters-50", metric="acc")["value"].mean()
    assert value(found, "filters-50", "acc", "squares") == right
    assert found.filter(variant="dense", metric="mis", task="conv1.conv").height == 1


def test_a_network_that_is_not_finite_has_neither_accuracy_nor_mis(networks, model, held_out, capsys):
    broken = copy.deepcopy(model)
    broken.inception4c.branch1.bn.weight.data[3] = float("nan")
    about = cell("broken", "filters")
    images = accuracy.rows(broken, model, held_out, task="squares", repeats=2)
    assert images.filter(pl.col("metric").is_in(("acc", "log_likelihood")))["value"].null_count() == 2 * len(held_out)
    assert "of inception4c.branch1.bn.weight is not finite" in images["output"][0]
    units = explained.explain(broken, model, held_out, alpha=6.25, tasks=2, explanations=2)
    assert units.select("constant", *explained.SCORED, "top", "bottom").null_count().row(0) == (7280,) * 7
    said = capsys.readouterr().out
    assert "before scoring: the weight or statistic of inception4c" in said
    assert "7280 of 7280 units, the first of conv1.conv, are not finite: no score is given" in said
    both = [pl.concat([old, tables.label(new, about)]) for old, new in zip(networks, (images, units), strict=True)]
    found = summary.score(*both, {}).filter(variant="broken")
    assert value(found, "broken", "not_finite") == 1
    assert value(found, "broken", "macs") > 0
    for metric in ("acc", "mis", "mis_difference", "overlap", "constant"):
        values = found.filter(metric=metric)["value"]
        assert (values.is_nan() | values.is_null()).all(), metric


def test_one_unit_that_is_not_finite_has_no_score_and_the_others_keep_theirs(model, held_out):
    spoilt = copy.deepcopy(model)
    spoilt.conv2.conv.register_forward_hook(lambda part, given, out: out.index_fill(1, torch.tensor([5]), torch.inf))
    spoilt.conv2.bn.register_forward_hook(lambda part, given, out: out.nan_to_num(0, 0, 0))
    whole, rows = (
        explained.explain(network, model, held_out, alpha=6.25, tasks=2, explanations=2) for network in (model, spoilt)
    )
    bad = rows.filter(pl.col("constant").is_null())
    assert bad.select("layer", "channel").rows() == [("conv2.conv", 5)]
    assert bad["mis"].null_count() == 1
    first = pl.col("layer") == "conv1.conv"
    assert rows.filter(first).equals(whole.filter(first))
    reference = explained.explain(model, spoilt, held_out, alpha=6.25, tasks=2, explanations=2)
    lost = reference.filter(pl.col("overlap").is_null(), ~pl.col("constant"))
    assert lost.select("layer", "channel").rows() == [("conv2.conv", 5)]
    assert lost["mis"].null_count() == 0


def test_too_few_images_for_the_tasks_are_said(model, held_out):
    with pytest.raises(ValueError, match="20 tasks of 9 explanations and a query need 400 images, but there are 24"):
        explained.explain(model, model, held_out, alpha=1)


def test_a_relation_over_networks_has_a_bound():
    rows = [
        {**cell(f"unstructured-{index}"), "metric": metric, "value": value, "task": task, "capability": ""}
        for index in range(8)
        for metric, value, task in (
            ("mis", 0.7 + 0.01 * index, "units"), ("sparsity", index / 10, "units"), ("acc", 0.7 - 0.01 * index, "x")
        )
    ]  # fmt: skip
    found = pl.DataFrame(rows)
    known = {row["metric"]: row for row in summary._relations(found)}
    assert known["mis_by_sparsity"]["value"] == pytest.approx(1)
    assert known["mis_by_acc"]["value"] == pytest.approx(-1)
    assert known["mis_by_acc_bound"]["value"] == pytest.approx(1)
    assert known["mis_by_sparsity"]["n"] == 8
