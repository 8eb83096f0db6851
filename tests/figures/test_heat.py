import re

import matplotlib.pyplot as plt
import polars as pl
import pytest

from unicomp_lib import paths
from unicomp_lib.figures import heat, panels, style

COLUMNS = sorted(
    path
    for name in ("retention", "retention_by_format", "growth_by_format", "reliability")
    for path in (paths.project() / "figures").glob(f"*/{name}.column.svg")
)
WHY = "dense is not clearly above chance"


def table(values, variants=("a", "b"), metric="retention"):
    """Capabilities by their (value, low, high), the same for all variants; no value has the reason ``WHY``."""
    rows = [
        {"model": "m", "method": "wanda", "variant": variant, "label": variant.upper(), "capability": capability,
         "metric": metric, "value": value, "low": low, "high": high, "reason": WHY if value is None else None}
        for variant in variants
        for capability, (value, low, high) in values.items()
    ]  # fmt: skip
    numbers = dict.fromkeys(("value", "low", "high"), pl.Float64) | {"reason": pl.String}
    return pl.DataFrame(rows, schema_overrides=numbers)


def one(values, title="Ranked", **changes):
    return heat.Heat(table(values), title, "retention, %", 100, 0, "viridis", (0, 120))._replace(**changes)


KNOWN, WIDE, NONE = (0.9, 0.8, 1.0), (0.4, -0.7, 1.5), (None, None, None)


@pytest.fixture(params=[style.PAGE, style.COLUMN], ids=["page", "column"])
def width(request):
    yield request.param
    plt.close("all")


def maps_of(figure):
    return [axes for axes in figure.axes if axes.get_title(loc="left") or axes.get_title()]


def written(figure):
    return figure.legends[0].get_title().get_text().replace("\n", " ") if figure.legends else ""


def test_what_has_no_value_is_named_instead_of_drawn(width):
    maps = [one({"x": KNOWN, "y": NONE}), one({"x": NONE, "y": NONE}, title="Letters")]
    figure = heat.draw(maps, width, note="Judged by nobody.")
    (shown,) = maps_of(figure)
    assert [label.get_text() for label in shown.get_xticklabels()] == ["x"]
    assert written(figure) == (
        f"Ranked: y undefined for every variant ({WHY}). Letters: everything undefined for every variant ({WHY}). "
        "Judged by nobody."
    )


def test_nothing_at_all_is_said(width):
    figure = heat.draw([one({"x": NONE})], width)
    assert [text.get_text() for text in figure.axes[0].texts] == ["nothing was measured"]
    assert "everything undefined" in written(figure)


def test_undecided_fields_are_striped_and_take_no_colour(width):
    figure = heat.draw([one({"x": KNOWN, "y": WIDE})], width)
    fields = {text.get_text().split("\n")[0]: patch for text, patch in zip(*fields_of(figure), strict=True)}
    assert fields["? 40"].get_hatch() == "////"
    assert fields["? 40"].get_facecolor()[:3] == (1, 1, 1)
    assert fields["90"].get_hatch() is None
    assert fields["90"].get_facecolor()[:3] != (1, 1, 1)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "undecided: interval over 60 wide, half of the colours"
    ]


def fields_of(figure):
    axes = figure.axes[0]
    return axes.texts, axes.patches


def test_an_interval_over_more_than_half_of_the_colours_is_undecided_for_any_metric(width):
    growth = table({"x": (1.0, 0.2, 1.5), "y": (1.0, 0.5, 1.7)}, metric="bits_per_byte_change")
    figure = heat.draw([heat.Heat(growth, "Bits", "bits", 1, 1, "magma_r", (0, 2.5))], width)
    assert [text.get_text()[0] for text in figure.axes[0].texts] == ["?", "1"] * 2


@pytest.mark.parametrize(
    ("values", "extend", "ends"),
    [
        ({"x": KNOWN}, "neither", ("0", "120")),
        ({"x": (-0.2, -0.3, -0.1)}, "min", ("≤ 0", "120")),
        ({"x": (1.4, 1.3, 1.5)}, "max", ("0", "≥ 120")),
        ({"x": (1.4, 1.3, 1.5), "y": (-0.2, -0.3, -0.1)}, "both", ("≤ 0", "≥ 120")),
    ],
)
def test_colours_that_end_before_the_values_say_so(width, values, extend, ends):
    figure = heat.draw([one(values)], width)
    bar = figure.axes[-1]
    labels = [label.get_text() for label in bar.get_xticklabels()]
    assert (labels[0], labels[-1]) == ends
    assert bar._colorbar.extend == extend


def test_maps_of_the_same_colours_share_a_bar_on_a_page():
    figure = heat.draw([one({"x": KNOWN}), one({"x": KNOWN}, title="Letters")], style.PAGE)
    assert len(figure.axes) == 3
    plt.close(figure)


def test_intervals_that_have_no_room_are_left_out_and_that_is_said():
    many = {f"ability {number}": (1.12, 0.83, 1.42) for number in range(14)}
    figure = heat.draw([one(many)], style.COLUMN)
    assert {text.get_text() for text in figure.axes[0].texts} == {"112"}
    assert "Intervals are in the figure for a page." in written(figure)
    few = heat.draw([one({"x": KNOWN})], style.COLUMN)
    assert {text.get_text() for text in few.axes[0].texts} == {"90\n[80, 100]"}
    plt.close("all")


def test_no_zero_has_a_sign(width):
    figure = heat.draw([one({"x": (-0.001, -0.004, 0.004), "y": (-0.0, -0.0, 0.001)})], width)
    assert not [text for text in figure.axes[0].texts if "−0" in text.get_text()]


def test_rows_are_those_of_all_maps(width):
    maps = [one({"x": KNOWN}), heat.Heat(table({"x": KNOWN}, ("b", "c")), "Bits", "bits", 1, 2, "magma_r", (0, 2.5))]
    figure = heat.draw(maps, width)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["A", "B", "C"]
    assert "not\nmeasured" in [text.get_text() for text in figure.axes[0].texts]
    assert panels.row_labels(maps[0].table) == {("m", "a"): "A", ("m", "b"): "B"}


@pytest.mark.parametrize(
    ("value", "low", "high", "undecided"),
    [(0.36, 0.03, 0.94, True), (0.55, 0.16, 1.14, True), (0.53, 0.23, 0.83, False), (0.9, 0.62, 1.17, False)],
)
def test_a_retention_has_a_colour_up_to_sixty_points_of_interval(width, value, low, high, undecided):
    figure = heat.draw([one({"x": (value, low, high)})], width)
    assert (figure.axes[0].patches[0].get_hatch() is not None) == undecided


@pytest.mark.parametrize(
    ("low", "high", "undecided"),
    [(1.75, 2.68, False), (1.5, 2.68, False), (1.4, 2.68, True), (-0.9, -0.1, False), (-0.9, 0.1, True)],
)
def test_an_interval_beyond_an_end_of_the_colours_has_the_colour_of_that_end(width, low, high, undecided):
    rows = table({"x": ((low + high) / 2, low, high)}).with_columns(metric=pl.lit("bits_per_byte_growth"))
    figure = heat.draw([heat.Heat(rows, "Growth", "log growth", 1, 2, "magma_r", (0, 1.5))], width)
    assert (figure.axes[0].patches[0].get_hatch() is not None) == undecided


def test_maps_of_different_colours_say_how_wide_an_interval_may_be_in_each(width):
    bits = heat.Heat(table({"x": (1.0, 0.2, 1.5)}), "Bits", "bits", 1, 2, "magma_r", (0, 2.5))
    figure = heat.draw([one({"x": WIDE}), bits._replace(bounds=(0, 1))], width)
    (text,) = figure.legends[0].get_texts()
    assert text.get_text() == "undecided: interval over 60 (ranked) or 0.5 (bits) wide, half of the colours"


def test_the_documentation_says_the_rule_of_the_colours():
    text = (paths.project() / "docs" / "reading_the_numbers.md").read_text(encoding="utf-8")
    assert panels.SPANNED == 0.5
    assert "more than half of the colour scale" in " ".join(text.split())
    assert "60 points" in " ".join(text.split())


@pytest.mark.parametrize(("top", "end"), [(0.34, 0.5), (0.5003, 0.5), (0.6, 1), (1.6, 2.5), (9.0, 2.5), (-1.0, 0.5)])
def test_colours_of_increases_end_near_the_largest(top, end):
    assert heat.reaching(table({"x": (top, top, top), "y": NONE})) == end


@pytest.mark.parametrize(("maps", "variants"), [(2, 20), (3, 14), (3, 24)])
def test_a_column_is_no_higher_than_its_page(maps, variants):
    with style.narrow():
        names = [f"v{number}" for number in range(variants)]
        many = table({"knowledge": (1.12, 0.83, 1.42), "reasoning": KNOWN}, names)
        figure = heat.draw([one({"x": KNOWN}, title=f"{number}", table=many) for number in range(maps)], style.COLUMN)
        figure.draw_without_rendering()
    assert figure.get_figheight() <= style.TALL + 1e-6
    rows = [axes.get_window_extent().height / variants for axes in maps_of(figure)]
    texts = [text.get_window_extent().height for text in figure.axes[0].texts]
    assert max(texts) <= 1.03 * min(rows)  # a line's box is higher than what is drawn of its digits
    plt.close(figure)


@pytest.mark.parametrize("path", COLUMNS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_committed_heat_maps_fit_on_a_page(path):
    (height,) = re.findall(r'<svg [^>]*height="([\d.]+)pt"', path.read_text(encoding="utf-8"))
    assert float(height) <= 72 * style.TALL
