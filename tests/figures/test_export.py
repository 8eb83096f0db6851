import json
import re

import matplotlib.pyplot as plt
import polars as pl
import pytest

from unicomp_lib import paths
from unicomp_lib.figures import export, names, style, units

# Drawn for a page alone.
ONCE = {"published_tasks"}
NOTEBOOKS = sorted((paths.project() / "notebooks" / "figures").glob("*.ipynb"))
TABLE = pl.DataFrame({"metric": ["kl", "acc"], "value": [-0.0, 0.123456], "low": [-1e-17, None], "high": [1234.5, 0.2]})


def drawing(width):
    style.use() if width == style.PAGE else None
    figure, (axes,) = style.grid(1, width, page=1, column=1, height=2)
    axes.plot([0.123456789, 1], [0, 1], label="ABC")
    axes.set_title("Title 0.123456")
    return figure


@pytest.fixture
def folder(tmp_path):
    export.save(drawing, TABLE, tmp_path, "a")
    plt.close("all")
    return tmp_path


def test_a_figure_is_saved_for_a_page_and_for_a_column(folder):
    assert {path.name for path in folder.iterdir()} == {f"a{end}" for end in names.PICTURES + names.TABLES}
    assert {names.stem(path.name) for path in folder.iterdir()} == {"a"}
    page, column = ((folder / f"a{kind}.svg").read_text() for kind in ("", ".column"))
    assert "<text" in page
    assert "Title 0.123456" in page  # digits of text stay
    assert "<text" not in column
    assert f'width="{72 * style.COLUMN:g}pt"' in column
    (box,) = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ", (folder / "a.column.pdf").read_bytes())
    assert float(box) == pytest.approx(72 * style.COLUMN)
    assert not re.search(r"<[^>]*\d\.\d{8,}[^>]*>", column)


def test_equal_input_gives_equal_files(folder, tmp_path):
    export.save(drawing, TABLE, tmp_path / "again", "a")
    plt.close("all")
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


def test_a_finished_figure_has_no_version_for_a_column(tmp_path):
    export.save(drawing(style.PAGE), TABLE, tmp_path, "a")
    plt.close("all")
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "a.svg", "a.csv", "a.rounded.csv"}


def test_tables_are_full_and_rounded_with_units_and_no_zero_has_a_sign(folder):
    assert (folder / "a.csv").read_text() == "metric,value,low,high\nkl,0.0,-1e-17,1234.5\nacc,0.123456,,0.2\n"
    assert (folder / "a.rounded.csv").read_text() == (
        "metric,unit,value,low,high\nkl,nats,0.0,0.0,1230.0\nacc,share,0.123,,0.2\n"
    )


def test_columns_of_their_own_have_their_unit_in_their_name():
    table = pl.DataFrame(
        {"n": [3], "megabytes": [113.175], "decode": [31.3063], "latency_p99": [0.04357], "acc_low": [0.51234],
         "bytes_on_disk": [113175416.0], "mis": [0.6612], "p": [1.23456e-9], "decode_ratio_high": [1.86526]}
    )  # fmt: skip
    assert units.rounded(table).to_dict(as_series=False) == {
        "n": [3], "megabytes (MB)": [113.0], "decode (tokens/s)": [31.3], "latency_p99 (s)": [0.0436],
        "acc_low (share)": [0.512], "bytes_on_disk (bytes)": [113000000.0], "mis": [0.661], "p": [1.23e-9],
        "decode_ratio_high (ratio to dense)": [1.87],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "unit"),
    [
        ("kl_99", "nats"), ("kl", "nats"), ("p_change_99", "share"), ("accuracy_retention", "ratio to dense"),
        ("retention", "ratio to dense"), ("length_change_without_loops", "tokens"), ("length_cut_off", "share"),
        ("bits_per_byte_growth", "1"), ("perplexity_ratio", "ratio to dense"), ("probability", "share"),
        ("cache", "bytes"), ("cache_ratio", "ratio to dense"), ("decode_of_limit", "share"), ("epochs", "1"),
    ],
)  # fmt: skip
def test_a_metric_has_its_unit(metric, unit):
    assert units.unit(metric, "performance") == unit


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_figure_is_drawn_at_both_widths(notebook):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    if notebook.stem in ONCE:
        return
    saved = re.findall(r"export\.save\(\s*(\w+)", code)
    assert saved
    assert set(saved) <= {"draw", "lambda"}, "give export.save a function of the width"
