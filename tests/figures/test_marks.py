import matplotlib.pyplot as plt
import polars as pl
import pytest
from matplotlib.lines import Line2D

from unicomp_lib.figures import marks, palette, panels

DENSE = ("dense", "dense", "Dense")
PRUNED = ("pruned", "sparsegpt", "SparseGPT 50 %")
BOTH = ("x", "gptq", "SparseGPT 50 % + GPTQ int4")
PLAIN = ("y", "gptq", "GPTQ int4")


def scores(*variants, seeds=(None,), values=(0.5,)):
    """Rows of (variant, method, label), a row for each seed with the values in turn."""
    rows = [
        {"model": "m", "variant": variant, "method": method, "label": label, "seed": seed, "metric": "agreement",
         "value": value, "low": value - 0.1, "high": value + 0.1}
        for variant, method, label in variants
        for seed, value in zip(seeds, values, strict=True)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema_overrides={"seed": pl.Int64})


@pytest.mark.parametrize(
    ("variants", "bases"),
    [
        ([DENSE, PRUNED, BOTH, PLAIN], ["", "", "sparsegpt", ""]),
        ([BOTH, PLAIN], ["", ""]),  # the base is not there
        ([("p", "wanda", "A"), ("q", "rtn", "A + B"), ("r", "awq", "A + B + C")], ["", "wanda", "rtn"]),
        ([("p", "wanda", "A"), ("q", "rtn", "A+B"), ("r", "awq", "AB + C")], ["", "", ""]),
        ([("p", "wanda", ""), ("q", "rtn", " + B")], ["", ""]),
    ],
)
def test_the_method_of_the_base_is_that_of_the_label_in_front(variants, bases):
    table = marks.based(scores(*variants))
    assert table["base_method"].to_list() == bases
    assert marks.based(table).equals(table)


def test_a_base_is_one_of_the_same_model():
    other = scores(PRUNED).with_columns(model=pl.lit("other"))
    assert marks.based(pl.concat([other, scores(BOTH)]))["base_method"].to_list() == ["", ""]


def test_a_variant_of_two_methods_has_both_colours_in_panels_and_legends():
    table = panels.without_siblings(
        scores(PRUNED, BOTH, PLAIN).with_columns(sibling=pl.lit(""), control=pl.lit(""), seed=None)
    )
    figure, axes = plt.subplots()
    panels.variants(axes, table, "agreement", label="x", reference=1)
    drawn = [container[0] for container in axes.containers]
    assert [line.get_fillstyle() for line in drawn] == ["full", marks.TWO, "full"]
    first, second = (palette.METHODS[method][1] for method in ("sparsegpt", "gptq"))
    assert (drawn[1].get_markerfacecolor(), drawn[1].get_markerfacecoloralt()) == (first, second)
    panels.legend(figure, table)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["SparseGPT 50 %", "SparseGPT 50 % + GPTQ int4", "GPTQ int4", panels.DENSE, marks.COMBINED]
    plt.close(figure)


@pytest.mark.parametrize("method", [*palette.METHODS, "one-of-ones-own"])
def test_variants_of_one_method_are_told_apart_in_every_marker(method):
    table = marks.based(scores(*((name, method, name.upper()) for name in "abcdef")))
    looks = []
    for row in table.iter_rows(named=True):
        figure = plt.figure(figsize=(1, 1))
        look = marks.among(row, table)
        figure.add_artist(Line2D([0.5], [0.5], **look | {"markersize": 3 * look["markersize"]}))
        figure.canvas.draw()
        looks.append(bytes(figure.canvas.buffer_rgba()))
        plt.close(figure)
    assert len(set(looks)) == 6


def test_single_seeds_stand_below_their_mean_where_there_are_several():
    several = scores(PRUNED, seeds=(None, 0, 1, 2), values=(0.5, 0.4, 0.5, 0.6))
    table = pl.concat([several, scores(PLAIN, seeds=(None, 0), values=(0.7, 0.7))])
    figure, axes = plt.subplots()
    panels.variants(axes, table, "agreement", label="x", reference=1)
    faint = [line.get_xydata()[0] for line in axes.lines if line.get_label() == marks.SEED]
    assert sorted(x for x, _ in faint) == [0.4, 0.6]  # one equals the mean, and another is the only one
    assert {0.2 < y < 0.5 for _, y in faint} == {True}
    marks.legend(figure)
    assert marks.SEED in [text.get_text() for text in figure.legends[0].get_texts()]
    plt.close(figure)


def test_a_legend_names_each_kind_once_and_none_where_nothing_has_a_name():
    figure, axes = plt.subplots(1, 2)
    marks.legend(figure)
    assert figure.legends == []
    for panel in axes:
        panel.axvline(1, label="dense")
    marks.legend(figure)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["dense"]
    plt.close(figure)


PAIRS = [("minitron", "gptq"), ("rotate", "rtn"), ("gptq", "fp8"), ("rtn", "awq")]


@pytest.mark.parametrize("fill", ["full", "none"])
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_variant_of_two_methods_looks_like_neither_of_them(first, second, fill):
    rows = [{"method": second, "base_method": first}, {"method": first}, {"method": second}]
    names = ("marker", "color", "fillstyle", "markerfacecolor")
    looks = [tuple(marks.of(row, fill).get(name) for name in names) for row in rows]
    assert len(set(looks)) == 3


def test_shape_and_outline_of_two_methods_are_of_one_each():
    row = {"method": "gptq", "base_method": "minitron"}
    (base, shape), (colour, _) = palette.look("minitron"), palette.look("gptq")
    assert marks.of(row)["marker"] == shape  # a plus in halves looks like an open one
    assert (marks.of(row)["markerfacecolor"], marks.of(row)["markerfacecoloralt"]) == (base, colour)
    assert (marks.of(row, "none")["marker"], marks.of(row, "none")["color"]) == (shape, colour)
