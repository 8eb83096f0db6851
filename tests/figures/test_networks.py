import matplotlib.pyplot as plt
import polars as pl
import pytest

from unicomp_lib import tables
from unicomp_lib.figures import networks, palette

FACTS = {
    "dense": {"label": "Dense"},
    "untrained": {"label": "Random weights"},
    "filters-90": {"label": "Filters 30 %", "rate": 0.3, "schedule": "one-shot"},
    "b": {"label": "Filters 50 % iterative", "rate": 0.5, "schedule": "iterative"},
    "c": {"label": "Ours", "rate": 0.5, "schedule": "one-shot", "control": "as pruned"},
}
METHODS = {"dense": "dense", "untrained": "untrained", "filters-90": "filters", "b": "filters", "c": "filters"}


@pytest.fixture
def table():
    """Networks whose names say nothing, or something wrong."""
    measured = {"acc": ("accuracy", "emoji")} | dict.fromkeys(
        ("mis", "null", "overlap", "constant", "mis_difference"), ("interpretability", "units")
    )
    rows = [
        {
            "model": "googlenet", "method": METHODS[variant], "variant": variant, "calibration": "", "seed": seed,
            "dimension": "vision", "capability": capability, "task": task, "format": "", "metric": metric,
            "value": 0.1 * rank, "low": 0.05 * rank, "high": 0.15 * rank, "n": 9, "chance": 0.2,
        }
        for rank, variant in enumerate(FACTS, start=1)
        for metric, (capability, task) in measured.items()
        for seed in (0, None)
    ]  # fmt: skip
    return networks.networks(tables.scores(rows, FACTS))


def test_rate_schedule_and_control_are_those_of_the_table(table):
    assert table.select("variant", *(name for name in tables.FACTS if name != "sibling")).rows() == [
        ("dense", "Dense", None, "", ""),
        ("untrained", "Random weights", None, "", ""),
        ("filters-90", "Filters 30 %", 0.3, "one-shot", ""),
        ("b", "Filters 50 % iterative", 0.5, "iterative", ""),
        ("c", "Ours", 0.5, "one-shot", "as pruned"),
    ]
    assert table["acc"].to_list() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


def test_a_control_is_named_in_the_plane_and_on_no_curve(table):
    figure = networks.summary(table)
    by_rate, _, plane, _ = figure.axes
    marks = [container[0] for container in by_rate.containers]
    assert [mark.get_xydata()[0].tolist() for mark in marks] == [pytest.approx([0.3, 0.3]), pytest.approx([0.5, 0.4])]
    assert [mark.get_fillstyle() for mark in marks] == ["full", "none"]
    assert [text.get_text() for text in plane.texts] == ["as pruned"]
    assert [text.get_ha() for text in plane.texts] == ["right"]  # clear of the accurate networks
    assert {"Dense", "Random weights"} <= {text.get_text() for text in figure.legends[0].get_texts()}
    plt.close(figure)


def test_marks_stand_beside_their_rate_by_points_and_dense_trained_on_is_no_pruning(table):
    more = table.filter(variant="b").with_columns(
        variant=pl.lit("more"), label=pl.lit("Dense, 8 more epochs"), method=pl.lit("unstructured"), rate=0.0
    )
    other = table.filter(variant="b").with_columns(variant=pl.lit("u"), method=pl.lit("unstructured"), rate=0.99)
    figure = networks.summary(pl.concat([table, more, other]))
    by_rate, _, plane, _ = figure.axes
    figure.canvas.draw()
    marks = {container[0].get_color(): container[0] for container in by_rate.containers}
    assert sorted(mark.get_xdata()[0] for mark in marks.values()) == [0.5, 0.99]
    assert [text.get_text() for text in by_rate.get_xticklabels()] == ["30", "50", "99"]
    at = {rate: by_rate.transData.transform((rate, 0.4))[0] for rate in (0.5, 0.99)}
    drawn = {mark.get_xdata()[0]: mark.get_transform().transform(mark.get_xydata())[0][0] for mark in marks.values()}
    assert drawn[0.5] == pytest.approx(at[0.5])  # filters stand at the rate itself
    assert at[0.99] - drawn[0.99] == pytest.approx(-networks.SHIFTS["unstructured"] * figure.dpi / 72)
    colours = [container[0].get_color() for container in plane.containers]
    assert colours.count(palette.NETWORKS["dense"][1]) == 2
    plt.close(figure)


def test_distributions_are_called_by_their_label():
    units = pl.DataFrame(
        {
            "method": ["dense"] * 4 + ["filters"] * 4, "variant": ["dense"] * 4 + ["filters-90"] * 4,
            "label": ["Dense"] * 4 + ["Filters 30 %"] * 4, "constant": [False] * 7 + [True],
            "mis": [0.5, 0.6, 0.7, 0.8] * 2, "null": [0.4, 0.5, 0.5, 0.6] * 2,
        }
    )  # fmt: skip
    figure = networks.distributions(units)
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["Dense", "Filters 30 % (25 % constant)", "null"]
    assert figure.axes[0].lines[0].get_color() == palette.NETWORKS["dense"][1]
    plt.close(figure)


def emptied(table, rule):
    columns = [name for name in table.columns if table.schema[name] == pl.Float64 and name != "rate"]
    return {
        "no rows": table.clear(),
        "dense alone": table.filter(method="dense"),
        "intervals null": table.with_columns(pl.lit(None, dtype=pl.Float64).alias(n) for n in columns if "_" in n),
        "all NaN": table.with_columns(pl.lit(float("nan")).alias(name) for name in columns),
        "all null": table.with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in columns),
        "an own method": table.with_columns(method=pl.lit("mine")),
    }[rule]


@pytest.mark.parametrize("rule", ["no rows", "dense alone", "intervals null", "all NaN", "all null", "an own method"])
def test_the_summary_draws_every_table(table, rule):
    figure = networks.summary(emptied(table, rule))
    if rule == "no rows":
        assert [text.get_text() for text in figure.axes[2].texts] == ["no network was scored"]
    figure.canvas.draw()
    plt.close(figure)


def test_no_scores_are_no_networks():
    assert networks.networks(pl.DataFrame(schema=tables.SCORES)).is_empty()


def test_networks_of_two_models_are_told_apart():
    rows = [
        {
            "model": model, "method": METHODS[variant], "variant": variant, "calibration": "", "seed": seed,
            "dimension": "vision", "capability": capability, "task": task, "format": "", "metric": metric,
            "value": value, "low": value - 0.1, "high": value + 0.1, "n": 9, "chance": 0.2,
        }
        for model, value in (("small", 0.5), ("large", 0.8))
        for variant in ("dense", "b")
        for metric, capability, task in (("acc", "accuracy", "emoji"), ("mis", "interpretability", "units"))
        for seed in (0, None)
    ]  # fmt: skip
    table = networks.networks(tables.scores(rows, FACTS))
    assert table.select("model", "label", "acc").rows() == [
        ("small", "small, Dense", 0.5), ("small", "small, Filters 50 % iterative", 0.5),
        ("large", "large, Dense", 0.8), ("large", "large, Filters 50 % iterative", 0.8),
    ]  # fmt: skip
    figure = networks.summary(table)
    assert {text.get_text() for text in figure.axes[2].texts} == set(table["label"])
    plt.close(figure)
    units = pl.DataFrame(
        {
            "model": ["small", "large"] * 3, "method": "dense", "variant": "dense",
            "label": ["small, Dense", "large, Dense"] * 3, "constant": False, "mis": [0.5, 0.9] * 3, "null": 0.5,
        }
    )  # fmt: skip
    figure = networks.distributions(units)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["small, Dense", "large, Dense", "null"]
    medians = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert medians[:2] == [0.5, 0.9]
    plt.close(figure)
