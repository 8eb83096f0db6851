import contextlib
import itertools
import json
import re

import matplotlib.pyplot as plt
import polars as pl
import pytest

from unicomp_lib import paths, tables
from unicomp_lib.figures import marks, palette, panels, style


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


def test_variants_of_one_method_differ_and_siblings_and_controls_can_be_left_out():
    table = pl.DataFrame(
        {
            "variant": ["a", "b", "c", "wanda-50-reasoning", "ours", "dense-rerun"],
            "method": ["gptq", "gptq", "gptq", "wanda", "wanda", "dense"],
            "calibration": ["general", "general", "general", "reasoning", "reasoning", ""],
            "sibling": ["", "", "", "", "wanda-50-reasoning", ""],
            "control": ["", "", "", "", "", "rerun"],
        }
    )
    of_model = table.with_columns(model=pl.lit("m"))
    fills = [marks.among(row, of_model)["fillstyle"] for row in of_model[:3].iter_rows(named=True)]
    assert len(set(fills)) == 3
    assert panels.without_siblings(table)["variant"].to_list() == table["variant"].to_list()[:4]


def test_formats_of_a_variant_stand_side_by_side_and_differ():
    rows = [("a", "cloze", -0.1), ("a", "generate", 0.1), ("b", "cloze", 0.2), ("b", "generate", 0.3)]
    columns = ["variant", "format", "value"]
    table = pl.DataFrame(rows, schema=columns, orient="row").with_columns(
        model=pl.lit("m"),
        method=pl.lit("wanda"),
        label=pl.col("variant").str.to_uppercase(),
        low=pl.col("value") - 0.05,
        high=pl.col("value") + 0.05,
    )
    figure, axes = plt.subplots()
    panels.formats(axes, table, title="knowledge − reasoning", label="growth", side="spared")
    marks = [line for line in axes.lines if line.get_marker() == "o"]
    assert [line.get_fillstyle() for line in marks] == ["full", "none"] * 2
    heights = [line.get_ydata()[0] for line in marks]
    assert heights[0] < 0 < heights[1] < heights[2] < 1 < heights[3]
    low, high = axes.get_xlim()
    assert low == -high
    assert [label.get_text() for label in axes.get_yticklabels()] == ["A", "B"]
    panels.format_legend(figure, table)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["ranked options", "generated answers", "spared"]
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


def test_a_heatmap_writes_minus_signs_and_no_negative_zero():
    table = pl.DataFrame(
        {
            "model": "m", "method": "rtn", "variant": "a", "label": "A", "capability": "x", "metric": "growth",
            "value": [-0.001], "low": [-0.25], "high": [0.5],
        }
    )  # fmt: skip
    figure, axes = plt.subplots()
    panels.heatmap(axes, table, scale=1, decimals=2, cmap="viridis", bounds=(0, 2), title="x")
    assert [text.get_text() for text in axes.texts] == ["0.00\n[−0.25, 0.50]"]
    plt.close(figure)


def test_a_tracks_parts_stand_beside_its_score_in_one_order():
    table = pl.DataFrame(
        {
            "model": "m", "method": ["rtn", "awq", "rtn", "awq", "awq"], "variant": ["awq", "rtn", "awq", "rtn", "rtn"],
            "label": ["RTN int3", "AWQ int4", "RTN int3", "AWQ int4", "AWQ int4"],
            "track": ["speed", "speed", "speed", "speed", "cost"],
            "part": ["decode_batch_ratio", "decode_batch_ratio", "score", "score", "score"],
            "value": [2.0, 1.5, 2.0, 1.5, 0.5], "low": 0.4, "high": 2.5,
        }
    )  # fmt: skip
    figure, axes = plt.subplots()
    panels.parts(axes, table, "cost", "score", label="x", reference=1)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["RTN int3", "AWQ int4"]
    ((line, *_),) = axes.containers
    assert line.get_xydata().tolist() == [[0.5, 1.0]]  # on AWQ's line, though RTN has no cost
    panels.parts(axes, table, "speed", "score", label="x", reference=1)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [panels.MIDDLE, "batched decode"]
    plt.close(figure)


def scores_of(models, **labels):
    """Pooled and single rows of one metric: every model by every variant, named ``labels`` in figures."""
    return pl.DataFrame(
        [
            {
                "model": model, "method": "gptq", "variant": variant, "calibration": "", "seed": seed, "label": label,
                "capability": "reasoning", "metric": "agreement", "value": 0.1 * rank, "low": 0.05, "high": 0.9,
            }
            for rank, (model, (variant, label)) in enumerate(
                ((model, entry) for model in models for entry in labels.items()), start=1
            )
            for seed in (None, 0)
        ]
    )  # fmt: skip


def test_rows_are_called_by_their_label_and_their_model_where_there_are_several():
    names = {"gptq-4": "GPTQ int4", "wanda-2-4": "GPTQ int3"}
    for models, expected in (
        (["m"], ["GPTQ int4", "GPTQ int3"]),
        (["m", "n"], ["m, GPTQ int4", "m, GPTQ int3", "n, GPTQ int4", "n, GPTQ int3"]),
    ):
        table = scores_of(models, **names)
        figure, (lines, heat) = plt.subplots(1, 2)
        panels.variants(lines, table, "agreement", label="x", reference=1)
        pooled = panels.pooled(table, "agreement")
        panels.heatmap(heat, pooled, scale=1, decimals=1, cmap="viridis", bounds=(0, 1), title="x")
        for axes in (lines, heat):
            assert [label.get_text() for label in axes.get_yticklabels()] == expected
        assert not [line for line in lines.lines if line.get_alpha()]  # the only seed is the mean
        panels.legend(figure, pooled)
        assert [text.get_text() for text in figure.legends[0].get_texts()] == [*expected, panels.DENSE]
        plt.close(figure)


def test_panels_that_share_their_rows_keep_each_variant_in_its_own():
    every = scores_of(["m"], **{"wanda": "Wanda", "awq": "AWQ", "rtn": "RTN"})
    few = every.filter(pl.col("variant") != "awq")
    figure, shown = plt.subplots(1, 2, sharey=True)
    for axes, table in zip(shown, (every, few), strict=True):
        panels.variants(axes, table, "agreement", label="x", reference=1, beside=panels.pooled(every, "agreement"))
    assert [label.get_text() for label in shown[0].get_yticklabels()] == ["Wanda", "AWQ", "RTN"]
    heights = [[container[0].get_ydata()[0] for container in axes.containers] for axes in shown]
    assert heights == [[0, 1, 2], [0, 2]]
    assert [(text.get_position()[1], text.get_text()) for text in shown[1].texts] == [(1, "not measured")]
    plt.close(figure)


def test_measured_and_published_meet_by_their_label_whatever_the_variant_is_called():
    measured = scores_of(["m"], foo="GPTQ int4", other="GPTQ int3").filter(pl.col("seed").is_null())
    measured = measured.with_columns(of=pl.lit("held-out text"))
    published = pl.DataFrame(
        {
            "metric": "agreement", "method": ["gptq", "rtn"], "label": ["GPTQ int4", "RTN int4"], "model": "theirs",
            "value": [0.7, 0.6], "of": "WikiText-2", "source": "a paper",
        }
    )  # fmt: skip
    figure, axes = plt.subplots()
    table = panels.measured_and_published(axes, measured, published, label="x")
    assert table.select("label", "model", "value", "source").rows() == [
        ("GPTQ int4", "m", 0.1, "measured"), ("GPTQ int4", "theirs", 0.7, "a paper"),
        ("RTN int4", "theirs", 0.6, "a paper"),
    ]  # fmt: skip
    assert [label.get_text() for label in axes.get_yticklabels()] == ["GPTQ int4", "RTN int4"]
    assert [container[0].get_color() for container in axes.containers] == [
        palette.METHODS[method][1] for method in ("gptq", "gptq", "rtn")
    ]
    plt.close(figure)


def test_what_is_measured_of_something_else_stands_on_a_line_of_its_own():
    measured = scores_of(["m"], foo="GPTQ int4").filter(pl.col("seed").is_null()).with_columns(of="capability")
    published = pl.DataFrame(
        {
            "metric": "retention", "method": "gptq", "label": "GPTQ int4", "model": "theirs", "value": [0.8, 0.4],
            "of": ["knowledge", "reasoning"], "source": "a paper",
        }
    )  # fmt: skip
    figure, axes = plt.subplots()
    table = panels.measured_and_published(axes, measured, published, label="x")
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["GPTQ int4, knowledge", "GPTQ int4, reasoning"]
    assert table.select("of", "source").rows() == [
        ("knowledge", "a paper"), ("reasoning", "measured"), ("reasoning", "a paper")
    ]  # fmt: skip
    plt.close(figure)


NAN = float("nan")
ENDS = [(0.5, 0.4, 0.6), (0.9, None, None), (0.7, NAN, NAN), (NAN, NAN, NAN), (None, None, None), (0.0, 0.0, 0.0)]


def table_of(models, methods, values, *, capabilities=("knowledge",), seeds=(None,), label=None):
    """Every model by every method and capability, their values in turn from ``values``."""
    cells = [(m, me, c, s) for m in models for me in methods for c in capabilities for s in seeds]
    rows = [
        {"model": model, "method": method, "variant": f"{method}-50", "label": label, "seed": seed, "sibling": "",
         "calibration": "", "control": "", "dimension": "d", "capability": capability, "task": "all", "format": "cloze",
         "metric": "retention", "value": value, "low": low, "high": high, "n": 9}
        for index, (model, method, capability, seed) in enumerate(cells)
        for value, low, high in [values[index % len(values)]]
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=tables.SCORES)


LONG = "an_own_method_with_a_name_as_long_as_a_line_" * 2
TABLES = {
    "no rows": table_of([], [], ENDS),
    "dense alone": table_of(["m"], ["dense"], ENDS[:1]),
    "one variant": table_of(["m"], ["wanda"], ENDS[:1]),
    "one of everything": table_of(["m"], ["wanda", "awq", "rtn", "gptq", "mine", "lrc"], ENDS),
    "all null": table_of(["m"], ["wanda", "mine"], [(None, None, None)]),
    "all NaN": table_of(["m"], ["wanda", "mine"], [(NAN, NAN, NAN)]),
    "all zero": table_of(["m"], ["wanda", "mine"], [(0.0, 0.0, 0.0)]),
    "infinite": table_of(["m"], ["wanda", "mine"], [(float("inf"), 1.0, float("inf"))]),
    "seeds alone": table_of(["m"], ["wanda"], ENDS[:1], seeds=(0, 1)),
    "one seed": table_of(["m"], ["wanda", "awq"], ENDS[:2], seeds=(None, 0)),
    "two models": table_of(["small", "large"], ["wanda", "awq"], ENDS, capabilities=("knowledge", "reasoning")),
    "forty methods": table_of(["m"], [f"own-{number}" for number in range(40)], ENDS),
    "long names": table_of([LONG], [LONG, "wanda"], ENDS, label=LONG),
}
DRAW = {
    "variants": lambda figure, axes, table: panels.variants(axes, table, "retention", label="x", reference=1),
    "scatter": lambda figure, axes, table: panels.scatter(axes, table, "n"),
    "scatter, by value": lambda figure, axes, table: panels.scatter(axes, table, "value"),
    "plane": lambda figure, axes, table: panels.plane(axes, table, table),
    "heatmap": lambda figure, axes, table: panels.heatmap(
        axes, table, scale=100, decimals=0, cmap="viridis", bounds=(0, 120), title="x"
    ),
    "effects": lambda figure, axes, table: panels.effects(axes, table, label="x", better="lower"),
    "formats": lambda figure, axes, table: panels.formats(axes, table, title="x", label="x"),
    "languages": lambda figure, axes, table: panels.languages(axes, table, table, title="x"),
    "parts": lambda figure, axes, table: panels.parts(
        axes, table.with_columns(track=pl.lit("speed"), part=pl.lit("score")), "speed", "score", label="x", reference=1
    ),
    "published": lambda figure, axes, table: panels.measured_and_published(
        axes,
        table.with_columns(of=pl.lit("text"), label=pl.col("label").fill_null(pl.col("variant"))),
        table.with_columns(
            of=pl.lit("text"), source=pl.lit("a paper"), label=pl.col("label").fill_null(pl.col("variant"))
        ),
        label="x",
    ),
    "legend": lambda figure, axes, table: panels.legend(figure, table),
    "method legend": lambda figure, axes, table: panels.method_legend(figure, table),
    "format legend": lambda figure, axes, table: panels.format_legend(figure, table),
}  # fmt: skip


@pytest.mark.parametrize("draw", DRAW)
@pytest.mark.parametrize("name", TABLES)
def test_every_panel_draws_every_table(draw, name):
    figure, axes = plt.subplots()
    DRAW[draw](figure, axes, TABLES[name])
    if name == "no rows" and "legend" not in draw:
        assert [text.get_text() for text in axes.texts if text.get_text()]
    figure.canvas.draw()
    plt.close(figure)


@pytest.mark.parametrize("draw", ["variants", "heatmap", "formats", "parts"])
def test_two_models_have_rows_of_their_own(draw):
    table = table_of(["small", "large"], ["wanda"], [(0.5, 0.4, 0.6), (0.9, 0.8, 1.0)])
    figure, axes = plt.subplots()
    DRAW[draw](figure, axes, table)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["small, wanda-50", "large, wanda-50"]
    plt.close(figure)


def test_two_models_have_lines_and_marks_of_their_own():
    table = table_of(["small", "large"], ["wanda"], [(0.5, 0.4, 0.6), (0.9, 0.8, 1.0)])
    figure, axes = plt.subplots()
    panels.effects(axes, table, label="x", better="higher")
    assert len({float(line.get_ydata()[0]) for line in axes.lines if line.get_marker() == "o"}) == 2
    assert [label.get_text() for label in axes.get_yticklabels()] == ["knowledge,\nsmall", "knowledge,\nlarge"]
    looks = [tuple(marks.among(row, table).values()) for row in table.iter_rows(named=True)]
    assert len(set(looks)) == 2
    plt.close(figure)


def test_labels_that_two_variants_share_are_told_apart():
    table = table_of(["m"], ["wanda", "awq"], ENDS[:1], label="Ours")
    assert list(panels.row_labels(table).values()) == ["Ours (wanda-50)", "Ours (awq-50)"]


def test_what_is_undefined_is_said_with_its_reason_and_what_is_undecided_is_marked():
    why = "dense is not clearly above chance"
    values = [(None, None, None), (0.4, -0.7, 1.5), (0.9, 0.8, 1.0)]
    table = table_of(["m"], ["wanda", "awq", "rtn"], values)
    table = table.with_columns(reason=pl.when(pl.col("value").is_null()).then(pl.lit(why)))
    figure, (heat, lines) = plt.subplots(1, 2)
    panels.heatmap(heat, table, scale=100, decimals=0, cmap="viridis", bounds=(0, 120), title="x")
    texts = [text.get_text() for text in heat.texts]
    assert why in [text.replace("\n", " ") for text in texts]
    assert "? 40\n[−70, 150]" in texts
    assert "90\n[80, 100]" in texts
    panels.variants(lines, table, "retention", label="x", reference=1)
    assert [text.get_text() for text in lines.texts] == ["undefined"]
    assert [container[0].get_fillstyle() for container in lines.containers] == ["none", "full"]
    plt.close(figure)


@pytest.mark.parametrize(
    ("low", "high", "fewest"), [(0.98, 1.6, 2), (3.1, 4.9, 2), (0.97, 1.04, 2), (0.9, 40, 3), (1e-3, 1e3, 3)]
)
def test_a_log_axis_has_several_numbers_whatever_its_range(low, high, fewest):
    figure, axes = plt.subplots(figsize=(3, 2))
    axes.set(xscale="log", xlim=(low, high))
    panels.plain_log(axes.xaxis)
    figure.draw_without_rendering()
    shown = [label.get_text() for label in axes.get_xticklabels() if low <= float(label.get_text()) <= high]
    assert fewest <= len(shown) <= 8
    assert len(set(shown)) == len(shown)


def overlaps(axis):
    """How many of an axis' labels overlap the one before them."""
    boxes = [label.get_window_extent() for label in axis.get_ticklabels()]
    return sum(before.overlaps(box) for before, box in itertools.pairwise(boxes))


def shown(axes):
    """The boxes of the labels of the ticks that the x axis shows."""
    low, high = axes.get_xlim()
    ticks = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
    return [label.get_window_extent() for tick, label in ticks if low <= tick <= high]


@pytest.mark.parametrize("width", [style.PAGE, style.COLUMN])
def test_names_of_languages_stand_apart_and_no_mark_is_cut(width):
    style.use()
    codes = ["de", "es", "fr", "th", "tr", "vi"]
    rows = [("m", "gptq", code, 1 + 0.01 * place, 0.9, 1.2) for place, code in enumerate(codes)]
    table = pl.DataFrame(rows, schema=["model", "method", "task", "value", "low", "high"], orient="row")
    with style.narrow() if style.in_column(width) else contextlib.nullcontext():
        figure, axes = panels.language_grid(14, len(codes), width)
        for panel in axes:
            panels.languages(panel, table, table.clear(), title="Minitron")
        figure.draw_without_rendering()
        size = marks.size()
    assert not overlaps(axes[0].yaxis)
    row = axes[0].get_window_extent().height / len(codes) * 72 / figure.dpi
    assert row > size
    ticks = [shown(panel) for panel in axes[:2]]
    assert max(box.x1 for box in ticks[0]) < min(box.x0 for box in ticks[1])
    plt.close(figure)


def test_labels_of_a_bias_do_not_touch():
    style.use()
    table = pl.DataFrame(
        {"model": "m", "variant": "a", "method": "gptq", "label": "A", "format": "cloze", "value": [0.1], "low": [-0.8],
         "high": [0.8]}
    )  # fmt: skip
    figure, axes = plt.subplots(1, 2, figsize=(style.PAGE - 1.6, 3))
    panels.formats(axes[0], table, title="x", label="bias")
    figure.draw_without_rendering()
    boxes = shown(axes[0])
    assert min(after.x0 - box.x1 for box, after in itertools.pairwise(boxes)) > 5
    plt.close(figure)


def test_lines_of_different_meanings_differ_in_their_dashes():
    figure, axes = plt.subplots(1, 2)
    table = scores_of(["m"], foo="GPTQ int4")
    panels.variants(axes[0], table, "agreement", label="x", reference=1, line=panels.BASELINE)
    panels.variants(axes[1], table, "agreement", label="x", reference=1, line="the limit", dashes="--")
    marks.legend(figure)
    lines = zip(figure.legends[0].get_texts(), figure.legends[0].get_lines(), strict=True)
    assert {text.get_text(): line.get_linestyle() for text, line in lines} == {panels.BASELINE: "-", "the limit": "--"}
    plt.close(figure)


@pytest.mark.parametrize("name", ["efficiency", "served"])
def test_each_line_of_a_figure_has_a_name_and_dashes_of_its_own(name):
    text = (paths.project() / "notebooks" / "figures" / f"{name}.ipynb").read_text(encoding="utf-8")
    code = "".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")
    dashes = re.findall(r'(panels\.BASELINE|none|"in [^"]+"), "(-|--|:)"', code)
    assert len(set(dashes)) == len({dash for _, dash in dashes}) == {"efficiency": 2, "served": 3}[name]
    assert "BASELINE" in code
