import matplotlib.pyplot as plt
import polars as pl
import pytest

from unicomp_lib import tables
from unicomp_lib.figures import answers, palette, style

METRICS = [metric for *_, pair in answers.PANELS for metric, _ in pair]


def scores(**variants):
    """Scores of variants, each with a value and interval for some of the metrics; n is 0 where the value is missing."""
    rows = [
        {
            "model": "m", "method": method, "variant": method, "calibration": "", "seed": None, "label": method.upper(),
            "sibling": "", "rate": None, "schedule": "", "control": "", "dimension": "performance",
            "capability": capability, "task": "all", "format": "generate", "metric": metric, "value": value,
            "low": low, "high": high, "n": 0 if value is None else 20, "chance": None,
        }
        for method, values in variants.items()
        for metric, (value, low, high) in values.items()
        for capability in ("all", "reasoning")
    ]  # fmt: skip
    return tables.scores(rows, {})


FULL = {
    "dense": dict.fromkeys(METRICS, (0.5, 0.4, 0.6)) | {"length_change": (0.0, None, None)},
    "wanda": dict.fromkeys(METRICS, (0.25, 0.1, 0.4)) | {"length_change": (12.0, 5.0, 20.0)},
}


def drawn(table):
    figure = answers.figure(table, style.PAGE)
    plt.close(figure)
    return figure.axes


def marks(axes, method):
    _, colour, marker = palette.METHODS[method]
    found = [line for line in axes.lines if line.get_marker() == marker and line.get_color() == colour]
    return {line.get_fillstyle(): (float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in found}


def test_the_two_scores_of_a_panel_stand_above_each_other_in_their_variants_row():
    left, middle, right = drawn(answers.of(scores(**FULL), "all"))
    assert [label.get_text() for label in left.get_yticklabels()] == ["DENSE", "WANDA"]
    change = marks(left, "wanda")
    assert change["full"][0] == 12
    assert 0.5 < change["full"][1] < 1 < change["none"][1] < 1.5
    for panel in (middle, right):
        assert {value for value, _ in marks(panel, "wanda").values()} == {25.0}  # shares are in per cent
        assert panel.get_xlabel().endswith("%")
    names = [[text.get_text() for text in panel.get_legend().get_texts()] for panel in (left, middle, right)]
    assert names == [["all answers", "where neither loops"], ["cut off", "in a loop"], ["ended", "at the limit"]]


def test_where_no_length_changes_the_axis_still_spans_a_token_each_way():
    same = {
        method: values | {METRICS[0]: (0.0, None, None), METRICS[1]: (0.0, None, None)}
        for method, values in FULL.items()
    }
    left, *_ = drawn(answers.of(scores(**same), "all"))
    assert left.get_xlim() == (-1, 1)


def test_rows_are_of_one_capability_and_without_siblings_controls_or_single_seeds():
    table = scores(**FULL)
    extra = table.filter(variant="wanda")
    noise = [
        extra.with_columns(variant=pl.lit("other"), sibling=pl.lit("wanda")),
        extra.with_columns(variant=pl.lit("rerun"), control=pl.lit("rerun")),
        extra.with_columns(seed=pl.lit(1, dtype=pl.Int64)),
        extra.with_columns(metric=pl.lit("right")),
    ]
    kept = answers.of(pl.concat([table, *noise]), "all")
    assert len(kept) == 2 * len(METRICS)
    assert set(kept["variant"]) == {"dense", "wanda"}
    assert answers.of(table, "reasoning")["capability"].unique().to_list() == ["reasoning"]


def test_an_old_table_has_no_lengths():
    assert answers.of(scores(**FULL).with_columns(metric=pl.lit("tokens")), "all").is_empty()
    assert "--only scores/performance" in answers.NOTHING.format("reasoning", "performance")


def test_a_kind_without_answers_is_said_in_the_row_of_its_variant():
    none = scores(**FULL, magnitude=FULL["wanda"] | {"length_score_ended": (None, None, None)})
    *_, right = drawn(answers.of(none, "all"))
    (text,) = right.texts
    assert text.get_text() == "none ended"
    assert 1.5 < text.get_position()[1] < 2
    assert set(marks(right, "magnitude")) == {"none"}


def test_an_open_star_is_large_enough_to_be_seen_open():
    middle = drawn(answers.of(scores(**FULL), "all"))[1]
    stars = [line for line in middle.lines if line.get_marker() == "*"]
    assert {line.get_fillstyle() for line in stars} == {"full", "none"}
    for star in stars:
        assert star.get_markersize() >= 8 * star.get_markeredgewidth()


def test_answers_without_a_score_are_said_to_have_none_and_leave_no_mark():
    without = {
        method: values | dict.fromkeys(("length_score_ended", "length_score_cut"), (None, None, None))
        for method, values in FULL.items()
    }
    *_, right = drawn(answers.of(scores(**without), "all"))
    assert [text.get_text() for text in right.texts] == ["no answer has\na score"]
    assert not marks(right, "wanda")


@pytest.mark.parametrize("count", [1, 30])
def test_legends_lie_close_below_the_axes_whatever_the_number_of_rows(count):
    table = scores(**FULL).filter(variant="wanda")
    many = pl.concat([table.with_columns(variant=pl.lit(f"v{index}")) for index in range(count)])
    axes = drawn(answers.of(many, "all"))
    figure = axes[0].figure
    figure.canvas.draw()
    gap = axes[0].get_window_extent().y0 - axes[0].get_legend().get_window_extent().y1
    assert 0.3 < gap / figure.dpi < 0.7
