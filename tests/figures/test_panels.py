import matplotlib.pyplot as plt
import polars as pl
import pytest

from unicomp_lib.figures import panels
from unicomp_lib.study import params


@pytest.mark.parametrize(
    ("variant", "name"),
    [
        ("dense", "Dense"),
        ("wanda-50", "Wanda 50 %"),
        ("wanda-2-4", "Wanda 2:4"),
        ("wanda-4-8", "Wanda 4:8"),
        ("wanda-50-reasoning", "Wanda 50 % reasoning"),
        ("sparsegpt-50+gptq-int4", "SparseGPT 50 % + GPTQ int4"),
        ("smoothquant-w8a8", "SmoothQuant w8a8"),
        ("lrc-450", "Low-Rank Clone 450"),
        ("mine-3", "mine 3 %"),
    ],
)
def test_variants_are_named_for_readers(variant, name):
    assert panels.name(variant) == name


def test_every_method_of_the_profiles_has_a_look_of_its_own():
    for profile in ("embedded", "paper", "tiny"):
        assert {each.method for each in params.load(profile).compressions.values()} <= set(panels.METHODS)
    looks = [look[1:] for look in panels.METHODS.values()]
    assert len({colour for colour, _ in looks}) == len({marker for _, marker in looks}) == len(looks)


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_effects_are_symmetric_about_zero_and_shade_the_better_side(better):
    table = pl.DataFrame(
        {
            "variant": ["a", "b"], "method": ["wanda", "awq"], "capability": ["x", "x"],
            "value": [0.1, -0.4], "low": [0.0, -0.5], "high": [0.2, -0.3],
        }
    )  # fmt: skip
    _, axes = plt.subplots()
    panels.effects(axes, table, label="change", better=better)
    low, high = axes.get_xlim()
    assert low == -high
    assert high > 0.5
    (shade,) = axes.patches
    assert shade.get_x() == (low if better == "lower" else 0)
    plt.close()


def test_variants_of_one_method_differ_and_siblings_can_be_left_out():
    table = pl.DataFrame(
        {
            "variant": ["gptq-int4", "a+gptq-int4", "b+gptq-int4", "rtn-int4", "wanda-50-reasoning", "dense-again"],
            "method": ["gptq", "gptq", "gptq", "rtn", "wanda", "dense"],
            "calibration": ["general", "general", "general", "", "reasoning", ""],
        }
    )
    fills = [panels._fill(variant, table)["fillstyle"] for variant in table["variant"][:3]]
    assert len(set(fills)) == 3
    assert panels.without_siblings(table)["variant"].to_list() == table["variant"].to_list()[:4]


def test_formats_of_a_variant_stand_side_by_side_and_differ():
    rows = [("a", "cloze", -0.1), ("a", "generate", 0.1), ("b", "cloze", 0.2), ("b", "generate", 0.3)]
    columns = ["variant", "format", "value"]
    table = pl.DataFrame(rows, schema=columns, orient="row").with_columns(
        model=pl.lit("m"), method=pl.lit("wanda"), low=pl.col("value") - 0.05, high=pl.col("value") + 0.05
    )
    figure, axes = plt.subplots()
    panels.formats(axes, table, title="knowledge less reasoning", label="growth")
    marks = [line for line in axes.lines if line.get_marker() == "o"]
    assert [line.get_fillstyle() for line in marks] == ["full", "none"] * 2
    heights = [line.get_ydata()[0] for line in marks]
    assert heights[0] < 0 < heights[1] < heights[2] < 1 < heights[3]
    low, high = axes.get_xlim()
    assert low == -high
    panels.format_legend(figure, table)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ranked options", "generated answers"]
    plt.close()


def test_nothing_to_compare_is_said_in_the_panel():
    _, axes = plt.subplots()
    schema = {"variant": pl.String, "method": pl.String, "capability": pl.String, "value": pl.Float64}
    panels.effects(axes, pl.DataFrame(schema=schema), label="change", better="lower")
    assert [text.get_text() for text in axes.texts] == ["no variant has\na sibling"]
    plt.close()


def test_a_plane_shows_the_variants_that_have_both_scores():
    def scores(**values):
        return pl.DataFrame(
            {
                "model": "m", "method": "wanda", "variant": list(values), "value": list(values.values()),
                "low": [value - 0.1 for value in values.values()], "high": [value + 0.1 for value in values.values()],
            }
        )  # fmt: skip

    figure, axes = plt.subplots()
    both = panels.plane(axes, scores(a=0.5, b=0.7, c=float("nan")), scores(b=0.9, a=1.0, c=0.3, d=0.2))
    assert both.select("variant", "value", "value_y").rows() == [("a", 0.5, 1.0), ("b", 0.7, 0.9)]
    assert len(axes.containers) == 2
    plt.close(figure)


def test_a_tracks_parts_stand_beside_its_score_in_one_order():
    table = pl.DataFrame(
        {
            "model": "m", "method": ["rtn", "awq", "rtn", "awq", "awq"], "variant": ["rtn", "awq", "rtn", "awq", "awq"],
            "track": ["speed", "speed", "speed", "speed", "cost"],
            "part": ["decode", "decode", "score", "score", "score"],
            "value": [2.0, 1.5, 2.0, 1.5, 0.5], "low": 0.4, "high": 2.5,
        }
    )  # fmt: skip
    figure, axes = plt.subplots()
    panels.parts(axes, table, "cost", "score", label="x", reference=1)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["RTN", "AWQ"]
    ((line, *_),) = axes.containers
    assert line.get_xydata().tolist() == [[0.5, 1.0]]  # in AWQ's place, though RTN has no cost
    plt.close(figure)
