import matplotlib.pyplot as plt
import polars as pl
import pytest

from unicomp_lib import tables
from unicomp_lib.figures import retraining

# Variant: method, rate, schedule, control, epochs.
NETWORKS = {
    "dense": ("dense", None, "", "", 0),
    "u90": ("unstructured", 0.9, "one-shot", "", 2),
    "u90-0": ("unstructured", 0.9, "one-shot", "recalibrated", 0),
    "u90-8": ("unstructured", 0.9, "one-shot", "epochs 8", 8),
    "u90-raw": ("unstructured", 0.9, "one-shot", "as pruned", 0),
    "u90-random": ("unstructured", 0.9, "one-shot", "random", 2),
    "u90-steps": ("unstructured", 0.9, "iterative", "", 2),
    "u98": ("unstructured", 0.98, "one-shot", "", 2),
    "u98-8": ("unstructured", 0.98, "one-shot", "epochs 8", 8),
    "f50": ("filters", 0.5, "one-shot", "", 2),
    "more-4": ("unstructured", 0.0, "one-shot", "", 4),
    "more-8": ("unstructured", 0.0, "one-shot", "epochs 8", 8),
}


@pytest.fixture
def table():
    facts = {
        variant: {"label": variant, "rate": rate, "schedule": schedule, "control": control}
        for variant, (_, rate, schedule, control, _) in NETWORKS.items()
    }
    rows = [
        {
            "model": "googlenet", "method": method, "variant": variant, "calibration": "", "seed": 0,
            "dimension": "vision", "capability": capability, "task": task, "format": "", "metric": metric,
            "value": value, "low": value - 0.1, "high": value + 0.1, "n": 9, "chance": 0.2,
        }
        for place, (variant, (method, _, _, _, epochs)) in enumerate(NETWORKS.items())
        for metric, capability, task, value in (
            ("difference", "accuracy", "emoji", -0.01 * place),
            ("mis_difference", "interpretability", "units", 0.01 * place),
            ("epochs", "size", "units", float(epochs)),
        )
    ]  # fmt: skip
    return retraining.lengths(tables.scores(rows, facts))


def test_lengths_are_of_networks_that_differ_in_nothing_else(table):
    found = table.select("method", "rate", "variant", "epochs").rows()
    assert found == [
        ("unstructured", 0.0, "more-4", 4), ("unstructured", 0.0, "more-8", 8),
        ("unstructured", 0.9, "u90-0", 0), ("unstructured", 0.9, "u90", 2), ("unstructured", 0.9, "u90-8", 8),
        ("unstructured", 0.98, "u98", 2), ("unstructured", 0.98, "u98-8", 8),
    ]  # fmt: skip
    assert table.filter(variant="u98")["difference"][0] == pytest.approx(-0.07)


@pytest.mark.parametrize("width", [7.0, 3.3])
def test_a_line_a_method_and_rate_in_all_panels(table, width):
    figure = retraining.figure(table, width)
    retrained = table.filter(pl.col("epochs") > 0)
    shown = ((table, "difference"), (retrained, "difference"), (table, "mis_difference"))
    for axes, (part, metric), counts in zip(figure.axes, shown, ([2, 3, 2], [2, 2, 2], [2, 3, 2]), strict=True):
        lines = [container[0] for container in axes.containers]
        assert [len(line.get_xdata()) for line in lines] == counts
        drawn = [value for line in lines for value in line.get_ydata()]
        assert drawn == pytest.approx(part[metric].to_list())
        named = [label.get_text() for label in axes.get_xticklabels()]
        assert named == [f"{epochs:g}" for epochs in part["epochs"].unique().sort()]
        places = [named[round(place)] for line in lines for place in line.get_xdata()]
        assert places == [f"{epochs:g}" for epochs in part["epochs"]]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["Dense, trained on", "Unstructured 90 %", "Unstructured 98 %"]
    plt.close(figure)


def test_without_several_lengths_nothing_is_drawn_and_nothing_fails(table):
    figure = retraining.figure(table.head(0))
    assert not figure.axes[0].containers
    assert not figure.legends
    plt.close(figure)
