"""Tables in LaTeX: blocks that fit the text of a page, each whole by itself, with every number once."""

import re
from pathlib import Path

import matplotlib as mpl
import polars as pl
import pytest
from matplotlib.ft2font import FT2Font, LoadFlags

from unicomp_lib import results
from unicomp_lib.exchange import efficiency_tables, latex_tables, method_tables, paper_tables

FONT = FT2Font(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "cmr10.ttf"))
# The class article at 10, 11 and 12 points: \textwidth, and \small and \scriptsize as sizes at which Computer Modern
# has the same width as its cuts for small sizes, whose letters are wider (a digit is 0.514 em in cmr9, 0.569 in cmr7).
ARTICLE = [(345, 9 * 1.028, 7 * 1.139), (360, 10, 8 * 1.062), (390, 10.95, 8 * 1.062)]
TABULAR = re.compile(r"\\begin\{tabular\}\{l(r+)\}\n\\toprule\n(.*?)\n\\bottomrule\n\\end\{tabular\}\}", re.DOTALL)
SHORT = re.compile(r"\\shortstack\[[lr]\]\{(.*)\}", re.DOTALL)
SMALL = re.compile(r"(\S+) \{\\scriptsize (\[.*\])\}")


def plain(text):
    return re.sub(r"\\([_%&#{}])", r"\1", text)


def split(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)&", line.removesuffix(r"\\").strip())]


def tables_of(text):
    """Of each tabular: its cells line by line, without the names of models."""
    for columns, body in TABULAR.findall(text):
        lines = [line for line in body.splitlines() if line.startswith(r"\multicolumn") or line != r"\midrule"]
        rows = [split(line) for line in lines if not line.startswith(r"\multicolumn")]
        assert all(line.endswith(r"\\") for line in lines)
        assert {len(row) for row in rows} == {len(columns) + 1}
        yield rows


def advance(text, size):
    FONT.set_size(size, 72)
    kerned = FONT.load_char
    return sum(kerned(ord(sign), flags=LoadFlags.NO_HINTING).linearHoriAdvance / 65536 for sign in text)


def points(cell, small, script):
    if interval := SMALL.fullmatch(cell):
        return advance(interval[1] + " ", small) + advance(plain(interval[2]), script)
    stacked = SHORT.fullmatch(cell)
    lines = stacked[1].split(r"\\") if stacked else [cell]
    return max(advance(plain(line), small) for line in lines)


@pytest.fixture(scope="module", params=["embedded", "formats"])
def written(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    scores = pl.read_parquet(results.folder(request.param) / "scores.parquet")
    kinds = (paper_tables, efficiency_tables, method_tables)
    names = [name for kind in kinds for name in kind.write(scores, folder)]
    assert "efficiency.tex" in names
    return folder, {name: (folder / name).read_text() for name in names if name.endswith(".tex")}


def test_a_digit_is_as_wide_as_in_computer_modern():
    assert advance("0", 10) == pytest.approx(5.0, abs=0.02)


@pytest.mark.parametrize(("text", "small", "script"), ARTICLE)
def test_every_block_fits_the_text_of_an_article(written, text, small, script):
    for content in written[1].values():
        for rows in tables_of(content):
            widths = [max(points(cell, small, script) for cell in column) for column in zip(*rows, strict=True)]
            assert sum(widths) + 2 * 3 * len(widths) <= text
            assert len(rows) - 1 <= latex_tables.DOWN


def test_every_block_has_at_most_five_columns_and_dense_first(written):
    dimensions = [text for name, text in written[1].items() if name != "methods.tex"]
    assert dimensions
    for content in dimensions:
        for rows in tables_of(content):
            assert 2 <= len(rows[0]) <= 1 + latex_tables.ACROSS
            assert (rows[0][0], rows[1][0]) == ("method", "Dense")


def test_the_blocks_hold_every_field_of_the_csv_once(written):
    folder, texts = written
    for name, content in texts.items():
        if name == "methods.tex":
            continue
        table = pl.read_csv(folder / name.replace(".tex", ".csv"), infer_schema=False)
        expected = [text for row in table.drop(latex_tables.ROW).rows() for text in row if text]
        cells = [cell for rows in tables_of(content) for row in rows[1:] for cell in row[1:] if cell != "--"]
        shown = [" ".join(found.groups()) if (found := SMALL.fullmatch(cell)) else plain(cell) for cell in cells]
        assert sorted(shown) == sorted(expected)


def test_groups_and_braces_are_closed_and_no_sign_of_latex_is_left_bare(written):
    for content in written[1].values():
        bare = re.sub(r"\\[{}]", "", content)
        assert bare.count("{") == bare.count("}")
        body = "\n".join(line for line in content.splitlines() if not line.startswith("%"))
        assert not re.search(r"(?<!\\)[%#$~^]|(?<![\\])_", body)
        assert content.count(r"\small") == content.count(r"\begin{tabular}") == content.count(r"\end{tabular}")


def test_many_rows_are_divided_and_dense_is_in_each_part():
    rows = [
        {"model": model, "variant": variant, "label": variant.title(), "a_cloze": "1.0", "b_cloze": None}
        for model in ("one_1", "two")
        for variant in ("dense", *(f"w{number}" for number in range(60 if model == "two" else 9)))
    ]
    parts = list(latex_tables.tabulars(pl.DataFrame(rows), {"a_cloze": "acc", "b_cloze": "acc"}))
    assert len(parts) == 3
    for part in parts:
        assert part.startswith("% a_cloze: acc.\n% b_cloze: acc.\n")
        for model in re.split(r"\\multicolumn.*", part)[1:]:
            assert model.strip().startswith(r"Dense & 1.0 & -- \\")
        assert sum(len(found) - 1 for found in tables_of(part)) <= latex_tables.DOWN
    assert [part.count("two") for part in parts] == [0, 1, 1]
    shown = [row[0] for part in parts for found in tables_of(part) for row in found[1:]]
    assert sorted(label for label in shown if label != "Dense") == sorted(
        row["label"] for row in rows if row["variant"] != "dense"
    )


def test_labels_and_names_are_escaped_and_broken():
    label = "50 % & a very long {label} of words [and *more]"
    table = pl.DataFrame([{"model": "m_1", "variant": "v", "label": label, "x_y_cloze": "1.0 [0.5, 1.5]"}])
    (part,) = latex_tables.tabulars(table, {"x_y_cloze": "acc"})
    assert r"\shortstack[r]{x\_y\\cloze}" in part
    (part,) = latex_tables.tabulars(table.rename({"x_y_cloze": "a_b (MB)"}), {"a_b (MB)": "size"})
    assert r"\shortstack[r]{a\_b\\(MB)}" in part
    assert r"\emph{m\_1}" in part
    broken = r"\shortstack[l]{50 \% \& a very long\\\{label\} of words [and\\{}*more]}"
    assert rf"{broken} & 1.0 {{\scriptsize [0.5, 1.5]}} \\" in part
