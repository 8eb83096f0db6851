from pathlib import Path

import nbformat
import pytest

from unicomp_lib import paths
from unicomp_lib.report import pages
from unicomp_lib.study import records

SECRET = "/srv/secret-lab/benchmarks"


@pytest.fixture
def page(tmp_path):
    """The page of a run whose notebook shows folders of the machine, in its code and in all forms of output."""
    home = Path.home()
    output = nbformat.v4.new_output(
        "display_data",
        {
            "text/plain": f"'{home}/notes'",
            "text/html": f'<a href="file://{home}/b">{paths.project()}/c</a>',
            "application/json": {"where": [f"{paths.home()}/d"]},
        },
    )
    stream = nbformat.v4.new_output("stream", name="stdout", text=f"one\n{SECRET}/mmlu.json\n{home}\n")
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# A title"),
            nbformat.v4.new_code_cell(f'data_dir = "{SECRET}"\nopen("{home}/x")', outputs=[output, stream]),
        ],
        metadata={"papermill": {"parameters": {"data_dir": SECRET, "output": str(tmp_path)}}},
    )
    nbformat.write(notebook, tmp_path / records.NOTEBOOK)
    pages.write(tmp_path, tmp_path / "page.ipynb")
    return (tmp_path / "page.ipynb").read_text()


def test_a_page_names_no_folder_of_the_machine_or_its_user(page):
    for folder in (Path.home(), Path.home().resolve(), paths.project(), paths.home(), SECRET, "secret-lab"):
        assert str(folder) not in page
    (_, cell) = nbformat.reads(page, as_version=4).cells
    assert cell.source == 'data_dir = "benchmarks"\nopen("~/x")'
    shown, stream = cell.outputs
    assert shown.data == {
        "text/plain": "'~/notes'", "text/html": '<a href="file://~/b">c</a>', "application/json": {"where": ["d"]},
    }  # fmt: skip
    assert stream.text == "one\nbenchmarks/mmlu.json\n~\n"


def test_provenance_shows_of_a_path_outside_the_checkout_its_last_part():
    record = {
        "name": "a", "key": "k", "notebook": "n", "started": "now", "seconds": 1.0, "hardware": {}, "packages": {},
        "commit": "c", "dirty": False,
    }  # fmt: skip
    given = {"data_dir": SECRET, "files": [f"{Path.home()}/mine/x.csv"], "checkpoint": f"{paths.project()}/runs/a"}
    text = pages.provenance(record, given, {})
    assert "secret-lab" not in text
    assert str(Path.home()) not in text
    for shown in ("data_dir='benchmarks'", "files=['x.csv']", "checkpoint='runs/a'"):
        assert shown in text
