import base64

import nbformat
import pytest

from unicomp_lib import paths
from unicomp_lib.report import unrun

CELLS = [
    nbformat.v4.new_markdown_cell("# Figure: a title\n\n**Question.** What?"),
    nbformat.v4.new_code_cell("x = 1"),
    nbformat.v4.new_code_cell('export.save(figure, table, folder, "one")\nexport.save(other, table, folder, "two")'),
    nbformat.v4.new_code_cell('export.write_table(table, folder, "three")'),
    nbformat.v4.new_code_cell("for name in names:\n    export.save(figure, table, folder, name)"),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A checkout of one notebook, and a folder with what it has published."""
    (tmp_path / "notebooks" / "figures").mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(cells=CELLS), tmp_path / "notebooks" / "figures" / "a.ipynb")
    monkeypatch.setattr(paths, "project", lambda: tmp_path)
    for name in ("one", "two", "four"):
        (tmp_path / f"{name}.png").write_bytes(name.encode())
    for name in ("one", "two", "three", "four"):
        (tmp_path / f"{name}.csv").write_text("a,b\n<i>1</i>,2\n")
    return tmp_path


def shown(cell):
    return [base64.b64decode(output.data["image/png"]).decode() for output in cell.outputs]


def test_files_are_those_that_cells_name_or_those_on_record(folder):
    assert unrun.published("figures/a", folder, {}) == ["one.csv", "one.png", "two.csv", "two.png", "three.csv"]
    recorded = {"figures/a": ["four.png", "gone.png"], "figures/b": ["one.png"]}
    assert unrun.published("figures/a", folder, recorded) == ["four.png"]


def test_what_is_published_stands_where_cells_save_it_and_the_rest_behind(folder):
    names = ["one.csv", "one.png", "two.png", "three.csv", "four.png"]
    unrun.figure("figures/a", folder / "page.ipynb", folder, names, closing="the end")
    _, plain, pictures, table, loop, rest, closing = nbformat.read(folder / "page.ipynb", as_version=4).cells
    assert shown(pictures) == ["one", "two"]
    assert shown(rest) == ["four"]
    assert "&lt;i&gt;1&lt;/i&gt;" in table.outputs[0].data["text/html"]
    assert [cell.metadata["tags"] for cell in (plain, pictures, loop)] == [
        ["remove-cell"], ["hide-input"], ["remove-cell"],
    ]  # fmt: skip
    assert closing.source == "the end"


def test_a_notebook_that_was_not_run_says_so_below_its_title(folder):
    unrun.show("figures/a", folder / "page.ipynb", note="not run", folded=True)
    title, note, *code = nbformat.read(folder / "page.ipynb", as_version=4).cells
    assert title.source.startswith("# Figure: a title")
    assert note.source == "```{note}\nnot run\n```"
    assert all(cell.metadata["tags"] == ["hide-input"] for cell in code)
